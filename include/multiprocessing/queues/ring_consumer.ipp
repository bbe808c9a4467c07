// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file ring_consumer.ipp
/// @brief The consumer's steps. All run with the consumer lock held.
#include <multiprocessing/queues/ring.hpp>

namespace multiprocessing {

MULTIPROCESSING_INLINE Ring::Held Ring::hold_consumer_lock(const detail::Deadline& deadline) {
  check_open();
  detail::RingMemory& shared = memory();
  const auto acquired = detail::acquire(shared.consumer_lock, consumer_lock_patience_, deadline,
                                        [this] { check_open(); });
  if (acquired == os::Acquired::no) return {};
  Held held{shared.consumer_lock};
  const auto head = shared.consumers.head.current();
  if (acquired == os::Acquired::abandoned) {
    shared.consumers.seen_tail.store(head[Consumers::place], std::memory_order_relaxed);
    note_death(consumer_died);
    settle_blocks(BlockWord::taking, head[Consumers::count]);
    if (counts_tasks_ || has_loans()) settle_note();
    if (shared.producers.shutdown.load(std::memory_order_seq_cst) == detail::shut_at_once) {
      drop_all();
    }
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

MULTIPROCESSING_INLINE bool Ring::has_item_at(Place place) noexcept {
  auto& side = memory().consumers;
  if (side.seen_tail.load(std::memory_order_relaxed) != place.packed()) return true;
  const std::uint64_t tail = memory().producers.tail.read()[Producers::place];
  side.seen_tail.store(tail, std::memory_order_relaxed);
  return tail != place.packed();
}

/// Goes to the next message: behind padding, and into the area that a jump names.
/// @returns it; `head` then stands before its record. None: behind a jump that is not to be
/// followed.
MULTIPROCESSING_INLINE std::optional<Ring::Found> Ring::find_message(Head& head,
                                                                     bool follows_jumps) {
  Place place = Place::from_packed(head[Consumers::place]);
  for (int records = 0; records < 3; ++records) {
    if (!is_place(place)) damaged();
    const std::byte* const record = at(place);
    const std::uint64_t begin = offset_in_area(place);
    const std::uint64_t to_end = detail::area_size(place.area()) - begin;
    check_usable(place.area(), begin, Record::header_size);
    std::uint64_t header = 0;
    std::memcpy(&header, record, sizeof header);
    const std::uint64_t size = Record::size(header);
    switch (Record::kind(header)) {
      case Record::message:
        if (size > to_end - Record::header_size) damaged();
        if (size > trusted_size) look_what_is_usable(place.area(), begin, size);
        check_usable(place.area(), begin, Record::header_size + size);
        head[Consumers::place] = place.packed();
        return Found{{record + Record::header_size, size}, (header & Record::lent) != 0};
      case Record::padding:
        place = place.plus(to_end);
        break;
      case Record::jump: {
        if (size >= areas_) damaged();
        if (!follows_jumps) return std::nullopt;
        const unsigned left = place.area();
        place = Place{size, 0};
        head[Consumers::place] = place.packed();
        memory().consumers.head.commit(head);
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

/// What the head says when the message of `room` bytes is taken.
MULTIPROCESSING_INLINE void Ring::go_past(Head& head, std::uint64_t room) noexcept {
  const Place place = Place::from_packed(head[Consumers::place]);
  const Place released = Place::from_packed(head[Consumers::released]);
  head[Consumers::place] = place.plus(room).packed();
  ++head[Consumers::count];
  if (detail::goes_round(place.area())) {
    head[Consumers::released] = head[Consumers::place];  // kept for its next round
  } else if (released.area() != place.area()) {  // that a jump left, and is discarded already
    head[Consumers::released] = Place{place.area(), 0}.packed();
  }
}

/// Gives read memory of a large area back, and only then lets producers have it.
MULTIPROCESSING_INLINE void Ring::give_back(Head& head) noexcept {
  const Place place = Place::from_packed(head[Consumers::place]);
  const Place released = Place::from_packed(head[Consumers::released]);
  if (place.offset() - released.offset() < give_back_step) return;
  if (!is_place(released) || released.area() != place.area() ||
      released.offset() > place.offset()) {
    return;  // not ours: nothing is given back
  }
  use_handle([&] {
    region_.discard(detail::area_begin(place.area()) + released.offset(),
                    place.offset() - released.offset());
  });
  MULTIPROCESSING_STOP_POINT("ring.get.gave_back");
  head[Consumers::released] = place.packed();
  memory().consumers.head.commit(head);
}

MULTIPROCESSING_INLINE void Ring::discard_area(unsigned area) noexcept {
  if (area >= areas_ || detail::area_size(area) < kept_area) return;
  use_handle([&] { region_.discard(detail::area_begin(area), detail::area_size(area)); });
  MULTIPROCESSING_STOP_POINT("ring.get.discarded");
}

MULTIPROCESSING_INLINE void Ring::ring_for_space(std::uint64_t taken) noexcept {
  auto& producers = memory().producers;
  if (!os::Bell::has_sleeper(producers.space)) return;
  const std::uint64_t inside = producers.tail.read()[Producers::count] - taken;
  if (maxsize_ < large_queue || inside <= maxsize_ / 2) space_.ring(producers.space);
}

}  // namespace multiprocessing
