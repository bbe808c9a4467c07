// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file one_way_channel.hpp
/// @brief An anonymous pipe of whole messages.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/memory.hpp>
#include <multiprocessing/os/message.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/patience.hpp>
#include <multiprocessing/os/wait.hpp>
#include <multiprocessing/timeout.hpp>

#include <memory>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing::os {

/// @brief One end of a one-way channel: of the two that create() makes, one receives and one sends.
///
/// Any number of threads and processes may use either end at once, and die at any moment: each
/// message comes out whole, once, or was never sent. A message in the hands of a receiver that is
/// killed, interrupted or runs out of memory goes with it.
///
/// POSIX: a ring of 256 KiB in shared memory that travels with both ends, and a pipe, which holds a
/// byte while the ring holds something, and says when one side has left. Two robust locks see to it
/// that messages do not mix and that one receiver gets all of one. Windows: a pipe in message mode,
/// whose packets are at most 64 KiB; it has a name, which is random, only while it is made.
/// @source man 7 pipe; CreateNamedPipe.
class OneWayEnd {  // NOLINT(*-special-member-functions): what moves is not copied
 public:
  struct Shared;  // what lies in the shared page
  using Ends = std::pair<OneWayEnd, OneWayEnd>;

  OneWayEnd() noexcept = default;
  OneWayEnd(OneWayEnd&&) noexcept = default;
  OneWayEnd& operator=(OneWayEnd&& other) noexcept {
    std::swap(pipe_, other.pipe_);
    std::swap(region_, other.region_);
    std::swap(patience_, other.patience_);
    return *this;
  }
  ~OneWayEnd();

  /// @returns the receiving end, the sending end.
  /// @errors POSIX `pipe2`, `memfd_create`: EMFILE, ENFILE, ENOMEM. Windows `CreateNamedPipe`.
  [[nodiscard]] static Ends create(std::error_code& ec) noexcept;

  /// @brief From duplicates of another end's handles(), in their order.
  /// @errors as create; `invalid_argument`: they are no such handles.
  [[nodiscard]] static OneWayEnd adopt(std::vector<UniqueHandle> handles,
                                       std::error_code& ec) noexcept;
  [[nodiscard]] std::vector<native_handle_type> handles() const;

  /// @brief Readable when there is a message, or the end, or what a killed sender left of one: then
  /// receive() and wait() find nothing, and it is so no longer.
  [[nodiscard]] native_handle_type handle() const noexcept;

  /// @brief Sends a message whole, or not at all; waits while the pipe is full, or another sends.
  /// @errors EPIPE: nobody can receive any more (no signal is raised); POSIX: noticed at most 50 µs
  /// after the last receiver was killed. ENOTSUP: the message has handles. POSIX `fallocate`:
  /// ENOSPC, ENOMEM, EFBIG. Nothing was sent. Windows `WriteFile`: ERROR_NO_DATA as EPIPE.
  [[nodiscard]] Outcome send(const OutgoingMessage& message,
                             const Interrupt& interrupt,
                             const detail::Deadline& deadline,
                             std::error_code& ec) const noexcept;

  /// @brief Takes the next message. The deadline is for its beginning: a message that has begun is
  /// waited for as long as its writer lives.
  /// @param into written only when the answer is `done`.
  /// @errors ENOMEM: the message is lost. EBADMSG: what came was not sent by send().
  [[nodiscard]] Outcome receive(IncomingMessage& into,
                                const Interrupt& interrupt,
                                const detail::Deadline& deadline,
                                std::error_code& ec) const noexcept;

  /// @brief Waits until there is a message, or nobody can send one any more; takes none. What dead
  /// writers and readers left unfinished is no message, and is thrown away here.
  /// @returns never `ended`. A deadline of now may be `timed_out` while another is receiving.
  [[nodiscard]] Outcome wait(const Interrupt& interrupt,
                             const detail::Deadline& deadline,
                             std::error_code& ec) const noexcept;

 private:
  friend class TwoWayEnd;

  OneWayEnd(UniqueHandle pipe, std::shared_ptr<SharedRegion> region) noexcept
      : pipe_{std::move(pipe)}, region_{std::move(region)} {}
  [[nodiscard]] Shared& shared() const noexcept;

  UniqueHandle pipe_;
  std::shared_ptr<SharedRegion> region_;
  std::shared_ptr<Patience> patience_;  // POSIX, of those that receive
};

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/one_way_channel.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/one_way_channel.ipp>
#endif
