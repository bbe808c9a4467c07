// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/serialization.hpp>

struct Job {
  int number;
  std::string name;
};
std::vector<std::byte> send(const std::vector<Job>& jobs) {
  return multiprocessing::dumps(jobs);
}
std::vector<Job> receive(std::span<const std::byte> bytes) {
  return multiprocessing::loads<std::vector<Job>>(bytes);
}
