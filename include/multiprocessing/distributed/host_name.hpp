// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file host_name.hpp
/// @brief What this machine is called.
#include <fstream>
#include <string>

namespace multiprocessing::detail {

/// @brief As the system says; "this host" where it says nothing.
[[nodiscard]] inline std::string host_name() {
  std::ifstream file{"/proc/sys/kernel/hostname"};
  std::string name;
  if (!std::getline(file, name) || name.empty()) return "this host";
  return name;
}

}  // namespace multiprocessing::detail
