// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file joinable_queue.hpp
/// @brief A queue of tasks, which can be waited for.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/queues/queue.hpp>
#include <multiprocessing/timeout.hpp>

#include <cstddef>
#include <memory>
#include <utility>

namespace multiprocessing {

/// @brief A Queue whose items are tasks: whoever has taken one says task_done() when it is done,
/// and join() waits until all are. @python{multiprocessing.JoinableQueue(maxsize)}
///
/// A task is unfinished from put() to task_done(). Who has taken which number of tasks stands in
/// the queue's memory, so those of a process that ends without task_done(), killed or not, are
/// known to be lost, and join() says so instead of waiting for ever.
/// @code
/// mp::JoinableQueue<Job> jobs;
/// ...                                   // processes: for (;;) { work(jobs.get());
/// jobs.task_done(); } for (const Job& job : all) jobs.put(job); try {
///   jobs.join();
/// } catch (const mp::LostTasks& lost) {
///   ...                                 // lost.count jobs are to be done again; join() once more
/// }
/// @endcode
/// Differences from Python: there, tasks of a killed process are waited for for ever.
/// @shape Up to 1000 processes can have tasks in hand at a time.
/// @threads any, at once: a task belongs to the process that took it, not to the thread.
/// @processes any, at once.
template <class T>
class JoinableQueue : public Queue<T> {
 public:
  /// @param maxsize how many items fit; 0: no bound.
  /// @throws std::system_error the system has no descriptor or memory left.
  explicit JoinableQueue(std::size_t maxsize = 0) : Queue<T>{Ring::create(maxsize, true)} {}

  /// @brief One task that this process has taken is done; if it has none, one of another process's,
  /// or one that nobody has taken yet.
  /// @throws std::invalid_argument every task is done. @python{ValueError}
  void task_done() { this->core().task_done(); }

  /// @brief Waits until every task is done, also those that are put meanwhile.
  /// @param timeout how long. With zero, false may also mean that another process is just inside.
  /// @returns false: some were unfinished for so long. Python's has no timeout.
  /// @throws LostTasks processes ended that had tasks in hand; thrown at once, whatever else is
  ///   unfinished, and once: the next call waits for the others.
  /// @throws std::invalid_argument the queue is closed in this process.
  bool join(Timeout timeout = forever) {
    return this->core().join_tasks(detail::Deadline{timeout});
  }

  /// @brief How many tasks are inside the queue, or in the hands of processes that live.
  [[nodiscard]] std::size_t unfinished() const { return this->core().unfinished_tasks(); }
  /// @brief How many tasks were lost so far, with the processes that had them.
  [[nodiscard]] std::size_t lost() const { return this->core().lost_tasks(); }

 private:
  friend struct codec<JoinableQueue>;
  explicit JoinableQueue(Queue<T> queue) : Queue<T>{std::move(queue)} {}
};

/// @brief It travels as a Queue does.
template <class T>
struct codec<JoinableQueue<T>> {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const JoinableQueue<T>& queue) {
    codec<Queue<T>>::encode(encoder, queue);
  }
  /// @throws SerializationError it is a Queue that counts no tasks.
  static JoinableQueue<T> decode(Decoder& decoder) {
    JoinableQueue<T> queue{codec<Queue<T>>::decode(decoder)};
    if (!queue.core().counts_tasks()) {
      throw SerializationError{"a Queue arrived where a JoinableQueue was to"};
    }
    return queue;
  }
};

}  // namespace multiprocessing
