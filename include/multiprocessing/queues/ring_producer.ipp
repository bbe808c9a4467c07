// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file ring_producer.ipp
/// @brief The producer's steps. All run with the producer lock held; none changes what consumers
/// see.
#include <multiprocessing/queues/ring.hpp>

namespace multiprocessing {

MULTIPROCESSING_INLINE Ring::Held Ring::hold_producer_lock(const detail::Deadline& deadline) {
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

MULTIPROCESSING_INLINE void Ring::look_at_consumers() noexcept {
  const auto head = memory().consumers.head.read();
  auto& side = memory().producers;
  side.seen_released.store(head[Consumers::released], std::memory_order_relaxed);
  side.seen_count.store(head[Consumers::count], std::memory_order_relaxed);
}

MULTIPROCESSING_INLINE bool Ring::has_room() noexcept {
  if (maxsize_ == 0) return true;
  auto& side = memory().producers;
  const std::uint64_t put = side.tail.current()[Producers::count];
  if (put - side.seen_count.load(std::memory_order_relaxed) < maxsize_) return true;
  const std::uint64_t taken = memory().consumers.head.read()[Consumers::count];
  side.seen_count.store(taken, std::memory_order_relaxed);
  return put - taken < maxsize_;
}

// Memory that has left the caches costs several times as much as consumers' company. So a producer
// of large messages gives consumers that are at work a moment before it goes further ahead.
MULTIPROCESSING_INLINE void Ring::stay_close(std::uint64_t room,
                                             const detail::Deadline& deadline) noexcept {
  if (room < large || deadline.is_now()) return;
  const Place tail = Place::from_packed(memory().producers.tail.current()[Producers::place]);
  if (!is_place(tail)) return;
  const std::uint64_t size = detail::area_size(tail.area());
  if (size < detail::smallest_for_large || room > size / 2) return;
  const auto is_close = [&] {
    if (size <= detail::shared_cache) {
      if (fits(tail, room)) return true;
      look_at_consumers();
      return fits(tail, room);
    }
    const Place read = Place::from_packed(memory().consumers.head.read()[Consumers::place]);
    return depth(tail, read) + room <= std::max(detail::smallest_for_large, 3 * room);
  };
  if (is_close()) return;
  const std::uint64_t taken = memory().consumers.head.read()[Consumers::count];
  if (taken_before_.exchange(taken, std::memory_order_relaxed) == taken) return;
  constexpr std::uint64_t bytes_in_a_round = 4096;
  constexpr std::uint64_t fewest_rounds = 10;
  constexpr std::uint64_t most_rounds = 256;
  MULTIPROCESSING_STOP_POINT("ring.put.hoping");
  near_patience_.spin(
      is_close, static_cast<int>(std::clamp(room / bytes_in_a_round, fewest_rounds, most_rounds)));
}

/// @returns where the record goes; what has to stand before it (padding, a jump) is written.
MULTIPROCESSING_INLINE Ring::Place Ring::make_room(Place tail,
                                                   std::uint64_t room,
                                                   std::size_t messages) {
  if (!is_place(tail)) damaged();
  if (const unsigned area = better_area(tail, room, messages); area != tail.area()) {
    if (const auto place = leave_if_memory_allows(area, tail, room)) return *place;
  }
  if (!fits(tail, room)) {
    look_at_consumers();
    if (!fits(tail, room)) {
      return leave_for(free_area_for(tail, room), tail, room + Record::header_size);
    }
  }
  const unsigned area = tail.area();
  const std::uint64_t size = detail::area_size(area);
  const std::uint64_t begin = offset_in_area(tail);
  if (room + Record::header_size > size) damaged();
  if (begin + room > size) {
    if (!detail::goes_round(area)) damaged();
    if (room >= large && size < detail::smallest_for_large && detail::area_for_large < areas_ &&
        !is_in_use(detail::area_for_large, tail)) {
      if (const auto place = leave_if_memory_allows(detail::area_for_large, tail, room))
        return *place;
    }
    return go_round(tail, room);
  }
  if (room >= large && goes_round_early(tail, room)) return go_round(tail, room);
  commit_memory(area, begin, std::min(begin + room + Record::header_size, size));
  return tail;
}

/// To the area's beginning: what is left before its end becomes padding.
MULTIPROCESSING_INLINE Ring::Place Ring::go_round(Place tail, std::uint64_t room) {
  const unsigned area = tail.area();
  const std::uint64_t size = detail::area_size(area);
  const std::uint64_t begin = offset_in_area(tail);
  commit_memory(area, begin, begin + Record::header_size);
  const std::uint64_t header = Record::pack(Record::padding, size - begin - Record::header_size);
  std::memcpy(at(tail), &header, sizeof header);
  MULTIPROCESSING_STOP_POINT("ring.put.padded");
  memory().producers.skipped.store(size - begin, std::memory_order_relaxed);
  commit_memory(area, 0, room + Record::header_size);
  return tail.plus(size - begin);
}

// In so much a flow of large messages like this one goes round, while consumers keep up.
constexpr std::uint64_t Ring::enough_for_flow(std::uint64_t room) noexcept {
  constexpr std::uint64_t at_least = 3;
  return std::max(detail::smallest_for_large, at_least * room + Record::header_size);
}
// And in so much while they do not, if there is a bound.
MULTIPROCESSING_INLINE std::uint64_t Ring::enough_for_all(std::uint64_t room) const noexcept {
  if (maxsize_ == 0 || maxsize_ >= detail::largest_ring_area / room) return 0;
  return (maxsize_ + 1) * room + Record::header_size;
}

// Fresh pages are dearer than the messages in them, so no more are taken than are needed.
MULTIPROCESSING_INLINE bool Ring::goes_round_early(Place tail, std::uint64_t room) noexcept {
  constexpr std::uint64_t at_least = 2;
  const std::uint64_t begin = offset_in_area(tail);
  auto& side = memory().producers;
  if (!detail::goes_round(tail.area()) || begin == 0) return false;
  const std::uint64_t all = enough_for_all(room);
  const std::uint64_t enough = all != 0 ? all : 2 * side.deepest.load(std::memory_order_relaxed);
  if (begin + room <= std::max(enough_for_flow(room), enough)) return false;
  look_at_consumers();
  const Place released = Place::from_packed(side.seen_released.load(std::memory_order_relaxed));
  const std::uint64_t round = tail.offset() - begin;
  return released.area() == tail.area() && released.offset() >= round + at_least * room &&
         fits(tail.plus(detail::area_size(tail.area()) - begin), room);
}

// Every record leaves room for a jump behind it.
MULTIPROCESSING_INLINE bool Ring::fits(Place tail, std::uint64_t room) const noexcept {
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
// Looking costs a cache line of the consumers, so it is done now and then.
MULTIPROCESSING_INLINE unsigned Ring::better_area(Place tail,
                                                  std::uint64_t room,
                                                  std::size_t messages) const noexcept {
  constexpr std::uint64_t now_and_then = 64;
  constexpr std::uint64_t at_least = 4;  // items like this one, for which there is to be room
  const std::uint64_t size = detail::area_size(tail.area());
  std::uint64_t least = room < large ? at_least * room : enough_for_flow(room);
  if (tail.area() == 0 || size / 2 < least) return tail.area();
  auto& shared = memory();
  const auto read = [&] {
    return Place::from_packed(shared.consumers.head.read()[Consumers::place]);
  };
  if (room >= large && detail::goes_round(tail.area())) {
    if (!is_calm(tail, read(), room)) return tail.area();
    least = std::max(least, shared.producers.deepest.load(std::memory_order_relaxed) + 2 * room);
  } else {
    const bool looks = shared.producers.tail.current()[Producers::count] % now_and_then < messages;
    if (!looks || read() != tail) return tail.area();
  }
  for (unsigned area = 0; area < tail.area(); ++area) {
    if (detail::area_size(area) >= least && !is_in_use(area, tail)) return area;
  }
  return tail.area();
}

/// How many bytes wait, without the padding among them.
MULTIPROCESSING_INLINE std::uint64_t Ring::depth(Place tail, Place read) const noexcept {
  const std::uint64_t size = detail::area_size(tail.area());
  if (read.area() != tail.area()) return size;
  const std::uint64_t all = tail.offset() - read.offset();
  const bool is_round = (tail.offset() ^ read.offset()) / size != 0;
  return is_round ? all - std::min(all, memory().producers.skipped.load(std::memory_order_relaxed))
                  : all;
}

// Messages of pages would pay for going back with fresh ones, so it is asked how deep the queue
// was: where it is empty, in the last 8 MiB; else in two rounds.
MULTIPROCESSING_INLINE bool Ring::is_calm(Place tail,
                                          Place read,
                                          std::uint64_t room) const noexcept {
  constexpr std::uint64_t a_while = std::uint64_t{8} << 20U;
  constexpr std::uint64_t rounds = 2;
  constexpr auto word = std::memory_order_relaxed;
  auto& side = memory().producers;
  const std::uint64_t size = detail::area_size(tail.area());
  const std::uint64_t now = tail.offset();
  const bool is_new = side.looked.load(word) > now;
  const std::uint64_t deep = depth(tail, read);
  const std::uint64_t deepest = std::max(is_new ? 0 : side.deepest.load(word), deep);
  side.deepest.store(deepest, word);
  if (!is_new && now - side.looked.load(word) < a_while) return false;
  side.looked.store(now, word);
  side.deepest.store(deep, word);
  if (read == tail && deepest <= size / 4) return true;
  if (is_new || deepest + 2 * room > size / 2) side.calm_since.store(now, word);
  return now - side.calm_since.load(word) >= rounds * size;
}

MULTIPROCESSING_INLINE bool Ring::is_in_use(unsigned area, Place tail) const noexcept {
  const auto& entered = memory().producers.entered;
  const Place released = Place::from_packed(memory().consumers.head.read()[Consumers::released]);
  const auto when = [&](unsigned which) {
    return which < areas_ ? entered[which].load(std::memory_order_relaxed) : 0;
  };
  return when(released.area()) <= when(area) && when(area) <= when(tail.area());
}

MULTIPROCESSING_INLINE unsigned Ring::free_area_for(Place tail, std::uint64_t room) const {
  // Where a bound says how many pages there can be, each area on the way there would cost its own.
  const bool is_flow = room < large || detail::area_size(tail.area()) < enough_for_flow(room);
  const std::uint64_t enough = is_flow ? 0 : enough_for_all(room);
  for (const std::uint64_t least : {enough, std::uint64_t{0}}) {
    for (unsigned step = 1; step < areas_; ++step) {
      const unsigned area = (tail.area() + step) % areas_;
      if (is_in_use(area, tail) || detail::area_size(area) < least) continue;
      // In a ring a message may need its own size again as padding.
      const std::uint64_t usable = detail::area_size(area) / (detail::goes_round(area) ? 2 : 1);
      if (room + Record::header_size <= usable) return area;
    }
  }
  throw std::system_error{std::make_error_code(std::errc::not_enough_memory),
                          "the queue's backlog fills its address space"};
}

/// Goes on in another area, for this one is full. @param at_once so much of the other one is made
/// usable now.
MULTIPROCESSING_INLINE Ring::Place Ring::leave_for(unsigned area,
                                                   Place tail,
                                                   std::uint64_t at_once) {
  const std::uint64_t begin = offset_in_area(tail);
  commit_memory(tail.area(), begin, begin + Record::header_size);  // the jump's: it is already
  commit_memory(area, 0, at_once);
  // Notes about an earlier stay in that area would be ahead of the truth.
  look_at_consumers();
  auto& side = memory().producers;
  auto& entered = side.entered;
  entered[area].store(entered[tail.area()].load(std::memory_order_relaxed) + 1,
                      std::memory_order_relaxed);
  for (auto* const note : {&side.looked, &side.deepest, &side.calm_since}) {
    note->store(0, std::memory_order_relaxed);
  }
  const std::uint64_t header = Record::pack(Record::jump, area);
  std::memcpy(at(tail), &header, sizeof header);
  MULTIPROCESSING_STOP_POINT("ring.put.jumped");
  return {area, 0};
}

/// Goes on in another area, for that is better; unless the system has no memory for it.
MULTIPROCESSING_INLINE std::optional<Ring::Place> Ring::leave_if_memory_allows(unsigned area,
                                                                               Place tail,
                                                                               std::uint64_t room) {
  // All of what large messages go round in: it must not be refused later, when the way back is cut.
  const std::uint64_t size = detail::area_size(area);
  try {
    return leave_for(area, tail, size <= detail::shared_cache ? size : room + Record::header_size);
  } catch (const std::system_error&) {
    return std::nullopt;
  }
}

/// Makes a part of an area usable, before which all is.
MULTIPROCESSING_INLINE void Ring::commit_memory(unsigned area,
                                                std::uint64_t from,
                                                std::uint64_t to) {
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
MULTIPROCESSING_INLINE void Ring::commit_more(unsigned area,
                                              std::uint64_t before,
                                              std::uint64_t to) {
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
