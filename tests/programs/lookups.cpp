// SPDX-License-Identifier: BSL-1.0
// A forked child looks up no function: the parent's table of functions is copied as it stands, so
// what only children call is looked up by each of them, at a fifth of what a fork costs. The loader
// says what it looks up, and for which process.
// Not on Windows: fork
#include <multiprocessing/process.hpp>

#include <array>
#include <cstdio>
#include <iostream>
#include <map>
#include <string>

namespace mp = multiprocessing;

namespace {

void nothing() {}

// The first child of a kind makes the parent call what it calls for the first time.
void start_two(bool daemon) {
  for (int i = 0; i < 2; ++i) {
    mp::Process process({.daemon = daemon, .start_method = mp::StartMethod::fork}, nothing);
    process.start();
    process.join();
    std::fprintf(stderr, "%d: ended\n", *process.pid());
  }
}

struct Seen {
  int total = 0;
  int children = 0;
  int faults = 0;
};

// Reads lines of the form "  <process>:\tbinding file ... symbol `name' ..."
Seen look(std::FILE* lines) {
  Seen seen;
  std::map<std::string, std::string> bound;
  std::array<char, 4096> text{};
  while (std::fgets(text.data(), static_cast<int>(text.size()), lines) != nullptr) {
    const std::string line{text.data()};
    const auto begin = line.find_first_not_of(' ');
    const auto colon = line.find(':');
    if (begin == std::string::npos || colon == std::string::npos) continue;
    const std::string process = line.substr(begin, colon - begin);
    if (line.find("binding file") != std::string::npos) {
      ++seen.total;
      bound[process] += line.substr(line.find('`'));
    } else if (line.find(": ended") != std::string::npos && ++seen.children % 2 == 0) {
      if (bound[process].empty()) continue;
      ++seen.faults;
      std::cout << "a child looked up " << bound[process];
    }
  }
  return seen;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) {
    start_two(false);
    start_two(true);
    return 0;
  }
  const std::string command = "LD_DEBUG=bindings '" + std::string{argv[0]} + "' run 2>&1";
  std::FILE* const lines = ::popen(command.c_str(), "r");
  if (lines == nullptr) return 1;
  const Seen seen = look(lines);
  if (::pclose(lines) != 0 || seen.children != 4) return std::puts("the children did not run"), 1;
  constexpr int skipped = 77;
  if (seen.total == 0) return std::puts("the loader does not say what it looks up"), skipped;
  return seen.faults == 0 ? 0 : 1;
}
