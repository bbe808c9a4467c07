// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file spawn.hpp
/// @brief Start method spawn: the child is a fresh run of this program that gets its work as bytes.
#include <multiprocessing/callable.hpp>
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/launch/authkey.hpp>
#include <multiprocessing/launch/children.hpp>
#include <multiprocessing/launch/entry.hpp>
#include <multiprocessing/launch/plan.hpp>
#include <multiprocessing/os/module.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/spawn.hpp>
#include <multiprocessing/os/streams.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/version.hpp>

#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing {
namespace detail {

/// @brief All that a child needs to know before its work, which follows it in the bytes.
struct SpawnedState {
  std::uint64_t magic = expected_magic();
  std::string name;
  std::vector<unsigned> path;
  bool daemon = false;
  int parent = 0;
  std::string parents_name;
  std::string authkey;
  std::optional<StartMethod> start_method;
  std::string executable;
  std::string program;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> objects;  ///< As Transit::Object.

  /// Another version of the library would have written it otherwise.
  static constexpr std::uint64_t expected_magic() {
    return fnv1a("multiprocessing child") ^ (std::uint64_t{MULTIPROCESSING_VERSION_MAJOR} << 32U) ^
           (std::uint64_t{MULTIPROCESSING_VERSION_MINOR} << 16U) ^ MULTIPROCESSING_VERSION_PATCH;
  }
};

/// @throws std::logic_error this program cannot be spawned.
inline void check_freeze_support() {
  const std::lock_guard lock{process_state().mutex};
  if (process_state().freeze_support_called) return;
  throw std::logic_error{
      "a process cannot be started by spawn: the child runs this program again, and main() "
      "does not say so. Write `multiprocessing::freeze_support();` as the first line of main()"};
}

/// @brief A child's state, without the work.
[[nodiscard]] inline SpawnedState state_for(const ChildIdentity& identity, const Transit& transit) {
  SpawnedState made;
  made.name = identity.name;
  made.path = identity.path;
  made.daemon = identity.daemon;
  made.parent = os::process_id();
  made.authkey = authkey();
  for (const auto& object : transit.objects())
    made.objects.emplace_back(object.kind, object.handles);
  ProcessState& state = process_state();
  const std::lock_guard lock{state.mutex};
  made.parents_name = state.name;
  made.start_method = state.start_method;
  made.executable = state.executable;
  made.program = state.program;
  return made;
}

/// @brief Starts a child by spawn.
/// @throws std::logic_error main() does not call freeze_support(). SerializationError the work
/// cannot travel. std::system_error the system refuses; names the program.
inline ChildReference start_by_spawn(const ChildPlan& plan) {
  check_freeze_support();
  Transit transit;
  std::vector<std::byte> work;
  Encoder encoder{work, &transit};
  plan.reduce(encoder);
  const SpawnedState state = state_for(plan.identity, transit);
  std::vector<std::byte> bytes;
  Encoder head{bytes};
  encode(head, state);
  bytes.insert(bytes.end(), work.begin(), work.end());

  Starting starting{plan.identity};
  std::vector<native_handle_type> handles{starting.record().childs_lifeline.get()};
  handles.insert(handles.end(), transit.departing().begin(), transit.departing().end());
  os::flush_streams();
  MULTIPROCESSING_STOP_POINT("process.start.spawn");
  std::error_code ec;
  const int pid = os::spawn_program(state.executable, state.program, bytes, handles, ec);
  if (ec) {
    throw starting.failure(
        ec, "running " + (state.executable.empty() ? state.program : state.executable));
  }
  MULTIPROCESSING_STOP_POINT("process.start.spawned");
  return starting.finish(pid);
}

/// @brief Takes a state over. @returns the work that it ends with.
inline std::span<const std::byte> adopt(std::span<const std::byte> bytes,
                                        os::UniqueHandle lifeline,
                                        std::vector<Transit::Object>& objects) {
  Decoder decoder{bytes};
  auto state = decode<SpawnedState>(decoder);
  if (state.magic != SpawnedState::expected_magic()) {
    throw SerializationError{
        "this program was built with another version of the library than the "
        "one that started it"};
  }
  {
    ProcessState& ours = process_state();
    const std::lock_guard lock{ours.mutex};
    ours.authkey = std::move(state.authkey);
    ours.start_method = state.start_method;
    ours.executable = std::move(state.executable);
    ours.program = std::move(state.program);
    os::show_as(ours.program);
  }
  for (const auto& [kind, handles] : state.objects) objects.push_back({kind, handles, nullptr});
  become_child(
      {std::move(state.name), std::move(state.path), state.daemon},
      {state.parent, std::move(state.parents_name), os::to_integer(lifeline.release()), 0});
  return decoder.take(decoder.remaining());
}

/// @brief All that a spawned child ever does.
[[noreturn]] inline void run_spawned_child() noexcept {
  const int code = exit_code_of([] {
    std::error_code ec;
    os::Spawned spawned = os::take_spawned(ec);
    if (ec || spawned.handles.empty()) {
      throw std::runtime_error{
          "the environment says that this process is a child of another, but there is no state for "
          "it: unset MULTIPROCESSING_CHILD"};
    }
    os::UniqueHandle lifeline = std::move(spawned.handles.front());
    spawned.handles.erase(spawned.handles.begin());
    std::vector<Transit::Object> objects;
    const auto work = adopt(spawned.state, std::move(lifeline), objects);
    os::call_at_exit(&say_farewell);
    Transit transit{std::move(objects), std::move(spawned.handles)};
    Decoder decoder{work, &transit};
    run_call(decoder);
  });
  os::exit_process(code);
}

}  // namespace detail

/// @brief The first line of main() in a program that starts processes by spawn.
///
/// A spawned child runs this program from its beginning; there, this call does the child's work and
/// ends the process. Everywhere else it only notes that it is there.
/// @threads Call it before there are others.
/// @python{multiprocessing.freeze_support(); there needed on Windows only}
inline void freeze_support() {
  {
    detail::ProcessState& state = detail::process_state();
    const std::lock_guard lock{state.mutex};
    state.freeze_support_called = true;
    if (state.program.empty()) state.program = os::executable_path();
  }
  if (os::is_spawned()) detail::run_spawned_child();
}

}  // namespace multiprocessing
