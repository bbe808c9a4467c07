// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file stream.hpp
/// @brief Whole messages over a stream socket that threads and processes share.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/lock.hpp>
#include <multiprocessing/os/message.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/wait.hpp>
#include <multiprocessing/timeout.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

namespace multiprocessing::os {

/// @brief One direction of a stream, as all who share this end see it. Zero at first.
struct StreamDirection {
  /// Held by who sends or receives, from a message's first byte to its last. No-one waits for a
  /// message to begin with it held, nor for room to begin one.
  RobustLock lock;
  /// 1: the holder may have moved a part of a message. Set before the first byte is, cleared after
  /// the last; 1 when the lock is abandoned: nobody knows where the next message begins.
  std::atomic<std::uint32_t> inside;
  /// 1: nothing can follow any more. Set by any holder, never cleared.
  std::atomic<std::uint32_t> broken;
};

/// @brief What travels with one end of a stream: shared by all processes that have it.
struct StreamState {
  StreamDirection out;
  StreamDirection in;
  /// 1: the connection was reset, so its end is not a clean one: what the other end sent last may
  /// be lost. Said to all, for the system says it once. Never cleared.
  std::atomic<std::uint32_t> was_reset;
  /// 1: a named pipe, whose messages are whole by themselves. Set by everybody who opens the end.
  std::atomic<std::uint32_t> keeps_messages;
  /// Messages without bytes that those who wait for a named pipe have taken; received before
  /// others.
  std::atomic<std::uint32_t> empty_messages;

  /// @errors as RobustLock::initialise().
  void initialise(std::error_code& ec) noexcept;
};

/// @brief One end of a stream of messages in the framing of CPython's `Connection`: a big-endian
/// 32-bit size; for more than 2 GiB less one byte, -1 and a big-endian 64-bit size; then the bytes.
///
/// Any number of threads and processes may use it at once. Whoever dies between messages disturbs
/// nobody. When one dies inside a message, the next call of any other answers
/// `connection_aborted`, so do all later ones, and the other end gets half a message and no more.
///
/// A named pipe (Windows) carries each message as one of its own, without a size, as CPython's
/// `PipeConnection`: it is taken whole or not at all, so nobody dies inside one. What is sent is
/// limited by what the system takes at once.
/// @source Lib/multiprocessing/connection.py, Connection._send_bytes, _recv_bytes; PipeConnection.
class Stream {
 public:
  /// @brief Whether other processes may have the end of this owner too.
  using IsShared = bool (*)(const void* owner) noexcept;

  /// @param is_shared asked every 50 ms while it answers yes, for then who waits looks whether one
  ///   of them died inside a message, and else every second, for that may change.
  Stream(native_handle_type socket,
         StreamState& state,
         IsShared is_shared,
         const void* owner) noexcept
      : socket_{socket}, state_{state}, is_shared_{is_shared}, owner_{owner} {}

  /// @brief Once in each process that has the end, before anything else. POSIX: nothing.
  /// @throws std::bad_alloc std::system_error the system has no sockets.
  void after_open() const;

  /// @brief Sends a message whole. The deadline is for its beginning: one that has begun goes on
  /// until it is through, or nobody is there to take it. With a limit, one that does not find room
  /// whole begins only when nothing else is unread (Windows: where there is some room).
  /// @param tail more bytes of the message.
  /// @errors EPIPE: nobody has the other end; no signal is raised. `connection_aborted`: broken.
  /// Interrupted inside the message, it breaks the stream.
  [[nodiscard]] Outcome send(std::span<const std::byte> bytes,
                             std::span<const std::byte> tail,
                             const Interrupt& interrupt,
                             const detail::Deadline& deadline,
                             std::error_code& ec) const noexcept;

  /// @brief Takes the next message. The deadline is for its beginning. Memory is taken as bytes
  /// come: a size that is a lie costs 1 MiB at most.
  /// @param kind what the message is to be called.
  /// @param max longer ones are not read.
  /// @param into into the room that it offers, a large message is read at once (Windows: never).
  /// @errors `message_size`: it is longer, and the stream is broken; `connection_aborted`: broken,
  /// or the other end closed inside the message; `connection_reset`: the internet's connection
  /// ended by a reset between two messages; ENOMEM, likewise broken.
  [[nodiscard]] Outcome receive(std::uint8_t kind,
                                std::size_t max,
                                IncomingMessage& into,
                                const Interrupt& interrupt,
                                const detail::Deadline& deadline,
                                std::error_code& ec) const noexcept;

  /// @brief Waits until a message begins, or the stream ends; takes nothing.
  /// @errors `connection_aborted`: broken.
  [[nodiscard]] Outcome wait(const Interrupt& interrupt,
                             const detail::Deadline& deadline,
                             std::error_code& ec) const noexcept;

  /// @brief Tells the other end, if one that shared this one died inside a message. For who closes.
  void before_close() const noexcept;

 private:
  Outcome enter(StreamDirection& direction,
                const Interrupt& interrupt,
                const detail::Deadline& deadline,
                std::error_code& ec) const noexcept;
  Outcome wait_for(Readiness what,
                   const Interrupt& interrupt,
                   const detail::Deadline& deadline,
                   std::error_code& ec) const noexcept;
  struct Parts;
  // timed_out: nothing of it has been sent, for there is no room.
  Outcome send_now(Parts& parts,
                   bool has_limit,
                   const Interrupt& interrupt,
                   std::error_code& ec) const noexcept;
  Outcome wait_for_room(std::size_t size,
                        const Interrupt& interrupt,
                        const detail::Deadline& deadline,
                        std::error_code& ec) const noexcept;
  Outcome read_message(std::uint8_t kind,
                       std::size_t max,
                       IncomingMessage& into,
                       const Interrupt& interrupt,
                       std::error_code& ec) const;
  Outcome read_all(std::span<std::byte> into,
                   std::size_t done,
                   const Interrupt& interrupt,
                   std::error_code& ec) const noexcept;
  bool someone_died_inside() const noexcept;
  void break_it() const noexcept;

  native_handle_type socket_;
  StreamState& state_;
  IsShared is_shared_;
  const void* owner_;
};

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/stream.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/stream.ipp>
#endif
