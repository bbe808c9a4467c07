// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing.hpp>

#include <stdexcept>

void throw_what_another_file_catches() {
  throw multiprocessing::Empty{"from another file"};
}
