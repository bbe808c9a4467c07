// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file timeout.hpp
/// @brief How long a call may wait.
#include <chrono>

namespace multiprocessing {

/// @brief How long a call may wait: `forever`, or any `std::chrono::duration`; zero or less means
/// "do not wait".
/// @units Nanoseconds inside; durations beyond 292 years are `forever`. Time is that of
/// `std::chrono::steady_clock`: setting the wall clock changes nothing.
class Timeout {
 public:
  /// @brief Any duration, also a fraction of a tick. @param duration zero or less: do not wait.
  template <class Rep, class Period>
  constexpr Timeout(std::chrono::duration<Rep, Period> duration) noexcept  // NOLINT(*explicit*)
      : value_{clamp(duration)} {}

  /// @brief Whether it never ends.
  [[nodiscard]] constexpr bool is_forever() const noexcept { return value_ == nanoseconds::max(); }
  /// @brief Never negative.
  [[nodiscard]] constexpr std::chrono::nanoseconds value() const noexcept { return value_; }

 private:
  using nanoseconds = std::chrono::nanoseconds;

  template <class Rep, class Period>
  static constexpr nanoseconds clamp(std::chrono::duration<Rep, Period> duration) noexcept {
    const std::chrono::duration<double> seconds{duration};
    if (!(seconds.count() > 0)) return nanoseconds::zero();  // NaN waits for nothing either
    if (seconds.count() > 9.2e9) return nanoseconds::max();
    return std::chrono::duration_cast<nanoseconds>(duration);
  }

  nanoseconds value_;
};

/// @brief Waits until what was asked for happens.
inline constexpr Timeout forever{std::chrono::nanoseconds::max()};

namespace detail {

/// @brief The moment at which a Timeout that begins now ends. Reads the clock only when it must.
class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Deadline(Timeout timeout) noexcept : kind_{kind_of(timeout)} {
    if (kind_ == Kind::timed) end_ = saturating_end(timeout.value());
  }

  [[nodiscard]] bool is_forever() const noexcept { return kind_ == Kind::forever; }
  [[nodiscard]] bool is_now() const noexcept { return kind_ == Kind::now; }
  [[nodiscard]] bool passed() const noexcept {
    return kind_ == Kind::now || (kind_ == Kind::timed && Clock::now() >= end_);
  }
  /// @brief The time left, at most `limit`, never negative.
  [[nodiscard]] std::chrono::nanoseconds left(std::chrono::nanoseconds limit) const noexcept {
    if (kind_ == Kind::forever) return limit;
    if (kind_ == Kind::now) return std::chrono::nanoseconds::zero();
    const auto rest = std::chrono::duration_cast<std::chrono::nanoseconds>(end_ - Clock::now());
    if (rest <= std::chrono::nanoseconds::zero()) return std::chrono::nanoseconds::zero();
    return rest < limit ? rest : limit;
  }

 private:
  enum class Kind { now, timed, forever };

  static Kind kind_of(Timeout timeout) noexcept {
    if (timeout.is_forever()) return Kind::forever;
    return timeout.value() == std::chrono::nanoseconds::zero() ? Kind::now : Kind::timed;
  }
  static Clock::time_point saturating_end(std::chrono::nanoseconds wait) noexcept {
    const auto now = Clock::now();
    return wait > Clock::time_point::max() - now ? Clock::time_point::max() : now + wait;
  }

  Kind kind_;
  Clock::time_point end_{};
};

}  // namespace detail
}  // namespace multiprocessing
