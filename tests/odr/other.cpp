// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing.hpp>

#include <stdexcept>

#include <odr/every_header.hpp>

void throw_what_another_file_catches() {
  throw multiprocessing::Empty{"from another file"};
}
