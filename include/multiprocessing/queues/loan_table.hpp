// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file loan_table.hpp
/// @brief Memory that is lent for messages in place: what stands in a queue's shared memory.
///
/// Behind the ring's areas lie blocks, 32 of each size from 32 KiB to 1 GiB, at fixed places. Where
/// less can be reserved, on Windows, there are 8 of each size to 128 MiB. A
/// message that was written into one stands in the ring as a reference. One word a block says whose
/// it is, and every change of hands is one store. Where it has to go together with the ring's own
/// commit, the word says before what is to be, and with which count; if its writer dies, the next
/// owner of the same lock sees by the count whether it came to that.
#include <multiprocessing/os/memory.hpp>
#include <multiprocessing/queues/layout.hpp>
#include <multiprocessing/queues/task_book.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace multiprocessing::detail {

/// @brief A block's word.
struct BlockWord {
  enum State : std::uint64_t {
    free = 0,        ///< Anybody's: whoever changes it to filling has it.
    filling = 1,     ///< The holder's, to write.
    committing = 2,  ///< As filling; queued once the tail counts `count`: by its producer, by the
                     ///< next one, or by the consumer that comes first.
    queued = 3,      ///< A record in the ring refers to it.
    taking = 4,   ///< As queued; the holder's once the head counts `count`. With the consumer lock.
    viewing = 5,  ///< The holder's, to read.
  };
  State state = free;
  std::uint64_t holder = 0;  ///< Its place in the TaskBook.
  std::uint64_t count = 0;   ///< The low bits of it.

  static constexpr unsigned count_bits = 48;
  static constexpr unsigned holder_bits = 13;
  static constexpr std::uint64_t count_mask = (std::uint64_t{1} << count_bits) - 1;
  static constexpr std::uint64_t holder_mask = (std::uint64_t{1} << holder_bits) - 1;

  [[nodiscard]] constexpr std::uint64_t packed() const noexcept {
    return (std::uint64_t{state} << (count_bits + holder_bits)) | (holder << count_bits) |
           (count & count_mask);
  }
  static constexpr BlockWord from_packed(std::uint64_t word) noexcept {
    return {static_cast<State>(word >> (count_bits + holder_bits)),
            (word >> count_bits) & holder_mask, word & count_mask};
  }
  /// @brief Whether a side has come to the count. @param now what it counts.
  [[nodiscard]] constexpr bool was_reached(std::uint64_t now) const noexcept {
    return ((now - count) & count_mask) < (std::uint64_t{1} << (count_bits - 1));
  }
};
static_assert(TaskBook::most_holders <= BlockWord::holder_mask);

struct LoanTable {
  static constexpr std::size_t of_each_size =
      os::SharedRegion::largest < std::uint64_t{1} << 40U ? 8 : 32;
  static constexpr std::size_t sizes = 16;
  static constexpr std::size_t blocks = of_each_size * sizes;
  static constexpr std::uint64_t smallest = std::uint64_t{32} << 10U;

  std::array<std::atomic<std::uint64_t>, blocks> words;
  /// Bytes of the block that may be touched; changed by whoever has the block.
  std::array<std::atomic<std::uint64_t>, blocks> committed;

  static constexpr std::uint64_t size_of(std::size_t block) noexcept {
    return smallest << (block / of_each_size);
  }
  /// @brief Where it begins, behind the ring's reservation: those of a size behind all smaller
  /// ones.
  static constexpr std::uint64_t begin_of(std::size_t block) noexcept {
    return of_each_size * size_of(block) + (block % of_each_size) * size_of(block);
  }
};

/// What a record holds that refers to a block.
struct LentMessage {
  std::uint64_t block;
  std::uint64_t size;
};

inline constexpr std::uint64_t loan_table_begin = std::uint64_t{128} << 10U;
static_assert(task_book_begin + sizeof(TaskBook) <= loan_table_begin);
static_assert(loan_table_begin + sizeof(LoanTable) <= smallest_area);

}  // namespace multiprocessing::detail
