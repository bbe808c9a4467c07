// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file patience.hpp
/// @brief Looking for a while before sleeping. The same on every system.
#include <multiprocessing/os/bell.hpp>

#include <atomic>

namespace multiprocessing::os {

/// @brief Waits a little, and longer the next time: looking too often takes the other side's cache
/// lines away from it, and keeps both at one message a time where they could be at many.
class Backoff {
 public:
  void wait() noexcept {
    for (int i = 0; i < length_; ++i) relax();
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
  /// @param tries_again_every among so many waits one spins in full, whatever happened before.
  explicit Patience(unsigned tries_again_every = 16) noexcept : every_{tries_again_every} {}

  /// @brief Looks until `ready()`, as long as it seems worth it.
  /// @param most looks at most so often: by itself about as long as a sleep would take.
  template <class Ready>
  bool spin(Ready&& ready, int most = usual) noexcept(noexcept(ready())) {
    const bool tries_again = waits_.fetch_add(1, std::memory_order_relaxed) % every_ == 0;
    const int remembered = rounds_.load(std::memory_order_relaxed);
    const int rounds = tries_again || remembered > most ? most : remembered;
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
  static constexpr int usual = 10;
  unsigned every_;
  std::atomic<int> rounds_{usual};
  std::atomic<unsigned> waits_{0};
};

}  // namespace multiprocessing::os
