// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file gate.hpp
/// @brief Who may still use a thing that is being closed.
#include <atomic>
#include <cstdint>

namespace multiprocessing::detail {

/// @brief Lets users in until it is shut; the last one out, or whoever shuts it when nobody is
/// inside, puts the light out. Nobody waits.
///
/// No mutex: in a forked child the threads that were inside do not exist, so a mutex of theirs
/// would stay locked. Here they stay counted, and what is guarded lives as long as its owner.
class Gate {
 public:
  [[nodiscard]] bool is_shut() const noexcept {
    return (state_.load(std::memory_order_relaxed) & shut_bit) != 0;
  }
  /// @returns false: it is shut. Otherwise leave() comes later.
  bool enter() noexcept {
    std::uint32_t state = state_.load(std::memory_order_relaxed);
    do {
      if ((state & shut_bit) != 0) return false;
    } while (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire));
    return true;
  }
  /// @returns true: the last one is out, and nobody comes in any more.
  [[nodiscard]] bool leave() noexcept {
    return state_.fetch_sub(1, std::memory_order_acq_rel) == (shut_bit | 1U);
  }
  /// @returns true: nobody is inside. Only the first call does anything.
  [[nodiscard]] bool shut() noexcept {
    return state_.fetch_or(shut_bit, std::memory_order_acq_rel) == 0;
  }

 private:
  static constexpr std::uint32_t shut_bit = std::uint32_t{1} << 31U;
  std::atomic<std::uint32_t> state_{0};
};

}  // namespace multiprocessing::detail
