// SPDX-License-Identifier: BSL-1.0
// expect: multiprocessing: a pointer cannot travel to another process
// names: const char* | const char *
#include <multiprocessing/serialization.hpp>

struct Job {
  int number;
  const char* name;
};
std::vector<std::byte> send(const std::vector<Job>& jobs) {
  return multiprocessing::dumps(jobs);
}
