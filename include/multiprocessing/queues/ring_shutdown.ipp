// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file ring_shutdown.ipp
/// @brief A ring's end for all its processes.
#include <multiprocessing/queues/ring.hpp>

namespace multiprocessing {

// With the producers' lock: a put is over before the shutdown, or has not begun. With the
// consumers' before it, where all is dropped: whoever dies on the way leaves that lock abandoned,
// and its next holder drops the rest.
MULTIPROCESSING_INLINE void Ring::shutdown(bool immediate) {
  check_open();
  const auto check = [this] { check_open(); };
  const detail::Deadline no_end{forever};
  detail::RingMemory& shared = memory();
  Held consumers;
  if (immediate) consumers = hold_consumer_lock(no_end);
  MULTIPROCESSING_STOP_POINT("ring.shutdown.began");
  {
    const os::Acquired acquired =
        detail::acquire(shared.producer_lock, producer_lock_patience_, no_end, check);
    const Held producers{shared.producer_lock};
    if (acquired == os::Acquired::abandoned) {
      look_at_consumers();
      settle_blocks(BlockWord::committing, shared.producers.tail.current()[Producers::count]);
      note_death(producer_died);
    }
    const std::uint64_t wanted = immediate ? detail::shut_at_once : detail::shut_for_producers;
    auto& word = shared.producers.shutdown;
    word.store(std::max<std::uint64_t>(wanted, word.load(std::memory_order_relaxed)),
               std::memory_order_seq_cst);
    MULTIPROCESSING_STOP_POINT("ring.shutdown.stored");
  }
  if (immediate) drop_all();
  consumers.release();
  MULTIPROCESSING_STOP_POINT("ring.shutdown.unlocked");
  ring_for_items();
  space_.ring(shared.producers.space);
  if (counts_tasks_) all_done_.ring(book().all_done);
  tell_of_deaths();
}

MULTIPROCESSING_INLINE void Ring::drop_all() {
  auto& side = memory().consumers;
  std::uint64_t dropped = 0;  // from one area
  unsigned jumps = 0;
  while (has_item()) {
    auto head = side.head.current();
    const unsigned area = place_of(head).area();
    const Found found = *find_message(head, true);
    const std::uint64_t room = Record::room(found.bytes.size());
    const bool jumped = place_of(head).area() != area;
    dropped = jumped ? room : dropped + room;
    jumps += jumped ? 1 : 0;
    if (dropped > detail::area_size(place_of(head).area()) || jumps >= areas_) {
      damaged();  // round and round
    }
    if (found.is_lent) {
      take_lent(
          head, found.bytes, [](std::span<const std::byte>) {}, nullptr, 0);
    } else {
      go_past(head, room);
      side.head.commit(head);
    }
    MULTIPROCESSING_STOP_POINT("ring.shutdown.dropped");
    give_back(head);
  }
}

}  // namespace multiprocessing
