// SPDX-License-Identifier: BSL-1.0
// expect: multiprocessing: a lambda that captures something cannot travel
// expect: pass what it captures as arguments
// expect: or write a struct with an operator() and members that can travel
// names: lambda
#include <multiprocessing/serialization.hpp>

std::vector<std::byte> send(int number) {
  return multiprocessing::dumps([number] { return number; });
}
