// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file in_child.hpp
/// @brief What a child finds, told by its exit code.
#include <multiprocessing.hpp>

#include <stdexcept>

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

}  // namespace in_child
