// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file executor.hpp
/// @brief Worker processes behind futures.
#include <multiprocessing/futures/base_executor.hpp>
#include <multiprocessing/process.hpp>
#include <multiprocessing/workers/crew.hpp>

#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace multiprocessing {

/// @brief What an executor is made of.
struct ExecutorOptions {
  /// How many workers at most. 0: process_cpu_count().
  unsigned max_workers = 0;
  /// Every worker does this first. What it throws breaks the executor.
  Task initializer = {};
  /// A worker is replaced after at most so many tasks, see PoolOptions::maxtasksperchild. 0: never.
  unsigned max_tasks_per_child = 0;
  /// Default: get_start_method().
  std::optional<StartMethod> start_method = {};
  /// As Python's: when one worker dies, every future fails and the executor does no more work.
  /// Otherwise only the task fails that the worker was running, and the worker is replaced.
  bool breaks_when_worker_dies = false;
  /// As PoolOptions::trace.
  std::filesystem::path trace = {};
};

/// @brief Worker processes behind futures. @python{concurrent.futures.ProcessPoolExecutor}
/// @code
/// mp::ProcessPoolExecutor executor;
/// mp::Future<int> future = executor.submit(work, 7);
/// mp::Future<int> limited = executor.submit({.timeout = 2s, .retries = 1}, work, 8);
/// std::cout << future.result() + limited.result();
/// @endcode
/// A worker is started when there is work and no worker is idle. What a task may be, and what
/// happens when a worker dies, is as for a Pool. The destructor waits until all is done, as leaving
/// Python's `with` does; so does the end of the program.
/// @threads Any number at once. @processes The one that made it.
class ProcessPoolExecutor : public BaseExecutor {
 public:
  /// @throws std::invalid_argument more than 32767 workers.
  explicit ProcessPoolExecutor(ExecutorOptions options = {})
      : BaseExecutor{crew_of(std::move(options))} {}
  /// @brief With so many workers at most. @throws std::invalid_argument 0, or more than 32767.
  explicit ProcessPoolExecutor(unsigned max_workers)
      : ProcessPoolExecutor{ExecutorOptions{.max_workers = checked(max_workers)}} {}
  ProcessPoolExecutor(const ProcessPoolExecutor&) = delete;
  ProcessPoolExecutor& operator=(const ProcessPoolExecutor&) = delete;
  /// @brief shutdown().
  ~ProcessPoolExecutor() = default;

 private:
  static unsigned checked(unsigned workers) {
    if (workers == 0) throw std::invalid_argument{"an executor has at least one worker"};
    return workers;
  }
  static std::shared_ptr<detail::Crew> crew_of(ExecutorOptions options);
};

inline std::shared_ptr<detail::Crew> ProcessPoolExecutor::crew_of(ExecutorOptions options) {
  constexpr unsigned most = 32767;
  if (options.max_workers > most) {
    throw std::invalid_argument{"an executor has at most " + std::to_string(most) + " workers"};
  }
  detail::CrewOptions crew;
  crew.name = "the executor";
  crew.workers = options.max_workers != 0 ? options.max_workers : process_cpu_count();
  crew.tasks_per_worker = options.max_tasks_per_child;
  crew.initializer = std::move(options.initializer);
  crew.start_method = options.start_method ? *options.start_method : *get_start_method();
  crew.trace = std::move(options.trace);
  crew.on_demand = true;
  crew.breaks_on_death = options.breaks_when_worker_dies;
  return detail::Crew::create(std::move(crew));
}

}  // namespace multiprocessing
