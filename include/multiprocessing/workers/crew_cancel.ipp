// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file crew_cancel.ipp
/// @brief How tasks are taken back, or ended.
#include <multiprocessing/workers/crew.hpp>

namespace multiprocessing::detail {

/// Of a task that waits. Its arguments go with it, or a little later: not when a worker has room.
inline void Crew::cancel_waiting_later(std::uint64_t task, const std::string& why) {
  cancel_later(task, why);
  if (++stale_ <= waiting_.size() / 2) return;
  std::erase_if(waiting_, [this](const auto& each) { return table_.find(each.id) == nullptr; });
  stale_ = 0;
}

inline bool Crew::has_begun(const TaskTable::Entry& entry) const {
  return entry.place != TaskTable::nowhere &&
         board_->slot(entry.place).word.load(std::memory_order_seq_cst) / 2 == entry.id;
}

/// Gets a task back from its worker, unless that has begun it.
inline Crew::Withdrawn Crew::withdraw(std::uint64_t task) {
  // While the worker is just taking something; it may have lost its processor there.
  constexpr std::chrono::milliseconds longest{20};
  const auto end = Clock::now() + longest;
  for (;;) {
    const TaskTable::Entry* const entry = table_.find(task);
    if (entry == nullptr) return Withdrawn::unknown;
    if (entry->place == TaskTable::nowhere) return Withdrawn::yes;
    Place& place = *places_[entry->place];
    const bool has_left = place.tasks->qsize() == 0;
    if (has_begun(*entry)) return Withdrawn::begun;
    if (has_left) return Withdrawn::unknown;  // begun and ended before this look
    if (Clock::now() >= end) return Withdrawn::unknown;
    // Megabytes may take longer than that: whether it is back is looked at all the same.
    if (take_back(place, ahead) == 0) std::this_thread::yield();
  }
}

inline bool Crew::cancel(std::uint64_t task) {
  check_process();
  {
    const Locked lock{mutex_};
    const bool withdrawn = withdraw(task) == Withdrawn::yes;
    if (withdrawn) cancel_waiting_later(task, "the task was cancelled");
    refill_all();
    if (!withdrawn) return false;
  }
  resolve_failed();
  return true;
}

inline bool Crew::kill(std::uint64_t task) {
  check_process();
  bool result = false;
  {
    const Locked lock{mutex_};
    const Withdrawn withdrawn = withdraw(task);
    if (withdrawn == Withdrawn::yes) cancel_waiting_later(task, "the task was killed");
    result =
        withdrawn == Withdrawn::yes ||
        (withdrawn == Withdrawn::begun && condemn(*places_[table_.find(task)->place], task, false));
    refill_all();
  }
  resolve_failed();
  return result;
}

inline bool Crew::is_running(std::uint64_t task) {
  check_process();
  const Locked lock{mutex_};
  const TaskTable::Entry* const entry = table_.find(task);
  return entry != nullptr && has_begun(*entry);
}

inline void Crew::cancel_waiting() {
  check_process();
  {
    const Locked lock{mutex_};
    for (const auto& place : places_) {
      for (int tries = 0; tries < 1000 && take_back(*place, ahead) == 0 && place->sent.size() > 1;
           ++tries) {
        os::relax();
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
