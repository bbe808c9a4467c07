// SPDX-License-Identifier: BSL-1.0
// A Manager's dictionary beside CPython's, and beside a standard map under a lock, which no death
// can be asked of.
#include <multiprocessing.hpp>
#include <multiprocessing/managers.hpp>

#include <cstddef>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "elsewhere.hpp"
#include "figure.hpp"

namespace mp = multiprocessing;

namespace {

constexpr int rounds = 500'000;
constexpr std::size_t keys = 1'000;

template <class Use>
double nanoseconds(const Use& use) {
  const double seconds = benchmark::seconds_of([&] {
    for (int i = 0; i < rounds; ++i) use(static_cast<std::size_t>(i) % keys);
  });
  return seconds / rounds * 1e9;
}

template <class T>
void dict_figures(const std::string& name, const std::vector<T>& words) {
  const std::string program = BENCHMARKS_FOLDER "/cpython_manager.py";
  const std::string kind = std::is_same_v<T, int> ? "int" : "str";
  const benchmark::Elsewhere get_there{{"python3", "-B", program, "get", kind}};
  const benchmark::Elsewhere set_there{{"python3", "-B", program, "set", kind}};
  const bool has_python = get_there.ask().has_value() && set_there.ask().has_value();

  const mp::Manager manager;
  const auto dict = manager.dict<T, T>();
  std::unordered_map<T, T> map;
  mp::Lock lock;
  for (const T& word : words) {
    dict.set(word, word);
    map[word] = word;
  }
  std::size_t seen = 0;
  const auto get = [&](std::size_t i) { seen += dict.get(words[i]) == words[i] ? 1U : 0U; };
  const auto set = [&](std::size_t i) { dict.set(words[i], words[(i + 1) % keys]); };
  std::vector<benchmark::Contestant> readers{{"locked_unordered_map", [&] {
                                                return nanoseconds([&](std::size_t i) {
                                                  const std::lock_guard guard{lock};
                                                  const T copy = map.at(words[i]);
                                                  seen += copy == words[i] ? 1U : 0U;
                                                });
                                              }}};
  std::vector<benchmark::Contestant> writers{{"locked_unordered_map", [&] {
                                                return nanoseconds([&](std::size_t i) {
                                                  const std::lock_guard guard{lock};
                                                  map[words[i]] = words[(i + 1) % keys];
                                                });
                                              }}};
  if (has_python) {
    readers.push_back({"CPython", [&] { return get_there(); }});
    writers.push_back({"CPython", [&] { return set_there(); }});
  }
  benchmark::figure(
      "manager_dict_get_" + name, "ns", [&] { return nanoseconds(get); }, readers);
  benchmark::figure(
      "manager_dict_set_" + name, "ns", [&] { return nanoseconds(set); }, writers);
  if (seen == 0) std::abort();
}

}  // namespace

int main() {
  std::vector<int> numbers;
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < keys; ++i) {
    numbers.push_back(static_cast<int>(i));
    texts.push_back("key number " + std::to_string(i));
  }
  dict_figures<int>("int_int", numbers);
  dict_figures<std::string>("string_string", texts);
}
