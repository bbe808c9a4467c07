// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file crew_cancel.ipp
/// @brief How tasks are taken back, or ended.
#include <multiprocessing/workers/crew.hpp>

namespace multiprocessing::detail {

/// Of a task that waits; for resolve(). Its arguments go with it, or a little later: not when a
/// worker has room.
MULTIPROCESSING_INLINE Crew::Failed Crew::take_waiting(std::uint64_t task, const std::string& why) {
  Failed one{{}, std::make_exception_ptr(CancelledError{why}), true};
  one.entry = table_.take(task);
  if (++stale_ > waiting_.size() / 2) {
    std::erase_if(waiting_, [this](const auto& each) { return table_.find(each.id) == nullptr; });
    stale_ = 0;
  }
  return one;
}

MULTIPROCESSING_INLINE bool Crew::has_begun(const TaskTable::Entry& entry) const {
  return entry.place != TaskTable::nowhere &&
         board_->slot(entry.place).word.load(std::memory_order_seq_cst) / 2 == entry.id;
}

/// Gets a task back from its worker, unless that has begun it.
MULTIPROCESSING_INLINE Crew::Withdrawn Crew::withdraw(std::uint64_t task) {
  const auto end = Clock::now() + patience;
  for (;;) {
    const TaskTable::Entry* const entry = table_.find(task);
    if (entry == nullptr) return Withdrawn::unknown;
    if (entry->place == TaskTable::nowhere) return Withdrawn::yes;
    Place& place = *places_[entry->place];
    const bool has_left = place.tasks->qsize() == 0;
    if (has_begun(*entry)) return Withdrawn::begun;
    if (has_left) return Withdrawn::unknown;  // begun and ended before this look
    // At least once; and megabytes may take longer: whether it is back is looked at all the same.
    if (take_back(place, no_limit) != 0) continue;
    if (Clock::now() >= end) return Withdrawn::unknown;
    std::this_thread::yield();
  }
}

MULTIPROCESSING_INLINE bool Crew::cancel(std::uint64_t task) {
  check_process();
  Failed taken;  // resolved here, and no other: our caller may hold what their callbacks take
  {
    const Locked lock{mutex_};
    if (withdraw(task) == Withdrawn::yes) taken = take_waiting(task, "the task was cancelled");
    refill_all();
  }
  return resolve(std::move(taken));
}

MULTIPROCESSING_INLINE bool Crew::kill(std::uint64_t task) {
  check_process();
  Failed taken;  // as above
  bool is_condemned = false;
  {
    const Locked lock{mutex_};
    const Withdrawn withdrawn = withdraw(task);
    if (withdrawn == Withdrawn::yes) taken = take_waiting(task, "the task was killed");
    is_condemned =
        withdrawn == Withdrawn::begun && condemn(*places_[table_.find(task)->place], task, false);
    refill_all();
  }
  return resolve(std::move(taken)) || is_condemned;
}

MULTIPROCESSING_INLINE bool Crew::is_running(std::uint64_t task) {
  check_process();
  const Locked lock{mutex_};
  const TaskTable::Entry* const entry = table_.find(task);
  return entry != nullptr && has_begun(*entry);
}

MULTIPROCESSING_INLINE void Crew::cancel_waiting() {
  check_process();
  {
    const Locked lock{mutex_};
    const auto end = Clock::now() + patience;
    for (const auto& place : places_) {
      while (place->tasks->qsize() > (place->ends ? 1U : 0U)) {
        if (take_back(*place, no_limit) != 0) continue;
        if (Clock::now() >= end) break;
        std::this_thread::yield();
      }
    }
    while (!waiting_.empty()) {
      const std::uint64_t task = waiting_.front().id;
      if (table_.find(task) != nullptr) cancel_later(task, "the task was cancelled");
      waiting_.pop_front();
    }
    stale_ = 0;
  }
  resolve_failed();
}

}  // namespace multiprocessing::detail
