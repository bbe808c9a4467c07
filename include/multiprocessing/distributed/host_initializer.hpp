// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file host_initializer.hpp
/// @brief What a worker on another machine does first.
#include <multiprocessing/callable.hpp>
#include <multiprocessing/os/environment.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/serialization.hpp>

#include <cstddef>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief Sets environment and working directory, then runs the program's own initializer: decoded
/// in the worker, for none of the program's code runs in an agent.
struct HostInitializer {
  std::vector<std::pair<std::string, std::string>> environment;
  std::string directory;
  std::vector<std::byte> task;

  void operator()() const {
    for (const auto& [name, value] : environment) os::set_environment(name, value);
    if (!directory.empty()) std::filesystem::current_path(directory);
    if (task.empty()) return;
    Transit transit;
    Decoder decoder{task, &transit};
    codec<Task>::decode(decoder).call_once();
  }
};

}  // namespace multiprocessing::detail
