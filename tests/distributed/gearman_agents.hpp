// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file gearman_agents.hpp
/// @brief Agents of a Gearman server in children of the test.
#include <multiprocessing/distributed.hpp>
#include <multiprocessing/process.hpp>

#include <memory>
#include <string>

namespace test {

/// @brief An agent in a process of its own; its destructor kills it.
class Agent {
 public:
  Agent(const std::string& server, unsigned workers)
      : process_{std::make_unique<multiprocessing::Process<>>(
            multiprocessing::ProcessOptions{.name = "Agent", .daemon = false},
            &run,
            server,
            workers)} {
    process_->start();
  }
  Agent(Agent&&) noexcept = default;
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;
  Agent& operator=(Agent&&) = default;
  ~Agent() { kill(); }

  [[nodiscard]] int pid() const { return process_->pid().value(); }
  void kill() {
    if (!process_) return;
    process_->kill();
    process_->join();
    process_.reset();
  }

 private:
  static void run(const std::string& server, unsigned workers) {
    multiprocessing::distributed::serve({.server = server, .max_workers = workers});
  }
  std::unique_ptr<multiprocessing::Process<>> process_;
};

}  // namespace test
