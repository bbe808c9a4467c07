// SPDX-License-Identifier: BSL-1.0
// Ten processes wait for an event, then print, one at a time.
//   ./lock [fork|spawn|forkserver]
#include <multiprocessing.hpp>

#include <iostream>
#include <mutex>
#include <vector>

namespace mp = multiprocessing;

void greet(mp::Event start, mp::Lock lock, int number) {
  start.wait();
  const std::lock_guard guard{lock};
  std::cout << "hello world " << number << std::endl;
}

int main(int argc, char** argv) {
  mp::freeze_support();
  if (argc > 1) mp::set_start_method(argv[1]);

  mp::Event start;
  mp::Lock lock;
  std::vector<mp::Process<>> processes;
  for (int i = 0; i < 10; ++i) processes.emplace_back(greet, start, lock, i);
  for (auto& process : processes) process.start();
  start.set();
  for (auto& process : processes) process.join();
  std::cout << "locked: " << lock.locked() << '\n';
}
