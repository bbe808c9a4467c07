// SPDX-License-Identifier: BSL-1.0
// expect: multiprocessing: a view cannot travel to another process
// expect: send a std::string or a std::vector
// names: std::basic_string_view<char>
#include <multiprocessing/serialization.hpp>

std::vector<std::byte> send(std::string_view text) {
  return multiprocessing::dumps(text);
}
