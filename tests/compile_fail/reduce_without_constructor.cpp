// SPDX-License-Identifier: BSL-1.0
// expect: or a reduce() that returns a tuple of a public constructor's arguments
// names: Worker
#include <multiprocessing/serialization.hpp>

class Worker {
 public:
  explicit Worker(int number) : number_{number} {}
  auto reduce() const { return std::make_tuple(number_, std::string{"one too many"}); }

 private:
  int number_;
  std::string name_;
};
std::vector<std::byte> send(const Worker& worker) {
  return multiprocessing::dumps(worker);
}
