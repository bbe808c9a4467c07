// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file choice.hpp
/// @brief Which engine carries a pool's messages.
#include <multiprocessing/distributed/engine.hpp>
#include <multiprocessing/distributed/gearman/engine.hpp>
#include <multiprocessing/distributed/local_engine.hpp>
#if defined(MULTIPROCESSING_MPI)
#  include <multiprocessing/distributed/mpi.hpp>
#endif

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace multiprocessing::detail {

/// @brief What the program says about where its agents are.
struct EngineChoice {
  std::vector<std::string> hosts;
  std::string server;                ///< Of Gearman.
  std::chrono::seconds silence{10};  ///< After which one of its machines is lost.
};

/// @brief The engine that what is said needs. @throws std::invalid_argument it is not built in.
[[nodiscard]] inline std::unique_ptr<Engine> choose_engine(const EngineChoice& choice) {
  if (!choice.server.empty() && !choice.hosts.empty()) {
    throw std::invalid_argument{"agents are either spawned on hosts, or a Gearman server's"};
  }
  if (!choice.server.empty()) {
    return std::make_unique<GearmanEngine>(gearman::parse_address(choice.server),
                                           gearman::ServerOptions{.silence = choice.silence});
  }
#if defined(MULTIPROCESSING_MPI)
  if (auto engine = mpi::make_engine(choice.hosts)) return engine;
#endif
  if (!choice.hosts.empty()) {
    throw std::invalid_argument{
        "agents on other hosts need MPI: link the target multiprocessing::mpi, or define "
        "MULTIPROCESSING_MPI and compile with mpic++"};
  }
  return std::make_unique<LocalEngine>();
}

}  // namespace multiprocessing::detail
