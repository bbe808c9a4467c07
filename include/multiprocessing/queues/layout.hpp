// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file layout.hpp
/// @brief What lies in a queue's shared memory, and who may change it.
///
/// @verbatim
/// offset 0        RingHeader: written once by the creator
/// page 1          the two locks
/// page 2          ProducerSide | ConsumerSide, each on cache lines of its own
/// 64 KiB          TaskBook, where the queue is a JoinableQueue or has lent memory
/// 128 KiB         LoanTable, where it has lent memory
/// first_area      area 0: 256 KiB   area 1: 512 KiB   ...   area k: 256 KiB << k
/// @endverbatim
/// An area is a ring of records (a large one is filled once, from its start to its end). When an
/// area is full, the producer goes on in the next free one and leaves a jump record behind; when
/// the queue is empty, it comes back to area 0. So the areas in use always form one chain, from the
/// one that consumers have released up to, to the one in which producers write; no area is in it
/// twice.
#include <multiprocessing/os/bell.hpp>
#include <multiprocessing/os/lock.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace multiprocessing::detail {

/// @brief A position: an area, and the bytes written (or read) since the chain entered it.
class Place {
 public:
  constexpr Place() noexcept = default;
  constexpr Place(std::uint64_t area, std::uint64_t offset) noexcept
      : packed_{(area << area_shift) | offset} {}
  static constexpr Place from_packed(std::uint64_t packed) noexcept {
    Place place;
    place.packed_ = packed;
    return place;
  }

  [[nodiscard]] constexpr std::uint64_t packed() const noexcept { return packed_; }
  [[nodiscard]] constexpr unsigned area() const noexcept {
    return static_cast<unsigned>(packed_ >> area_shift);
  }
  [[nodiscard]] constexpr std::uint64_t offset() const noexcept {
    return packed_ & ((std::uint64_t{1} << area_shift) - 1);
  }
  [[nodiscard]] constexpr Place plus(std::uint64_t bytes) const noexcept {
    return from_packed(packed_ + bytes);
  }
  friend constexpr bool operator==(Place, Place) noexcept = default;

 private:
  static constexpr unsigned area_shift = 56;
  std::uint64_t packed_ = 0;
};

/// @brief The eight bytes before a message: its length and its kind. Records are multiples of
/// eight.
struct Record {
  enum Kind : std::uint64_t {
    none = 0,     ///< Never written: nobody should come here.
    message = 1,  ///< `size` bytes follow.
    padding = 2,  ///< Skip `size` bytes: a message does not wrap around an area's end.
    jump = 3,     ///< Go on at the start of area `size`.
  };
  static constexpr std::uint64_t header_size = 8;
  /// Of a message: what follows is a LentMessage, which says where it is.
  static constexpr std::uint64_t lent = std::uint64_t{1} << 63U;

  static constexpr std::uint64_t pack(Kind kind, std::uint64_t size) noexcept {
    return (size << 2U) | kind;
  }
  static constexpr Kind kind(std::uint64_t header) noexcept {
    return static_cast<Kind>(header & 3U);
  }
  static constexpr std::uint64_t size(std::uint64_t header) noexcept {
    return (header & ~lent) >> 2U;
  }
  /// @brief The room that a message of `size` bytes takes.
  static constexpr std::uint64_t room(std::uint64_t size) noexcept {
    return header_size + ((size + 7) & ~std::uint64_t{7});
  }
};

/// @brief Several words that change together, by one store.
///
/// Two copies: the epoch's parity says which one counts. The writer (the holder of its side's lock)
/// fills the other and then stores the next epoch; a death before that store changed nothing, after
/// it everything. Readers look at the epoch again when they have read.
template <std::size_t Words>
class Committed {
 public:
  using Values = std::array<std::uint64_t, Words>;

  /// @brief For the writer.
  [[nodiscard]] Values current() const noexcept {
    return copy(epoch_.load(std::memory_order_relaxed));
  }
  /// @brief For everybody else.
  [[nodiscard]] Values read() const noexcept {
    for (;;) {
      const std::uint64_t before = epoch_.load(std::memory_order_seq_cst);
      const Values values = copy(before);
      if (epoch_.load(std::memory_order_relaxed) == before) return values;
    }
  }
  void commit(const Values& values) noexcept {
    const std::uint64_t next = epoch_.load(std::memory_order_relaxed) + 1;
    for (std::size_t i = 0; i < Words; ++i) {
      copies_[next & 1U][i].store(values[i], std::memory_order_release);
    }
    MULTIPROCESSING_STOP_POINT("ring.commit.filled");
    epoch_.store(next, std::memory_order_seq_cst);
  }

 private:
  [[nodiscard]] Values copy(std::uint64_t epoch) const noexcept {
    Values values{};
    for (std::size_t i = 0; i < Words; ++i) {
      values[i] = copies_[epoch & 1U][i].load(std::memory_order_acquire);
    }
    return values;
  }

  std::atomic<std::uint64_t> epoch_;
  std::atomic<std::uint64_t> copies_[2][Words];
};

inline constexpr std::size_t line_pair = 128;    // of cache: processors fetch them in pairs
inline constexpr std::uint64_t most_areas = 18;  // of 256 KiB * (2^18 - 1): 64 GiB

/// @brief Whether the queue has been shut down, for all processes.
enum Shutdown : std::uint64_t {
  no_shutdown = 0,
  shut_for_producers = 1,  ///< Nothing is put any more; what is inside can be taken.
  shut_at_once = 2,        ///< What is inside is dropped too, by whoever holds the consumer lock.
};

/// @brief Changed by the holder of the producer lock only, but for the bell.
struct ProducerSide {
  enum Word { place, count };  ///< Where the next record goes; items ever put.
  alignas(line_pair) Committed<2> tail;
  // What was seen of the consumers: never ahead of the truth, so always safe to believe.
  std::atomic<std::uint64_t> seen_released;  ///< Place: all before it is free.
  std::atomic<std::uint64_t> seen_count;     ///< Items ever taken.
  std::atomic<std::uint64_t> committed;      ///< Place: memory of this area that may be touched.
  std::atomic<std::uint64_t> shutdown;       ///< A Shutdown; never smaller than before.
  // Of large messages, in the tail's area: since when the next two are counted; how many bytes
  // waited at most; since when it was less than half of the area. The first and the last are
  // offsets.
  std::atomic<std::uint64_t> looked;
  std::atomic<std::uint64_t> deepest;
  std::atomic<std::uint64_t> calm_since;
  std::atomic<std::uint64_t> skipped;      ///< Bytes of the last padding.
  alignas(line_pair) os::BellState space;  ///< A producer waits for room.
  /// When the chain came into each area: 1, 2, 3, ...; the areas in use are those from that of the
  /// consumers to that of the tail. A number above the tail's is a jump that was never committed.
  alignas(line_pair) std::array<std::atomic<std::uint64_t>, most_areas> entered;
};

/// @brief Changed by the holder of the consumer lock only, but for the bell.
struct ConsumerSide {
  enum Word { place, count, released };  ///< Next to read; items ever taken; free before.
  alignas(line_pair) Committed<3> head;
  std::atomic<std::uint64_t> seen_tail;    ///< Place: never ahead of the producers.
  alignas(line_pair) os::BellState items;  ///< A consumer waits for an item.
  /// 1: somebody may wait for the queue's event. Set by those, cleared by whoever sets the event.
  std::atomic<std::uint32_t> watched;
};

/// @brief Written once, before anybody else sees the memory.
struct RingHeader {
  static constexpr std::uint64_t expected_magic = 0x31676e6952706d21;  // "!mpRing1"

  std::uint64_t magic;
  std::uint64_t maxsize;       ///< Items; 0: no bound.
  std::uint64_t areas;         ///< How many areas the reservation has.
  std::uint64_t counts_tasks;  ///< 1: there is a TaskBook.
};

struct RingMemory {
  RingHeader header;
  alignas(4096) os::RobustLock producer_lock;
  alignas(line_pair) os::RobustLock consumer_lock;
  alignas(4096) ProducerSide producers;
  ConsumerSide consumers;
};

inline constexpr std::uint64_t smallest_area = std::uint64_t{256} << 10U;
/// Larger areas are filled once instead of going round, and given back piece by piece.
inline constexpr std::uint64_t largest_ring_area = std::uint64_t{64} << 20U;

static_assert(sizeof(RingMemory) <= smallest_area);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

constexpr std::uint64_t area_size(unsigned area) noexcept {
  return smallest_area << area;
}
/// @brief Where an area begins: area k lies at its own size, behind all smaller ones.
constexpr std::uint64_t area_begin(unsigned area) noexcept {
  return area_size(area);
}
/// @brief The reservation that has `areas` areas.
constexpr std::uint64_t reservation(std::uint64_t areas) noexcept {
  return smallest_area << areas;
}
inline constexpr unsigned ring_areas = 9;
static_assert(area_size(ring_areas - 1) == largest_ring_area);
constexpr bool goes_round(unsigned area) noexcept {
  return area < ring_areas;
}

// Where large messages go round: so much that the two ends do not work in each other's cache, so
// little that it does not leave the cache that they share.
inline constexpr unsigned area_for_large = 3;
inline constexpr std::uint64_t smallest_for_large = area_size(area_for_large);
inline constexpr std::uint64_t shared_cache = std::uint64_t{4} << 20U;

}  // namespace multiprocessing::detail
