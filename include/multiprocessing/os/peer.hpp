// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file peer.hpp
/// @brief One thread that serves a stream socket: what it waits for, and when a silent peer is
/// gone.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/socket.hpp>
#include <multiprocessing/os/wait.hpp>
#include <multiprocessing/timeout.hpp>

#include <chrono>
#include <system_error>

namespace multiprocessing::os {

/// @brief What the thread that serves a socket has to do.
struct PeerNews {
  bool readable = false;  ///< There are bytes, or the end, or an error.
  bool writable = false;  ///< There is room, where it was waited for.
  bool woken = false;     ///< The event is set.
};

/// @brief Waits until a socket has bytes, or room if it is asked for, or an event of make_event()
/// is set.
///
/// POSIX: one `poll`. Windows has no readiness of both kinds: room is looked for every 10 ms.
/// @param news all false when the deadline passed first.
/// @errors POSIX `ppoll`: ENOMEM. Windows as wait_any(). EBADF.
void wait_for_peer(native_handle_type socket,
                   bool for_room,
                   native_handle_type event,
                   const detail::Deadline& deadline,
                   PeerNews& news,
                   std::error_code& ec) noexcept;

/// @brief From now on the connection ends with ETIMEDOUT when the other machine has been silent
/// for about so long, whether something was sent to it or not; af_unix: nothing to do.
/// @units Whole seconds; at least 3.
/// @errors POSIX `setsockopt`: ENOBUFS, ENOMEM. Windows `WSAIoctl`, `setsockopt`.
void limit_silence(native_handle_type socket,
                   Family family,
                   std::chrono::seconds limit,
                   std::error_code& ec) noexcept;

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/peer.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/peer.ipp>
#endif
