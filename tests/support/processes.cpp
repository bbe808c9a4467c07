// SPDX-License-Identifier: BSL-1.0
#include <support/imitated.hpp>
#include <support/processes.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <system_error>

#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
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

void end_process(int pid) {
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
}

int own_process_id() {
  return getpid();
}

std::map<int, std::string> open_descriptors(const std::function<bool(int)>& keep) {
  std::map<int, std::string> found;
  for (const std::string& name : names_in("/proc/self/fd")) {
    std::error_code ec;
    const auto target = std::filesystem::read_symlink("/proc/self/fd/" + name, ec);
    const int number = std::stoi(name);
    if (!ec && !keep(number))
      found[number] = target.string();  // gone already: it was the listing's
  }
  return found;
}

std::map<int, std::string> own_threads() {
  std::map<int, std::string> threads;
  for (const std::string& id : names_in("/proc/self/task")) {
    threads[std::stoi(id)] = first_line("/proc/self/task/" + id + "/comm");
  }
  return threads;
}

std::map<std::string, std::string> shared_names() {
  std::map<std::string, std::string> names;
  for (const std::string& name : names_in("/dev/shm")) {
    // CPython's semaphores: the examples' twins may run at the same time.
    if (!name.starts_with("sem.mp-")) names[name];
  }
  return names;
}

// Tests run beside each other: a name that a stranger's process holds open is the stranger's.
std::set<std::string> names_held_by_strangers() {
  std::set<std::string> held;
  const std::string folder_of_names = "/dev/shm/";
  std::set<int> ours{getpid()};
  for (const auto& process : family()) ours.insert(process.pid);
  for (const std::string& pid : names_in("/proc")) {
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    if (ours.contains(std::stoi(pid))) continue;
    for (const char* folder : {"/fd/", "/map_files/"}) {
      const std::string where = "/proc/" + pid + folder;
      for (const std::string& link : names_in(where)) {
        std::error_code ec;
        const std::string path = std::filesystem::read_symlink(where + link, ec);
        if (path.starts_with(folder_of_names)) held.insert(path.substr(folder_of_names.size()));
      }
    }
  }
  return held;
}

std::filesystem::path make_temporary_folder() {
  std::string name = (std::filesystem::temp_directory_path() / "multiprocessing.XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) {
    throw std::system_error{errno, std::system_category(), "mkdtemp " + name};
  }
  setenv("TMPDIR", name.c_str(), 1);
  return name;
}

bool is_imitated() {
  return false;
}

void forbid_core_files() {
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
}

}  // namespace test
