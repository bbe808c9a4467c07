// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file resource_tracker.hpp
/// @brief Sees to it that the names of shared memory go when their creator dies.
/// @python{multiprocessing.resource_tracker}
///
/// Each process that creates named memory has a tracker of its own, started with the first name: no
/// other process holds the line to it, so the tracker hears of its end, however that comes, at
/// once. Python has one for a whole tree of processes, which ends when the last of them does.
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/environment.hpp>
#include <multiprocessing/os/named_memory.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/tracker.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief The names that this process created. Guarded by the process state's mutex.
struct TrackedNames {
  std::vector<os::TrackedName> names;
  std::uint32_t owner = 0;  ///< How many forks lie between the first process and the one whose
                            ///< names these are: a child inherits a copy, and forgets it.
};

[[nodiscard]] inline TrackedNames& tracked_names() {
  static auto& one = os::process_wide<TrackedNames>();
  return one;
}

/// @brief Closes the line to the tracker, which ends. The state's mutex is held.
inline void end_tracker() noexcept {
  ProcessState& state = process_state();
  if (state.tracker != -1) os::close_handle(os::to_handle(std::exchange(state.tracker, -1)));
}

/// @brief Tells the tracker, and a new one everything if the last has died. The state's mutex is
/// held.
/// @returns whether one had died. @throws std::system_error the system refuses a new one.
inline bool tell_tracker(const os::TrackedName& name, bool comes) {
  ProcessState& state = process_state();
  std::error_code ec = std::make_error_code(std::errc::broken_pipe);
  const bool was_there = state.tracker != -1;
  const auto tell = [&](const os::TrackedName& which, bool that_comes) {
    os::tell_tracker(os::to_handle(state.tracker), that_comes, which, ec);
  };
  if (was_there) tell(name, comes);
  if (!ec) return false;
  if (ec != std::errc::broken_pipe && ec != std::errc::connection_reset) {
    throw std::system_error{ec, "cannot tell the resource tracker of a name"};  // it lives
  }
  end_tracker();
  if (!comes && tracked_names().names.empty()) return was_there;
  state.tracker = os::to_integer(os::start_tracker(ec).release());
  if (ec == std::errc::function_not_supported) return was_there;  // a plug-in: nobody tracks
  if (ec && os::has_foreign_rights()) {
    throw std::system_error{ec,
                            "this program has rights that who ran it has not, so it starts no "
                            "resource tracker: make shared memory with .track = false"};
  }
  if (ec) throw std::system_error{ec, "cannot start the resource tracker"};
  for (const auto& each : tracked_names().names) {
    tell(each, true);
    if (ec) throw std::system_error{ec, "the resource tracker does not stay"};
  }
  return was_there;
}

/// @brief From now on the name goes when this process ends. Call it before the name is there.
/// @returns whether a tracker had died, and was started again.
/// @throws std::system_error there can be no tracker.
inline bool track(const std::string& name, const os::MemoryIdentity& identity) {
  if (!os::needs_tracker()) return false;
  os::install_fork_handlers();
  const std::lock_guard lock{process_state().mutex};
  TrackedNames& all = tracked_names();
  const std::uint32_t here = process_state().forks;
  if (std::exchange(all.owner, here) != here) all.names.clear();
  all.names.push_back({name, identity});
  try {
    return tell_tracker(all.names.back(), true);
  } catch (...) {
    all.names.pop_back();
    throw;
  }
}

/// @brief The name has gone, or never came.
inline void untrack(const std::string& name, const os::MemoryIdentity& identity) noexcept {
  if (!os::needs_tracker()) return;
  try {
    const std::lock_guard lock{process_state().mutex};
    TrackedNames& all = tracked_names();
    const os::TrackedName gone{name, identity};
    if (all.owner == process_state().forks && std::erase(all.names, gone) != 0) {
      tell_tracker(gone, false);
    }
  } catch (const std::exception&) {  // no new tracker: the name has gone all the same
  }
}

}  // namespace multiprocessing::detail
