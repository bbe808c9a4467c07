// SPDX-License-Identifier: BSL-1.0
// The rows of a picture, computed on every machine that there is: this one, or all of an MPI job.
// Not on Windows: pools on several machines are not available there.
//   ./distributed                              workers on this machine
//   mpirun --bind-to none -n 3 ./distributed   built with -DMULTIPROCESSING_MPI, by mpic++
//! [readme]
#include <multiprocessing.hpp>
#include <multiprocessing/distributed.hpp>

#include <iostream>
#include <numeric>
#include <string>
#include <vector>

namespace mp = multiprocessing;

std::string row(int y) {
  std::string shades;
  for (int x = 0; x < 64; ++x) {
    const double cx = 3.0 * x / 64 - 2.0;
    const double cy = 2.0 * y / 24 - 1.0;
    double zx = 0;
    double zy = 0;
    int rounds = 0;
    for (; rounds < 200 && zx * zx + zy * zy < 4; ++rounds) {
      const double next = zx * zx - zy * zy + cx;
      zy = 2 * zx * zy + cy;
      zx = next;
    }
    shades += rounds == 200 ? '#' : rounds > 9 ? '+' : '.';
  }
  return shades;
}

int main(int argc, char** argv) {
  mp::freeze_support();  // where the agents of an MPI job part from rank 0
  if (argc > 1) mp::set_start_method(argv[1]);

  std::vector<int> rows(25);
  std::iota(rows.begin(), rows.end(), 0);
  mp::distributed::Pool pool;
  for (const std::string& shades : pool.imap(row, rows)) std::cout << shades << '\n';
}
//! [readme]
