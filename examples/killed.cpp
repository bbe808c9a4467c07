// SPDX-License-Identifier: BSL-1.0
// A worker is killed in the middle of its task; the others, and their results, are not touched.
//   ./killed [fork|spawn|forkserver]
// Not on Windows: there is no SIGKILL to raise.
#include <multiprocessing.hpp>

#include <csignal>
#include <iostream>
namespace mp = multiprocessing;

//! [readme]
int square(int n) {
  if (n == 2) std::raise(SIGKILL);  // as the kernel does when memory runs out
  return n * n;
}

int main(int argc, char** argv) {
  mp::freeze_support();
  if (argc > 1) mp::set_start_method(argv[1]);
  mp::Pool pool{2};
  for (int n : {1, 2, 3}) {
    try {
      const int result = pool.apply(square, n);
      std::cout << n << ": " << result << '\n';
    } catch (const mp::BrokenProcessPool& error) {
      std::cerr << error.what() << '\n';
    }
  }
}
//! [readme]
