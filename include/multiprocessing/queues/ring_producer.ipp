// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file ring_producer.ipp
/// @brief The producer's steps. All run with the producer lock held; none changes what consumers
/// see.
#include <multiprocessing/queues/ring.hpp>

namespace multiprocessing {

inline Ring::Held Ring::hold_producer_lock(const detail::Deadline& deadline) {
  check_open();
  os::RobustLock& lock = memory().producer_lock;
  const auto acquired =
      detail::acquire(lock, producer_lock_patience_, deadline, [this] { check_open(); });
  if (acquired == os::Acquired::no) return {};
  Held held{lock};
  if (acquired == os::Acquired::abandoned) {
    // What the dead one had not committed nobody sees; its notes may be half written.
    look_at_consumers();
    settle_blocks(BlockWord::committing, memory().producers.tail.current()[Producers::count]);
    note_death(producer_died);
    ring_for_items();  // what it had committed it may not have said
  }
  MULTIPROCESSING_STOP_POINT("ring.put.locked");
  if (memory().producers.shutdown.load(std::memory_order_relaxed) != detail::no_shutdown) {
    held.release();
    space_.ring(memory().producers.space);  // the next one that sleeps hears of it too
    throw_shut_down();
  }
  return held;
}

inline void Ring::look_at_consumers() noexcept {
  const auto head = memory().consumers.head.read();
  auto& side = memory().producers;
  side.seen_released.store(head[Consumers::released], std::memory_order_relaxed);
  side.seen_count.store(head[Consumers::count], std::memory_order_relaxed);
}

inline bool Ring::has_room() noexcept {
  if (maxsize_ == 0) return true;
  auto& side = memory().producers;
  const std::uint64_t put = side.tail.current()[Producers::count];
  if (put - side.seen_count.load(std::memory_order_relaxed) < maxsize_) return true;
  const std::uint64_t taken = memory().consumers.head.read()[Consumers::count];
  side.seen_count.store(taken, std::memory_order_relaxed);
  return put - taken < maxsize_;
}

/// @returns where the record goes; what has to stand before it (padding, a jump) is written.
inline Ring::Place Ring::make_room(Place tail, std::uint64_t room, std::size_t messages) {
  if (!is_place(tail)) damaged();
  if (const unsigned area = better_area(tail, room, messages); area != tail.area()) {
    return leave_for(area, tail, room);
  }
  if (!fits(tail, room)) {
    look_at_consumers();
    if (!fits(tail, room)) return leave_for(free_area_for(tail, room), tail, room);
  }
  const unsigned area = tail.area();
  const std::uint64_t size = detail::area_size(area);
  const std::uint64_t begin = offset_in_area(tail);
  if (room + Record::header_size > size) damaged();
  if (begin + room > size) {
    if (!detail::goes_round(area)) damaged();
    commit_memory(area, begin, begin + Record::header_size);
    const std::uint64_t header = Record::pack(Record::padding, size - begin - Record::header_size);
    std::memcpy(at(tail), &header, sizeof header);
    MULTIPROCESSING_STOP_POINT("ring.put.padded");
    tail = tail.plus(size - begin);
    commit_memory(area, 0, room + Record::header_size);
  } else {
    commit_memory(area, begin, std::min(begin + room + Record::header_size, size));
  }
  return tail;
}

// Every record leaves room for a jump behind it.
inline bool Ring::fits(Place tail, std::uint64_t room) const noexcept {
  const std::uint64_t size = detail::area_size(tail.area());
  if (!detail::goes_round(tail.area())) return tail.offset() + room + Record::header_size <= size;
  const std::uint64_t to_end = size - (tail.offset() & (size - 1));
  const std::uint64_t needed = room <= to_end ? room : room + to_end;
  const Place released =
      Place::from_packed(memory().producers.seen_released.load(std::memory_order_relaxed));
  // Where the consumers are still in an earlier area, all of this one is in use.
  const std::uint64_t freed = released.area() == tail.area() ? released.offset() : 0;
  return tail.offset() - freed + needed + Record::header_size <= size;
}

// Back to a small area when all has been read, so that a small queue works in a small memory.
// Looking costs a cache line of the consumers, so it is done now and then. Messages of pages would
// pay for going back with fresh ones, so with them it is also asked how deep the queue was lately.
inline unsigned Ring::better_area(Place tail,
                                  std::uint64_t room,
                                  std::size_t messages) const noexcept {
  constexpr std::uint64_t now_and_then = 64;
  constexpr std::uint64_t spacious = 4;  // room for some items like this one
  constexpr std::uint64_t large = 4096;
  auto& shared = memory();
  const std::uint64_t size = detail::area_size(tail.area());
  if (tail.area() == 0 || size / 2 < spacious * room) return tail.area();
  const bool looks = shared.producers.tail.current()[Producers::count] % now_and_then < messages;
  if (!looks && room < large) return tail.area();
  const Place read = Place::from_packed(shared.consumers.head.read()[Consumers::place]);
  std::uint64_t deepest = 0;
  if (room >= large) {
    const std::uint64_t depth = read.area() == tail.area() ? tail.offset() - read.offset() : size;
    deepest = std::max(shared.producers.deepest.load(std::memory_order_relaxed), depth);
    shared.producers.deepest.store(looks ? 0 : deepest, std::memory_order_relaxed);
  }
  if (!looks || read != tail || spacious * deepest > size) return tail.area();
  for (unsigned area = 0; area < tail.area(); ++area) {
    if (detail::area_size(area) >= spacious * room && !is_in_use(area, tail)) return area;
  }
  return tail.area();
}

inline bool Ring::is_in_use(unsigned area, Place tail) const noexcept {
  const auto& entered = memory().producers.entered;
  const Place released = Place::from_packed(memory().consumers.head.read()[Consumers::released]);
  const auto when = [&](unsigned which) {
    return which < areas_ ? entered[which].load(std::memory_order_relaxed) : 0;
  };
  return when(released.area()) <= when(area) && when(area) <= when(tail.area());
}

inline unsigned Ring::free_area_for(Place tail, std::uint64_t room) const {
  for (unsigned step = 1; step < areas_; ++step) {
    const unsigned area = (tail.area() + step) % areas_;
    if (is_in_use(area, tail)) continue;
    // In a ring a message may need its own size again as padding.
    const std::uint64_t usable = detail::area_size(area) / (detail::goes_round(area) ? 2 : 1);
    if (room + Record::header_size <= usable) return area;
  }
  throw std::system_error{std::make_error_code(std::errc::not_enough_memory),
                          "the queue's backlog fills its address space"};
}

inline Ring::Place Ring::leave_for(unsigned area, Place tail, std::uint64_t room) {
  const std::uint64_t begin = offset_in_area(tail);
  commit_memory(tail.area(), begin, begin + Record::header_size);  // the jump's: it is already
  commit_memory(area, 0, room + Record::header_size);
  // Notes about an earlier stay in that area would be ahead of the truth.
  look_at_consumers();
  auto& entered = memory().producers.entered;
  entered[area].store(entered[tail.area()].load(std::memory_order_relaxed) + 1,
                      std::memory_order_relaxed);
  const std::uint64_t header = Record::pack(Record::jump, area);
  std::memcpy(at(tail), &header, sizeof header);
  MULTIPROCESSING_STOP_POINT("ring.put.jumped");
  return {area, 0};
}

/// Makes a part of an area usable, before which all is.
inline void Ring::commit_memory(unsigned area, std::uint64_t from, std::uint64_t to) {
  const Place noted =
      Place::from_packed(memory().producers.committed.load(std::memory_order_relaxed));
  if (noted.area() != area) {
    commit_more(area, from / commit_step * commit_step, to);
  } else if (to > noted.offset()) {
    commit_more(area, noted.offset(), to);
  }
  check_usable(area, from, to - from);
}

// In steps, for a system call is dearer than a message.
inline void Ring::commit_more(unsigned area, std::uint64_t before, std::uint64_t to) {
  const std::uint64_t step = std::clamp(before, commit_step, longest_commit_step);
  const std::uint64_t whole = (to + commit_step - 1) / commit_step * commit_step;
  std::uint64_t end = std::min(std::max(whole, before + step), detail::area_size(area));
  std::error_code ec;
  const std::uint64_t begin = detail::area_begin(area);
  const bool open = use_handle([&] {
    region_.commit(begin + before, end - before, ec);
    if (ec) {  // not so much: then just enough
      end = to;
      region_.commit(begin + before, end - before, ec);
    }
  });
  if (!open) check_open();
  if (ec) throw std::system_error{ec, "no memory for the queue's backlog; the item was not put"};
  MULTIPROCESSING_STOP_POINT("ring.put.committed_memory");
  memory().producers.committed.store(Place{area, end}.packed(), std::memory_order_relaxed);
}

}  // namespace multiprocessing
