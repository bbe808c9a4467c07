// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/cpu.hpp>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <sched.h>
#include <unistd.h>

namespace multiprocessing::os {

namespace posix {

inline constexpr unsigned no_limit = std::numeric_limits<unsigned>::max();

MULTIPROCESSING_INLINE unsigned affinity() {
  for (std::size_t words = 16; words <= 4096; words *= 2) {  // as many as the kernel knows
    std::vector<unsigned long> mask(words);
    const auto bytes = words * sizeof mask[0];
    auto* const set = reinterpret_cast<cpu_set_t*>(mask.data());
    if (MULTIPROCESSING_SYSTEM(sched_getaffinity)(0, bytes, set) == 0) {
      return static_cast<unsigned>(CPU_COUNT_S(bytes, set));
    }
  }
  return no_limit;
}

// quota / period, rounded up; both in microseconds, "max" or -1 for none.
MULTIPROCESSING_INLINE unsigned processors(std::istream& quota, std::istream& period) {
  double time = 0;
  double of = 0;
  if (!(quota >> time) || !(period >> of) || time <= 0 || of <= 0) return no_limit;
  return static_cast<unsigned>(std::min(std::ceil(time / of), double{no_limit}));
}

MULTIPROCESSING_INLINE unsigned quota_in(const std::string& folder) {
  std::ifstream both{folder + "/cpu.max"};
  std::ifstream quota{folder + "/cpu.cfs_quota_us"};
  std::ifstream period{folder + "/cpu.cfs_period_us"};
  return std::min(processors(both, both), processors(quota, period));
}

// The smallest quota from `mount`/`group` up to `mount`.
MULTIPROCESSING_INLINE unsigned quota_up_from(const std::string& mount, std::string group) {
  unsigned smallest = no_limit;
  for (;;) {
    smallest = std::min(smallest, quota_in(mount + group));
    if (group.empty()) return smallest;
    const auto slash = group.rfind('/');
    group.erase(slash == std::string::npos ? 0 : slash);
  }
}

MULTIPROCESSING_INLINE bool has_word(std::string_view list, std::string_view word) {
  for (;;) {
    const auto comma = list.find(',');
    if (list.substr(0, comma) == word) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

// A line of /proc/self/mountinfo that shows control groups which can limit processors.
struct GroupMount {
  std::string root;   // the group that is shown
  std::string place;  // where
  bool unified = false;
};

MULTIPROCESSING_INLINE std::vector<GroupMount> group_mounts(const std::string& root) {
  std::vector<GroupMount> mounts;
  std::ifstream lines{root + "/proc/self/mountinfo"};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words{line};
    GroupMount mount;
    std::string skipped;
    std::string type;
    std::string options;
    words >> skipped >> skipped >> skipped >> mount.root >> mount.place;
    while (words >> skipped && skipped != "-") {
    }
    words >> type >> skipped >> options;
    mount.unified = type == "cgroup2";
    if (mount.unified || (type == "cgroup" && has_word(options, "cpu"))) mounts.push_back(mount);
  }
  return mounts;
}

MULTIPROCESSING_INLINE unsigned quota(const std::string& root) {
  unsigned smallest = no_limit;
  const auto mounts = group_mounts(root);
  std::ifstream lines{root + "/proc/self/cgroup"};  // "<id>:<controllers>:<group>"
  for (std::string line; std::getline(lines, line);) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const auto controllers = line.substr(first + 1, second - first - 1);
    const auto group = line.substr(second + 1);
    for (const GroupMount& mount : mounts) {
      if (mount.unified ? !controllers.empty() : !has_word(controllers, "cpu")) continue;
      // In a container, the mount may show a group far down as its root.
      const std::string above = mount.root == "/" ? "" : mount.root;
      const bool inside = group.starts_with(above);
      std::string below = inside ? group.substr(above.size()) : std::string{};
      if (below == "/" || below.find("/..") != std::string::npos) below.clear();
      smallest = std::min(smallest, quota_up_from(root + mount.place, below));
    }
  }
  return smallest;
}

}  // namespace posix

MULTIPROCESSING_INLINE unsigned cpu_count() noexcept {
  const long count = MULTIPROCESSING_SYSTEM(sysconf)(_SC_NPROCESSORS_ONLN);
  return count < 1 ? 1 : static_cast<unsigned>(count);
}

MULTIPROCESSING_INLINE unsigned usable_cpu_count(const std::string& root) {
  const unsigned usable = std::min({posix::affinity(), posix::quota(root)});
  return usable == posix::no_limit ? cpu_count() : std::max(usable, 1U);
}

}  // namespace multiprocessing::os
