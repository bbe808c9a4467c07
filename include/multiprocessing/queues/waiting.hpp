// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file waiting.hpp
/// @brief How a queue's processes wait: look, spin, then sleep.
///
/// The order is the design: a sleep and its wake-up cost microseconds at both ends, a message tens
/// of nanoseconds. So whoever waits first spins for about as long as a sleep would take, unless
/// that has not paid lately: with more work than processors the other side runs when this one
/// sleeps.
#include <multiprocessing/os/bell.hpp>
#include <multiprocessing/os/lock.hpp>
#include <multiprocessing/timeout.hpp>

#include <atomic>

namespace multiprocessing::detail {

/// @brief Waits a little, and longer the next time: looking too often takes the other side's cache
/// lines away from it, and keeps both at one message a time where they could be at many.
class Backoff {
 public:
  void wait() noexcept {
    for (int i = 0; i < length_; ++i) os::relax();
    if (length_ < longest) length_ *= 2;
  }

 private:
  static constexpr int longest = 64;
  int length_ = 16;
};

/// @brief How long spinning has paid off lately, in one process, for one thing to wait for.
///
/// Spinning pays while the other side runs on a processor of its own, and only costs while it waits
/// for this one. So who has spun in vain spins half as long the next time; who has not, or tries
/// again after a while, spins in full.
class Patience {
 public:
  /// @brief Looks until `ready()`, as long as it seems worth it.
  template <class Ready>
  bool spin(Ready&& ready) noexcept(noexcept(ready())) {
    const bool tries_again = waits_.fetch_add(1, std::memory_order_relaxed) % 16 == 0;
    const int rounds = tries_again ? most : rounds_.load(std::memory_order_relaxed);
    Backoff backoff;
    for (int i = 0; i < rounds; ++i) {
      backoff.wait();
      if (ready()) {
        rounds_.store(most, std::memory_order_relaxed);
        return true;
      }
    }
    rounds_.store(rounds / 2, std::memory_order_relaxed);
    return false;
  }

 private:
  static constexpr int most = 10;
  std::atomic<int> rounds_{most};
  std::atomic<unsigned> waits_{0};
};

/// @brief Takes a lock of which every holder lets go within a few hundred instructions, or sleeps
/// with it because there is nothing to do.
/// @param check is called between sleeps; it may throw to give up.
template <class Check>
os::Acquired acquire(os::RobustLock& lock,
                     Patience& patience,
                     const Deadline& deadline,
                     Check&& check) {
  os::Acquired result = lock.try_lock();
  if (result != os::Acquired::no || deadline.is_now()) return result;
  const auto taken = [&] { return (result = lock.try_lock()) != os::Acquired::no; };
  if (patience.spin(taken)) return result;
  for (;;) {
    check();
    result = lock.lock(Deadline{deadline.left(os::Bell::longest_sleep)});
    if (result != os::Acquired::no || deadline.passed()) return result;
  }
}

}  // namespace multiprocessing::detail
