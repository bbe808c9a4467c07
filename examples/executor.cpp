// SPDX-License-Identifier: BSL-1.0
// Futures: as they become done, with a time limit, cancelled.
//   ./executor [fork|spawn|forkserver]
#include <multiprocessing.hpp>

#include <chrono>
#include <iostream>
#include <set>
#include <thread>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;

int nap(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds{milliseconds});
  return milliseconds;
}

int main(int argc, char** argv) {
  mp::freeze_support();
  if (argc > 1) mp::set_start_method(argv[1]);

  mp::ProcessPoolExecutor executor{2U};
  std::vector<mp::Future<int>> futures;
  for (int milliseconds : {30, 10, 20}) futures.push_back(executor.submit(nap, milliseconds));
  std::set<int> naps;
  for (const auto& future : mp::as_completed(futures)) naps.insert(future.result());
  for (int milliseconds : naps) std::cout << "slept " << milliseconds << " ms\n";

  auto slow = executor.submit(nap, 1000);
  try {
    slow.result(10ms);
  } catch (const mp::TimeoutError&) {
    std::cout << "not there yet\n";
  }
  // A look now and then: a future tells when it is done, not when it begins.
  while (!slow.running() && !slow.done()) std::this_thread::sleep_for(1ms);
  std::cout << "cancelled: " << slow.cancel() << ", slept " << slow.result() << " ms\n";

  int sum = 0;
  for (int product : executor.map([](int x, int y) { return x * y; }, std::vector{1, 2, 3},
                                  std::vector{4, 5, 6})) {
    sum += product;
  }
  std::cout << "sum " << sum << '\n';
}
