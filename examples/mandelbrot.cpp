// SPDX-License-Identifier: BSL-1.0
// A picture whose rows are computed by several processes, written as mandelbrot.png by libpng.
//   ./mandelbrot [fork|spawn|forkserver]
#include <multiprocessing.hpp>

#include <cstdint>
#include <iostream>
#include <numeric>
#include <vector>

#include <png.h>

namespace mp = multiprocessing;

constexpr unsigned width = 360;
constexpr unsigned height = 240;

std::vector<std::uint8_t> row(unsigned y) {
  std::vector<std::uint8_t> shades;
  for (unsigned x = 0; x < width; ++x) {
    const double cx = 3.0 * x / width - 2.0;
    const double cy = 2.0 * y / height - 1.0;
    double zx = 0;
    double zy = 0;
    std::uint8_t shade = 255;
    for (; shade > 0 && zx * zx + zy * zy < 4; --shade) {
      const double next = zx * zx - zy * zy + cx;
      zy = 2 * zx * zy + cy;
      zx = next;
    }
    shades.push_back(shade);
  }
  return shades;
}

int main(int argc, char** argv) {
  mp::freeze_support();
  if (argc > 1) mp::set_start_method(argv[1]);

  std::vector<unsigned> rows(height);
  std::iota(rows.begin(), rows.end(), 0U);
  std::vector<std::uint8_t> picture;
  mp::Pool pool;
  for (const auto& shades : pool.imap(row, rows, 8)) {
    picture.insert(picture.end(), shades.begin(), shades.end());
  }

  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = width;
  image.height = height;
  image.format = PNG_FORMAT_GRAY;
  if (png_image_write_to_file(&image, "mandelbrot.png", 0, picture.data(), 0, nullptr) == 0) {
    std::cerr << "mandelbrot.png: " << image.message << '\n';
    return 1;
  }
  std::cout << "mandelbrot.png: " << width << " x " << height << '\n';
}
