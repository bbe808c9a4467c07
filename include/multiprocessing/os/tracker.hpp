// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file tracker.hpp
/// @brief A process that removes the names that another one leaves behind.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/named_memory.hpp>
#include <multiprocessing/os/native_handle.hpp>

#include <string>
#include <system_error>

namespace multiprocessing::os {

/// @brief Of a socket's file that may be made in a moment: any at its path at which nobody listens.
inline constexpr MemoryIdentity unknown_file{};

/// @brief A name, and what it stands for: shared memory, or the file of a socket, with its path.
struct TrackedName {
  std::string name;  ///< A path begins with a slash, other names have none; at most 4,095 bytes.
  MemoryIdentity identity;
  bool operator==(const TrackedName&) const = default;
};

/// @brief Whether names outlive those who made them. Windows: no, so none of this is called there.
[[nodiscard]] bool needs_tracker() noexcept;

/// @brief Starts a process that waits until this one has ended, or has closed the handle, and then
/// removes the names that it was told of and that stand for the same memory still; once, and saying
/// so on the error output.
///
/// It is this program's file, run anew, and leaves it before main() and before the program's static
/// objects are made; those of shared libraries are made in it. It is nobody's child, in a session
/// and the root folder of its own, with all signals blocked, and holds nothing of ours but the
/// error output as it is now: who reads that to its end waits for us, also where we write elsewhere
/// since. The state's mutex is held.
/// @returns where it listens; for this process alone: a child closes it.
/// @errors POSIX `socketpair`, `posix_spawn`; `function_not_supported`: the program's own file does
/// not contain this library, only a shared library of it does; EPERM: has_foreign_rights().
[[nodiscard]] UniqueHandle start_tracker(std::error_code& ec);

/// @brief Removes the file of a socket. @param identity or `unknown_file`. Windows: does nothing.
/// @errors `no_such_file_or_directory`: there is none, or the path stands for another one by now;
/// `address_in_use`: somebody listens there, and it was not known which it is. POSIX `unlink`.
void remove_socket_file(const std::string& path,
                        const MemoryIdentity& identity,
                        std::error_code& ec) noexcept;

/// @brief Tells it that a name comes, or that it has gone. Waits a second at most.
/// @errors POSIX `send`: EPIPE, ECONNRESET: it has died; EAGAIN: it has been stopped, and its line
/// is full; ENOBUFS.
void tell_tracker(native_handle_type tracker,
                  bool comes,
                  const TrackedName& name,
                  std::error_code& ec) noexcept;

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/tracker.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/tracker.ipp>
#endif
