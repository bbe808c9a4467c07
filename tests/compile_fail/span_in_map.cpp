// SPDX-License-Identifier: BSL-1.0
// expect: multiprocessing: a view cannot travel to another process
// expect: send a std::string or a std::vector
// names: std::span<const int
#include <multiprocessing/serialization.hpp>

std::vector<std::byte> send(const std::map<int, std::span<const int>>& views) {
  return multiprocessing::dumps(views);
}
