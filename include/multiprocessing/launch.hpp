// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file launch.hpp
/// @brief The start methods behind one function.
///
/// A start method is one small file in launch/ with one function: it takes a ChildPlan and returns
/// the running child. What the parent owes it stands in children.hpp, what the child does in
/// entry.hpp.
#include <multiprocessing/launch/authkey.hpp>
#include <multiprocessing/launch/children.hpp>
#include <multiprocessing/launch/fork.hpp>
#include <multiprocessing/launch/forkserver.hpp>
#include <multiprocessing/launch/freeze_support.hpp>
#include <multiprocessing/launch/spawn.hpp>

#include <stdexcept>
#include <string>
#include <vector>

namespace multiprocessing {

/// @brief The start methods of this system; the default comes first.
/// @python{multiprocessing.get_all_start_methods()}
[[nodiscard]] inline std::vector<StartMethod> get_all_start_methods() {
  if (!os::has_fork) return {StartMethod::spawn};
  return {StartMethod::fork, StartMethod::spawn, StartMethod::forkserver};
}

/// @brief "fork", "spawn", "forkserver".
[[nodiscard]] inline std::string to_string(StartMethod method) {
  switch (method) {
    case StartMethod::fork:
      return "fork";
    case StartMethod::spawn:
      return "spawn";
    case StartMethod::forkserver:
      break;
  }
  return "forkserver";
}

namespace detail {

[[noreturn]] inline void refuse_start_method(const std::string& name) {
  std::string text = "there is no start method \"" + name + "\" here, only";
  for (const StartMethod available : get_all_start_methods())
    text.append(" ").append(to_string(available));
  throw std::invalid_argument{text};
}

/// @throws std::invalid_argument this system does not have it.
inline void check_available(StartMethod method) {
  for (const StartMethod available : get_all_start_methods()) {
    if (method == available) return;
  }
  refuse_start_method(to_string(method));
}

/// @brief Starts a child. Waits for nobody but a fork server.
/// @throws std::invalid_argument the method is not available; std::logic_error spawn or
/// forkserver without freeze_support(); SerializationError its work cannot travel;
/// std::system_error the system refuses. Then nothing is left of it.
inline ChildReference launch(StartMethod method, const ChildPlan& plan) {
  check_available(method);
  authkey();  // before there are copies of us that would make another
  switch (method) {
    case StartMethod::fork:
      return start_by_fork(plan);
    case StartMethod::spawn:
      return start_by_spawn(plan);
    case StartMethod::forkserver:
      break;
  }
  return start_by_forkserver(plan);
}

}  // namespace detail
}  // namespace multiprocessing
