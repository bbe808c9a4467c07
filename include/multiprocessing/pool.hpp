// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file pool.hpp
/// @brief Worker processes that run functions. @python{multiprocessing.pool}
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/pool/base_pool.hpp>
#include <multiprocessing/process.hpp>
#include <multiprocessing/workers/crew.hpp>
#include <multiprocessing/workers/remote_exception.hpp>

#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace multiprocessing {

/// @brief What a pool is made of. @python{multiprocessing.Pool(processes, initializer, initargs,
/// maxtasksperchild, context)}
struct PoolOptions {
  /// How many workers. 0: process_cpu_count().
  unsigned processes = 0;
  /// A worker is replaced after at most so many tasks (chunks, of a map): after fewer, where
  /// another one had nothing to do and got some of them. 0: never.
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
class Pool : public BasePool {
 public:
  /// @throws std::invalid_argument more than 32767 processes. std::logic_error the start method
  /// needs freeze_support(). SerializationError the initializer cannot travel. std::system_error
  /// the system refuses a worker: then none is left.
  explicit Pool(PoolOptions options = {}) : BasePool{crew_of(std::move(options))} {}
  /// @brief With so many workers. @throws std::invalid_argument 0, or more than 32767 of them; the
  /// others as above.
  explicit Pool(unsigned processes, std::optional<StartMethod> method = {})
      : Pool{PoolOptions{.processes = checked(processes), .start_method = method}} {}
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  Pool(Pool&&) noexcept = default;
  Pool& operator=(Pool&&) = delete;
  /// @brief Terminates. Workers have ended within some seconds, whatever they do; callbacks of
  /// what was still open run here, and are waited for.
  ~Pool() = default;

 private:
  static unsigned checked(unsigned processes) {
    if (processes == 0) throw std::invalid_argument{"a pool has at least one process"};
    return processes;
  }
  static std::shared_ptr<detail::Crew> crew_of(PoolOptions options);
};

inline std::shared_ptr<detail::Crew> Pool::crew_of(PoolOptions options) {
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
  return detail::Crew::create(std::move(crew));
}

}  // namespace multiprocessing
