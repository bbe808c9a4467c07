// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing.hpp>

namespace mp = multiprocessing;

void square(mp::Queue<int> results, int number) {
  results.put(number * number);
}

int main() {
#if !defined(HAS_MULTIPROCESSING_MAIN)
  mp::freeze_support();
#endif
  mp::Queue<int> results;
  const mp::StartMethod usual = mp::get_all_start_methods().front();  // fork, where there is one
  mp::Process forked({.start_method = usual}, square, results, 3);
  mp::Process spawned({.start_method = mp::StartMethod::spawn}, square, results, 4);
  forked.start();
  spawned.start();
  const int sum = results.get() + results.get();
  return forked.join() && spawned.join() && sum == 25 ? 0 : 1;
}
