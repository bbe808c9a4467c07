// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file base_executor.hpp
/// @brief What can be asked of an executor, wherever its workers are.
#include <multiprocessing/futures/future.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/timeout.hpp>
#include <multiprocessing/workers/by_value.hpp>
#include <multiprocessing/workers/result_iterator.hpp>
#include <multiprocessing/workers/stats.hpp>
#include <multiprocessing/workers/submit.hpp>
#include <multiprocessing/workers/task_runner.hpp>
#include <multiprocessing/workers/zip.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <ranges>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace multiprocessing {

/// @brief What may be said about an executor's map().
struct MapOptions {
  Timeout timeout = forever;   ///< For all results, from the call on.
  std::size_t chunksize = 1;   ///< Items of one task.
  std::size_t buffersize = 0;  ///< Tasks handed out ahead of the results taken. 0: see Pool::imap.
  TaskOptions task = {};       ///< Of each task.
  /// The results come as they are made, not in the order of the items. Python: as_completed().
  bool unordered = false;
};

/// @brief What ProcessPoolExecutor and distributed::ProcessPoolExecutor have in common.
/// @python{concurrent.futures.Executor}
class BaseExecutor {
 public:
  BaseExecutor(const BaseExecutor&) = delete;
  BaseExecutor& operator=(const BaseExecutor&) = delete;

  /// @brief Has a worker call `function(arguments...)`. The arguments are encoded when it returns;
  /// what that throws is the future's error.
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
        runner_, options, true, [](auto&) {}, function, arguments...)};
  }

  /// @brief Calls `function(x, y, ...)` with the items of one or more ranges, until the shortest
  /// ends. @returns the results one by one, in order unless `unordered`, while later ones are being
  /// made; the input is read as they are taken. An lvalue range is referred to.
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
      return detail::iterate<false, Function>(
          runner_, options.task, function, std::forward<Xs>(ranges)..., !options.unordered,
          options.chunksize, options.buffersize, options.timeout, true);
    } else {
      return detail::iterate<true, Function>(
          runner_, options.task, function, detail::Zip<Xs...>{std::forward<Xs>(ranges)...},
          !options.unordered, options.chunksize, options.buffersize, options.timeout, true);
    }
  }

  /// @brief No more tasks from now on.
  /// @param wait until all is done and the workers have ended; else that happens in the background.
  /// @param cancel_futures cancels what no worker has begun; without `wait`, another thread may
  /// still be telling one of them when this returns.
  void shutdown(bool wait = true, bool cancel_futures = false);
  /// @brief The same with a limit. @param timeout how long to wait, as for Pool::join().
  /// @param cancel_futures as above. @param stop ends the wait when a stop is requested.
  /// @returns whether all is done and the workers have ended; if not, that happens in the
  /// background.
  bool shutdown(Timeout timeout, bool cancel_futures = false, const std::stop_token& stop = {});
  /// @brief Stops at once: all futures are cancelled, workers get SIGTERM, and SIGKILL half a
  /// second later. Nothing more can be submitted. @python{3.14}
  void terminate_workers() {
    const auto runner = runner_;  // a callback may destroy this executor
    runner->terminate(os::Signal::terminate);
  }
  /// @brief The same with SIGKILL at once.
  void kill_workers() {
    const auto runner = runner_;
    runner->terminate(os::Signal::kill);
  }
  /// @brief What it has done, and is doing.
  [[nodiscard]] PoolStats stats() const { return runner_->stats(); }

 protected:  /// @brief For those that have workers.
  explicit BaseExecutor(std::shared_ptr<detail::TaskRunner> runner) noexcept
      : runner_{std::move(runner)} {}
  /// @brief shutdown().
  ~BaseExecutor();

 private:
  std::shared_ptr<detail::TaskRunner> runner_;
};

inline BaseExecutor::~BaseExecutor() {
  if (!runner_->is_ours()) {
    // A copy made by fork: its threads and workers are another's.
    detail::forget(std::move(runner_));
    return;
  }
  try {
    shutdown();
  } catch (const std::exception& error) {
    log(LogLevel::error, error.what());
  }
}

inline void BaseExecutor::shutdown(bool wait, bool cancel_futures) {
  const auto runner = runner_;  // a callback may destroy this executor
  runner->close();
  if (cancel_futures) runner->cancel_waiting();
  if (wait) {
    runner->join();
  } else {
    runner->retire();
  }
}

inline bool BaseExecutor::shutdown(Timeout timeout,
                                   bool cancel_futures,
                                   const std::stop_token& stop) {
  const auto runner = runner_;
  runner->close();
  if (cancel_futures) runner->cancel_waiting();
  if (runner->join(detail::Deadline{timeout}, stop)) return true;
  runner->retire();
  return false;
}

}  // namespace multiprocessing
