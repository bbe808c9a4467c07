// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file mpi.hpp
/// @brief Distributed pools on MPI. Included by distributed.hpp where MULTIPROCESSING_MPI is
/// defined.
#include <multiprocessing/distributed/mpi/agent.hpp>
#include <multiprocessing/distributed/mpi/master_engine.hpp>
#include <multiprocessing/distributed/mpi/spawn.hpp>
#include <multiprocessing/distributed/mpi/world.hpp>
#include <multiprocessing/os/process_wide.hpp>

#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace multiprocessing::detail::mpi {

/// @brief Rank 0 of a job with agents says to them that it lives, also between two pools.
class Keeper {
 public:
  explicit Keeper(World& world) : world_{world} {
    const std::lock_guard lock{world_.mutex};
    for (int rank = 1; rank < world_.size(); ++rank) {
      links_.push_back(std::make_unique<Link>(MPI_COMM_WORLD, rank));
    }
  }
  /// @brief The mutex is held.
  void say(std::uint64_t sign) noexcept {
    for (const auto& link : links_) {
      try {
        link->progress();
        link->send_sign(0, sign);
      } catch (const std::exception&) {  // it is lost
      }
    }
  }
  /// @brief All go home.
  void end() noexcept {
    constexpr std::chrono::seconds longest{1};
    constexpr std::chrono::milliseconds moment{1};
    const Deadline deadline{longest};
    {
      const std::lock_guard lock{world_.mutex};
      say(Link::farewell);
    }
    for (bool all = false; !all && !deadline.passed();) {
      {
        const std::lock_guard lock{world_.mutex};
        all = true;
        for (const auto& link : links_) all = link->progress() && all;
      }
      if (!all) std::this_thread::sleep_for(moment);  // MPI has nothing to wait on
    }
  }

 private:
  World& world_;
  std::vector<std::unique_ptr<Link>> links_;
};

/// @brief Rank 0 of a job with several ranks: begun before main() goes on, for the others wait.
inline void keep_agents() {
  static Keeper* const keeper = [] {
    os::set_environment(master_variable, std::to_string(os::process_id()));
    World& world = World::get();
    auto* const made = new Keeper{world};  // until the end of the process
    world.add_pulse([made] { made->say(Link::life); });
    world.at_end([made] { made->end(); });
    return made;
  }();
  static_cast<void>(keeper);
}

/// @brief Turns an agent's process into one. Returns everywhere else.
inline void divert() {
  if (is_spawned_agent()) run_agent(true);
  if (os::environment(agent_variable)) return;  // something that a task of an agent's started
  const Job job = Job::ours();
  if (job.rank > 0) run_agent(false);
  if (job.rank == 0 && job.size > 1) keep_agents();
}

/// @brief Has freeze_support() call divert(), in every program that contains this.
inline const bool diverts = [] {
  const std::lock_guard lock{process_state().mutex};
  process_state().diversions.push_back(&divert);
  return true;
}();

/// @returns none: neither are there other ranks, nor are hosts named.
/// @throws std::invalid_argument both.
[[nodiscard]] inline std::unique_ptr<Engine> make_engine(const std::vector<std::string>& hosts) {
  const Job job = Job::ours();
  const bool has_agents = job.rank == 0 && job.size > 1;
  if (has_agents && !hosts.empty()) {
    throw std::invalid_argument{
        "hosts to spawn agents on are for a program that is started without mpirun: the other " +
        std::to_string(job.size - 1) + " ranks of this job are agents already"};
  }
  if (!has_agents && hosts.empty()) return nullptr;
  if (!hosts.empty()) prepare_for_spawning();
  return std::make_unique<MasterEngine>(hosts);
}

}  // namespace multiprocessing::detail::mpi
