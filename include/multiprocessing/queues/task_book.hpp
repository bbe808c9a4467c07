// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file task_book.hpp
/// @brief Who has taken which items of a queue and not finished them, in the queue's shared memory.
///
/// An item is unfinished from put() to task_done(): it is inside the queue, or in somebody's hands.
/// So what is unfinished is never counted by itself: it is what is inside, and the sum of what the
/// holders have in hand, less what was said to be done before anybody had taken it.
///
/// Everything here is changed by the holder of the consumer lock only, but for the bell. What takes
/// more than one store is noted first, with the values that are to be; whoever finds a note when it
/// got the lock, because its writer died, does what it says. Doing it twice changes nothing.
#include <multiprocessing/os/bell.hpp>
#include <multiprocessing/queues/layout.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace multiprocessing::detail {

/// @brief A process that takes items, or did.
struct Holder {
  std::atomic<std::uint64_t> pid;      ///< 0: nobody; written last.
  std::atomic<std::uint64_t> birth;    ///< With the pid an os::ProcessIdentity.
  std::atomic<std::uint64_t> in_hand;  ///< Items taken and not done.
};

/// @brief What is to happen to a holder.
struct TaskNote {
  enum Kind : std::uint64_t {
    nothing = 0,
    taking = 1,  ///< Items go to the holder, if the head says that they were taken.
    losing = 2,  ///< The holder has died: what it had is lost, and its place free.
  };
  std::atomic<std::uint64_t> kind;     ///< Written last; nothing: the rest means nothing.
  std::atomic<std::uint64_t> holder;   ///< Its place in the book.
  std::atomic<std::uint64_t> in_hand;  ///< taking: what it has then.
  std::atomic<std::uint64_t> taken;    ///< taking: what the head counts then.
  std::atomic<std::uint64_t> lost;     ///< losing: what the book says then, of all.
  std::atomic<std::uint64_t> prepaid;  ///< losing: likewise.
};

struct TaskBook {
  static constexpr std::size_t most_holders = 1000;

  alignas(line_pair) os::BellState all_done;  ///< join() waits.
  alignas(line_pair) TaskNote note;
  std::atomic<std::uint64_t> used;     ///< Places that were ever used: the first so many.
  std::atomic<std::uint64_t> prepaid;  ///< task_done() said so often before the item was taken.
  std::atomic<std::uint64_t> lost;     ///< Items that died with their holders.
  std::atomic<std::uint64_t> told;     ///< Of those, what join() has thrown LostTasks for.
  alignas(line_pair) std::array<Holder, most_holders> holders;
};

/// Where it lies in a queue's memory; committed where the queue counts tasks.
inline constexpr std::uint64_t task_book_begin = std::uint64_t{64} << 10U;
static_assert(sizeof(RingMemory) <= task_book_begin);
static_assert(task_book_begin + sizeof(TaskBook) <= smallest_area);

}  // namespace multiprocessing::detail
