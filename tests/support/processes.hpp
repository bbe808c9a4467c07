// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file processes.hpp
/// @brief What the tests' own machinery reads from /proc. It does not use the library: it judges
/// it.
#include <string>
#include <vector>

namespace test {

/// @brief A process as /proc shows it.
struct ProcessInfo {
  int pid = 0;
  int parent = 0;
  int group = 0;
  char state = '?';  ///< R, S, D, T (stopped), Z (ended, not reaped).
  std::string command;
};

/// @brief The processes that descend from this one, by parentage or, when a parent in between has
///        gone, by the process group that enter_own_group() made. Ended orphans are left out: whose
///        they are to reap depends on the machine.
[[nodiscard]] std::vector<ProcessInfo> family();

/// @brief Makes this process the leader of a group of its own, unless a person sits at a terminal
///        and would want to stop it from there.
void enter_own_group();

/// @brief The names in a folder; none when it cannot be read.
[[nodiscard]] std::vector<std::string> names_in(const std::string& folder);

/// @brief The first line of a small file such as those of /proc, or nothing.
[[nodiscard]] std::string first_line(const std::string& path);

}  // namespace test
