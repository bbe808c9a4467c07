// SPDX-License-Identifier: BSL-1.0
// Three processes at once: the whole takes about two seconds, not six.
//   ./process [fork|spawn|forkserver]
#include <multiprocessing.hpp>

#include <chrono>
#include <ctime>
#include <iostream>
#include <string>
#include <thread>

namespace mp = multiprocessing;

//! [readme]
class Worker : public mp::Process<Worker> {
 public:
  void run() override {
    std::this_thread::sleep_for(std::chrono::seconds{2});  // its work
    std::cout << "i am " + name() + " at " + std::to_string(std::time(nullptr)) + "\n";
  }
  auto reduce() const { return mp::arguments(); }  // how spawn makes it again
};
//! [readme]

int main(int argc, char** argv) {
  mp::freeze_support();
  if (argc > 1) mp::set_start_method(argv[1]);

  Worker workers[3];
  for (auto& worker : workers) worker.start();
  for (auto& worker : workers) worker.join();
  std::cout << "all done\n";
}
