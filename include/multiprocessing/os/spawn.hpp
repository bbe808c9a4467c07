// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file spawn.hpp
/// @brief A fresh process that runs a program and finds a state and handles.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/process.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <system_error>
#include <vector>

namespace multiprocessing::os {

/// @brief Starts a program as a child that finds `state` and copies of `handles` by take_spawned().
///
/// It holds nothing else of ours but the standard output and error, as they are (also closed); its
/// standard input is empty. No signal is blocked in it, those that are ignored here are ignored
/// there, and for the others it has no handlers. It is there when this returns; nobody waited for
/// it.
/// @param program empty: the one that runs here, also when its file was replaced or deleted.
/// @param path where that lies; needed where the system cannot name what runs (no /proc).
/// @errors POSIX `posix_spawn`: ENOENT, EACCES, ENOEXEC: no such program; EAGAIN, ENOMEM, E2BIG;
/// `memfd_create`: EMFILE, ENFILE, ENOMEM; EFBIG: RLIMIT_FSIZE is less than the state; EPERM:
/// has_foreign_rights(), which a fresh run would get back. Windows `CreateProcess`,
/// `CreateFileMapping`.
/// @throws std::bad_alloc
/// @threads No other thread may change the environment.
/// @shape POSIX: the state is a sealed memfd; it and the handles have the numbers from 3 on, and
/// the variable MULTIPROCESSING_CHILD says how many. It is gone, and they are inherited by nobody,
/// before the program's static objects are made; a shared library's are made earlier. Windows:
/// inherited handles, named there, until take_spawned().
Started spawn_program(const std::string& program,
                      const std::string& path,
                      std::span<const std::byte> state,
                      std::span<const native_handle_type> handles,
                      std::error_code& ec);

/// @brief Whether spawn_program() made this process, and take_spawned() was not called. Never where
/// has_foreign_rights(): anybody may have made it.
[[nodiscard]] bool is_spawned() noexcept;

/// @brief What spawn_program() was given.
struct Spawned {
  std::vector<std::byte> state;
  std::vector<UniqueHandle> handles;  ///< Inherited by nobody.
};

/// @brief Takes it over, once, and wipes the traces, so that programs started from here are not
/// mistaken for children.
/// @errors `invalid_argument`: somebody else set the environment variable.
/// @throws std::bad_alloc
/// @threads Only while this is the only thread.
[[nodiscard]] Spawned take_spawned(std::error_code& ec);

/// @brief Shows this process under a program's name in the system's lists. POSIX: it would be
/// "exe".
void show_as(const std::string& path) noexcept;

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/spawn.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/spawn.ipp>
#endif
