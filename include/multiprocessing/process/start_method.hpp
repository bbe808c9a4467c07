// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file start_method.hpp
/// @brief Which way processes are started by default.
#include <multiprocessing/callable/task.hpp>
#include <multiprocessing/launch.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/serialization.hpp>

#include <cstddef>
#include <filesystem>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace multiprocessing {

/// @brief The method for processes whose options name none.
///
/// Asking fixes it: a default that somebody relies on is not changed under them. So does the first
/// start() of a process whose options name none.
/// @param allow_none do not fix it, but return none while it is not fixed.
/// @python{multiprocessing.get_start_method(); there the default on Linux is "forkserver"}
inline std::optional<StartMethod> get_start_method(bool allow_none = false) {
  detail::ProcessState& state = detail::process_state();
  const std::lock_guard lock{state.mutex};
  if (!state.start_method && !allow_none) state.start_method = get_all_start_methods().front();
  return state.start_method;
}

/// @brief Says how processes are started, once, near the top of main(). Children inherit it.
/// @param method how, from now on.
/// @param force change it also when it is fixed.
/// @throws std::invalid_argument the method is not available. std::logic_error it is fixed already.
/// @python{multiprocessing.set_start_method()}
inline void set_start_method(StartMethod method, bool force = false) {
  detail::check_available(method);
  detail::ProcessState& state = detail::process_state();
  const std::lock_guard lock{state.mutex};
  if (state.start_method && !force) {
    throw std::logic_error{"the start method is fixed already: set it earlier, or use force"};
  }
  state.start_method = method;
}

/// @brief The same by name: "fork", "spawn", "forkserver".
inline void set_start_method(std::string_view name, bool force = false) {
  for (const StartMethod method : get_all_start_methods()) {
    if (to_string(method) == name) return set_start_method(method, force);
  }
  detail::refuse_start_method(std::string{name});
}

/// @brief The program that spawn and the fork server run, instead of this one. Its main() must
/// begin with freeze_support(), and it must contain the code of the processes that it is to be:
/// another copy of the same build. Children inherit it, a fork server that runs already does not.
/// An empty path: this one again.
/// @python{multiprocessing.set_executable()}
inline void set_executable(const std::filesystem::path& program) {
  const auto utf8 = (program.empty() ? program : std::filesystem::absolute(program)).u8string();
  detail::ProcessState& state = detail::process_state();
  const std::lock_guard lock{state.mutex};
  state.executable.assign(utf8.begin(), utf8.end());
}

/// @brief What the fork server does once, before it forks: its children begin with that done, e.g.
/// with a large table read. Say it before the first process is started by forkserver; a server that
/// runs already does not hear of it. Children inherit it. An empty task: nothing.
///
/// A preload that throws, or starts threads, makes every start() by forkserver throw, and say so.
/// What it prints appears once. Its static objects are not destroyed in the children.
/// @throws SerializationError it cannot travel, or holds queues or connections.
/// @python{multiprocessing.set_forkserver_preload(), which takes names of modules}
inline void set_forkserver_preload(const Task& task) {
  std::vector<std::byte> call;
  if (task) {
    Transit transit;
    Encoder encoder{call, &transit};
    detail::encode_task_call(encoder, task);
    if (!transit.objects().empty()) {
      throw SerializationError{
          "a preload cannot hold queues or connections: pass them to a process"};
    }
  }
  const std::lock_guard lock{detail::process_state().mutex};
  detail::process_state().preload = std::move(call);
}

}  // namespace multiprocessing
