// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/lock.hpp>
#include <multiprocessing/os/process_wide.hpp>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <ctime>

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace multiprocessing::os {

namespace posix {

MULTIPROCESSING_INLINE pthread_mutex_t* mutex_in(std::byte* storage) noexcept {
  static_assert(sizeof(pthread_mutex_t) <= 64);
  return reinterpret_cast<pthread_mutex_t*>(storage);
}

MULTIPROCESSING_INLINE Acquired acquired(pthread_mutex_t* mutex, int result) noexcept {
  if (result == 0) return Acquired::yes;
  if (result != EOWNERDEAD) return Acquired::no;
  MULTIPROCESSING_STOP_POINT("robust_lock.lock.inherited");
  pthread_mutex_consistent(mutex);
  MULTIPROCESSING_STOP_POINT("robust_lock.lock.made_consistent");
  return Acquired::abandoned;
}

#if MULTIPROCESSING_THREAD_SANITIZER
// g++ 12's and clang++ 14's take a mutex for unlocked that pthread_mutex_clocklock has locked, or
// that pthread_mutex_timedlock has taken from a dead owner, and what it guards for raced.
MULTIPROCESSING_INLINE int lock_until(pthread_mutex_t* mutex,
                                      const detail::Deadline& deadline) noexcept {
  constexpr timespec nap{0, 100'000};
  for (;;) {
    const int result = pthread_mutex_trylock(mutex);
    if (result != EBUSY || deadline.passed()) return result;
    nanosleep(&nap, nullptr);
  }
}
#else
MULTIPROCESSING_INLINE int lock_until(pthread_mutex_t* mutex,
                                      const detail::Deadline& deadline) noexcept {
  const auto end = std::chrono::steady_clock::now().time_since_epoch() +
                   deadline.left(std::chrono::hours{24 * 365});
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(end);
  const auto rest = std::chrono::duration_cast<std::chrono::nanoseconds>(end - seconds);
  const timespec until{static_cast<time_t>(seconds.count()), static_cast<long>(rest.count())};
  return pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until);
}
#endif

// The word that the kernel clears when the owner dies; POSIX has no question that reads it.
MULTIPROCESSING_INLINE std::uint32_t word_of(const std::byte* storage) noexcept {
  const auto* const mutex = reinterpret_cast<const pthread_mutex_t*>(storage);
  return static_cast<std::uint32_t>(__atomic_load_n(&mutex->__data.__lock, __ATOMIC_ACQUIRE));
}
MULTIPROCESSING_INLINE pid_t owner_of(const std::byte* storage) noexcept {
  return static_cast<pid_t>(word_of(storage) & FUTEX_TID_MASK);
}

// The C library knows it too, and tells nobody. A fork gives the thread another one.
MULTIPROCESSING_INLINE pid_t this_thread() noexcept {
  thread_local constinit pid_t id = 0;
  thread_local constinit std::uint32_t forks = 0;
  const std::uint32_t now = multiprocessing::detail::process_state().forks.load();
  if (id == 0 || forks != now) {
    id = static_cast<pid_t>(MULTIPROCESSING_SYSTEM(syscall)(SYS_gettid));
    forks = now;
  }
  return id;
}

}  // namespace posix

MULTIPROCESSING_INLINE void RobustLock::initialise(std::error_code& ec) noexcept {
  pthread_mutexattr_t attributes;
  int result = pthread_mutexattr_init(&attributes);
  if (result == 0) {
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    result = MULTIPROCESSING_SYSTEM(pthread_mutex_init)(posix::mutex_in(storage_), &attributes);
    pthread_mutexattr_destroy(&attributes);
  }
  ec.assign(result, std::system_category());
}

MULTIPROCESSING_INLINE Acquired RobustLock::try_lock() noexcept {
  pthread_mutex_t* const mutex = posix::mutex_in(storage_);
  return posix::acquired(mutex, pthread_mutex_trylock(mutex));
}

MULTIPROCESSING_INLINE Acquired RobustLock::try_after_nap() noexcept {
  constexpr timespec nap{0, 20'000};  // and the 50 us that the kernel usually adds
  nanosleep(&nap, nullptr);
  return try_lock();
}

MULTIPROCESSING_INLINE Acquired RobustLock::lock(const detail::Deadline& deadline,
                                                 std::error_code& ec) noexcept {
  pthread_mutex_t* const mutex = posix::mutex_in(storage_);
  ec.clear();
  // No clock is read when the lock is free.
  int result = deadline.is_forever() ? pthread_mutex_lock(mutex) : pthread_mutex_trylock(mutex);
  if (result == EBUSY && !deadline.is_now()) result = posix::lock_until(mutex, deadline);
  // glibc leaves it noted for the kernel as what this thread is about to take; a try ends that.
  if (result == ETIMEDOUT) result = pthread_mutex_trylock(mutex);
  const Acquired taken = posix::acquired(mutex, result);
  if (taken == Acquired::no && result != EBUSY) ec.assign(result, std::system_category());
  return taken;
}

MULTIPROCESSING_INLINE bool RobustLock::unlock() noexcept {
  return pthread_mutex_unlock(posix::mutex_in(storage_)) == 0;
}

MULTIPROCESSING_INLINE bool RobustLock::is_held() const noexcept {
  return posix::owner_of(storage_) != 0;
}

MULTIPROCESSING_INLINE bool RobustLock::is_mine() const noexcept {
  const pid_t owner = posix::owner_of(storage_);
  return owner != 0 && owner == posix::this_thread();  // a free one's owner is told apart cheaply
}

MULTIPROCESSING_INLINE bool RobustLock::is_abandoned() const noexcept {
  const std::uint32_t word = posix::word_of(storage_);
  return (word & FUTEX_TID_MASK) == 0 && (word & FUTEX_OWNER_DIED) != 0;
}

MULTIPROCESSING_INLINE bool RobustLock::must_stay_mapped() const noexcept {
  const pid_t owner = posix::owner_of(storage_);
  return owner != 0 && MULTIPROCESSING_SYSTEM(syscall)(SYS_tgkill, MULTIPROCESSING_SYSTEM(getpid)(),
                                                       owner, 0) == 0;
}

}  // namespace multiprocessing::os
