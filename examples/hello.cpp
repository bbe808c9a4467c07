// SPDX-License-Identifier: BSL-1.0
//! [readme]
#include <multiprocessing.hpp>

#include <iostream>
#include <string>
namespace mp = multiprocessing;

void greet(mp::Queue<std::string> queue, const std::string& name) {
  queue.put("hello, " + name);
}

int main() {
  mp::freeze_support();
  mp::Queue<std::string> queue;
  mp::Process process{greet, queue, "world"};
  process.start();
  std::cout << queue.get() << '\n';
  process.join();
}
//! [readme]
