// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/lock.hpp>

#include <cerrno>
#include <chrono>
#include <ctime>

#include <pthread.h>

namespace multiprocessing::os {

namespace posix {

inline pthread_mutex_t* mutex_in(std::byte* storage) noexcept {
  static_assert(sizeof(pthread_mutex_t) <= 64);
  return reinterpret_cast<pthread_mutex_t*>(storage);
}

inline Acquired acquired(pthread_mutex_t* mutex, int result) noexcept {
  if (result == 0) return Acquired::yes;
  if (result != EOWNERDEAD) return Acquired::no;
  pthread_mutex_consistent(mutex);
  return Acquired::abandoned;
}

}  // namespace posix

inline void RobustLock::initialise(std::error_code& ec) noexcept {
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

inline Acquired RobustLock::try_lock() noexcept {
  pthread_mutex_t* const mutex = posix::mutex_in(storage_);
  return posix::acquired(mutex, pthread_mutex_trylock(mutex));
}

inline Acquired RobustLock::lock(const detail::Deadline& deadline) noexcept {
  if (deadline.is_now()) return try_lock();
  pthread_mutex_t* const mutex = posix::mutex_in(storage_);
  if (deadline.is_forever()) return posix::acquired(mutex, pthread_mutex_lock(mutex));
  // No clock is read when the lock is free.
  if (const Acquired free = try_lock(); free != Acquired::no) return free;
  const auto end = std::chrono::steady_clock::now().time_since_epoch() +
                   deadline.left(std::chrono::hours{24 * 365});
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(end);
  const auto rest = std::chrono::duration_cast<std::chrono::nanoseconds>(end - seconds);
  const timespec until{static_cast<time_t>(seconds.count()), static_cast<long>(rest.count())};
  return posix::acquired(mutex, pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until));
}

inline void RobustLock::unlock() noexcept {
  pthread_mutex_unlock(posix::mutex_in(storage_));
}

}  // namespace multiprocessing::os
