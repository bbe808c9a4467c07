// SPDX-License-Identifier: BSL-1.0
// expect: multiprocessing: a C array cannot travel by itself
// names: char [5] | char[5]
#include <multiprocessing/serialization.hpp>

std::vector<std::byte> send() {
  return multiprocessing::dumps("text");
}
