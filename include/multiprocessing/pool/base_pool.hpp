// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file base_pool.hpp
/// @brief What can be asked of a pool, wherever its workers are.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/pool/async_result.hpp>
#include <multiprocessing/timeout.hpp>
#include <multiprocessing/workers/by_value.hpp>
#include <multiprocessing/workers/map_core.hpp>
#include <multiprocessing/workers/result_iterator.hpp>
#include <multiprocessing/workers/stats.hpp>
#include <multiprocessing/workers/submit.hpp>
#include <multiprocessing/workers/task_runner.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <ranges>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace multiprocessing {

/// @brief What Pool and distributed::Pool have in common. @python{multiprocessing.pool.Pool}
class BasePool {
 public:
  BasePool(const BasePool&) = delete;
  BasePool& operator=(const BasePool&) = delete;
  BasePool& operator=(BasePool&&) = delete;

  /// @brief Calls `function(arguments...)` in a worker and waits for the result.
  /// @throws as AsyncResult::get(). std::invalid_argument the pool is closed.
  template <class F, class... A>
  requires(!std::is_same_v<std::decay_t<F>, TaskOptions>) auto apply(F&& function,
                                                                     A&&... arguments) {
    return apply(TaskOptions{}, std::forward<F>(function), std::forward<A>(arguments)...);
  }
  /// @overload
  template <class F, class... A>
  auto apply(TaskOptions options, F&& function, A&&... arguments) {
    const auto core = start_call(options, nullptr, false, function, arguments...);
    return get(core, options.stop, [&] { core->cancel(); });
  }

  /// @brief The same without waiting. The arguments are encoded when it returns; what that throws
  /// is the result's error.
  template <class F, class... A>
  requires(!std::is_same_v<std::decay_t<F>, TaskOptions>) auto apply_async(F&& function,
                                                                           A&&... arguments) {
    return as_result(start_call(TaskOptions{}, nullptr, true, function, arguments...));
  }
  /// @overload
  template <class F, class... A>
  auto apply_async(TaskOptions options, F&& function, A&&... arguments) {
    return as_result(start_call(options, nullptr, true, function, arguments...));
  }
  /// @overload
  template <class C, class E, class F, class... A>
  auto apply_async(Callbacks<C, E> callbacks, F&& function, A&&... arguments) {
    return as_result(start_call(TaskOptions{}, &callbacks, true, function, arguments...));
  }
  /// @overload
  template <class C, class E, class F, class... A>
  auto apply_async(TaskOptions options, Callbacks<C, E> callbacks, F&& function, A&&... arguments) {
    return as_result(start_call(options, &callbacks, true, function, arguments...));
  }

  /// @brief Calls `function(x)` for every x of a range and waits for all results, in order.
  /// @param function goes with each task, as a value.
  /// @param xs what it is called with; is read before this waits.
  /// @param chunksize how many items make a task; 0: such that each worker gets four.
  /// @returns a std::vector; nothing, if the function returns nothing.
  /// @throws what a call threw, of the first chunk that failed, once all are done. What the input
  /// throws.
  template <class F, std::ranges::input_range Xs>
  auto map(F&& function, Xs&& xs, std::size_t chunksize = 0) {
    return map(TaskOptions{}, function, std::forward<Xs>(xs), chunksize);
  }
  /// @overload
  template <class F, std::ranges::input_range Xs>
  auto map(TaskOptions options, F&& function, Xs&& xs, std::size_t chunksize = 0) {
    return get_quietly(
        start<false>(options, nullptr, false, function, std::forward<Xs>(xs), chunksize), options);
  }
  /// @brief The same without waiting. The input has been read when it returns.
  template <class F, std::ranges::input_range Xs>
  auto map_async(F&& function, Xs&& xs, std::size_t chunksize = 0) {
    return map_async(TaskOptions{}, function, std::forward<Xs>(xs), chunksize);
  }
  /// @overload
  template <class F, std::ranges::input_range Xs>
  auto map_async(TaskOptions options, F&& function, Xs&& xs, std::size_t chunksize = 0) {
    return as_result(
        start<false>(options, nullptr, true, function, std::forward<Xs>(xs), chunksize));
  }
  /// @overload
  template <class C, class E, class F, std::ranges::input_range Xs>
  auto map_async(Callbacks<C, E> callbacks, F&& function, Xs&& xs, std::size_t chunksize = 0) {
    return map_async(TaskOptions{}, std::move(callbacks), function, std::forward<Xs>(xs),
                     chunksize);
  }
  /// @overload
  template <class C, class E, class F, std::ranges::input_range Xs>
  auto map_async(TaskOptions options,
                 Callbacks<C, E> callbacks,
                 F&& function,
                 Xs&& xs,
                 std::size_t chunksize = 0) {
    return as_result(
        start<false>(options, &callbacks, true, function, std::forward<Xs>(xs), chunksize));
  }

  /// @brief As map, with `function(a, b, ...)` for every tuple (a, b, ...) of a range.
  template <class F, std::ranges::input_range Xs>
  auto starmap(F&& function, Xs&& xs, std::size_t chunksize = 0) {
    return starmap(TaskOptions{}, function, std::forward<Xs>(xs), chunksize);
  }
  /// @overload
  template <class F, std::ranges::input_range Xs>
  auto starmap(TaskOptions options, F&& function, Xs&& xs, std::size_t chunksize = 0) {
    return get_quietly(
        start<true>(options, nullptr, false, function, std::forward<Xs>(xs), chunksize), options);
  }
  /// @brief The same without waiting. The input has been read when it returns.
  template <class F, std::ranges::input_range Xs>
  auto starmap_async(F&& function, Xs&& xs, std::size_t chunksize = 0) {
    return starmap_async(TaskOptions{}, function, std::forward<Xs>(xs), chunksize);
  }
  /// @overload
  template <class F, std::ranges::input_range Xs>
  auto starmap_async(TaskOptions options, F&& function, Xs&& xs, std::size_t chunksize = 0) {
    return as_result(
        start<true>(options, nullptr, true, function, std::forward<Xs>(xs), chunksize));
  }
  /// @overload
  template <class C, class E, class F, std::ranges::input_range Xs>
  auto starmap_async(Callbacks<C, E> callbacks, F&& function, Xs&& xs, std::size_t chunksize = 0) {
    return starmap_async(TaskOptions{}, std::move(callbacks), function, std::forward<Xs>(xs),
                         chunksize);
  }
  /// @overload
  template <class C, class E, class F, std::ranges::input_range Xs>
  auto starmap_async(TaskOptions options,
                     Callbacks<C, E> callbacks,
                     F&& function,
                     Xs&& xs,
                     std::size_t chunksize = 0) {
    return as_result(
        start<true>(options, &callbacks, true, function, std::forward<Xs>(xs), chunksize));
  }

  /// @brief map, result by result, in order, while later ones are being made: see ResultIterator.
  /// @param function as for map.
  /// @param xs an lvalue is referred to, and must live as long as the results are taken.
  /// @param chunksize how many items make a task, at least 1.
  /// @param buffersize how many chunks are handed out ahead of the results taken; 0: eight for each
  ///   worker, at least 64.
  template <class F, std::ranges::input_range Xs>
  auto imap(F&& function, Xs&& xs, std::size_t chunksize = 1, std::size_t buffersize = 0) {
    return imap(TaskOptions{}, function, std::forward<Xs>(xs), chunksize, buffersize);
  }
  /// @overload
  template <class F, std::ranges::input_range Xs>
  auto imap(TaskOptions options,
            F&& function,
            Xs&& xs,
            std::size_t chunksize = 1,
            std::size_t buffersize = 0) {
    return iterate(options, function, std::forward<Xs>(xs), true, chunksize, buffersize);
  }
  /// @brief The same in the order in which the results come.
  template <class F, std::ranges::input_range Xs>
  auto imap_unordered(F&& function,
                      Xs&& xs,
                      std::size_t chunksize = 1,
                      std::size_t buffersize = 0) {
    return imap_unordered(TaskOptions{}, function, std::forward<Xs>(xs), chunksize, buffersize);
  }
  /// @overload
  template <class F, std::ranges::input_range Xs>
  auto imap_unordered(TaskOptions options,
                      F&& function,
                      Xs&& xs,
                      std::size_t chunksize = 1,
                      std::size_t buffersize = 0) {
    return iterate(options, function, std::forward<Xs>(xs), false, chunksize, buffersize);
  }

  /// @brief No more tasks from now on: further calls throw std::invalid_argument. Workers end when
  /// all is done.
  void close() { runner_->close(); }
  /// @brief Stops at once: workers get SIGTERM, and SIGKILL half a second later; then tasks fail
  /// with CancelledError, and their callbacks run in this thread. Twice is fine.
  void terminate() {
    const auto runner = runner_;  // a callback may destroy this pool
    runner->terminate(os::Signal::terminate);
  }
  /// @brief Waits until all tasks are done and the workers have ended.
  /// @param timeout how long to wait; a distributed pool's agents may take ten seconds more to end.
  /// @param stop ends the wait when a stop is requested.
  /// @returns whether they have ended. If not, all goes on, and it may be called again.
  /// @throws std::invalid_argument neither close() nor terminate() was called.
  bool join(Timeout timeout = forever, const std::stop_token& stop = {}) {
    const auto runner = runner_;
    return runner->join(detail::Deadline{timeout}, stop);
  }
  /// @brief What it has done, and is doing.
  [[nodiscard]] PoolStats stats() const { return runner_->stats(); }

 protected:  /// @brief For those that have workers.
  explicit BasePool(std::shared_ptr<detail::TaskRunner> runner) noexcept
      : runner_{std::move(runner)} {}
  BasePool(BasePool&&) noexcept = default;  ///< The workers go along.
  /// @brief Terminates.
  ~BasePool();

 private:
  /// What a result needs before its tasks are handed out.
  template <class Calls>
  static auto preparation(Calls* callbacks) {
    return [callbacks](auto& core) {
      if constexpr (!std::is_same_v<Calls, const std::nullptr_t>) {
        core.callback = detail::as_callback(core, std::move(callbacks->callback));
        if constexpr (!std::is_same_v<decltype(callbacks->error_callback), std::nullptr_t>) {
          core.error_callback = std::move(callbacks->error_callback);
        }
      }
    };
  }
  static auto preparation(std::nullptr_t) {
    return [](auto&) {};
  }

  template <class F, class... A>
  auto start_call(const TaskOptions& options,
                  auto callbacks,
                  bool in_background,
                  const F& function,
                  const A&... arguments) {
    return detail::submit_call<std::decay_t<F>>(runner_, options, in_background,
                                                preparation(callbacks), function, arguments...);
  }
  template <bool Spread, class F, class Xs>
  auto start(const TaskOptions& options,
             auto callbacks,
             bool in_background,
             const F& function,
             Xs&& xs,
             std::size_t chunksize) {
    return detail::start_map<Spread, std::decay_t<F>>(runner_, options, in_background,
                                                      preparation(callbacks), function,
                                                      std::forward<Xs>(xs), chunksize);
  }
  template <class F, class Xs>
  auto iterate(const TaskOptions& options,
               const F& function,
               Xs&& xs,
               bool in_order,
               std::size_t chunksize,
               std::size_t buffersize) {
    return detail::iterate<false, std::decay_t<F>>(runner_, options, function, std::forward<Xs>(xs),
                                                   in_order, chunksize, buffersize);
  }

  template <class Core>
  static auto as_result(std::shared_ptr<Core> core) {
    return AsyncResult{detail::as_result_core(std::move(core))};
  }
  /// Of a result that nobody else asks for.
  template <class Core>
  static auto get(const std::shared_ptr<Core>& core,
                  const std::stop_token& stop,
                  const auto& give_up) {
    if (!core->wait(forever, stop)) {
      give_up();
      throw CancelledError{"the wait for a result was stopped"};
    }
    return core->take_last();
  }
  /// The same of a map; no progress is told behind it, whoever is just telling of some.
  template <class Core>
  auto get_quietly(const std::shared_ptr<Core>& core, const TaskOptions& options) {
    struct Quiet {  // NOLINT(*-special-member-functions): const, and of this scope only
      Core& core;
      ~Quiet() { core.silence(); }
    };
    const Quiet quiet{*core};
    return get(core, options.stop, [&, runner = runner_] {  // a callback may destroy this pool
      core->silence();
      for (const auto task : core->tasks) runner->cancel(task);
    });
  }

  std::shared_ptr<detail::TaskRunner> runner_;
};

inline BasePool::~BasePool() {
  if (!runner_) return;
  if (!runner_->is_ours()) {
    // A copy made by fork: its threads and workers are another's.
    detail::forget(std::move(runner_));
    return;
  }
  try {
    runner_->terminate(os::Signal::terminate);
  } catch (const std::exception& error) {
    log(LogLevel::error, error.what());
  }
}

}  // namespace multiprocessing
