// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file channel.hpp
/// @brief An anonymous two-way channel of whole messages.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/message.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/wait.hpp>
#include <multiprocessing/timeout.hpp>

#include <cstddef>
#include <system_error>

namespace multiprocessing::os {

/// @brief Both ends of a channel. What goes into one comes out of the other, in order.
///
/// Any number of threads and processes may use either end at once, and die at any moment: each
/// message comes out whole, once, or was never sent. Nothing is shared but the handle.
///
/// POSIX: a pair of SOCK_SEQPACKET sockets. A message of up to `inline_limit` bytes is one packet;
/// a larger one lies in a memfd, sealed against every change, whose descriptor travels with a
/// packet that has only a header; or, of a TwoWayEnd, in memory that the end keeps. Windows has
/// nothing that carries handles to whom it may concern: there, all of these answer
/// `function_not_supported`; see TwoWayEnd.
/// @source man 7 unix, man 2 memfd_create.
struct ChannelEnds {
  UniqueHandle first;
  UniqueHandle second;
};

/// @brief Larger messages cost some ten system calls instead of two, and less copying.
inline constexpr std::size_t inline_limit = std::size_t{64} << 10U;
/// @brief As many handles can go with one message. @source man 7 unix: SCM_MAX_FD is 253. Windows
/// has no such limit, but a Connection has four handles there.
inline constexpr std::size_t most_handles = MULTIPROCESSING_WINDOWS ? 1008 : 252;

/// @errors POSIX `socketpair`: EMFILE, ENFILE, ENOBUFS, ENOMEM.
[[nodiscard]] ChannelEnds make_channel(std::error_code& ec) noexcept;

/// @brief Sends a message whole, or not at all; waits while the channel is full.
///
/// Full: about 200 KiB of small messages, 64 larger ones of up to 1 MiB, or one beyond that; then
/// as soon as it has been picked up.
/// @errors EPIPE: nobody has the other end any more (no signal is raised). E2BIG: more than
/// `most_handles`. What the system says about the memory of a large message: EMFILE, ENFILE,
/// ENOMEM, ENOSPC, EFBIG (RLIMIT_FSIZE, without SIGXFSZ). Nothing was sent in any of these cases.
[[nodiscard]] Outcome send_message(native_handle_type to,
                                   const OutgoingMessage& message,
                                   const Interrupt& interrupt,
                                   const detail::Deadline& deadline,
                                   std::error_code& ec) noexcept;

/// @brief Takes the next message.
/// @param into a message only when the answer is `done`; what it held may be lost in any case.
/// @errors The message is lost then, and if it is interrupted inside it: EMFILE: this process has
/// no room for the handles that came with it, of which none stays open; ENOMEM; EBADMSG: what came
/// was not sent by send_message.
[[nodiscard]] Outcome receive_message(native_handle_type from,
                                      IncomingMessage& into,
                                      const Interrupt& interrupt,
                                      const detail::Deadline& deadline,
                                      std::error_code& ec) noexcept;

/// @brief Waits until there is a message, or nobody can send one any more; takes nothing.
/// @returns never `ended`.
[[nodiscard]] Outcome wait_for_message(native_handle_type from,
                                       const Interrupt& interrupt,
                                       const detail::Deadline& deadline,
                                       std::error_code& ec) noexcept;

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/channel.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/channel.ipp>
#endif
