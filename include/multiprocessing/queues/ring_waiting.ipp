// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file ring_waiting.ipp
/// @brief How either side of a ring waits for the other.
#include <multiprocessing/queues/ring.hpp>

namespace multiprocessing {

MULTIPROCESSING_INLINE const Ring::Side Ring::producer_side{
    &Ring::has_room, &Ring::hold_producer_lock, &Ring::space_, &Ring::space_patience_};
MULTIPROCESSING_INLINE const Ring::Side Ring::consumer_side{
    &Ring::has_item, &Ring::hold_consumer_lock, &Ring::items_, &Ring::items_patience_};

MULTIPROCESSING_INLINE bool Ring::prepare_wait() {
  check_open();
  auto& side = memory().consumers;
  const auto ready = [&] {
    return side.head.read()[Consumers::place] != memory().producers.tail.read()[Producers::place] ||
           is_shut_down();
  };
  if (ready()) return true;
  if (!use_handle([&] { os::reset_event(event_.get()); })) check_open();
  side.watched.store(1, std::memory_order_seq_cst);
  MULTIPROCESSING_STOP_POINT("ring.prepare_wait.announced");
  if (!ready()) return false;
  set_event();  // the reset may have been too late for others
  return true;
}

MULTIPROCESSING_INLINE void Ring::set_event() noexcept {
  if (memory().consumers.watched.exchange(0, std::memory_order_seq_cst) == 0) return;
  MULTIPROCESSING_STOP_POINT("ring.set_event.told");
  use_handle([&] { os::set_event(event_.get()); });
}

/// @param held the side's lock. It is not held in a sleep: whoever is stopped there, or killed,
/// holds nobody up.
/// @returns the lock, and the side is ready; or none: the deadline passed.
MULTIPROCESSING_INLINE Ring::Held Ring::wait(const Side& side,
                                             os::BellState& state,
                                             Held held,
                                             const detail::Deadline& deadline) {
  const auto ready = [&] { return (this->*side.ready)(); };
  // Of a queue that is shut down nothing more can come; producers find that out with their lock.
  const auto ready_at_last = [&] {
    const bool last = &side == &consumer_side && is_shut_down();
    if (ready()) return true;
    if (last) {
      held.release();
      (this->*side.bell).ring(state);  // the next one that sleeps hears of it too
      throw_shut_down();
    }
    return false;
  };
  if (deadline.is_now()) return ready_at_last() ? std::move(held) : Held{};
  // A producer of a large queue is not rung for every item, so it looks by itself before long.
  const bool looks_soon = &side == &producer_side && maxsize_ >= large_queue;
  auto nap = looks_soon ? shortest_nap : os::Bell::longest_sleep;
  while (held && !ready()) {
    if ((this->*side.patience).spin(ready)) break;
    const auto announced = os::Bell::announce(state);
    MULTIPROCESSING_STOP_POINT("ring.wait.announced");
    if (ready_at_last()) break;
    check_open();
    const auto left = deadline.left(nap);
    if (left == left.zero()) return {};
    held.release();
    tell_of_deaths();
    MULTIPROCESSING_STOP_POINT("ring.wait.unlocked");
    (this->*side.bell).sleep(state, announced, left);
    MULTIPROCESSING_STOP_POINT("ring.wait.woken");
    nap = std::min(2 * nap, os::Bell::longest_sleep);
    held = (this->*side.hold)(deadline);
  }
  return held;
}

}  // namespace multiprocessing
