// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file task_runner.hpp
/// @brief Whoever does the tasks of a pool or executor, wherever.
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/timeout.hpp>
#include <multiprocessing/workers/code.hpp>
#include <multiprocessing/workers/receiver.hpp>
#include <multiprocessing/workers/stats.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <utility>

namespace multiprocessing::detail {

/// @brief A task that is to be handed out.
struct NewTask {
  const Code* code = nullptr;
  std::span<const std::byte> arguments;  ///< Encoded.
  Transit* transit = nullptr;            ///< The handles of queues and connections among them.
  std::shared_ptr<Receiver> receiver;
  std::uint32_t part = 0;
  const TaskOptions* options = nullptr;
};

/// @brief What results, pools and executors ask of those who do the tasks: a Crew of processes
/// here, or the Fleet of agents on other machines.
///
/// Where a method says that it drives, it may run callbacks.
/// @threads any number. @processes the one that made it; in others every call throws.
class TaskRunner {
 public:
  TaskRunner() = default;
  TaskRunner(const TaskRunner&) = delete;
  TaskRunner& operator=(const TaskRunner&) = delete;
  virtual ~TaskRunner() = default;

  /// @returns the task's number.
  /// @throws std::invalid_argument closed. BrokenProcessPool. SerializationError its code cannot
  /// travel. std::system_error no memory.
  virtual std::uint64_t submit(const NewTask& task) = 0;
  /// @brief From now on tasks get done also while nobody waits for one. No more is done by one that
  /// does no more work.
  virtual void work_in_background() = 0;
  /// @throws what submit() throws of one that takes no tasks.
  virtual void check_takes_tasks() = 0;

  /// @brief Waits until `done()`, and drives meanwhile if that is necessary.
  /// @param of the receiver whose results may make it so; null: any.
  /// @returns what done() says at the end.
  virtual bool wait(const Receiver* of,
                    const std::function<bool()>& done,
                    const Deadline& deadline,
                    const std::stop_token& stop = {}) = 0;

  /// @brief Takes a task back that no worker has begun. @returns whether it did; its receiver then
  /// gets a CancelledError.
  virtual bool cancel(std::uint64_t task) = 0;
  /// @brief Whether a worker has begun it and its result is not there.
  [[nodiscard]] virtual bool is_running(std::uint64_t task) = 0;
  /// @brief cancel(), or ends the worker that runs it. @returns false: it is done.
  virtual bool kill(std::uint64_t task) = 0;

  /// @brief No new tasks from now on; workers end when all is done.
  virtual void close() = 0;
  /// @brief Cancels what no worker has begun.
  virtual void cancel_waiting() = 0;
  /// @brief Until all tasks are done and all workers have ended. After close(). Called inside a
  /// callback, it does not wait for those whose callbacks wait here.
  /// @returns false: that took too long, or `stop` was requested; it may be called again.
  virtual bool join(const Deadline& deadline = Deadline{forever},
                    const std::stop_token& stop = {}) = 0;
  /// @brief Cancels all tasks, ends all workers. Takes at most three seconds, and what the
  /// callbacks of those tasks take.
  virtual void terminate(os::Signal first) = 0;
  /// @brief Lets go of the background thread, which ends as soon as nothing is left to do.
  virtual void retire() = 0;

  [[nodiscard]] virtual PoolStats stats() = 0;
  [[nodiscard]] virtual unsigned workers() = 0;
  [[nodiscard]] virtual bool is_ours() const noexcept = 0;
};

/// @brief Keeps it for good, without memory: a forked copy's may not be ended here.
inline void forget(std::shared_ptr<TaskRunner> runner) noexcept {
  union Kept {
    std::shared_ptr<TaskRunner> runner;
    explicit Kept(std::shared_ptr<TaskRunner> that) noexcept : runner{std::move(that)} {}
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;
    ~Kept() {}  // NOLINT(modernize-use-equals-default): that would end it
  };
  const Kept kept{std::move(runner)};
}

}  // namespace multiprocessing::detail
