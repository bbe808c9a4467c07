// SPDX-License-Identifier: BSL-1.0
#include <support/audit.hpp>
#include <support/processes.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <thread>

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

namespace test {
namespace {

using namespace std::chrono_literals;

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

std::map<std::string, std::string> as_map(const std::vector<std::string>& names) {
  std::map<std::string, std::string> map;
  for (const auto& name : names) map[name];
  return map;
}

// Tests run beside each other: a name that a stranger's process holds open is the stranger's.
bool held_by_a_stranger(const std::string& name) {
  const std::string path = "/dev/shm/" + name;
  std::vector<int> ours{getpid()};
  for (const auto& process : family()) ours.push_back(process.pid);
  for (const std::string& pid : names_in("/proc")) {
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    if (std::ranges::find(ours, std::stoi(pid)) != ours.end()) continue;
    for (const char* folder : {"/fd/", "/map_files/"}) {
      const std::string where = "/proc/" + pid + folder;
      for (const std::string& link : names_in(where)) {
        std::error_code ec;
        if (std::filesystem::read_symlink(where + link, ec) == path && !ec) return true;
      }
    }
  }
  return false;
}

template <class Key>
void compare(std::string_view kind,
             const std::map<Key, std::string>& before,
             const std::map<Key, std::string>& now,
             std::vector<std::string>& lines) {
  const auto describe = [&](const auto& entry, std::string_view what) {
    std::string line{kind};
    line += ' ';
    if constexpr (std::is_same_v<Key, int>) {
      line += std::to_string(entry.first);
    } else {
      line += entry.first;
    }
    if (!entry.second.empty()) line += " (" + entry.second + ")";
    lines.push_back(line.append(what));
  };
  for (const auto& entry : now) {
    if (!before.contains(entry.first)) describe(entry, " was left behind");
  }
  for (const auto& entry : before) {
    const auto same = now.find(entry.first);
    if (same == now.end()) {
      describe(entry, " has gone, and was not this test's");
    } else if (same->second != entry.second) {
      describe(*same, " was another one before: " + entry.second);
    }
  }
}

}  // namespace

Belongings belongings(const std::function<bool(int)>& keep) {
  Belongings now;
  now.descriptors = open_descriptors(keep);
  for (const auto& process : family()) {
    now.processes[process.pid] = process.command + (process.state == 'Z' ? ", not reaped" : "");
  }
  for (const std::string& id : names_in("/proc/self/task")) {
    now.threads[std::stoi(id)] = first_line("/proc/self/task/" + id + "/comm");
  }
  now.shared = as_map(names_in("/dev/shm"));
  // CPython's semaphores: the examples' twins may run at the same time.
  std::erase_if(now.shared, [](const auto& name) { return name.first.starts_with("sem.mp-"); });
  now.files = as_map(names_in("."));
  return now;
}

std::vector<std::string> differences(const Belongings& before, const Belongings& now) {
  std::vector<std::string> lines;
  compare("descriptor", before.descriptors, now.descriptors, lines);
  compare("process", before.processes, now.processes, lines);
  compare("thread", before.threads, now.threads, lines);
  auto shared = now.shared;
  std::erase_if(shared, [&](const auto& entry) {
    return !before.shared.contains(entry.first) && held_by_a_stranger(entry.first);
  });
  auto shared_before = before.shared;  // a stranger's may go at any time
  std::erase_if(shared_before, [&](const auto& entry) { return !shared.contains(entry.first); });
  compare("/dev/shm name", shared_before, shared, lines);
  compare("file", before.files, now.files, lines);
  return lines;
}

void LeakAudit::OnTestStart(const testing::TestInfo&) {
  before_ = belongings(keep_);
}

void LeakAudit::OnTestEnd(const testing::TestInfo& info) {
  const auto end = std::chrono::steady_clock::now() + 2s;
  auto lines = differences(before_, belongings(keep_));
  while (!lines.empty() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(5ms);
    lines = differences(before_, belongings(keep_));
  }
  if (lines.empty()) return;
  std::string text = std::string{info.test_suite_name()} + "." + info.name() + " leaves things:";
  for (const auto& line : lines) text += "\n  " + line;
  ADD_FAILURE() << text;
  for (const auto& process : family()) {  // the next test is to start from a clean table
    if (before_.processes.contains(process.pid)) continue;
    kill(process.pid, SIGKILL);
    waitpid(process.pid, nullptr, 0);
  }
}

}  // namespace test
