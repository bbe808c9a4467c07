// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file ring_consumer.ipp
/// @brief The consumer's steps. All run with the consumer lock held.
#include <multiprocessing/queues/ring.hpp>

namespace multiprocessing {

inline Ring::Held Ring::hold_consumer_lock(const detail::Deadline& deadline) {
  check_open();
  detail::RingMemory& shared = memory();
  const auto acquired = detail::acquire(shared.consumer_lock, consumer_lock_patience_, deadline,
                                        [this] { check_open(); });
  if (acquired == os::Acquired::no) return {};
  Held held{shared.consumer_lock};
  const auto head = shared.consumers.head.current();
  if (acquired == os::Acquired::abandoned) {
    os::Bell::wake_up(shared.consumers.items);
    shared.consumers.seen_tail.store(head[Consumers::place], std::memory_order_relaxed);
    // The dead one may have taken an item and not said so.
    ring_for_space(head[Consumers::count]);
  }
  MULTIPROCESSING_STOP_POINT("ring.get.locked");
  // Whoever followed a jump and died has not given the area back.
  const Place released = Place::from_packed(head[Consumers::released]);
  if (released.area() != Place::from_packed(head[Consumers::place]).area()) {
    discard_area(released.area());
  }
  return held;
}

inline bool Ring::wait_for_item(Place place, const detail::Deadline& deadline) {
  auto& side = memory().consumers;
  if (side.seen_tail.load(std::memory_order_relaxed) != place.packed()) return true;
  const auto has_item = [&] {
    const std::uint64_t tail = memory().producers.tail.read()[Producers::place];
    if (tail == place.packed()) return false;
    side.seen_tail.store(tail, std::memory_order_relaxed);
    return true;
  };
  return detail::wait_until(has_item, items_, side.items, items_patience_, deadline,
                            [this] { check_open(); });
}

/// @returns where the next message's record begins: behind padding, and in the area that a jump
/// names.
inline Ring::Place Ring::find_message(Place place) {
  auto& side = memory().consumers;
  for (int records = 0; records < 3; ++records) {
    std::uint64_t header = 0;
    std::memcpy(&header, at(place), sizeof header);
    const std::uint64_t area = detail::area_size(place.area());
    const std::uint64_t to_end = area - (place.offset() & (area - 1));
    const std::uint64_t size = Record::size(header);
    switch (Record::kind(header)) {
      case Record::message:
        if (size > to_end - Record::header_size) damaged();
        return place;
      case Record::padding:
        place = place.plus(to_end);
        break;
      case Record::jump: {
        if (size >= areas_) damaged();
        const auto head = side.head.current();
        const unsigned left = place.area();
        place = Place{size, 0};
        side.head.commit({place.packed(), head[Consumers::count], head[Consumers::released]});
        MULTIPROCESSING_STOP_POINT("ring.get.jumped");
        discard_area(left);
        break;
      }
      case Record::none:
        damaged();
    }
  }
  damaged();
}

/// Gives memory back before producers may use it again. @returns what is free from now on.
inline Ring::Place Ring::give_back(Place place, Place next, Place released) noexcept {
  // An area that was left by a jump is discarded already; a small one is kept for its next round.
  if (released.area() != place.area() || detail::goes_round(place.area())) return next;
  if (place.offset() - released.offset() < give_back_step) return released;
  const std::scoped_lock guard{handle_mutex_};
  region_.discard(detail::area_begin(place.area()) + released.offset(),
                  place.offset() - released.offset());
  MULTIPROCESSING_STOP_POINT("ring.get.gave_back");
  return place;
}

inline void Ring::discard_area(unsigned area) noexcept {
  if (area >= areas_ || detail::area_size(area) < kept_area) return;
  const std::scoped_lock guard{handle_mutex_};
  region_.discard(detail::area_begin(area), detail::area_size(area));
  MULTIPROCESSING_STOP_POINT("ring.get.discarded");
}

/// A sleeping producer is woken when a good part of the queue is free: waking it for every item
/// would cost more than the items. It looks by itself after 50 ms.
inline void Ring::ring_for_space(std::uint64_t taken) noexcept {
  auto& producers = memory().producers;
  if (!os::Bell::has_sleeper(producers.space)) return;
  const std::uint64_t inside = producers.tail.read()[Producers::count] - taken;
  if (inside <= maxsize_ - std::min<std::uint64_t>(maxsize_, maxsize_ / 8 + 1) ||
      inside > maxsize_) {
    space_.ring(producers.space);
  }
}

}  // namespace multiprocessing
