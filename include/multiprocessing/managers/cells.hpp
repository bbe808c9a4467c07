// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file cells.hpp
/// @brief An array in a store that grows.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/managers/store.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace multiprocessing::detail {

/// @brief Cells of one size, in one block, behind a container's head.
///
/// Few cells are moved word by word; for many a new block is filled, and the head's words changed.
class Cells {
 public:
  /// What a head has, in words.
  enum Head : std::uint64_t { kind, count, block, capacity, head_words };

  /// @brief Where new cells are.
  struct Gap {
    std::uint64_t begin;
    bool counts;  ///< Something that counted was there: they are to be set, not filled.
  };

  Cells(Store& store, std::uint64_t head, std::uint64_t cell_size) noexcept
      : store_{&store}, head_{head}, cell_size_{cell_size} {}

  [[nodiscard]] std::uint64_t size() const { return get(count); }
  /// @brief The place of a cell. @param index smaller than size().
  [[nodiscard]] std::uint64_t at(std::uint64_t index) const {
    return get(block) + index * cell_size_;
  }

  // Within a Change, whose commit() is the caller's.

  /// @brief Puts `inserted` cells in the place of `removed` ones. What the old ones lead to is the
  /// caller's to release first, the new ones are the caller's to write.
  Gap splice(std::uint64_t index, std::uint64_t removed, std::uint64_t inserted) {
    const std::uint64_t now = size();
    const std::uint64_t moved = now - index - removed;
    const std::uint64_t then = now - removed + inserted;
    // What lies behind the last cell counts only if this change has made it so.
    bool counts = index < now || store_->has_changes();
    if (removed != inserted) {
      const std::uint64_t room = get(capacity);
      if (then > room || moved * cell_size_ > few_bytes) {
        move_to_new_block(index, removed, inserted, then > room ? larger(room, then) : room);
        counts = false;
      } else {
        shift(index + removed, index + inserted, moved);
      }
      set(count, then);
    }
    return {at(index), counts};
  }
  /// @brief Puts the cells into another order. @param order for each place, where its cell was.
  void reorder(const std::vector<std::size_t>& order) {
    if (order.empty()) return;
    const std::uint64_t room = get(capacity);
    const std::uint64_t fresh = store_->allocate(room * cell_size_);
    std::byte* to = store_->bytes(fresh, room * cell_size_);
    const std::byte* const from = cells();
    for (const std::size_t index : order) {
      std::memcpy(to, from + index * cell_size_, cell_size_);
      to += cell_size_;
    }
    use(fresh, room);
  }
  void clear() {
    if (get(capacity) != 0) store_->release(get(block));
    for (const Head word : {count, block, capacity}) set(word, 0);
  }

 private:
  static constexpr std::uint64_t few_bytes = 512;
  static constexpr std::uint64_t fewest = 8;

  [[nodiscard]] std::uint64_t get(Head word) const {
    return store_->word(head_ + 8 * std::uint64_t{word});
  }
  void set(Head word, std::uint64_t value) { store_->set(head_ + 8 * std::uint64_t{word}, value); }
  [[nodiscard]] static std::uint64_t larger(std::uint64_t room, std::uint64_t wanted) noexcept {
    return std::max({wanted, room + room / 2, fewest});
  }
  [[nodiscard]] const std::byte* cells() const {
    return store_->bytes(get(block), size() * cell_size_);
  }
  void use(std::uint64_t fresh, std::uint64_t room) {
    MULTIPROCESSING_STOP_POINT("store.cells.filled");
    if (get(capacity) != 0) store_->release(get(block));
    set(block, fresh);
    set(capacity, room);
  }
  void move_to_new_block(std::uint64_t index,
                         std::uint64_t removed,
                         std::uint64_t inserted,
                         std::uint64_t room) {
    const std::uint64_t now = size();
    const std::uint64_t fresh = store_->allocate(room * cell_size_);
    if (now != 0) {
      std::byte* const to = store_->bytes(fresh, room * cell_size_);
      const std::byte* const from = cells();
      std::memcpy(to, from, index * cell_size_);
      std::memcpy(to + (index + inserted) * cell_size_, from + (index + removed) * cell_size_,
                  (now - index - removed) * cell_size_);
    }
    use(fresh, room);
  }
  void shift(std::uint64_t from, std::uint64_t to, std::uint64_t cells) {
    const std::uint64_t words = cells * cell_size_ / 8;
    const std::uint64_t source = at(from);
    const std::uint64_t target = at(to);
    for (std::uint64_t i = 0; i < words; ++i) {
      const std::uint64_t word = 8 * (to > from ? words - 1 - i : i);
      store_->set(target + word, store_->word(source + word));
    }
  }

  Store* store_;
  std::uint64_t head_;
  std::uint64_t cell_size_;
};

}  // namespace multiprocessing::detail
