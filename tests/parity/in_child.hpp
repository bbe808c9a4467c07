// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file in_child.hpp
/// @brief What a child finds, told by its exit code; and whether another process is there.
#include <multiprocessing.hpp>

#include <support/processes.hpp>

#include <stdexcept>
#include <string>

namespace in_child {

/// @brief Ends the child with 1 where it does not hold.
inline void expect(bool condition, const char* what = "not so") {
  if (!condition) throw std::runtime_error{what};
}

/// @brief Of a process made of these.
template <class... Arguments>
int exit_code_of(const Arguments&... arguments) {
  multiprocessing::Process process{arguments...};
  process.start();
  process.join();
  return process.exitcode().value();
}

/// @brief Whether a process that is not ours has ended, reaped or not.
inline bool is_gone(int pid) {
  const std::string stat = test::first_line("/proc/" + std::to_string(pid) + "/stat");
  return stat.empty() || stat.find(") Z ") != std::string::npos;
}

}  // namespace in_child
