// SPDX-License-Identifier: BSL-1.0
// expect: no base class
// names: Derived
#include <multiprocessing/serialization.hpp>

struct Base {
  std::string name;
};
struct Derived : Base {
  int number;
};
std::vector<std::byte> send(const Derived& derived) {
  return multiprocessing::dumps(derived);
}
