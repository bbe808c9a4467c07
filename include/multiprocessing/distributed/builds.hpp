// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file builds.hpp
/// @brief Whether two processes on two machines run the same code.
#include <multiprocessing/distributed/message.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/module.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief The modules of this process, the program first.
[[nodiscard]] inline std::vector<Build> own_builds() {
  std::vector<Build> all;
  os::install_fork_handlers();  // no child is to begin with the loader's lock held by us
  for (os::Module& module : os::loaded_modules()) {
    all.push_back({std::move(module.path), std::move(module.id)});
  }
  return all;
}

/// @brief What keeps code from meaning the same there and here; empty: nothing. The programs must
/// be one build, and so must every library that both have loaded.
[[nodiscard]] inline std::string difference(const std::vector<Build>& master,
                                            const std::vector<Build>& agent) {
  const auto file = [](const Build& build) {
    return std::string_view{build.path}.substr(build.path.rfind('/') + 1);
  };
  const auto words = [](const Build& theirs, const Build& ours) {
    return "the master runs " + theirs.path + " (build " + os::to_string(theirs.id) +
           "), this agent runs " + ours.path + " (build " + os::to_string(ours.id) +
           "): bring the same build to every host";
  };
  if (master.empty() || agent.empty()) return "the list of modules is empty";
  if (master.front().id != agent.front().id) return words(master.front(), agent.front());
  for (std::size_t i = 1; i < master.size(); ++i) {
    for (std::size_t k = 1; k < agent.size(); ++k) {
      if (file(master[i]) != file(agent[k])) continue;
      if (master[i].id != agent[k].id) return words(master[i], agent[k]);
      break;
    }
  }
  return {};
}

}  // namespace multiprocessing::detail
