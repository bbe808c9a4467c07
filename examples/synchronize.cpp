// SPDX-License-Identifier: BSL-1.0
// Three processes at a barrier, two licences for four, and a shelf that one fills and another
// empties.
//   ./synchronize [fork|spawn|forkserver]
#include <multiprocessing.hpp>

#include <iostream>
#include <mutex>
#include <string>
#include <vector>

namespace mp = multiprocessing;

void step(mp::Barrier barrier, mp::Lock print, int number) {
  for (int round = 0; round < 2; ++round) {
    {
      const std::lock_guard guard{print};
      std::cout << "party " << number << " comes to round " << round << std::endl;
    }
    if (barrier.wait() == 0) {
      const std::lock_guard guard{print};
      std::cout << "all are here in round " << round << std::endl;
    }
    barrier.wait();
  }
}

void use_licence(mp::Semaphore licences, mp::Lock print, int number) {
  const std::lock_guard licence{licences};
  const std::lock_guard guard{print};
  std::cout << "user " << number << " has a licence" << std::endl;
}

void fill(mp::Condition changed, mp::Value<int> shelf) {
  for (int item = 1; item <= 3; ++item) {
    const std::lock_guard guard{changed};
    changed.wait_for([&] { return shelf.value() == 0; });
    shelf.value() = item;
    changed.notify();
  }
}

void clear_away(mp::Condition changed, mp::Value<int> shelf) {
  for (int i = 0; i < 3; ++i) {
    const std::lock_guard guard{changed};
    changed.wait_for([&] { return shelf.value() != 0; });
    std::cout << "took item " << shelf.value() << std::endl;
    shelf.value() = 0;
    changed.notify();
  }
}

int main(int argc, char** argv) {
  mp::freeze_support();
  mp::set_start_method(argc > 1 ? argv[1] : "fork");

  mp::Lock print;
  mp::Barrier barrier{3};
  mp::Semaphore licences{2};
  mp::Condition changed;
  mp::Value<int> shelf{0};
  std::vector<mp::Process<>> processes;
  for (int i = 0; i < 3; ++i) processes.emplace_back(step, barrier, print, i);
  for (int i = 0; i < 4; ++i) processes.emplace_back(use_licence, licences, print, i);
  processes.emplace_back(fill, changed, shelf);
  processes.emplace_back(clear_away, changed, shelf);
  for (auto& process : processes) process.start();
  for (auto& process : processes) process.join();
  std::cout << "free licences: " << licences.get_value() << '\n';
}
