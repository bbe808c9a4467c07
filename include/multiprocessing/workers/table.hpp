// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file table.hpp
/// @brief A crew's tasks by number, until they are resolved.
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/workers/receiver.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief So that the next push_back() does not throw.
template <class Value>
void make_room_for_one(std::vector<Value>& vector) {
  constexpr std::size_t first = 16;
  if (vector.size() == vector.capacity()) vector.reserve(std::max(first, 2 * vector.size()));
}

/// @brief The tasks that have no result yet. Who takes one out resolves it, so each is once.
/// @threads one at a time.
class TaskTable {
 public:
  static constexpr std::uint32_t nowhere = 0xFFFF'FFFF;

  /// @brief What few tasks need.
  struct Extra {
    Timeout timeout = forever;
    std::size_t max_memory = 0;
    unsigned retries_left = 0;
    std::vector<std::byte> arguments;  ///< Kept for another try.
    Transit transit;
  };
  struct Entry {
    std::uint64_t id = 0;  ///< 0: free.
    std::shared_ptr<Receiver> receiver;
    std::uint32_t part = 0;
    std::uint32_t code = 0;
    std::uint32_t place = nowhere;  ///< Where it was handed out to.
    std::unique_ptr<Extra> extra;
  };

  Entry& add() {
    std::uint32_t index = 0;
    if (free_.empty()) {
      // take() is to need no memory.
      if (free_.capacity() <= entries_.size()) free_.reserve(2 * entries_.size() + 16);
      index = static_cast<std::uint32_t>(entries_.size());
      entries_.emplace_back();
    } else {
      index = free_.back();
      free_.pop_back();
    }
    ++size_;
    // Numbers are not used again for as long as 31 bits last: a late result finds nothing.
    generation_ = generation_ % 0x7FFF'FFFF + 1;
    Entry& entry = entries_[index];
    entry.id = (std::uint64_t{generation_} << 32U) | index;
    entry.place = nowhere;
    return entry;
  }
  [[nodiscard]] Entry* find(std::uint64_t id) noexcept {
    const auto index = static_cast<std::uint32_t>(id);
    if (id == 0 || index >= entries_.size() || entries_[index].id != id) return nullptr;
    return &entries_[index];
  }
  /// @returns an entry of number 0: there is none.
  Entry take(std::uint64_t id) noexcept {
    Entry* const entry = find(id);
    if (entry == nullptr) return {};
    Entry taken = std::move(*entry);
    entry->id = 0;
    free_.push_back(static_cast<std::uint32_t>(id));
    --size_;
    return taken;
  }
  std::vector<Entry> take_all() {
    std::vector<Entry> all;
    all.reserve(size_);
    for (const Entry& entry : entries_) {
      if (entry.id != 0) all.push_back(take(entry.id));
    }
    return all;
  }
  /// @brief One of those that are left. @param at how far the caller has come; 0 at first.
  Entry take_next(std::size_t& at) noexcept {
    while (at < entries_.size() && entries_[at].id == 0) ++at;
    return at < entries_.size() ? take(entries_[at].id) : Entry{};
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

 private:
  std::vector<Entry> entries_;
  std::vector<std::uint32_t> free_;
  std::uint32_t generation_ = 0;
  std::size_t size_ = 0;
};

}  // namespace multiprocessing::detail
