// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file source_line.hpp
/// @brief Files and lines of places in code, by Boost.Stacktrace. Not in the umbrella.
#include <multiprocessing/detail/config.hpp>

#include <cstdint>
#include <string>

namespace multiprocessing::os {

/// @brief What Boost.Stacktrace calls a place in the code of this process: the function, and " at
/// file:line" where the back end that Boost was told to use knows them. Windows: nothing.
/// @returns empty: it knows no name.
/// @threads Any number.
[[nodiscard]] std::string source_line(std::uintptr_t address);

}  // namespace multiprocessing::os

#if MULTIPROCESSING_WINDOWS
#  include <multiprocessing/os/windows/source_line.ipp>
#else
#  include <multiprocessing/os/posix/source_line.ipp>
#endif
