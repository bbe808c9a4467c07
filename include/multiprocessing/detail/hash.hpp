// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file hash.hpp
/// @brief A fast hash that tells builds apart. Not for secrets.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace multiprocessing::detail {

/// @brief 128 bits over all that was added, in order.
struct Hash128 {
  std::uint64_t low = 0x9e3779b97f4a7c15U;
  std::uint64_t high = 0xc2b2ae3d27d4eb4fU;

  void add(std::uint64_t word) noexcept {
    low = (low ^ word) * 0xff51afd7ed558ccdU;
    low ^= low >> 32U;
    high = (high + word) * 0xc4ceb9fe1a85ec53U;
    high ^= high >> 29U;
  }
  /// @brief The bytes, with zeros up to a whole word.
  void add(std::span<const std::byte> bytes) noexcept {
    while (!bytes.empty()) {
      const std::size_t part =
          bytes.size() < sizeof(std::uint64_t) ? bytes.size() : sizeof(std::uint64_t);
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data(), part);
      add(word);
      bytes = bytes.subspan(part);
    }
  }
};

}  // namespace multiprocessing::detail
