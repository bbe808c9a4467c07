// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file freeze_support.hpp
/// @brief Where a fresh run of this program turns into what it was started for.
#include <multiprocessing/launch/entry.hpp>
#include <multiprocessing/launch/forkserver.hpp>
#include <multiprocessing/launch/state.hpp>
#include <multiprocessing/os/module.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/spawn.hpp>
#include <multiprocessing/serialization.hpp>

#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing {
namespace detail {

/// @brief All that a spawned child, or a fork server, ever does.
[[noreturn]] inline void run_fresh_process() noexcept {
  const int code = exit_code_of([] {
    std::error_code ec;
    os::Spawned spawned = os::take_spawned(ec);
    if (ec || spawned.handles.empty()) {
      throw std::runtime_error{
          "the environment says that this process is a child of another, but there is no state for "
          "it: unset MULTIPROCESSING_CHILD"};
    }
    Decoder decoder{spawned.state};
    if (decode<std::uint64_t>(decoder) == ServerState::expected_magic()) {
      run_forkserver(spawned.state, std::move(spawned.handles));
    }
    ArrivedState state{spawned.state, std::move(spawned.handles)};
    os::call_at_exit(&say_farewell);
    std::move(state).run();
  });
  os::exit_process(code);
}

/// @brief What freeze_support() does, less noting that it is there: a process that was started to
/// serve becomes what it is for, at the first use of what needs it, where main() does not say so.
inline void divert_if_started_to_serve() {
  if (os::is_spawned()) run_fresh_process();
  std::vector<void (*)()> diversions;
  {
    const std::lock_guard lock{process_state().mutex};
    diversions = process_state().diversions;
  }
  for (const auto divert : diversions) divert();
}

}  // namespace detail

/// @brief The first line of main() in a program that starts processes by spawn or forkserver.
///
/// A spawned child and the fork server run this program from its beginning; there, this call does
/// what they are for and ends the process; so it does in an agent of
/// <multiprocessing/distributed.hpp>. Everywhere else it only notes that it is there.
/// @threads Call it before there are others.
/// @python{multiprocessing.freeze_support(); there needed on Windows only}
inline void freeze_support() {
  {
    detail::ProcessState& state = detail::process_state();
    const std::lock_guard lock{state.mutex};
    state.freeze_support_called = true;
    if (state.program.empty()) state.program = os::executable_path();
  }
  detail::divert_if_started_to_serve();
}

}  // namespace multiprocessing
