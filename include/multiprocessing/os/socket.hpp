// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file socket.hpp
/// @brief Stream sockets, and the named pipes of Windows: listening, accepting, connecting.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/message.hpp>
#include <multiprocessing/os/named_memory.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/wait.hpp>
#include <multiprocessing/timeout.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
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
  std::string name;  ///< A path, of a pipe too; a leading NUL: the abstract name. Else host, or
                     ///< number.
  std::uint16_t port = 0;
  bool is_private = false;  ///< A path, to listen at: nobody but this user may connect.
};

/// @brief The family of a place that nobody names. POSIX: af_unix. Windows: af_pipe.
[[nodiscard]] Family default_family() noexcept;
/// @brief Whether this system has it. POSIX: all but af_pipe. Windows: all but af_unix.
[[nodiscard]] bool has_family(Family family) noexcept;

/// @brief What Windows listens with; POSIX has no more than a handle.
struct ListeningPlace;

/// @brief Where this process waits for clients.
///
/// POSIX: a socket. Windows: an event, which is set when somebody may wait, and behind it a socket,
/// or instances of a named pipe.
struct ListeningSocket {
  UniqueHandle handle;                    ///< Readable when somebody waits.
  std::shared_ptr<ListeningPlace> place;  ///< Windows.
};

/// @brief A socket that listens there; for this process alone, and never blocking.
///
/// af_unix: makes the file, mode 0777 less the umask, or 0600 where it is private. Internet:
/// SO_REUSEADDR, as CPython; Windows: SO_EXCLUSIVEADDRUSE, or others could listen there too.
/// af_pipe: whole messages, nobody from another machine; the first of its name.
/// @param backlog af_pipe: one instance more than that, 256 at most; who comes when they are
/// taken waits.
/// @param bound written when there is no error: where it listens, numbers in place of names.
/// @errors POSIX `bind`: EADDRINUSE: somebody listens there, or left a file; EACCES, ENOENT,
/// EADDRNOTAVAIL; `filename_too_long`; `host_unreachable`: no such host. `not_supported`: there is
/// no such family on this system. Windows: the same words; `CreateNamedPipe`: `address_in_use`:
/// somebody listens there, or has a connection of who did.
[[nodiscard]] ListeningSocket listen_at(const Endpoint& where,
                                        int backlog,
                                        Endpoint& bound,
                                        std::error_code& ec) noexcept;

/// @brief Takes a connection that waits. @param peer who it is; its name is empty where it has
/// none.
/// @returns none, and no error: nobody waits.
/// @errors EMFILE, ENFILE, ENOBUFS, ENOMEM: the one who waits goes on waiting. EPERM, EACCES and
/// others that would last.
/// @threads any.
[[nodiscard]] UniqueHandle accept_from(const ListeningSocket& listener,
                                       Endpoint& peer,
                                       std::error_code& ec) noexcept;

/// @brief Connects, waiting at most until the deadline; looking up a name is not limited by it.
/// af_pipe: waits while all instances are taken.
/// @param outcome `done`, `timed_out` or `interrupted`.
/// @errors as listen_at(); ECONNREFUSED, ENOENT: nobody listens there; ETIMEDOUT, EHOSTUNREACH.
[[nodiscard]] UniqueHandle connect_to(const Endpoint& where,
                                      const Interrupt& interrupt,
                                      const detail::Deadline& deadline,
                                      Outcome& outcome,
                                      std::error_code& ec) noexcept;

/// @brief Whether messages stay whole by themselves, and have no size before them: a named pipe.
[[nodiscard]] bool keeps_messages(native_handle_type connection) noexcept;

/// @brief Takes bytes that are there; of what does not keep messages. @returns how many; 0 without
/// an error: none now, or, in `ended`, none ever.
/// @errors ECONNRESET, ETIMEDOUT.
std::size_t receive_now(native_handle_type socket,
                        std::span<std::byte> into,
                        bool& ended,
                        std::error_code& ec) noexcept;

/// @brief Takes a message that is there; of what keeps messages. @returns its size; none without an
/// error: there is none now, or, in `ended`, none ever.
/// @errors `message_size`: it is longer than `into`. POSIX: `not_supported`.
std::optional<std::size_t> receive_message_now(native_handle_type pipe,
                                               std::span<std::byte> into,
                                               bool& ended,
                                               std::error_code& ec) noexcept;

/// @brief Sends as many bytes as there is room for; of a pipe a message, or nothing. @returns how
/// many. No signal is raised.
/// @errors EPIPE, ECONNRESET.
std::size_t send_now(native_handle_type connection,
                     std::span<const std::byte> bytes,
                     std::error_code& ec) noexcept;

/// @brief A handle that is readable when a listener is, or one of those that are added.
///
/// POSIX: as long as one of them is readable. Windows: the listener's event: from when one becomes
/// readable until begin_look(); of pipes it does not tell. Whoever takes a handle away does so
/// before it is closed.
/// @errors POSIX `epoll_create1`, `epoll_ctl`: EMFILE, ENFILE, ENOMEM, ENOSPC. Windows
/// `DuplicateHandle`.
[[nodiscard]] UniqueHandle make_ready_set(const ListeningSocket& listener,
                                          std::error_code& ec) noexcept;
/// @errors POSIX `epoll_ctl`: ENOMEM, ENOSPC. Windows `WSAEventSelect`.
void add_to_ready_set(native_handle_type set,
                      native_handle_type handle,
                      std::error_code& ec) noexcept;
void remove_from_ready_set(native_handle_type set, native_handle_type handle) noexcept;

/// @brief Before all is looked at that a set, or a listener, stands for: from here on it tells of
/// what comes. POSIX: nothing, it tells of what is there.
void begin_look(native_handle_type set) noexcept;
/// @brief After a look that did not see all: it tells of the rest. POSIX: nothing.
void look_again(native_handle_type set) noexcept;

/// @brief Which file a path stands for. @errors POSIX `lstat`: ENOENT, EACCES. Windows:
/// `not_supported`.
[[nodiscard]] MemoryIdentity file_identity(const std::string& path, std::error_code& ec) noexcept;

}  // namespace os
}  // namespace multiprocessing

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/socket.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/socket.ipp>
#endif
