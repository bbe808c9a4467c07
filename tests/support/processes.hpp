// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file processes.hpp
/// @brief What the tests' own machinery asks the system. It does not use the library: it judges it.
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace test {

/// @brief A process as /proc shows it; Windows: without group and state.
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
///        and would want to stop it from there. Windows: whoever kills it kills its descendants
///        too.
void enter_own_group();

/// @brief Kills a process, and reaps it where it is a child.
void end_process(int pid);

[[nodiscard]] int own_process_id();

/// @brief This process's descriptors (Windows: handles), and what each refers to.
[[nodiscard]] std::map<int, std::string> open_descriptors(const std::function<bool(int)>& keep);

/// @brief This process's threads, and what they are called.
[[nodiscard]] std::map<int, std::string> own_threads();

/// @brief What shared memory has a name, less what a stranger's process holds open.
[[nodiscard]] std::map<std::string, std::string> shared_names();
/// @brief The names in /dev/shm that processes hold open which do not descend from this one.
[[nodiscard]] std::set<std::string> names_held_by_strangers();

/// @brief A new folder for temporary files, which TMPDIR (Windows: TMP) names from now on.
[[nodiscard]] std::filesystem::path make_temporary_folder();

/// @brief What many tests do would leave a core file each.
void forbid_core_files();

/// @brief The names in a folder; none when it cannot be read.
[[nodiscard]] std::vector<std::string> names_in(const std::string& folder);

/// @brief The first line of a small file such as those of /proc, or nothing.
[[nodiscard]] std::string first_line(const std::string& path);

}  // namespace test
