// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file table.hpp
/// @brief A hash table in a store, whose entries keep the order in which they came.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/managers/store.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace multiprocessing::detail {

/// @brief Entries {key, value} behind a container's head.
///
/// An entry is one block: the two neighbours in order, the hash, the key's size, the value's words,
/// the key's bytes. Slots lie in a block of their own, found by the hash's low bits and then one
/// after the other; each has an entry's place, and the hash's high bits, so that few entries are
/// looked at in vain. A slot whose entry has gone stays *left*, until the slots are made anew.
/// @source open addressing, Knuth, The Art of Computer Programming, volume 3, 6.4
class Table {
 public:
  /// What a head has, in words.
  enum Head : std::uint64_t { kind, count, slots, capacity, used, first, last, head_words };

  /// @param value_size of an entry's value, in bytes, a multiple of eight.
  Table(Store& store, std::uint64_t head, std::uint64_t value_size) noexcept
      : store_{&store}, head_{head}, value_size_{value_size} {}

  [[nodiscard]] std::uint64_t size() const { return get(count); }
  [[nodiscard]] std::uint64_t first_entry() const { return get(first); }
  [[nodiscard]] std::uint64_t last_entry() const { return get(last); }
  [[nodiscard]] std::uint64_t after(std::uint64_t entry) const {
    return store_->word(entry + next_at);
  }
  [[nodiscard]] std::uint64_t value_of(std::uint64_t entry) const noexcept {
    return entry + value_at;
  }
  [[nodiscard]] std::span<const std::byte> key_of(std::uint64_t entry) const {
    const std::uint64_t size = store_->word(entry + key_size_at);
    return {store_->bytes(entry + value_at + value_size_, size), size};
  }
  /// @brief An entry; 0: the key has none.
  template <class AnyKey>
  [[nodiscard]] std::uint64_t find(const AnyKey& key) const;

  // Within a Change, whose commit() is the caller's.

  /// @brief A new entry for a key that has none; its value's words are to be filled.
  template <class AnyKey>
  std::uint64_t insert(const AnyKey& key);
  /// @brief The value's own block is the caller's to release first.
  void erase(std::uint64_t entry);
  /// @brief All of them; as erase().
  void clear();

 private:
  static constexpr std::uint64_t previous_at = 0;
  static constexpr std::uint64_t next_at = 8;
  static constexpr std::uint64_t hash_at = 16;
  static constexpr std::uint64_t key_size_at = 24;
  static constexpr std::uint64_t value_at = 32;
  static constexpr std::uint64_t empty_slot = 0;
  static constexpr std::uint64_t left_slot = 1;
  static constexpr std::uint64_t place_bits = 48;
  static constexpr std::uint64_t place_mask = (std::uint64_t{1} << place_bits) - 1;
  static constexpr std::uint64_t fewest = 8;

  [[nodiscard]] std::uint64_t get(Head word) const {
    return store_->word(head_ + 8 * std::uint64_t{word});
  }
  void set(Head word, std::uint64_t value) { store_->set(head_ + 8 * std::uint64_t{word}, value); }
  [[nodiscard]] static std::uint64_t slot_for(std::uint64_t entry, std::uint64_t hash) noexcept {
    return (hash & ~place_mask) | entry;
  }
  [[nodiscard]] std::uint64_t capacity_now() const {
    const std::uint64_t now = get(capacity);
    if (now != 0 && !std::has_single_bit(now)) Store::damaged();
    return now;
  }
  // Slots one after the other from a hash's own, until visit(place of the slot, slot) says true.
  template <class Visit>
  void probe(std::uint64_t hash, const Visit& visit) const {
    const std::uint64_t all = capacity_now();
    if (all == 0) return;
    const std::uint64_t begin = get(slots);
    const std::byte* const where = store_->bytes(begin, all * 8);
    for (std::uint64_t i = hash & (all - 1), n = 0; n < all; ++n, i = (i + 1) & (all - 1)) {
      std::uint64_t slot = 0;
      std::memcpy(&slot, where + 8 * i, sizeof slot);
      if (visit(begin + 8 * i, slot)) return;
    }
  }
  void make_slots(std::uint64_t wanted);

  Store* store_;
  std::uint64_t head_;
  std::uint64_t value_size_;
};

template <class AnyKey>
std::uint64_t Table::find(const AnyKey& key) const {
  std::uint64_t found = 0;
  probe(key.hash(), [&](std::uint64_t /*place*/, std::uint64_t slot) {
    if (slot == empty_slot) return true;
    if (slot == left_slot || (slot ^ key.hash()) > place_mask) return false;
    const std::uint64_t entry = slot & place_mask;
    if (store_->word(entry + hash_at) != key.hash() || !key.equals(*store_, key_of(entry))) {
      return false;
    }
    found = entry;
    return true;
  });
  return found;
}

template <class AnyKey>
std::uint64_t Table::insert(const AnyKey& key) {
  if ((get(used) + 1) * 4 > capacity_now() * 3) make_slots(size() * 2 + fewest);
  const auto bytes = key.bytes();
  const std::uint64_t entry = store_->allocate(value_at + value_size_ + bytes.size());
  const std::uint64_t before = get(last);
  const std::uint64_t words[] = {before, 0, key.hash(), bytes.size()};
  std::byte* const where = store_->bytes(entry, value_at + value_size_ + bytes.size());
  std::memcpy(where, words, sizeof words);
  if (!bytes.empty()) std::memcpy(where + value_at + value_size_, bytes.data(), bytes.size());
  MULTIPROCESSING_STOP_POINT("store.entry.filled");
  probe(key.hash(), [&](std::uint64_t place, std::uint64_t slot) {
    if (slot > left_slot) return false;
    store_->set(place, slot_for(entry, key.hash()));
    if (slot == empty_slot) set(used, get(used) + 1);
    return true;
  });
  if (before == 0) {
    set(first, entry);
  } else {
    store_->set(before + next_at, entry);
  }
  set(last, entry);
  set(count, size() + 1);
  return entry;
}

}  // namespace multiprocessing::detail

#if MULTIPROCESSING_DEFINES
#  include <multiprocessing/managers/table.ipp>
#endif
