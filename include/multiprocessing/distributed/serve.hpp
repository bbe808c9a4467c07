// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file serve.hpp
/// @brief Being an agent of a Gearman server.
#include <multiprocessing/distributed/gearman/agent.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/launch/freeze_support.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/process.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>

namespace multiprocessing::distributed {

/// @brief What serve() is told.
struct ServeOptions {
  /// The Gearman server: "host", "host:port" or "[address]:port"; without a port 4730.
  std::string server;
  /// How many tasks this host does at once, whoever they are from. 0: process_cpu_count().
  unsigned max_workers = 0;
  /// When one is requested, it takes no more tasks, finishes those that it has, and returns.
  std::stop_token stop = {};
  /// The server's machine counts as lost when it is silent for so long. At least 3 s.
  std::chrono::seconds silence{10};
};

/// @brief Makes this process an agent: does the tasks of all masters of this very build that use
/// the server, until a stop is requested.
/// @code
/// int main(int argc, char** argv) {
///   mp::freeze_support();
///   if (argc > 2 && argv[1] == std::string{"--agent"}) mp::distributed::serve({.server =
///   argv[2]});
///   ...
/// @endcode
/// Agents join and leave at any time. One that dies, or whose connection ends, leaves its tasks to
/// others: the server gives them on, so a task may run twice. Each master has workers of its own
/// here, as many as it asks for and at most `max_workers`; they end with it, or a minute after its
/// last task. When the server is lost the tasks that were being done are given up, and the agent
/// waits for the server to come back.
///
/// Whoever reaches the server can have this program's functions called: keep it to a network whose
/// machines you trust.
/// @throws std::invalid_argument no server is named. std::system_error, TimeoutError,
/// ConnectionError the server cannot be reached the first time, or is none.
/// @threads Call it where no other threads are, as far as workers are started by fork.
inline void serve(const ServeOptions& options) {
  using namespace multiprocessing::detail;
  constexpr unsigned most = 32767;
  freeze_support();
  const Address server = gearman::parse_address(options.server);
  const unsigned workers = options.max_workers != 0 ? options.max_workers : process_cpu_count();
  const GearmanAgentOptions agent{
      server, std::min(workers, most), {.silence = options.silence}, options.stop};
  constexpr std::chrono::milliseconds first_pause{100};
  constexpr std::chrono::milliseconds longest_pause{2000};
  auto pause = first_pause;
  for (bool has_served = false; !options.stop.stop_requested();) {
    try {
      GearmanAgent one{agent};
      has_served = true;
      pause = first_pause;
      one.run();
      return;
    } catch (const ConnectionError& error) {
      if (!has_served) throw;
      log(LogLevel::warning, error.what());
    } catch (const TimeoutError& error) {
      if (!has_served) throw;
      log(LogLevel::warning, error.what());
    } catch (const std::system_error& error) {
      if (!has_served) throw;
      log(LogLevel::warning, error.what());
    }
    std::mutex mutex;
    std::condition_variable_any bell;
    std::unique_lock lock{mutex};
    bell.wait_for(lock, options.stop, pause, [] { return false; });
    pause = std::min(pause * 2, longest_pause);
  }
}

}  // namespace multiprocessing::distributed
