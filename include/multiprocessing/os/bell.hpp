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
  std::atomic<std::uint32_t> sleeper;  ///< 1: somebody may sleep or be about to. Set by sleepers,
                                       ///< cleared by the first who rings.
  std::atomic<std::uint32_t> rings;    ///< Counts rings; what sleepers watch.
};

/// @brief Wakes a sleeper; costs no system call while nobody sleeps.
///
/// A sleeper's order is announce(), look once more at what it waits for, sleep(). The others change
/// what it waits for, by a sequentially consistent store, and ring(), which wakes one. Who wakes up
/// says that there may be more sleepers, and rings in its turn when it leaves something for them.
/// A ringer may die before it rings, so no sleep is for ever: sleep() ends by itself after at most
/// `longest_sleep` and the sleeper looks again. A flag that a dead sleeper leaves costs one ring.
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
  /// @brief Borrowed: POSIX none, Windows the event.
  [[nodiscard]] std::vector<native_handle_type> handles() const;

  /// @returns what to give to sleep().
  static std::uint32_t announce(BellState& state) noexcept;
  /// @brief Returns when rung since announce(), after `limit`, or for no reason.
  void sleep(BellState& state, std::uint32_t announced, std::chrono::nanoseconds limit) noexcept;

  [[nodiscard]] static bool has_sleeper(const BellState& state) noexcept {
    return state.sleeper.load(std::memory_order_seq_cst) != 0;
  }
  void ring(BellState& state) noexcept;

 private:
  UniqueHandle event_;  // Windows
};

/// @brief Tells the processor that this is a waiting loop.
void relax() noexcept;

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/bell.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/bell.ipp>
#endif
