// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file spawn.hpp
/// @brief Start method spawn: the child is a fresh run of this program that gets its work as bytes.
#include <multiprocessing/launch/children.hpp>
#include <multiprocessing/launch/plan.hpp>
#include <multiprocessing/launch/server.hpp>
#include <multiprocessing/launch/state.hpp>
#include <multiprocessing/os/spawn.hpp>
#include <multiprocessing/os/streams.hpp>

#include <system_error>
#include <utility>

namespace multiprocessing::detail {

/// @brief Starts a child by spawn.
/// @throws std::logic_error main() does not call freeze_support(). SerializationError the work
/// cannot travel. std::system_error the system refuses; names the program.
inline ChildReference start_by_spawn(const ChildPlan& plan) {
  check_freeze_support();
  const DepartingState state{plan};
  const ProgramFiles files = program_files();
  Starting starting{plan.identity};
  const auto handles = state.handles(starting.record().childs_lifeline.get());
  os::flush_streams();
  MULTIPROCESSING_STOP_POINT("process.start.spawn");
  std::error_code ec;
  os::Started child =
      os::spawn_program(files.executable, files.program, state.bytes(), handles, ec);
  if (child.pid == 0) throw starting.failure(ec, "running " + files.name());
  MULTIPROCESSING_STOP_POINT("process.start.spawned");
  return starting.finish(std::move(child));
}

}  // namespace multiprocessing::detail
