// SPDX-License-Identifier: BSL-1.0
#include <support/audit.hpp>
#include <support/processes.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>
#include <thread>

namespace test {
namespace {

using namespace std::chrono_literals;

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

Belongings belongings(const std::function<bool(int)>& keep) {
  Belongings now;
  now.descriptors = open_descriptors(keep);
  for (const auto& process : family()) {
    now.processes[process.pid] = process.command + (process.state == 'Z' ? ", not reaped" : "");
  }
  now.threads = own_threads();
  now.shared = shared_names();
  for (const auto& name : names_in(".")) now.files[name];
  return now;
}

std::vector<std::string> differences(const Belongings& before, const Belongings& now) {
  std::vector<std::string> lines;
  compare("descriptor", before.descriptors, now.descriptors, lines);
  compare("process", before.processes, now.processes, lines);
  compare("thread", before.threads, now.threads, lines);
  auto shared = now.shared;
  std::erase_if(shared, [&](const auto& entry) { return before.shared.contains(entry.first); });
  if (!shared.empty()) {
    const auto held = names_held_by_strangers();
    const auto still = shared_names();
    std::erase_if(shared, [&](const auto& entry) {
      return held.contains(entry.first) || !still.contains(entry.first);
    });
  }
  compare("/dev/shm name", {}, shared, lines);  // a stranger's of before may go at any time
  compare("file", before.files, now.files, lines);
  return lines;
}

void LeakAudit::OnTestStart(const testing::TestInfo&) {
  before_ = belongings(keep_);
}

void LeakAudit::OnTestEnd(const testing::TestInfo& info) {
  auto lines = differences(before_, belongings(keep_));
  // So many looks, and not so much time: a machine that stood still takes one of them.
  const char* const text = std::getenv("MULTIPROCESSING_TEST_AUDIT_LOOKS");
  for (int looks = text == nullptr ? 4000 : std::atoi(text); !lines.empty() && looks > 0; --looks) {
    std::this_thread::sleep_for(5ms);
    lines = differences(before_, belongings(keep_));
  }
  if (lines.empty()) return;
  std::string said = std::string{info.test_suite_name()} + "." + info.name() + " leaves things:";
  for (const auto& line : lines) said += "\n  " + line;
  ADD_FAILURE() << said;
  for (const auto& process : family()) {  // the next test is to start from a clean table
    if (before_.processes.contains(process.pid)) continue;
    end_process(process.pid);
  }
}

}  // namespace test
