// SPDX-License-Identifier: BSL-1.0
// Worker processes that square numbers: all at once, later, in any order; and one that fails.
//   ./pool [fork|spawn|forkserver]
#include <multiprocessing.hpp>

#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace mp = multiprocessing;

int square(int x) {
  return x * x;
}

int refuse(int x) {
  throw std::invalid_argument{"not " + std::to_string(x)};
}

int main(int argc, char** argv) {
  mp::freeze_support();
  if (argc > 1) mp::set_start_method(argv[1]);

  //! [readme]
  mp::Pool pool{4};
  for (int x : pool.map(square, std::vector{1, 2, 3})) std::cout << x << '\n';
  auto later = pool.apply_async(square, 20);
  int sum = 0;
  for (int x : pool.imap_unordered(square, std::vector{4, 5, 6})) sum += x;
  std::cout << "later: " << later.get() << ", sum: " << sum << '\n';
  try {
    pool.apply(refuse, 7);
  } catch (const std::invalid_argument& error) {
    std::cout << "refused: " << error.what() << '\n';
  }
  //! [readme]
}
