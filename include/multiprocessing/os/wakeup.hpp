// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file wakeup.hpp
/// @brief Waking one certain thread of any process.
#include <multiprocessing/detail/config.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>

namespace multiprocessing::os {

/// @brief A place in shared memory where one thread at a time sleeps until somebody wakes it.
///
/// Zero at first. The sleeper's order is seen(), look at what it waits for, sleep(). The others
/// change what it waits for, and wake(). Who changes it may die before it wakes, so no sleep is for
/// ever: it ends by itself after at most `longest_sleep`, and the sleeper looks again. Unlike a
/// Bell it needs no handle, and always calls the system.
///
/// POSIX: a futex. Windows: an auto-reset event, named by 64 random bits that lie beside the word;
/// the name is gone with the last handle of it, which nobody keeps.
class Wakeup {
 public:
  static constexpr std::chrono::nanoseconds longest_sleep = std::chrono::milliseconds{50};

  /// @brief Once, before anybody sleeps or wakes. Again is harmless while nobody does.
  void initialise() noexcept;
  /// @returns what to give to sleep().
  [[nodiscard]] std::uint32_t seen() const noexcept {
    return word_.load(std::memory_order_seq_cst);
  }
  /// @brief Returns when woken since seen(), after `limit`, or for no reason.
  void sleep(std::uint32_t seen, std::chrono::nanoseconds limit) noexcept;
  void wake() noexcept;

 private:
  std::atomic<std::uint32_t> word_;  // counts calls of wake()
  std::uint32_t unused_;
  std::uint64_t name_;  // Windows
};

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/wakeup.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/wakeup.ipp>
#endif
