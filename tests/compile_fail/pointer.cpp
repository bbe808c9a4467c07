// SPDX-License-Identifier: BSL-1.0
// expect: multiprocessing: a pointer cannot travel to another process
// names: int* | int *
#include <multiprocessing/serialization.hpp>

std::vector<std::byte> send(int* pointer) {
  return multiprocessing::dumps(pointer);
}
