// SPDX-License-Identifier: BSL-1.0
#include <support/processes.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include <unistd.h>

namespace test {
namespace {

ProcessInfo read_process(int pid) {
  const std::string line = first_line("/proc/" + std::to_string(pid) + "/stat");
  const auto open = line.find('(');
  const auto close = line.rfind(')');  // the name may hold anything, also brackets
  ProcessInfo process;
  if (open == std::string::npos || close == std::string::npos) return process;
  process.pid = pid;
  process.command = line.substr(open + 1, close - open - 1);
  std::istringstream{line.substr(close + 1)} >> process.state >> process.parent >> process.group;
  return process;
}

}  // namespace

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code ec;
  for (std::filesystem::directory_iterator entry{folder, ec}, end; !ec && entry != end;
       entry.increment(ec)) {
    names.push_back(entry->path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

std::string first_line(const std::string& path) {
  std::ifstream file{path};
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<ProcessInfo> family() {
  std::vector<ProcessInfo> others;
  for (const std::string& name : names_in("/proc")) {
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (ProcessInfo process = read_process(std::stoi(name)); process.pid != 0) {
      others.push_back(std::move(process));
    }
  }
  const int self = getpid();
  const bool own_group = getpgrp() == self;
  std::vector<int> known{self};
  std::vector<ProcessInfo> found;
  for (bool more = true; more;) {
    more = false;
    for (auto& process : others) {
      if (process.pid == 0 || process.pid == self) continue;
      const bool child = std::ranges::find(known, process.parent) != known.end();
      const bool orphan = own_group && process.group == self && process.state != 'Z';
      if (!child && !orphan) continue;
      known.push_back(process.pid);
      found.push_back(process);
      process.pid = 0;
      more = true;
    }
  }
  return found;
}

void enter_own_group() {
  if (isatty(STDIN_FILENO) == 0 && isatty(STDOUT_FILENO) == 0) setpgid(0, 0);
}

}  // namespace test
