// SPDX-License-Identifier: BSL-1.0
// A class of processes that a child cannot make anew.
#include <multiprocessing/process.hpp>

namespace mp = multiprocessing;

class Worker : public mp::Process<Worker> {
 public:
  void run() override {}
};

int main() {
  Worker worker;
}
