// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file lockable.hpp
/// @brief The names by which the standard's guards call a lock.
#include <multiprocessing/timeout.hpp>

#include <chrono>

namespace multiprocessing::detail {

/// @brief Gives Derived, which has `acquire(Timeout) -> bool` and `release()`, what the standard
/// calls Lockable and TimedLockable: std::lock_guard, std::unique_lock and std::scoped_lock take
/// it. All of it throws what acquire() and release() do.
template <class Derived>
class StandardLockable {
 public:
  /// @brief acquire() without end.
  void lock() { self().acquire(forever); }
  /// @brief acquire() that does not wait.
  [[nodiscard]] bool try_lock() { return self().acquire(std::chrono::seconds{0}); }
  /// @brief acquire().
  [[nodiscard]] bool try_lock_for(Timeout timeout) { return self().acquire(timeout); }
  /// @brief acquire() until a moment of any clock, which may be set meanwhile.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& end) {
    if (try_lock()) return true;
    for (auto now = Clock::now(); now < end; now = Clock::now()) {
      if (self().acquire(end - now)) return true;
    }
    return false;
  }
  /// @brief release().
  void unlock() { self().release(); }

 protected:
  // The check wants it private with Derived as a friend; nobody makes one by mistake as it is.
  StandardLockable() noexcept = default;  // NOLINT(*crtp*)

 private:
  [[nodiscard]] Derived& self() noexcept { return static_cast<Derived&>(*this); }
};

}  // namespace multiprocessing::detail
