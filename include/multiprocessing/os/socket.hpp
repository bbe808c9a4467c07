// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file socket.hpp
/// @brief Stream sockets: listening, accepting, connecting.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/message.hpp>
#include <multiprocessing/os/named_memory.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/wait.hpp>
#include <multiprocessing/timeout.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <system_error>

namespace multiprocessing {

/// @brief What kind of place a Listener listens at. @python{'AF_UNIX', 'AF_INET', 'AF_PIPE'}
enum class Family {
  af_unix,   ///< A path, or a name in the abstract space of Linux.
  af_inet,   ///< IPv4.
  af_inet6,  ///< IPv6.
  af_pipe,   ///< A named pipe of Windows.
};

namespace os {

/// @brief A place to listen at, or to connect to.
struct Endpoint {
  Family family = Family::af_unix;
  std::string name;  ///< af_unix: the path; a leading NUL: the abstract name. Else host, or number.
  std::uint16_t port = 0;
  bool is_private = false;  ///< af_unix, to listen at: nobody but this user may connect.
};

/// @brief A socket that listens there; for this process alone, and never blocking.
///
/// af_unix: makes the file, mode 0777 less the umask, or 0600 where it is private. Internet:
/// SO_REUSEADDR, as CPython.
/// @param bound written when there is no error: where it listens, numbers in place of names.
/// @errors POSIX `bind`: EADDRINUSE: somebody listens there, or left a file; EACCES, ENOENT,
/// EADDRNOTAVAIL; `filename_too_long`; `host_unreachable`: no such host. `not_supported`: there is
/// no such family on this system; Windows: always.
[[nodiscard]] UniqueHandle listen_at(const Endpoint& where,
                                     int backlog,
                                     Endpoint& bound,
                                     std::error_code& ec) noexcept;

/// @brief Takes a connection that waits. @param peer who it is; its name is empty where it has
/// none.
/// @returns none, and no error: nobody waits.
/// @errors EMFILE, ENFILE, ENOBUFS, ENOMEM: the one who waits goes on waiting. EPERM, EACCES and
/// others that would last.
[[nodiscard]] UniqueHandle accept_from(native_handle_type listener,
                                       Endpoint& peer,
                                       std::error_code& ec) noexcept;

/// @brief Connects, waiting at most until the deadline; looking up a name is not limited by it.
/// @param outcome `done`, `timed_out` or `interrupted`.
/// @errors as listen_at(); ECONNREFUSED, ENOENT: nobody listens there; ETIMEDOUT, EHOSTUNREACH.
[[nodiscard]] UniqueHandle connect_to(const Endpoint& where,
                                      const Interrupt& interrupt,
                                      const detail::Deadline& deadline,
                                      Outcome& outcome,
                                      std::error_code& ec) noexcept;

/// @brief Takes bytes that are there. @returns how many; 0 without an error: none now, or, in
/// `ended`, none ever.
/// @errors ECONNRESET, ETIMEDOUT.
std::size_t receive_now(native_handle_type socket,
                        std::span<std::byte> into,
                        bool& ended,
                        std::error_code& ec) noexcept;

/// @brief Sends as many bytes as there is room for. @returns how many. No signal is raised.
/// @errors EPIPE, ECONNRESET.
std::size_t send_now(native_handle_type socket,
                     std::span<const std::byte> bytes,
                     std::error_code& ec) noexcept;

/// @brief Handles of which one is asked whether any is readable: a handle that is readable itself
/// then. Whoever takes a handle away does so before it is closed.
/// @errors POSIX `epoll_create1`: EMFILE, ENFILE, ENOMEM. Windows: `not_supported`.
[[nodiscard]] UniqueHandle make_ready_set(std::error_code& ec) noexcept;
/// @errors POSIX `epoll_ctl`: ENOMEM, ENOSPC.
void add_to_ready_set(native_handle_type set,
                      native_handle_type handle,
                      std::error_code& ec) noexcept;
void remove_from_ready_set(native_handle_type set, native_handle_type handle) noexcept;

/// @brief Which file a path stands for. @errors POSIX `lstat`: ENOENT, EACCES.
[[nodiscard]] MemoryIdentity file_identity(const std::string& path, std::error_code& ec) noexcept;

}  // namespace os
}  // namespace multiprocessing

#if MULTIPROCESSING_WINDOWS
#  include <multiprocessing/os/windows/socket.ipp>
#else
#  include <multiprocessing/os/posix/socket.ipp>
#endif
