// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/identity.hpp>

#include <fstream>
#include <sstream>
#include <string>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE std::uint64_t birth_of(int pid) noexcept try {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/stat"};
  std::string line;
  if (!std::getline(file, line)) return 0;
  const auto name_end = line.rfind(')');  // a name may hold anything
  if (name_end == std::string::npos) return 0;
  std::istringstream words{line.substr(name_end + 1)};
  constexpr int fields_before = 19;  // 3 to 21
  std::string skipped;
  for (int i = 0; i < fields_before; ++i) words >> skipped;
  std::uint64_t birth = 0;
  return words >> birth ? birth : 0;
} catch (...) {  // no memory
  return 0;
}

}  // namespace multiprocessing::os
