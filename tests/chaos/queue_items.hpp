// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file queue_items.hpp
/// @brief What the queues' chaos tests put, and how they make a queue go a way of its own.
#include <multiprocessing/queues/queue.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace queue_items {

using Bytes = std::vector<std::byte>;

struct Item {
  std::uint32_t producer = 0;
  std::uint64_t number = 0;
  Bytes payload;
};
using Items = multiprocessing::Queue<Item>;

inline Item make_item(std::uint32_t producer, std::uint64_t number, std::size_t size) {
  return {producer, number, Bytes(size, static_cast<std::byte>(number * 31 + producer))};
}
inline void expect_whole(const Item& item) {
  const auto expected = static_cast<std::byte>(item.number * 31 + item.producer);
  const Bytes& payload = item.payload;
  const bool whole =
      payload.empty() || (payload.front() == expected &&
                          std::memcmp(payload.data(), payload.data() + 1, payload.size() - 1) == 0);
  EXPECT_TRUE(whole) << "a torn item";
}

constexpr std::size_t area = 256 << 10;  // the first
constexpr std::size_t mebibyte = std::size_t{1} << 20U;
constexpr std::uint32_t nobody = 9;  // the producer of what a test puts itself

inline void fill(Items& queue, std::uint64_t count, std::size_t size) {
  for (std::uint64_t i = 0; i < count; ++i) queue.put(make_item(nobody, i, size));
}

// Nothing is inside, and the next item of that size goes round the first area's end.
constexpr std::size_t small = 3000;
inline void come_to_the_end(Items& queue) {
  for (std::size_t i = 0; i < area / (small + 32); ++i) {
    queue.put(make_item(nobody, i, small));
    (void)queue.get();
  }
}
// Nothing is inside, and the next small item leaves a larger area for the first one.
inline void come_back_from_a_larger_area(Items& queue) {
  for (std::uint64_t i = 0; i < 64; ++i) {
    queue.put(make_item(nobody, i, i == 0 ? area : 1));
    (void)queue.get();
  }
}

// Whether a victim that died at this point had done its operation.
inline bool is_behind_the_commit(std::string_view point) {
  return point == "ring.put.committed" || point == "ring.put.unlocked" ||
         point == "ring.put_batch.committed" || point == "ring.put_batch.unlocked" ||
         point == "ring.get.committed" || point == "ring.get.unlocked" ||
         point == "ring.get_batch.committed" || point == "ring.get_batch.unlocked" ||
         point == "ring.get.gave_back" || point == "ring.set_event.told" ||
         point == "bell.ring.counted";
}

}  // namespace queue_items
