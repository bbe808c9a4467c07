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

/// @brief One end of a two-way channel. What goes into one comes out of the other, in order.
///
/// Any number of threads and processes may use either end at once, and die at any moment: each
/// message comes out whole, once, or was never sent.
///
/// POSIX: a channel's end. Large messages pass through passages: memory of at most 2 MiB and a
/// page, used for one message after another, of which a sending end keeps two, with a descriptor
/// each, and a receiving one maps two, until it is destroyed. A process keeps 32 of them (64 MiB);
/// beyond that a large message has memory of its own, as in a channel. Of a message of more than
/// 2 MiB the rest follows its packet: while its receiver takes it, round through that memory; if
/// nobody takes it for 2 ms, all of it behind that memory, from where it is gone once it is read.
/// If its sender is killed in between, it was never sent, and who had begun to receive it goes on
/// to the next; if its sender is stopped, its receiver waits. Where the memory cannot be mapped, up
/// to 2 MiB are read from it.
///
/// Both ends trust each other with memory, as those of a queue do: a lie about a message is
/// `bad_message`, or a message of other bytes; but who writes into the lock of a passage as he
/// likes can break a process that has it mapped.
///
/// Windows: two one-way channels. The handles of a message
/// stay in the sender's process until it is received; if that process ends before, the message was
/// never sent, and if nobody receives it, they stay there until it ends.
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

  /// @brief Takes the next message.
  ///
  /// POSIX: the deadline is for a message to begin; the rest of one of more than 2 MiB is waited
  /// for as long as its sender lives. An interrupt ends that wait once nothing has come for 50 ms,
  /// and the message is lost.
  /// @param into written only when the answer is `done`; in the room that it offers there may be
  /// anything else then.
  /// @errors as receive_message(); ENOMEM also: a message of more than 2 MiB, and no room to map
  /// its memory.
  [[nodiscard]] Outcome receive(IncomingMessage& into,
                                const Interrupt& interrupt,
                                const detail::Deadline& deadline,
                                std::error_code& ec) const noexcept;

  /// @brief Waits until there is a message, or nobody can send one any more; takes nothing.
  ///
  /// POSIX: a message of more than 2 MiB is there as soon as it begins.
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

#if MULTIPROCESSING_WINDOWS
#  include <multiprocessing/os/windows/two_way_channel.ipp>
#else
#  include <multiprocessing/os/posix/two_way_channel.ipp>
#endif
