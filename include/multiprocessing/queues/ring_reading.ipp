// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file ring_reading.ipp
/// @brief What a ring does with whatever its caller reads messages with.
#include <multiprocessing/queues/ring.hpp>

namespace multiprocessing {

/// Takes the message that a record refers to. @param keeps is told which block is the caller's
/// then; none: `read` has made a copy. @param tasks that it counts for.
/// @returns false: `read` has left it where it is.
template <class Read>
bool Ring::take_lent(Head& head,
                     std::span<const std::byte> record,
                     const Read& read,
                     std::optional<std::size_t>* keeps,
                     std::size_t tasks) {
  std::size_t block = 0;
  const auto message = lent_message(record, block);
  if (!message) {  // or it would stop the queue for good
    go_past(head, Record::room(record.size()));
    memory().consumers.head.commit(head);
    ring_for_space(head[Consumers::count]);
    damaged();
  }
  // From `taking` to the head's commit nothing may throw: the book may have no place.
  const bool counts = counts_tasks_ && tasks != 0;
  const std::uint64_t holder = keeps != nullptr || counts ? own_holder() : 0;
  if constexpr (std::is_same_v<decltype(read(*message)), bool>) {
    if (!read(*message)) return false;
  } else {
    read(*message);
  }
  go_past(head, Record::room(record.size()));
  auto& word = loans().words[block];
  word.store(BlockWord{BlockWord::taking, holder, head[Consumers::count]}.packed(),
             std::memory_order_release);
  MULTIPROCESSING_STOP_POINT("ring.get_lent.taking");
  if (counts) {
    commit_taken(head, tasks);
  } else {
    memory().consumers.head.commit(head);
  }
  MULTIPROCESSING_STOP_POINT("ring.get_lent.taken");
  if (keeps == nullptr) {
    return_block(block);
    return true;
  }
  word.store(BlockWord{BlockWord::viewing, holder, 0}.packed(), std::memory_order_release);
  *keeps = block;
  return true;
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
