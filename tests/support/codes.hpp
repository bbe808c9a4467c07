// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file codes.hpp
/// @brief Exit codes that differ from system to system.
#include <multiprocessing/detail/config.hpp>

#include <csignal>

namespace test {

/// @brief What exitcode() says of a process that kill() has ended; interrupt(); std::abort(); a
/// write to
///        nowhere. And what errors call the end by kill().
#if MULTIPROCESSING_POSIX
inline constexpr int killed_code = -SIGKILL;
inline constexpr int interrupted_code = -SIGINT;
inline constexpr int aborted_code = -SIGABRT;
inline constexpr int crashed_code = -SIGSEGV;
inline constexpr const char* killed_name = "SIGKILL";
#else
inline constexpr int killed_code = -SIGTERM;
inline constexpr int interrupted_code = -SIGTERM;
inline constexpr int aborted_code = 3;
inline constexpr int crashed_code = -1073741819;  // 0xC0000005
inline constexpr const char* killed_name = "signal 15";
#endif

}  // namespace test
