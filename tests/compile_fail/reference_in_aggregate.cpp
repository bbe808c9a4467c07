// SPDX-License-Identifier: BSL-1.0
// expect: multiprocessing: objects of this type cannot travel to another process
// expect: none const or a reference
// names: Counter
#include <multiprocessing/serialization.hpp>

struct Counter {
  const int& count;
};
std::vector<std::byte> send(const Counter& counter) {
  return multiprocessing::dumps(counter);
}
