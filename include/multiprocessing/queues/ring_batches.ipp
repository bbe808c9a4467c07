// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file ring_batches.ipp
/// @brief Many messages for one hold of a lock, and one committing store.
#include <multiprocessing/queues/batch.hpp>
#include <multiprocessing/queues/ring.hpp>

namespace multiprocessing {

// Of a queue that has room: for how many.
MULTIPROCESSING_INLINE std::size_t Ring::room_for(std::size_t messages) noexcept {
  if (maxsize_ == 0) return messages;
  auto& side = memory().producers;
  const std::uint64_t put = side.tail.current()[Producers::count];
  const auto room = [&] {
    return maxsize_ - (put - side.seen_count.load(std::memory_order_relaxed));
  };
  if (room() < messages) look_at_consumers();
  return std::min<std::size_t>(messages, room());
}

MULTIPROCESSING_INLINE void Ring::put_batch(std::span<const std::byte> records,
                                            std::size_t messages,
                                            std::size_t& stored,
                                            const detail::Deadline& deadline) {
  auto& side = memory().producers;
  while (messages > 0) {
    Held held = hold_producer_lock(deadline);
    if (held && !has_room()) held = wait(producer_side, side.space, std::move(held), deadline);
    if (!held) return;
    const std::size_t fitting = room_for(messages);
    const std::size_t length =
        fitting == messages ? records.size() : detail::Batch::length_of(records, fitting);
    stay_close(length, deadline);
    const auto tail = side.tail.current();
    const Place place = make_room(Place::from_packed(tail[Producers::place]), length, fitting);
    std::memcpy(at(place), records.data(), length);
    MULTIPROCESSING_STOP_POINT("ring.put_batch.written");
    side.tail.commit({place.plus(length).packed(), tail[Producers::count] + fitting});
    MULTIPROCESSING_STOP_POINT("ring.put_batch.committed");
    stored += fitting;
    messages -= fitting;
    records = records.subspan(length);
    const bool more_room = os::Bell::has_sleeper(side.space) && has_room();
    held.release();
    MULTIPROCESSING_STOP_POINT("ring.put_batch.unlocked");
    ring_for_items();
    if (more_room) space_.ring(side.space);
    tell_of_deaths();
  }
}

}  // namespace multiprocessing
