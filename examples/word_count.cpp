// SPDX-License-Identifier: BSL-1.0
// How often each word stands in some files, which are read by several processes; with a progress
// bar of Boost's.
//   ./word_count [fork|spawn|forkserver] [<file>...]
#include <multiprocessing.hpp>

#include <boost/timer/progress_display.hpp>

#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <vector>

namespace mp = multiprocessing;
using Counts = std::map<std::string, int>;

Counts count_words(const std::string& path) {
  std::ifstream file{path};
  Counts counts;
  for (std::string word; file >> word;) ++counts[word];
  return counts;
}

int main(int argc, char** argv) {
  mp::freeze_support();
  if (argc > 1) mp::set_start_method(argv[1]);
  std::vector<std::string> files(argv + (argc > 2 ? 2 : argc), argv + argc);
  if (files.empty()) files = {"/etc/hostname", "/etc/passwd", "/etc/group", "/etc/hosts"};

  mp::Pool pool;
  boost::timer::progress_display bar{static_cast<unsigned long>(files.size()), std::cerr};
  const auto progress = [&](std::size_t done, std::size_t) {
    bar += static_cast<unsigned long>(done) - bar.count();
  };
  Counts all;
  for (const Counts& counts : pool.map({.progress = progress}, count_words, files, 1)) {
    for (const auto& [word, count] : counts) all[word] += count;
  }
  int words = 0;
  for (const auto& [word, count] : all) words += count;
  std::cout << bar.count() << " files, " << words << " words, " << all.size() << " different\n";
}
