// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file environment.hpp
/// @brief The environment of this process.
#include <multiprocessing/detail/config.hpp>

#include <optional>
#include <string>
#include <system_error>

namespace multiprocessing::os {

/// @brief Whether this program was given rights that who ran it has not: then nothing that it finds
/// at its beginning, environment or handles, can be trusted.
///
/// POSIX: AT_SECURE: a set-user-ID or set-group-ID file, file capabilities, or a security module
/// says so; also after those rights were given up. Windows: never.
[[nodiscard]] bool has_foreign_rights() noexcept;

/// @brief A variable's value; none: it is not set, or not to be trusted.
/// @threads as long as nobody sets one.
[[nodiscard]] std::optional<std::string> environment(const char* name);

/// @brief Sets a variable, for this process and those that it starts from now on.
/// @throws std::system_error EINVAL the name is empty, or contains '='. ENOMEM.
/// @threads Only while no other thread reads the environment.
void set_environment(const std::string& name, const std::string& value);

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/environment.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/environment.ipp>
#endif
