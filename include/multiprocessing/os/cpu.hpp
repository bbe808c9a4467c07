// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file cpu.hpp
/// @brief How many processors there are, and how many of them are ours.
#include <multiprocessing/detail/config.hpp>

#include <string>

namespace multiprocessing::os {

/// @brief The processors of this machine that are in use; at least 1.
[[nodiscard]] unsigned cpu_count() noexcept;

/// @brief The processors that the calling thread's affinity and its control groups leave to it; at
/// least 1. A quota of one and a half processors counts as two.
///
/// POSIX: `sched_getaffinity`, and the smallest quota on the way from the process's group to the
/// root, in both versions of control groups. What cannot be read limits nothing. Windows: the
/// affinity mask and the rate control of the job.
/// @param root where `/proc` and `/sys` lie; tests have their own.
/// @throws std::bad_alloc
[[nodiscard]] unsigned usable_cpu_count(const std::string& root = {});

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/cpu.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/cpu.ipp>
#endif
