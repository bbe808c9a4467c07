// SPDX-License-Identifier: BSL-1.0
// expect: multiprocessing: a pointer cannot travel to another process
// names: double* | double *
#include <multiprocessing/serialization.hpp>

struct Row {
  std::string name;
  double* values;
};
Row receive(std::span<const std::byte> bytes) {
  return multiprocessing::loads<Row>(bytes);
}
