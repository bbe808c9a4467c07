// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file plan.hpp
/// @brief What every start method is given.
#include <multiprocessing/serialization/archive.hpp>

#include <functional>
#include <string>
#include <vector>

namespace multiprocessing::detail {

/// @brief What a child process is called among its relatives.
struct ChildIdentity {
  std::string name;
  std::vector<unsigned> path;  ///< Numbers from the main process down to it.
  bool daemon = false;
};

/// @brief A child that is to be started.
struct ChildPlan {
  ChildIdentity identity;
  /// Does the child's work. Called in a copy of this process.
  std::function<void()> run;
  /// Encodes a call (see callable.hpp) that does the child's work in a process that shares no
  /// memory with this one. Called here, before the child exists.
  /// @throws SerializationError it cannot be made anew over there; says why and what to do.
  std::function<void(Encoder&)> reduce;
};

}  // namespace multiprocessing::detail
