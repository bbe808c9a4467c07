// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/lock.hpp>
#include <multiprocessing/os/random.hpp>
#include <multiprocessing/os/windows/named_event.ipp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

namespace multiprocessing::os {

namespace windows {

// What lies in a lock's storage.
struct LockWords {
  // 0: free. Else the owner: its thread's id below, the lower half of that thread's creation time
  // above, for ids are used again. Changed by one exchange.
  std::atomic<std::uint64_t> owner;
  // 1: somebody may sleep, or be about to. Set by sleepers, cleared by the owner that leaves.
  std::atomic<std::uint32_t> sleeper;
  // Of the event that sleepers make while they sleep. Random, so nobody meets it by chance. Written
  // before others see the lock.
  std::array<std::uint64_t, 2> name;
};
static_assert(sizeof(LockWords) <= 64 && std::atomic<std::uint64_t>::is_always_lock_free);

MULTIPROCESSING_INLINE LockWords& words_in(std::byte* storage) noexcept {
  return *reinterpret_cast<LockWords*>(storage);
}

MULTIPROCESSING_INLINE std::uint64_t owner_in(const std::byte* storage) noexcept {
  return reinterpret_cast<const LockWords*>(storage)->owner.load();
}

MULTIPROCESSING_INLINE std::uint32_t creation_of(HANDLE thread) noexcept {
  FILETIME created{};
  FILETIME others{};
  MULTIPROCESSING_SYSTEM(GetThreadTimes)(thread, &created, &others, &others, &others);
  return created.dwLowDateTime;
}

MULTIPROCESSING_INLINE std::uint64_t this_thread() noexcept {
  thread_local const std::uint64_t word =
      (std::uint64_t{creation_of(MULTIPROCESSING_SYSTEM(GetCurrentThread)())} << 32U) |
      MULTIPROCESSING_SYSTEM(GetCurrentThreadId)();
  return word;
}

// Threads of all processes have different ids, so one id says who it is.
MULTIPROCESSING_INLINE bool is_dead(std::uint64_t owner) noexcept {
  if (owner == this_thread()) return false;
  const HANDLE opened = MULTIPROCESSING_SYSTEM(OpenThread)(
      SYNCHRONIZE | THREAD_QUERY_LIMITED_INFORMATION, FALSE, static_cast<DWORD>(owner));
  // Whom we may not look at lives.
  if (opened == nullptr) return MULTIPROCESSING_SYSTEM(GetLastError)() == ERROR_INVALID_PARAMETER;
  const UniqueHandle thread{opened};
  return MULTIPROCESSING_SYSTEM(WaitForSingleObject)(opened, 0) == WAIT_OBJECT_0 ||
         creation_of(opened) != static_cast<std::uint32_t>(owner >> 32U);
}

MULTIPROCESSING_INLINE bool take_free(LockWords& words) noexcept {
  std::uint64_t free = 0;
  return words.owner.load(std::memory_order_relaxed) == 0 &&
         words.owner.compare_exchange_strong(free, this_thread());
}

MULTIPROCESSING_INLINE Acquired take_from_dead(LockWords& words) noexcept {
  std::uint64_t owner = words.owner.load();
  if (owner == 0) return take_free(words) ? Acquired::yes : Acquired::no;
  if (!is_dead(owner) || !words.owner.compare_exchange_strong(owner, this_thread()))
    return Acquired::no;
  MULTIPROCESSING_STOP_POINT("robust_lock.lock.inherited");
  return Acquired::abandoned;
}

}  // namespace windows

MULTIPROCESSING_INLINE void RobustLock::initialise(std::error_code& ec) noexcept {
  auto& name = windows::words_in(storage_).name;
  random_bytes(std::as_writable_bytes(std::span{name}), ec);
}

MULTIPROCESSING_INLINE Acquired RobustLock::try_lock() noexcept {
  windows::LockWords& words = windows::words_in(storage_);
  return windows::take_free(words) ? Acquired::yes : windows::take_from_dead(words);
}

MULTIPROCESSING_INLINE Acquired RobustLock::try_after_nap() noexcept {
  return Acquired::no;  // the shortest sleep may last 15 ms
}

MULTIPROCESSING_INLINE Acquired RobustLock::lock(const detail::Deadline& deadline,
                                                 std::error_code& ec) noexcept {
  ec.clear();
  windows::LockWords& words = windows::words_in(storage_);
  if (windows::take_free(words)) return Acquired::yes;
  if (deadline.is_now()) return windows::take_from_dead(words);
  const UniqueHandle event = windows::sleepers_event(words.name);
  std::chrono::nanoseconds nap = std::chrono::milliseconds{1};
  for (;;) {
    words.sleeper.store(1);
    if (windows::take_free(words)) return Acquired::yes;
    if (windows::sleep_until_woken(event, deadline.left(nap))) continue;
    const Acquired acquired = windows::take_from_dead(words);
    if (acquired != Acquired::no || deadline.passed()) return acquired;
    nap = std::chrono::milliseconds{event ? 50 : 1};
  }
}

MULTIPROCESSING_INLINE bool RobustLock::unlock() noexcept {
  windows::LockWords& words = windows::words_in(storage_);
  if (words.owner.load(std::memory_order_relaxed) != windows::this_thread()) return false;
  words.owner.store(0);
  if (words.sleeper.load() == 0 || words.sleeper.exchange(0) == 0) return true;
  windows::wake_sleeper(words.name);
  return true;
}

MULTIPROCESSING_INLINE bool RobustLock::is_held() const noexcept {
  const std::uint64_t owner = windows::owner_in(storage_);
  return owner != 0 && !windows::is_dead(owner);
}

MULTIPROCESSING_INLINE bool RobustLock::is_mine() const noexcept {
  return windows::owner_in(storage_) == windows::this_thread();
}

MULTIPROCESSING_INLINE bool RobustLock::is_abandoned() const noexcept {
  const std::uint64_t owner = windows::owner_in(storage_);
  return owner != 0 && windows::is_dead(owner);
}

MULTIPROCESSING_INLINE bool RobustLock::must_stay_mapped() const noexcept {
  return false;
}

}  // namespace multiprocessing::os
