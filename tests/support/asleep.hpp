// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file asleep.hpp
/// @brief Whether somebody sleeps already, for tests that wake sleepers.
#include <fstream>
#include <string>

#include <sys/syscall.h>

namespace test {

/// @brief Whether the thread sleeps in a futex call now. @param id of a thread, or of a process:
/// its first thread is meant.
inline bool sleeps_in_futex(int id) {
  std::ifstream file{"/proc/" + std::to_string(id) + "/syscall"};
  std::string number;
  file >> number;
  return number == std::to_string(SYS_futex);
}

}  // namespace test
