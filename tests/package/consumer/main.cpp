// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing.hpp>

namespace mp = multiprocessing;

void square(mp::Queue<int> results, int number) {
  results.put(number * number);
}

int main() {
  mp::freeze_support();
  mp::Queue<int> results;
  mp::Process forked({.start_method = mp::StartMethod::fork}, square, results, 3);
  mp::Process spawned({.start_method = mp::StartMethod::spawn}, square, results, 4);
  forked.start();
  spawned.start();
  const int sum = results.get() + results.get();
  return forked.join() && spawned.join() && sum == 25 ? 0 : 1;
}
