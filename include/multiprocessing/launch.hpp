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
#include <multiprocessing/launch/spawn.hpp>

#include <stdexcept>
#include <vector>

namespace multiprocessing {

/// @brief The start methods of this system; the default comes first.
/// @python{multiprocessing.get_all_start_methods()}
[[nodiscard]] inline std::vector<StartMethod> get_all_start_methods() {
  return {StartMethod::fork, StartMethod::spawn};
}

namespace detail {

/// @throws std::invalid_argument this system, or this version, does not have it.
inline void check_available(StartMethod method) {
  for (const StartMethod available : get_all_start_methods()) {
    if (method == available) return;
  }
  throw std::invalid_argument{
      "this start method is not available: get_all_start_methods() names those that are"};
}

/// @brief Starts a child. Waits for nobody.
/// @throws std::invalid_argument the method is not available; std::logic_error spawn without
/// freeze_support(); SerializationError its work cannot travel; std::system_error the system
/// refuses. Then nothing is left of it.
inline ChildReference launch(StartMethod method, const ChildPlan& plan) {
  check_available(method);
  authkey();  // before there are copies of us that would make another
  return method == StartMethod::fork ? start_by_fork(plan) : start_by_spawn(plan);
}

}  // namespace detail
}  // namespace multiprocessing
