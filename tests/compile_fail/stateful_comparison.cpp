// SPDX-License-Identifier: BSL-1.0
// expect: multiprocessing: objects of this type cannot travel to another process
// names: std::set<int, bool
#include <multiprocessing/serialization.hpp>

std::vector<std::byte> send(const std::set<int, bool (*)(int, int)>& set) {
  return multiprocessing::dumps(set);
}
