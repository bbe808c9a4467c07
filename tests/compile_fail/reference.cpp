// SPDX-License-Identifier: BSL-1.0
// expect: multiprocessing: a reference cannot travel to another process
// expect: hold and send the value itself
// names: int& | int &
#include <multiprocessing/serialization.hpp>

std::vector<std::byte> send(const std::tuple<int&>& tied) {
  return multiprocessing::dumps(tied);
}
