// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file table.ipp
/// @brief What a table does whatever its keys are.
#include <multiprocessing/managers/table.hpp>

namespace multiprocessing::detail {

// A block of their own, of which nothing counts before the head's words do.
MULTIPROCESSING_INLINE void Table::make_slots(std::uint64_t wanted) {
  const std::uint64_t all = std::bit_ceil(wanted + wanted / 2);
  const std::uint64_t begin = store_->allocate(all * 8);
  std::byte* const where = store_->bytes(begin, all * 8);
  std::memset(where, 0, all * 8);
  std::uint64_t left = size();
  for (std::uint64_t entry = first_entry(); entry != 0 && left != 0; entry = after(entry), --left) {
    const std::uint64_t hash = store_->word(entry + hash_at);
    std::uint64_t i = hash & (all - 1);
    for (std::uint64_t slot = 0;; i = (i + 1) & (all - 1)) {
      std::memcpy(&slot, where + 8 * i, sizeof slot);
      if (slot == empty_slot) break;
    }
    const std::uint64_t slot = slot_for(entry, hash);
    std::memcpy(where + 8 * i, &slot, sizeof slot);
  }
  MULTIPROCESSING_STOP_POINT("store.slots.filled");
  if (get(capacity) != 0) store_->release(get(slots));
  set(slots, begin);
  set(capacity, all);
  set(used, size());
}

MULTIPROCESSING_INLINE void Table::erase(std::uint64_t entry) {
  probe(store_->word(entry + hash_at), [&](std::uint64_t place, std::uint64_t slot) {
    if (slot == empty_slot) Store::damaged();
    if (slot == left_slot || (slot & place_mask) != entry) return false;
    store_->set(place, left_slot);
    return true;
  });
  const std::uint64_t before = store_->word(entry + previous_at);
  const std::uint64_t behind = after(entry);
  if (before == 0) {
    set(first, behind);
  } else {
    store_->set(before + next_at, behind);
  }
  if (behind == 0) {
    set(last, before);
  } else {
    store_->set(behind + previous_at, before);
  }
  set(count, size() - 1);
  store_->release(entry);
}

MULTIPROCESSING_INLINE void Table::clear() {
  std::uint64_t left = size();
  for (std::uint64_t entry = first_entry(); entry != 0 && left != 0; --left) {
    const std::uint64_t next = after(entry);
    store_->release(entry);
    entry = next;
  }
  if (get(capacity) != 0) store_->release(get(slots));
  for (const Head word : {count, slots, capacity, used, first, last}) set(word, 0);
}

}  // namespace multiprocessing::detail
