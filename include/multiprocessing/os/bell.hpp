// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file bell.hpp
/// @brief Sleeping until another process rings.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/native_handle.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <system_error>
#include <vector>

namespace multiprocessing::os {

/// @brief The half of a bell that lies in shared memory. Zero is its first state.
struct BellState {
  std::atomic<std::uint32_t> sleeper;  ///< 1: somebody sleeps or is about to. Set by the sleeper,
                                       ///< cleared by the first who rings, and by the next sleeper.
  std::atomic<std::uint32_t> rings;    ///< Counts rings; what the sleeper watches.
};

/// @brief Wakes one sleeper; costs no system call while nobody sleeps.
///
/// One thread at a time may sleep on a bell: the holder of a lock. Its order is announce(), look
/// once more at what it waits for, sleep(), wake_up(). The others change what it waits for, by a
/// sequentially consistent store, and ring(). A ringer may die before it rings, so no sleep is for
/// ever: sleep() ends by itself after at most `longest_sleep` and the sleeper looks again.
///
/// POSIX: a futex on `rings`; no handle. Windows has no futex between processes: an inherited
/// auto-reset event, which travels with the memory as handles().
class Bell {
 public:
  static constexpr std::chrono::nanoseconds longest_sleep = std::chrono::milliseconds{50};

  /// @errors Windows `CreateEvent`.
  static Bell create(std::error_code& ec) noexcept;
  /// @brief From the handles of another process's bell: as many as handles() gave there.
  static Bell adopt(std::vector<UniqueHandle> handles) noexcept;
  [[nodiscard]] std::vector<native_handle_type> handles() const;

  /// @returns what to give to sleep().
  static std::uint32_t announce(BellState& state) noexcept;
  /// @brief Returns when rung since announce(), after `limit`, or for no reason.
  void sleep(BellState& state, std::uint32_t announced, std::chrono::nanoseconds limit) noexcept;
  static void wake_up(BellState& state) noexcept;

  [[nodiscard]] static bool has_sleeper(const BellState& state) noexcept {
    return state.sleeper.load(std::memory_order_seq_cst) != 0;
  }
  void ring(BellState& state) noexcept;
};

/// @brief Tells the processor that this is a waiting loop.
void relax() noexcept;

}  // namespace multiprocessing::os

#if MULTIPROCESSING_WINDOWS
#  include <multiprocessing/os/windows/bell.ipp>
#else
#  include <multiprocessing/os/posix/bell.ipp>
#endif
