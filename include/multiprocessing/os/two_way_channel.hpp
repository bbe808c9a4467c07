// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file two_way_channel.hpp
/// @brief A two-way channel of whole messages, with which handles travel.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/channel.hpp>
#include <multiprocessing/os/message.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/one_way_channel.hpp>
#include <multiprocessing/os/wait.hpp>
#include <multiprocessing/timeout.hpp>

#include <memory>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing::os {

/// @brief Whether handles that were sent, but not received, go with their sender's end.
inline constexpr bool handles_go_with_sender = MULTIPROCESSING_WINDOWS;

/// @brief One end of a two-way channel. What goes into one comes out of the other, in order.
///
/// Any number of threads and processes may use either end at once, and die at any moment: each
/// message comes out whole, once, or was never sent.
///
/// POSIX: a channel's end. Messages beyond `inline_limit` pass through memory that both ends keep
/// and use again: at most two pieces for each end in a process, of 2 MiB, 64 MiB in all of a
/// process; where there is none, each has memory of its own. What is longer than a piece passes
/// through it while the receiver takes it out, and is written behind it when nobody does: a sender
/// waits for a receiver's progress 2 ms at most. What was behind it is given back once it is read.
/// Where a piece cannot be mapped, a message that fits into it is read all the same. Both ends
/// trust each other with this memory, as those of a queue do: a lie about a message is
/// `bad_message`, or other bytes, but who writes into its lock on purpose can break a process that
/// maps it. Windows: two one-way channels. The handles of a message stay in the sender's process,
/// or its only receiver's if that is named, until it is received; if that process ends before, the
/// message was never sent, and if nobody receives it, they stay there until it ends.
class TwoWayEnd {
 public:
  using Ends = std::pair<TwoWayEnd, TwoWayEnd>;

  TwoWayEnd() noexcept = default;

  /// @errors as make_channel() (POSIX), OneWayEnd::create() (Windows).
  [[nodiscard]] static Ends create(std::error_code& ec) noexcept;

  /// @brief From duplicates of another end's handles(), in their order.
  /// @errors as create; `invalid_argument`: they are no such handles.
  [[nodiscard]] static TwoWayEnd adopt(std::vector<UniqueHandle> handles,
                                       std::error_code& ec) noexcept;
  [[nodiscard]] std::vector<native_handle_type> handles() const;

  /// @brief Readable when there may be a message.
  [[nodiscard]] native_handle_type handle() const noexcept;

  /// @brief Sends a message whole, or not at all; waits while the channel is full.
  ///
  /// POSIX: as send_message(). Windows: it is full with 1 MiB, and a message that is longer than
  /// what is left waits for its receiver.
  /// @errors as send_message().
  [[nodiscard]] Outcome send(const OutgoingMessage& message,
                             const Interrupt& interrupt,
                             const detail::Deadline& deadline,
                             std::error_code& ec) const noexcept;

  /// @brief Takes the next message. The deadline is for its beginning: one of more than 2 MiB that
  /// has begun is waited for as long as its sender lives; if that dies in it, or the system refuses
  /// memory for its rest, it was never sent. An interrupt ends that wait once nothing has come for
  /// 50 ms; the message is lost then.
  /// @param into as receive_message() says; into the room that it offers, a large message goes at
  /// once (Windows: never).
  /// @errors as receive_message(); ENOMEM also: no room to map the memory of one of more than 2
  /// MiB.
  [[nodiscard]] Outcome receive(IncomingMessage& into,
                                const Interrupt& interrupt,
                                const detail::Deadline& deadline,
                                std::error_code& ec) const noexcept;

  /// @brief Waits until there is a message, or nobody can send one any more; takes nothing.
  ///
  /// POSIX: one of more than 2 MiB counts as soon as it begins.
  /// @returns never `ended`.
  [[nodiscard]] Outcome wait(const Interrupt& interrupt,
                             const detail::Deadline& deadline,
                             std::error_code& ec) const noexcept;

 private:
  struct Passages;
  static TwoWayEnd of(UniqueHandle end, std::error_code& ec) noexcept;  // POSIX

  UniqueHandle end_;                    // POSIX
  std::shared_ptr<Passages> passages_;  // likewise
  OneWayEnd in_;                        // Windows
  OneWayEnd out_;                       // likewise
};

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/two_way_channel.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/two_way_channel.ipp>
#endif
