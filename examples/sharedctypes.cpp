// SPDX-License-Identifier: BSL-1.0
// Processes count together, and change an array and a struct that all of them see.
//   ./sharedctypes [fork|spawn|forkserver]
#include <multiprocessing.hpp>

#include <cstddef>
#include <iostream>
#include <mutex>
#include <vector>

namespace mp = multiprocessing;

struct Point {
  int x;
  int y;
};

void work(mp::Value<int> count, mp::Array<int> squares, mp::Value<Point> point, int number) {
  for (int i = 0; i < 1000; ++i) count.update([](int& x) { ++x; });
  squares[static_cast<std::size_t>(number)] = number * number;
  const std::lock_guard guard{point};
  point.value().x += number;
  point.value().y -= number;
}

int main(int argc, char** argv) {
  mp::freeze_support();
  mp::set_start_method(argc > 1 ? argv[1] : "fork");

  mp::Value<int> count{0};
  mp::Array<int> squares(5);
  mp::Value<Point> point{10, 10};
  std::vector<mp::Process<>> processes;
  for (int i = 0; i < 5; ++i) processes.emplace_back(work, count, squares, point, i);
  for (auto& process : processes) process.start();
  for (auto& process : processes) process.join();
  std::cout << "count: " << count.load() << "\nsquares:";
  for (const int square : squares) std::cout << ' ' << square;
  std::cout << "\npoint: " << point.value().x << ' ' << point.value().y << '\n';
}
