// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file ring_tasks.ipp
/// @brief A ring that knows what was taken from it and is not done.
#include <multiprocessing/queues/ring.hpp>

namespace multiprocessing {

// ---- with the consumer lock held ----

// What another program wrote there must not lead anywhere.
MULTIPROCESSING_INLINE std::size_t Ring::holders_used() const noexcept {
  return std::min<std::size_t>(book().used.load(std::memory_order_relaxed),
                               detail::TaskBook::most_holders);
}

/// @returns the place of this process in the book; none: it has never taken anything.
MULTIPROCESSING_INLINE std::optional<std::size_t> Ring::find_own_holder() noexcept {
  const auto is_mine = [&](std::size_t place) {
    const detail::Holder& holder = book().holders[place];
    return holder.pid.load(std::memory_order_relaxed) == identity_.pid &&
           holder.birth.load(std::memory_order_relaxed) == identity_.birth;
  };
  if (identity_.pid != static_cast<std::uint64_t>(os::process_id())) {  // the first time, or forked
    identity_ = os::own_identity();
  }
  const std::size_t used = holders_used();
  if (own_holder_ < used && is_mine(own_holder_)) return own_holder_;
  for (std::size_t place = 0; place < used; ++place) {
    if (is_mine(place)) return own_holder_ = place;
  }
  return std::nullopt;
}

MULTIPROCESSING_INLINE std::size_t Ring::own_holder() {
  if (const auto place = find_own_holder()) return *place;
  auto& holders = book().holders;
  const auto is_free = [&](std::size_t place) {
    return holders[place].pid.load(std::memory_order_relaxed) == 0;
  };
  const auto first_free = [&] {
    std::size_t place = 0;
    for (const std::size_t used = holders_used(); place < used && !is_free(place);) ++place;
    return place;
  };
  std::size_t place = first_free();
  if (place == holders.size()) {
    forget_the_dead();
    place = first_free();
  }
  if (place == holders.size()) {
    throw std::system_error{std::make_error_code(std::errc::resource_unavailable_try_again),
                            "too many processes have taken items from one JoinableQueue"};
  }
  auto& holder = holders[place];
  holder.in_hand.store(0, std::memory_order_relaxed);
  holder.birth.store(identity_.birth, std::memory_order_relaxed);
  holder.pid.store(identity_.pid, std::memory_order_release);
  MULTIPROCESSING_STOP_POINT("ring.tasks.entered");
  if (place >= holders_used()) book().used.store(place + 1, std::memory_order_release);
  return own_holder_ = place;
}

/// Before the head's commit: these messages will be in this process's hands.
MULTIPROCESSING_INLINE void Ring::note_taken(const Head& head, std::size_t messages) {
  const std::size_t mine = own_holder();
  detail::TaskNote& note = book().note;
  const std::uint64_t in_hand = book().holders[mine].in_hand.load(std::memory_order_relaxed);
  note.holder.store(mine, std::memory_order_relaxed);
  note.in_hand.store(in_hand + messages, std::memory_order_relaxed);
  note.taken.store(head[Consumers::count], std::memory_order_relaxed);
  note.kind.store(detail::TaskNote::taking, std::memory_order_release);
  MULTIPROCESSING_STOP_POINT("ring.tasks.noted");
}

MULTIPROCESSING_INLINE void Ring::settle_note() noexcept {
  detail::TaskBook& tasks = book();
  detail::TaskNote& note = tasks.note;
  const std::uint64_t kind = note.kind.load(std::memory_order_acquire);
  if (kind == detail::TaskNote::nothing) return;
  const std::uint64_t place = note.holder.load(std::memory_order_relaxed);
  if (place < tasks.holders.size()) {
    detail::Holder& holder = tasks.holders[place];
    if (kind == detail::TaskNote::losing) {
      tasks.lost.store(note.lost.load(std::memory_order_relaxed), std::memory_order_relaxed);
      tasks.prepaid.store(note.prepaid.load(std::memory_order_relaxed), std::memory_order_relaxed);
      holder.in_hand.store(0, std::memory_order_relaxed);
      MULTIPROCESSING_STOP_POINT("ring.tasks.lost");
      holder.pid.store(0, std::memory_order_relaxed);
    } else if (current_head()[Consumers::count] >= note.taken.load(std::memory_order_relaxed)) {
      holder.in_hand.store(note.in_hand.load(std::memory_order_relaxed), std::memory_order_relaxed);
    }
  }
  MULTIPROCESSING_STOP_POINT("ring.tasks.settled");
  note.kind.store(detail::TaskNote::nothing, std::memory_order_release);
}

MULTIPROCESSING_INLINE std::uint64_t Ring::inside_or_in_hand() const noexcept {
  std::uint64_t sum =
      memory().producers.tail.read()[Producers::count] - current_head()[Consumers::count];
  for (std::size_t place = 0, used = holders_used(); place < used; ++place) {
    sum += book().holders[place].in_hand.load(std::memory_order_relaxed);
  }
  return sum;
}

MULTIPROCESSING_INLINE std::uint64_t Ring::count_unfinished() const noexcept {
  const std::uint64_t all = inside_or_in_hand();
  const std::uint64_t prepaid = book().prepaid.load(std::memory_order_relaxed);
  return all > prepaid ? all - prepaid : 0;
}

MULTIPROCESSING_INLINE void Ring::forget_the_dead() noexcept {
  detail::TaskBook& tasks = book();
  const auto word = std::memory_order_relaxed;
  for (std::size_t place = 0, used = holders_used(); place < used; ++place) {
    detail::Holder& holder = tasks.holders[place];
    const os::ProcessIdentity who{holder.pid.load(word), holder.birth.load(word)};
    if (who.pid == 0 || !os::has_ended(who)) continue;
    free_blocks_of(place);
    const std::uint64_t had = holder.in_hand.load(word);
    const std::uint64_t prepaid = tasks.prepaid.load(word);
    const std::uint64_t left = std::min(prepaid, inside_or_in_hand() - had);
    tasks.note.holder.store(place, word);
    tasks.note.lost.store(tasks.lost.load(word) + had - std::min(had, prepaid - left), word);
    tasks.note.prepaid.store(left, word);
    tasks.note.kind.store(detail::TaskNote::losing, std::memory_order_release);
    MULTIPROCESSING_STOP_POINT("ring.tasks.losing");
    settle_note();
  }
}

// ---- what a JoinableQueue calls ----

MULTIPROCESSING_INLINE void Ring::task_done() {
  const auto word = std::memory_order_relaxed;
  Held held = hold_consumer_lock(detail::Deadline{forever});
  if (count_unfinished() == 0) {
    throw std::invalid_argument{"task_done() was called more often than items were put"};
  }
  auto& holders = book().holders;
  std::optional<std::size_t> whose = find_own_holder();
  if (!whose || holders[*whose].in_hand.load(word) == 0) {  // taken by another process
    whose.reset();
    for (std::size_t place = 0, used = holders_used(); place < used && !whose; ++place) {
      if (holders[place].in_hand.load(word) != 0) whose = place;
    }
  }
  auto& count = whose ? holders[*whose].in_hand : book().prepaid;
  count.store(count.load(word) + (whose ? ~std::uint64_t{0} : 1), word);
  MULTIPROCESSING_STOP_POINT("ring.task_done.stored");
  const bool was_last = count_unfinished() == 0;
  held.release();
  MULTIPROCESSING_STOP_POINT("ring.task_done.unlocked");
  if (was_last) all_done_.ring(book().all_done);
}

MULTIPROCESSING_INLINE bool Ring::join_tasks(const detail::Deadline& deadline) {
  detail::TaskBook& tasks = book();
  for (;;) {
    Held held = hold_consumer_lock(deadline);
    if (!held) return false;
    forget_the_dead();
    const std::uint64_t lost = tasks.lost.load(std::memory_order_relaxed);
    const std::uint64_t told = tasks.told.load(std::memory_order_relaxed);
    if (lost > told) {
      tasks.told.store(lost, std::memory_order_relaxed);
      MULTIPROCESSING_STOP_POINT("ring.join.told");
      held.release();
      throw LostTasks{static_cast<std::size_t>(lost - told)};
    }
    if (count_unfinished() == 0) {
      held.release();
      all_done_.ring(tasks.all_done);  // the next one that sleeps
      return true;
    }
    // Announced with the lock held: the last task_done() comes before that, or sees it.
    const auto announced = os::Bell::announce(tasks.all_done);
    MULTIPROCESSING_STOP_POINT("ring.join.announced");
    held.release();
    const auto left = deadline.left(os::Bell::longest_sleep);
    if (left == left.zero()) return false;
    all_done_.sleep(tasks.all_done, announced, left);
    MULTIPROCESSING_STOP_POINT("ring.join.woken");
  }
}

MULTIPROCESSING_INLINE std::size_t Ring::unfinished_tasks() {
  const Held held = hold_consumer_lock(detail::Deadline{forever});
  forget_the_dead();
  return count_unfinished();
}

MULTIPROCESSING_INLINE std::size_t Ring::lost_tasks() {
  const Held held = hold_consumer_lock(detail::Deadline{forever});
  forget_the_dead();
  return book().lost.load(std::memory_order_relaxed);
}

}  // namespace multiprocessing
