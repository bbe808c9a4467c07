// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file semaphore.hpp
/// @brief A number of units that processes take and give back.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/heap.hpp>
#include <multiprocessing/os/bell.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/synchronize/lockable.hpp>
#include <multiprocessing/synchronize/shared_bell.hpp>
#include <multiprocessing/timeout.hpp>

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace multiprocessing {

namespace detail {

/// @brief What lies in a semaphore's shared memory.
struct SemaphoreState {
  static constexpr std::uint64_t expected_magic = 0x31616d6553706d21;  // "!mpSema1"
  static constexpr const char* name = "a Semaphore";

  std::uint64_t magic;
  std::uint32_t most;                ///< Written once: `value` never exceeds it.
  std::atomic<std::uint32_t> value;  ///< The units that are free. Changed by anybody, by one
                                     ///< operation each.
  os::BellState bell;  ///< Rung by release(), and by each who takes a unit and leaves some.
};

/// @brief What all copies of a semaphore in one process share.
class SemaphoreCore {
 public:
  static constexpr std::uint32_t no_bound = std::numeric_limits<std::int32_t>::max();

  /// @throws std::invalid_argument more than 2^31 - 1 units.
  static std::shared_ptr<SemaphoreCore> create(unsigned value, bool is_bounded) {
    if (value > no_bound) {
      throw std::invalid_argument{"a semaphore of " + std::to_string(value) +
                                  " units: there may be 2147483647"};
    }
    std::shared_ptr<SemaphoreCore> core{new SemaphoreCore{
        SharedObject<SemaphoreState>::create(), SharedBell::create(SemaphoreState::name)}};
    core->state_->most = is_bounded ? value : no_bound;
    core->state_->value = value;
    return core;
  }
  void save(Encoder& encoder) const {
    state_.save(encoder);
    SharedBell::save(encoder, bell_, SemaphoreState::name);
  }
  static std::shared_ptr<SemaphoreCore> load(Decoder& decoder) {
    auto state = SharedObject<SemaphoreState>::load(decoder);
    return std::shared_ptr<SemaphoreCore>{
        new SemaphoreCore{std::move(state), SharedBell::load(decoder)}};
  }

  bool acquire(Timeout timeout) noexcept;
  void release(unsigned n);
  [[nodiscard]] std::uint32_t value() const noexcept {
    return state_->value.load(std::memory_order_seq_cst);
  }

 private:
  SemaphoreCore(SharedObject<SemaphoreState> state, std::shared_ptr<SharedBell> bell) noexcept
      : state_{std::move(state)}, bell_{std::move(bell)} {}

  bool try_acquire() noexcept {
    std::uint32_t now = value();
    while (now > 0) {
      if (!state_->value.compare_exchange_weak(now, now - 1)) continue;
      MULTIPROCESSING_STOP_POINT("semaphore.acquire.taken");
      // A ring wakes one, and two rings may have met the same one.
      if (now > 1) (**bell_).ring(state_->bell);
      return true;
    }
    return false;
  }

  SharedObject<SemaphoreState> state_;
  std::shared_ptr<SharedBell> bell_;
};

inline bool SemaphoreCore::acquire(Timeout timeout) noexcept {
  if (try_acquire()) return true;
  const Deadline deadline{timeout};
  if (deadline.is_now()) return false;
  for (;;) {
    const auto announced = os::Bell::announce(state_->bell);
    MULTIPROCESSING_STOP_POINT("semaphore.acquire.announced");
    if (try_acquire()) return true;
    const auto left = deadline.left(os::Bell::longest_sleep);
    if (left == left.zero()) return false;
    (**bell_).sleep(state_->bell, announced, left);
    MULTIPROCESSING_STOP_POINT("semaphore.acquire.woken");
  }
}

inline void SemaphoreCore::release(unsigned n) {
  if (n == 0) throw std::invalid_argument{"a semaphore is released by one unit or more, not by 0"};
  std::uint32_t now = value();
  do {
    if (n > state_->most - now) {
      throw std::invalid_argument{"a semaphore is released too often: " + std::to_string(now) +
                                  " of " + std::to_string(state_->most) + " units are free, and " +
                                  std::to_string(n) + " more come back"};
    }
  } while (!state_->value.compare_exchange_weak(now, now + n));
  MULTIPROCESSING_STOP_POINT("semaphore.release.stored");
  (**bell_).ring(state_->bell);
  MULTIPROCESSING_STOP_POINT("semaphore.release.rung");
}

/// @brief What both kinds of semaphores have.
template <class Derived>
class AnySemaphore : public StandardLockable<Derived> {
 public:
  /// @brief Takes a unit. No system call when one is free.
  /// @param timeout how long to wait for one.
  /// @returns false: none was free for so long.
  bool acquire(Timeout timeout = forever) noexcept { return core_->acquire(timeout); }

  /// @brief Gives units back, or adds some; anybody may. Waits for nobody.
  /// @throws std::invalid_argument none, or there would be more than there may be; nothing changed.
  void release(unsigned n = 1) { core_->release(n); }

  /// @brief The units that are free at this moment.
  [[nodiscard]] unsigned get_value() const noexcept { return core_->value(); }
  /// @brief Whether no unit is free.
  [[nodiscard]] bool locked() const noexcept { return core_->value() == 0; }

 private:
  friend Derived;
  friend struct codec<Derived>;
  explicit AnySemaphore(std::shared_ptr<SemaphoreCore> core) noexcept : core_{std::move(core)} {}

  std::shared_ptr<SemaphoreCore> core_;
};

}  // namespace detail

/// @brief A number of units: acquire() takes one, or waits until there is one; release() puts some
/// back, and may add to those that there were at first.
/// @python{multiprocessing.Semaphore(value=1)}
///
/// A handle: copies, also those in other processes, are the same semaphore. A unit has no owner:
/// who took it may leave the giving back to another thread or process, and what a process that died
/// had taken stays taken. To find out that an owner died use a Lock. std::lock_guard and its like
/// take it.
/// @code
/// mp::Semaphore licences{3};
/// mp::Process process{[](mp::Semaphore s) { const std::lock_guard guard{s}; ... }, licences};
/// @endcode
/// Whoever dies, at any instruction, holds nobody up; a waiter whose waker was killed on the way
/// finds out by itself within 50 ms. Python's has no release(n).
/// @shape 128 bytes of memory, however many wait; a few handles for thousands of semaphores. At
/// most 2^31 - 1 units.
/// @threads any, at once.
/// @processes any, at once: those that got it by fork, in a state, or in an argument.
class Semaphore : public detail::AnySemaphore<Semaphore> {
 public:
  /// @param value the units that are free at first.
  /// @throws std::invalid_argument more than 2^31 - 1. std::system_error the system has no
  /// descriptor or memory left.
  explicit Semaphore(unsigned value = 1)
      : AnySemaphore{detail::SemaphoreCore::create(value, false)} {}

 private:
  friend struct codec<Semaphore>;
  using AnySemaphore::AnySemaphore;
};

/// @brief A Semaphore that never has more units than at first: release() beyond that is refused.
/// @python{multiprocessing.BoundedSemaphore(value=1)}
class BoundedSemaphore : public detail::AnySemaphore<BoundedSemaphore> {
 public:
  /// @param value the units that are free at first, and at most.
  /// @throws as Semaphore does.
  explicit BoundedSemaphore(unsigned value = 1)
      : AnySemaphore{detail::SemaphoreCore::create(value, true)} {}

 private:
  friend struct codec<BoundedSemaphore>;
  using AnySemaphore::AnySemaphore;
};

template <>
struct codec<Semaphore> {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const Semaphore& semaphore) {
    semaphore.core_->save(encoder);
  }
  static Semaphore decode(Decoder& decoder) {
    return Semaphore{detail::SemaphoreCore::load(decoder)};
  }
};

template <>
struct codec<BoundedSemaphore> {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const BoundedSemaphore& semaphore) {
    semaphore.core_->save(encoder);
  }
  static BoundedSemaphore decode(Decoder& decoder) {
    return BoundedSemaphore{detail::SemaphoreCore::load(decoder)};
  }
};

}  // namespace multiprocessing
