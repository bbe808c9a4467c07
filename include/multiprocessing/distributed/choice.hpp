// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file choice.hpp
/// @brief Which engine carries a pool's messages.
#include <multiprocessing/distributed/engine.hpp>
#include <multiprocessing/distributed/local_engine.hpp>
#if defined(MULTIPROCESSING_MPI)
#  include <multiprocessing/distributed/mpi.hpp>
#endif

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace multiprocessing::detail {

/// @brief What the program says about where its agents are.
struct EngineChoice {
  std::vector<std::string> hosts;
};

/// @brief The engine that what is said needs. @throws std::invalid_argument it is not built in.
[[nodiscard]] inline std::unique_ptr<Engine> choose_engine(const EngineChoice& choice) {
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
