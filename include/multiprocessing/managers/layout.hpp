// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file layout.hpp
/// @brief What lies where in the memory of a Manager, and who may change it.
///
/// Places are offsets from the beginning of the memory, in bytes; 0 is no place.
#include <multiprocessing/heap/arena.hpp>
#include <multiprocessing/os/lock.hpp>

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace multiprocessing::detail {

/// @brief The sizes of blocks: two for each power of two, from 32 bytes to 96 GiB.
struct BlockClass {
  static constexpr unsigned count = 64;
  static constexpr unsigned smallest_shift = 5;
  /// From here on blocks that are free give their memory back to the system.
  static constexpr unsigned first_large = 30;

  static constexpr std::uint64_t size_of(unsigned which) noexcept {
    const std::uint64_t power = std::uint64_t{1} << (smallest_shift + which / 2);
    return which % 2 == 0 ? power : power / 2 * 3;
  }
  /// @brief The smallest class that has so many bytes; `count` if none has.
  static constexpr unsigned of(std::uint64_t size) noexcept {
    if (size <= (std::uint64_t{1} << smallest_shift)) return 0;
    const auto shift = static_cast<unsigned>(std::bit_width(size - 1));
    const std::uint64_t power = std::uint64_t{1} << (shift - 1);
    if (shift > smallest_shift + count / 2) return count;
    const unsigned below = 2 * (shift - 1 - smallest_shift);
    return size <= power / 2 * 3 ? below + 1 : below + 2 < count ? below + 2 : count;
  }
};
static_assert(BlockClass::of(32) == 0 && BlockClass::of(33) == 1 && BlockClass::of(48) == 1);
static_assert(BlockClass::of(49) == 2 && BlockClass::of(64) == 2 && BlockClass::of(65) == 3);
static_assert(BlockClass::size_of(BlockClass::first_large) == std::uint64_t{1} << 20U);
static_assert(BlockClass::of(~std::uint64_t{0}) == BlockClass::count);

/// @brief A word as it was before the change that is going on.
struct UndoEntry {
  std::uint64_t offset;
  std::uint64_t value;
};

/// @brief Blocks that the change that is going on has given back: nobody gets them before it is
/// committed, for what is in them counts again if it is not. Linked through their first word.
struct Limbo {
  std::uint64_t first;
  std::uint64_t last;
};

/// @brief The beginning of a Manager's memory. All of it is changed by the lock's holder only.
struct StoreState {
  static constexpr std::uint64_t expected_magic = 0x31726f7453706d21;  // "!mpStor1"
  static constexpr const char* name = "a Manager";

  std::uint64_t magic;
  std::uint64_t log_begin;   ///< Written once, as is the next.
  std::uint64_t data_begin;  ///< Where the log's room ends.
  std::uint64_t data_end;
  os::RobustLock lock;

  // The holder's notes; the next holder wipes them.
  std::uint64_t depth;          ///< How often the holder has taken the lock.
  std::uint64_t changes;        ///< How many of those are changes.
  std::uint64_t limbo_classes;  ///< Bit k: limbo[k] has blocks.
  std::array<Limbo, BlockClass::count> limbo;

  /// Undo entries that count. From 0 to 1 a change begins; the store of 0 commits it.
  alignas(128) std::atomic<std::uint64_t> log_length;
  /// Undo entries for which there is memory. Only believed, never undone: memory that is there
  /// without being counted is asked for again, which changes nothing.
  std::atomic<std::uint64_t> log_room;
  std::atomic<std::uint64_t> committed;  ///< The same for blocks: up to here.
  std::uint64_t numbers;                 ///< How many containers were ever begun; never undone.

  // Changed through the log.
  std::uint64_t tail;                                 ///< Here the next block is begun.
  std::array<std::uint64_t, BlockClass::count> free;  ///< Free blocks, linked by their first word.
};

inline constexpr std::uint64_t store_log_begin = std::uint64_t{64} << 10U;
static_assert(Arena::page + sizeof(StoreState) <= store_log_begin);

}  // namespace multiprocessing::detail
