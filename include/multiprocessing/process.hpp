// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file process.hpp
/// @brief Processes: starting them, waiting for them, and who is who.
/// @python{multiprocessing.process, multiprocessing.context}
#include <multiprocessing/launch.hpp>
#include <multiprocessing/os/cpu.hpp>
#include <multiprocessing/process/base.hpp>
#include <multiprocessing/process/process.hpp>
#include <multiprocessing/process/relatives.hpp>
#include <multiprocessing/process/start_method.hpp>

namespace multiprocessing {

/// @brief The processors of this machine that are in use. @python{multiprocessing.cpu_count()}
[[nodiscard]] inline unsigned cpu_count() {
  return os::cpu_count();
}

/// @brief The processors that this process may use: the affinity of the calling thread and the
/// quota of its control groups count, a part of a processor as one. At least 1.
/// @python{os.process_cpu_count(), which knows no quotas}
[[nodiscard]] inline unsigned process_cpu_count() {
  return os::usable_cpu_count();
}

}  // namespace multiprocessing
