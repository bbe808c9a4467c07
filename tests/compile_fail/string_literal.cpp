// SPDX-License-Identifier: BSL-1.0
// expect: multiprocessing: a C array cannot travel by itself
// expect: send a std::string, a std::array or a std::vector
// names: char [5] | char[5]
#include <multiprocessing/serialization.hpp>

std::vector<std::byte> send() {
  return multiprocessing::dumps("text");
}
