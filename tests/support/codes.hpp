// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file codes.hpp
/// @brief Exit codes that differ from system to system.
#include <multiprocessing/detail/config.hpp>

#include <csignal>

namespace test {

/// @brief What exitcode() says of a process that kill() has ended; interrupt(); std::abort().
#if MULTIPROCESSING_POSIX
inline constexpr int killed_code = -SIGKILL;
inline constexpr int interrupted_code = -SIGINT;
inline constexpr int aborted_code = -SIGABRT;
#else
inline constexpr int killed_code = -SIGTERM;
inline constexpr int interrupted_code = -SIGTERM;
inline constexpr int aborted_code = 3;
#endif

}  // namespace test
