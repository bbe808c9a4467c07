// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file executor.hpp
/// @brief Worker processes behind futures.
#include <multiprocessing/futures/future.hpp>
#include <multiprocessing/process.hpp>
#include <multiprocessing/timeout.hpp>
#include <multiprocessing/workers/by_value.hpp>
#include <multiprocessing/workers/crew.hpp>
#include <multiprocessing/workers/result_iterator.hpp>
#include <multiprocessing/workers/submit.hpp>
#include <multiprocessing/workers/zip.hpp>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace multiprocessing {

/// @brief What an executor is made of.
struct ExecutorOptions {
  /// How many workers at most. 0: process_cpu_count().
  unsigned max_workers = 0;
  /// Every worker does this first. What it throws breaks the executor.
  Task initializer = {};
  /// A worker is replaced after so many tasks. 0: never.
  unsigned max_tasks_per_child = 0;
  /// Default: get_start_method().
  std::optional<StartMethod> start_method = {};
  /// As Python's: when one worker dies, every future fails and the executor does no more work.
  /// Otherwise only the task fails that the worker was running, and the worker is replaced.
  bool breaks_when_worker_dies = false;
  /// As PoolOptions::trace.
  std::filesystem::path trace = {};
};

/// @brief What may be said about an executor's map().
struct MapOptions {
  Timeout timeout = forever;   ///< For all results, from the call on.
  std::size_t chunksize = 1;   ///< Items of one task.
  std::size_t buffersize = 0;  ///< Tasks handed out ahead of the results taken. 0: see Pool::imap.
  TaskOptions task = {};       ///< Of each task.
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
class ProcessPoolExecutor {
 public:
  /// @throws std::invalid_argument more than 32767 workers.
  explicit ProcessPoolExecutor(ExecutorOptions options = {});
  /// @brief With so many workers at most. @throws std::invalid_argument 0, or more than 32767.
  explicit ProcessPoolExecutor(unsigned max_workers)
      : ProcessPoolExecutor{ExecutorOptions{.max_workers = checked(max_workers)}} {}
  ProcessPoolExecutor(const ProcessPoolExecutor&) = delete;
  ProcessPoolExecutor& operator=(const ProcessPoolExecutor&) = delete;
  /// @brief shutdown().
  ~ProcessPoolExecutor();

  /// @brief Has a worker call `function(arguments...)`.
  /// @throws std::invalid_argument after shutdown() (Python: RuntimeError). BrokenProcessPool.
  template <class F, class... A>
  requires(!std::is_same_v<std::decay_t<F>, TaskOptions>) auto submit(F&& function,
                                                                      A&&... arguments) {
    return submit(TaskOptions{}, std::forward<F>(function), std::forward<A>(arguments)...);
  }
  /// @overload
  template <class F, class... A>
  auto submit(TaskOptions options, F&& function, A&&... arguments) {
    return Future{detail::submit_call<std::decay_t<F>>(
        crew_, options, true, [](auto&) {}, function, arguments...)};
  }

  /// @brief Calls `function(x, y, ...)` with the items of one or more ranges, until the shortest
  /// ends. @returns the results one by one, in order, while later ones are being made; the input is
  /// read as they are taken. An lvalue range is referred to.
  /// @throws std::invalid_argument `chunksize` is 0, or shut down.
  template <class F, std::ranges::input_range... Xs>
  requires(sizeof...(Xs) > 0) auto map(F&& function, Xs&&... ranges) {
    return map(MapOptions{}, function, std::forward<Xs>(ranges)...);
  }
  /// @overload
  template <class F, std::ranges::input_range... Xs>
  requires(sizeof...(Xs) > 0) auto map(const MapOptions& options, F&& function, Xs&&... ranges) {
    using Function = std::decay_t<F>;
    if constexpr (sizeof...(Xs) == 1) {
      return detail::iterate<false, Function>(crew_, options.task, function,
                                              std::forward<Xs>(ranges)..., true, options.chunksize,
                                              options.buffersize, options.timeout);
    } else {
      return detail::iterate<true, Function>(
          crew_, options.task, function, detail::Zip<Xs...>{std::forward<Xs>(ranges)...}, true,
          options.chunksize, options.buffersize, options.timeout);
    }
  }

  /// @brief No more tasks from now on.
  /// @param wait until all is done and the workers have ended; else that happens in the background.
  /// @param cancel_futures cancels what no worker has begun.
  void shutdown(bool wait = true, bool cancel_futures = false);
  /// @brief Stops at once: all futures are cancelled, workers get SIGTERM, and SIGKILL half a
  /// second later. Nothing more can be submitted. @python{3.14}
  void terminate_workers() { crew_->terminate(os::Signal::terminate); }
  /// @brief The same with SIGKILL at once.
  void kill_workers() { crew_->terminate(os::Signal::kill); }
  /// @brief What it has done, and is doing.
  [[nodiscard]] PoolStats stats() const { return crew_->stats(); }

 private:
  static unsigned checked(unsigned workers) {
    if (workers == 0) throw std::invalid_argument{"an executor has at least one worker"};
    return workers;
  }

  std::shared_ptr<detail::Crew> crew_;
};

inline ProcessPoolExecutor::ProcessPoolExecutor(ExecutorOptions options) {
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
  crew_ = detail::Crew::create(std::move(crew));
}

inline ProcessPoolExecutor::~ProcessPoolExecutor() {
  if (!crew_->is_ours()) {
    // A copy made by fork: its threads and workers are another's.
    detail::forget(std::move(crew_));
    return;
  }
  try {
    shutdown();
  } catch (const std::exception& error) {
    log(LogLevel::error, error.what());
  }
}

inline void ProcessPoolExecutor::shutdown(bool wait, bool cancel_futures) {
  crew_->close();
  if (cancel_futures) crew_->cancel_waiting();
  if (wait) {
    crew_->join();
  } else {
    crew_->retire();
  }
}

}  // namespace multiprocessing
