// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file ring_batches.ipp
/// @brief Many messages for one hold of a lock, and one committing store.
#include <multiprocessing/queues/batch.hpp>
#include <multiprocessing/queues/ring.hpp>

namespace multiprocessing {

// Of a queue that has room: for how many.
inline std::size_t Ring::room_for(std::size_t messages) noexcept {
  if (maxsize_ == 0) return messages;
  auto& side = memory().producers;
  const std::uint64_t put = side.tail.current()[Producers::count];
  const auto room = [&] {
    return maxsize_ - (put - side.seen_count.load(std::memory_order_relaxed));
  };
  if (room() < messages) look_at_consumers();
  return std::min<std::size_t>(messages, room());
}

inline void Ring::put_batch(std::span<const std::byte> records,
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

template <class Read>
std::size_t Ring::get_batch(std::size_t most_messages,
                            std::size_t most_bytes,
                            Read&& read,
                            const detail::Deadline& deadline) {
  auto& side = memory().consumers;
  Held held = hold_consumer_lock(deadline);
  if (held && !has_item()) held = wait(consumer_side, side.items, std::move(held), deadline);
  if (!held) return 0;
  auto head = side.head.current();
  std::size_t taken = 0;
  bool is_committed = false;
  for (std::size_t bytes = 0; taken < most_messages && bytes < most_bytes; ++taken) {
    if (taken > 0 && !has_item_at(place_of(head))) break;
    const auto found = find_message(head, taken == 0);
    if (!found) break;  // in another area: the next call goes there
    if (found->is_lent) {
      if (taken > 0) break;  // it goes alone
      if (!take_lent(head, found->bytes, read, nullptr, 1)) break;
      is_committed = true;
      most_messages = 1;
      continue;
    }
    if (!read(found->bytes)) break;
    bytes += found->bytes.size() + Record::header_size;
    go_past(head, Record::room(found->bytes.size()));
  }
  MULTIPROCESSING_STOP_POINT("ring.get_batch.read");
  if (!is_committed) commit_taken(head, taken);
  MULTIPROCESSING_STOP_POINT("ring.get_batch.committed");
  give_back(head);
  const bool more_items = os::Bell::has_sleeper(side.items) && has_item();
  held.release();
  MULTIPROCESSING_STOP_POINT("ring.get_batch.unlocked");
  ring_for_space(head[Consumers::count]);
  if (more_items) items_.ring(side.items);
  tell_of_deaths();
  return taken;
}

}  // namespace multiprocessing
