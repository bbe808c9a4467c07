// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file scratch.hpp
/// @brief Room for one message on its way, without an allocation per message.
#include <multiprocessing/detail/kept_by_thread.hpp>

#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief Borrows this thread's buffer for the length of one call. User code that runs meanwhile
/// and uses another queue finds the buffer lent and gets a fresh one.
class Scratch {
 public:
  Scratch() noexcept = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    std::vector<std::byte>* const place = lent_ ? kept() : nullptr;
    if (place != nullptr && large_.capacity() <= most_kept) std::swap(large_, *place);
  }

  /// @brief An empty buffer.
  std::vector<std::byte>& buffer() noexcept {
    if (!lent_) {
      if (std::vector<std::byte>* const place = kept()) std::swap(large_, *place);
      large_.clear();
      lent_ = true;
    }
    return large_;
  }
  /// @brief A copy of a message that lives as long as this.
  std::span<const std::byte> copy(std::span<const std::byte> message) {
    if (message.size() > small_.size()) {
      buffer().assign(message.begin(), message.end());
      return large_;
    }
    if (!message.empty()) std::memcpy(small_.data(), message.data(), message.size());
    return std::span{small_}.first(message.size());
  }

 private:
  static constexpr std::size_t most_kept = std::size_t{4} << 20U;

  static std::vector<std::byte>* kept() noexcept {
    return kept_by_thread<Scratch, std::vector<std::byte>>();
  }

  alignas(std::max_align_t) std::array<std::byte, 512> small_;
  std::vector<std::byte> large_;
  bool lent_ = false;
};

}  // namespace multiprocessing::detail
