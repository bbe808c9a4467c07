// SPDX-License-Identifier: BSL-1.0
// Processes share a dictionary, a list and a namespace.
//   ./manager [fork|spawn|forkserver]
#include <multiprocessing.hpp>
#include <multiprocessing/managers.hpp>

#include <iostream>
#include <string>
#include <vector>

namespace mp = multiprocessing;

using Squares = mp::DictProxy<int, int>;
using Words = mp::DictProxy<std::string, int>;

void work(Squares squares, mp::ListProxy<std::string> names, Words words, int number) {
  squares.set(number, number * number);
  names.append("worker " + std::to_string(number));
  for (const std::string word : {"spam", "eggs", "spam"}) {
    words.update(
        word, [](int& n) { ++n; }, 0);  // no process comes in between
  }
}

int main(int argc, char** argv) {
  mp::freeze_support();
  if (argc > 1) mp::set_start_method(argv[1]);

  const mp::Manager manager;
  const auto squares = manager.dict<int, int>();
  const auto names = manager.list<std::string>();
  const auto words = manager.dict<std::string, int>();
  const auto settings = manager.Namespace();
  settings.set("title", "squares");

  std::vector<mp::Process<>> workers;
  for (int i = 0; i < 4; ++i) workers.emplace_back(work, squares, names, words, i);
  for (auto& worker : workers) worker.start();
  for (auto& worker : workers) worker.join();

  names.sort();
  std::cout << settings.get<std::string>("title") << '\n';
  for (int i = 0; i < 4; ++i) std::cout << i << ": " << squares.get(i) << '\n';
  for (const auto& name : names) std::cout << name << '\n';
  std::cout << "spam " << words.get("spam") << ", eggs " << words.get("eggs") << '\n';

  const auto outer = manager.list<mp::ListProxy<std::string>>();
  outer.append(names);
  outer.get(0).append("one more");
  std::cout << names.get(-1) << ", " << names.size() << '\n';
}
