// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file pool.hpp
/// @brief Worker processes that run functions. @python{multiprocessing.pool}
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/pool/async_result.hpp>
#include <multiprocessing/process.hpp>
#include <multiprocessing/timeout.hpp>
#include <multiprocessing/workers/by_value.hpp>
#include <multiprocessing/workers/crew.hpp>
#include <multiprocessing/workers/map_core.hpp>
#include <multiprocessing/workers/remote_exception.hpp>
#include <multiprocessing/workers/result_iterator.hpp>
#include <multiprocessing/workers/submit.hpp>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace multiprocessing {

/// @brief What a pool is made of. @python{multiprocessing.Pool(processes, initializer, initargs,
/// maxtasksperchild, context)}
struct PoolOptions {
  /// How many workers. 0: process_cpu_count().
  unsigned processes = 0;
  /// A worker is replaced after so many tasks (chunks, of a map). 0: never.
  unsigned maxtasksperchild = 0;
  /// Every worker does this first. What it throws breaks the pool.
  Task initializer = {};
  /// Default: get_start_method().
  std::optional<StartMethod> start_method = {};
  /// A file for the timeline of workers and tasks, in Chrome's trace format: chrome://tracing and
  /// https://ui.perfetto.dev open it. Whole once the pool has ended.
  std::filesystem::path trace = {};
};

/// @brief Worker processes that run functions. @python{multiprocessing.Pool}
/// @code
/// mp::Pool pool{4};
/// std::vector<int> squares = pool.map([](int x) { return x * x; }, numbers);
/// auto later = pool.apply_async(work, 1, "two");
/// std::cout << later.get();
/// @endcode
/// A task is a function, a member function, a lambda that captures nothing (with plain values
/// captured: by_value()), or a serializable function object. Arguments and results are anything
/// serializable, queues and connections too. Each is a copy.
///
/// A worker that dies, by whatever and whenever, fails the one task that it was running, with
/// BrokenProcessPool, which names process, signal and task, within 100 ms while somebody waits or
/// results are outstanding; it is replaced and all else goes on. The destructor terminates the
/// pool, as leaving Python's `with` does: close() and join() first where results are not waited
/// for.
///
/// Workers ignore Ctrl-C: it is the parent's to decide, and they end with it. They may start
/// processes and pools.
/// @threads Any number at once; a callback and a task's progress run in whichever waits.
/// @processes The one that made it: elsewhere, every call throws std::logic_error.
class Pool {
 public:
  /// @throws std::invalid_argument more than 32767 processes. std::logic_error the start method
  /// needs freeze_support(). SerializationError the initializer cannot travel. std::system_error
  /// the system refuses a worker: then none is left.
  explicit Pool(PoolOptions options = {});
  /// @brief With so many workers. @throws std::invalid_argument 0, or more than 32767 of them; the
  /// others as above.
  explicit Pool(unsigned processes, std::optional<StartMethod> method = {})
      : Pool{PoolOptions{.processes = checked(processes), .start_method = method}} {}
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  Pool(Pool&&) noexcept = default;
  Pool& operator=(Pool&&) = delete;
  /// @brief Terminates; takes at most some seconds, whatever workers and callbacks do.
  ~Pool();

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
    return get(start_call(options, nullptr, false, function, arguments...));
  }

  /// @brief The same without waiting.
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
    return get(start<false>(options, nullptr, false, function, std::forward<Xs>(xs), chunksize));
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
    return as_result(
        start<false>(TaskOptions{}, &callbacks, true, function, std::forward<Xs>(xs), chunksize));
  }

  /// @brief As map, with `function(a, b, ...)` for every tuple (a, b, ...) of a range.
  template <class F, std::ranges::input_range Xs>
  auto starmap(F&& function, Xs&& xs, std::size_t chunksize = 0) {
    return starmap(TaskOptions{}, function, std::forward<Xs>(xs), chunksize);
  }
  /// @overload
  template <class F, std::ranges::input_range Xs>
  auto starmap(TaskOptions options, F&& function, Xs&& xs, std::size_t chunksize = 0) {
    return get(start<true>(options, nullptr, false, function, std::forward<Xs>(xs), chunksize));
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
    return as_result(
        start<true>(TaskOptions{}, &callbacks, true, function, std::forward<Xs>(xs), chunksize));
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
  void close() { crew_->close(); }
  /// @brief Stops at once: tasks fail with CancelledError, workers get SIGTERM, and SIGKILL half a
  /// second later. Twice is fine.
  void terminate() { crew_->terminate(); }
  /// @brief Waits until all tasks are done and the workers have ended.
  /// @throws std::invalid_argument neither close() nor terminate() was called.
  void join() { crew_->join(); }
  /// @brief What it has done, and is doing.
  [[nodiscard]] PoolStats stats() const { return crew_->stats(); }

 private:
  static unsigned checked(unsigned processes) {
    if (processes == 0) throw std::invalid_argument{"a pool has at least one process"};
    return processes;
  }
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
    return detail::submit_call<std::decay_t<F>>(crew_, options, in_background,
                                                preparation(callbacks), function, arguments...);
  }
  template <bool Spread, class F, class Xs>
  auto start(const TaskOptions& options,
             auto callbacks,
             bool in_background,
             const F& function,
             Xs&& xs,
             std::size_t chunksize) {
    return detail::start_map<Spread, std::decay_t<F>>(crew_, options, in_background,
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
    return detail::iterate<false, std::decay_t<F>>(crew_, options, function, std::forward<Xs>(xs),
                                                   in_order, chunksize, buffersize);
  }

  template <class Core>
  static auto as_result(std::shared_ptr<Core> core) {
    return AsyncResult{detail::as_result_core(std::move(core))};
  }
  template <class Core>
  static auto get(std::shared_ptr<Core> core) {
    return as_result(std::move(core)).get();
  }

  std::shared_ptr<detail::Crew> crew_;
};

inline Pool::Pool(PoolOptions options) {
  constexpr unsigned most = 32767;
  if (options.processes > most) {
    throw std::invalid_argument{"a pool has at most " + std::to_string(most) + " processes"};
  }
  detail::CrewOptions crew;
  crew.name = "the pool";
  crew.workers = options.processes != 0 ? options.processes : process_cpu_count();
  crew.tasks_per_worker = options.maxtasksperchild;
  crew.initializer = std::move(options.initializer);
  crew.start_method = options.start_method ? *options.start_method : *get_start_method();
  crew.trace = std::move(options.trace);
  crew_ = detail::Crew::create(std::move(crew));
}

inline Pool::~Pool() {
  if (!crew_) return;
  if (!crew_->is_ours()) {
    // A copy made by fork: its threads and workers are another's.
    detail::forget(std::move(crew_));
    return;
  }
  try {
    crew_->terminate();
  } catch (const std::exception& error) {
    log(LogLevel::error, error.what());
  }
}

}  // namespace multiprocessing
