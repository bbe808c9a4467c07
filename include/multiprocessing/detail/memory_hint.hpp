// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file memory_hint.hpp
/// @brief A word to the system about memory that is about to be filled, from below os/.
#include <atomic>
#include <cstddef>

namespace multiprocessing::detail {

/// @brief Takes the hint; see os/large_pages.hpp, which sets it.
using MemoryHint = void (*)(void* memory, std::size_t size) noexcept;

/// @brief Null: nobody does.
inline std::atomic<MemoryHint> memory_hint{nullptr};

/// @brief Memory was allocated, was not touched yet, and will be filled. Small memory is passed
/// over.
inline void will_be_filled(void* memory, std::size_t size) noexcept {
  constexpr std::size_t large = std::size_t{4} << 20U;
  if (size < large) return;
  if (const MemoryHint hint = memory_hint.load(std::memory_order_relaxed)) hint(memory, size);
}

}  // namespace multiprocessing::detail
