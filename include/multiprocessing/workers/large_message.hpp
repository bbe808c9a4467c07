// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file large_message.hpp
/// @brief How a crew's large messages travel: in a block beside the ring, where they are decoded.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/queues/loan.hpp>
#include <multiprocessing/queues/ring.hpp>
#include <multiprocessing/timeout.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <system_error>

namespace multiprocessing::detail {

/// @brief From so many bytes on a block is cheaper than a copy under the ring's lock.
inline constexpr std::size_t large_message = std::size_t{64} << 10U;
/// @brief Buffers for messages stay as they are up to this size: fresh memory is dearer than a
/// message in it.
inline constexpr std::size_t most_kept_for_messages = std::size_t{4} << 20U;

/// @brief A block of the ring, if there is one at once.
[[nodiscard]] inline BorrowedBlock try_lend(const std::shared_ptr<Ring>& ring, std::size_t size) {
  try {
    const auto block = ring->lend(size, Deadline{std::chrono::seconds{0}});
    return block ? BorrowedBlock{ring, *block} : BorrowedBlock{};
  } catch (const std::system_error&) {  // no memory, or no address space
    return {};
  }
}

/// @brief Puts a message. @param maps_blocks its reader has said that it can take it from a block.
/// @param write fills in all of it: `write(std::byte*)`.
template <class Write>
void put_message(const std::shared_ptr<Ring>& ring,
                 std::size_t size,
                 bool maps_blocks,
                 const Write& write) {
  if (maps_blocks && size >= large_message) {
    BorrowedBlock block = try_lend(ring, size);
    if (block.is_there()) {
      write(block.data());
      MULTIPROCESSING_STOP_POINT("crew.put_message.written");
      ring->put_lent(block.block(), size, Deadline{forever});
      block.let_go();
      return;
    }
  }
  ring->put(size, write, Deadline{forever});
}

}  // namespace multiprocessing::detail
