// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file surroundings.hpp
/// @brief What a process sees of the one that another process starts it for.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/native_handle.hpp>

#include <string>
#include <system_error>

namespace multiprocessing::os {

/// @brief A process's standard output, error output and current folder.
struct Surroundings {
  native_handle_type output = invalid_handle;  ///< Borrowed; invalid where it is closed.
  native_handle_type error = invalid_handle;   ///< Likewise.
  UniqueHandle folder;                         ///< None where it may not be opened.
};

/// @brief This process's. @errors POSIX `open`: EMFILE, ENFILE, ENOMEM. Windows: none of it;
/// CreateProcess hands it on.
[[nodiscard]] Surroundings surroundings(std::error_code& ec) noexcept;

/// @brief Puts duplicates of another process's in place of this one's: an invalid output is closed,
/// without a folder, or where it may not be entered, the present one stays.
/// @threads Only while this is the only thread.
void enter(native_handle_type output, native_handle_type error, native_handle_type folder) noexcept;

/// @brief The root folder becomes the current one, so that no other file system is held.
/// @threads Only while this is the only thread. Windows: does nothing.
void leave_folder() noexcept;

/// @brief As whom this process acts, to be compared: equal texts, equal rights.
///
/// POSIX: its users, its groups, and whether it gave up getting more (`no_new_privs`); not
/// capabilities, namespaces, limits. Windows: always empty.
/// @throws std::bad_alloc
[[nodiscard]] std::string rights();

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/surroundings.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/surroundings.ipp>
#endif
