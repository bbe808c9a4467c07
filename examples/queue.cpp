// SPDX-License-Identifier: BSL-1.0
// Three processes put on one queue, their parent gets.
//   ./queue [fork|spawn|forkserver]
#include <multiprocessing.hpp>

#include <cstdint>
#include <iostream>
#include <string>
#include <tuple>
#include <utility>

namespace mp = multiprocessing;

using Item = std::tuple<std::string, int, std::uintptr_t>;

std::uintptr_t id(const mp::Queue<Item>& queue) {
  return reinterpret_cast<std::uintptr_t>(&queue);
}

class Worker : public mp::Process<Worker> {
 public:
  Worker(mp::Queue<Item> queue, int number) : queue_{queue}, number_{number} {}
  void run() override { queue_.put({"hello", number_, id(queue_)}); }
  auto reduce() const { return mp::arguments(queue_, number_); }

 private:
  mp::Queue<Item> queue_;
  int number_;
};

int main(int argc, char** argv) {
  mp::freeze_support();
  if (argc > 1) mp::set_start_method(argv[1]);

  mp::Queue<Item> queue;
  std::cout << "my queue: " << id(queue) << '\n';
  Worker workers[] = {{queue, 0}, {queue, 1}, {queue, 2}};
  for (auto& worker : workers) worker.start();
  for (int i = 0; i < 3; ++i) {
    const auto [text, number, theirs] = queue.get();
    std::cout << text << ' ' << number << ' ' << theirs << '\n';
  }
  for (auto& worker : workers) worker.join();
}
