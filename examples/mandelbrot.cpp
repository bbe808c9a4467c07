// SPDX-License-Identifier: BSL-1.0
// A picture whose rows are computed by several processes.
//   ./mandelbrot [fork|spawn|forkserver]
#include <multiprocessing.hpp>

#include <iostream>
#include <numeric>
#include <string>
#include <vector>

namespace mp = multiprocessing;

constexpr int width = 72;
constexpr int height = 24;

std::string row(int y) {
  const std::string shades = " .:-=+*#%@";
  std::string text;
  for (int x = 0; x < width; ++x) {
    const double cx = 3.0 * x / width - 2.0;
    const double cy = 2.0 * y / height - 1.0;
    double zx = 0;
    double zy = 0;
    std::size_t steps = 0;
    for (; steps < 90 && zx * zx + zy * zy < 4; ++steps) {
      const double next = zx * zx - zy * zy + cx;
      zy = 2 * zx * zy + cy;
      zx = next;
    }
    text += shades[steps / 10];
  }
  return text;
}

int main(int argc, char** argv) {
  mp::freeze_support();
  if (argc > 1) mp::set_start_method(argv[1]);

  std::vector<int> rows(height);
  std::iota(rows.begin(), rows.end(), 0);
  mp::Pool pool;
  for (const std::string& text : pool.imap(row, rows)) std::cout << text << "|\n";
}
