// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file lock.hpp
/// @brief Mutual exclusion between processes, which says when an owner died.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/os/lock.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/synchronize/shared_page.hpp>
#include <multiprocessing/timeout.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing {

namespace detail {

/// @brief What lies in a Lock's shared memory.
struct LockState {
  static constexpr std::uint64_t expected_magic = 0x316b636f4c706d21;  // "!mpLock1"
  static constexpr const char* name = "a Lock";

  std::uint64_t magic;
  /// 1: an owner died holding the mutex, and nobody has recovered the lock. Changed by the mutex's
  /// holder only, read by all. An owner's death that nobody has noticed stands in the mutex.
  std::atomic<std::uint32_t> abandoned;
  os::RobustLock mutex;
};

/// @brief What all copies of a Lock in one process share.
class LockCore {
 public:
  static std::shared_ptr<LockCore> create();
  static std::shared_ptr<LockCore> adopt(std::vector<os::UniqueHandle> handles);
  LockCore(const LockCore&) = delete;
  LockCore& operator=(const LockCore&) = delete;
  ~LockCore() {
    if (page_->mutex.must_stay_mapped()) page_.leave_mapped();
  }
  [[nodiscard]] std::vector<os::UniqueHandle> duplicate_handles() const {
    return reduction::duplicates(std::array{page_.handle()});
  }

  bool acquire(Timeout timeout);
  bool recover(Timeout timeout);
  void release();
  [[nodiscard]] bool locked() const noexcept { return !abandoned() && page_->mutex.is_held(); }

 private:
  // The kernel wakes whoever waits when an owner dies. Linux before 6.2 forgets the others when
  // that one is killed before it has the mutex, so everybody looks by himself now and then.
  static constexpr std::chrono::seconds longest_sleep{1};

  explicit LockCore(SharedPage<LockState> page) noexcept : page_{std::move(page)} {}

  [[nodiscard]] bool abandoned() const noexcept {
    return page_->abandoned.load(std::memory_order_acquire) != 0;
  }
  os::Acquired take(Timeout timeout) noexcept;
  [[noreturn]] static void throw_abandoned() {
    throw AbandonedLock{
        "the lock's owner died holding it, so what it guards may be half changed; call recover(), "
        "mend that, and release the lock"};
  }

  SharedPage<LockState> page_;
};

inline std::shared_ptr<LockCore> LockCore::create() {
  std::shared_ptr<LockCore> core{new LockCore{SharedPage<LockState>::create()}};
  std::error_code ec;
  core->page_->mutex.initialise(ec);
  if (ec) throw std::system_error{ec, "cannot initialise a Lock"};
  return core;
}

inline std::shared_ptr<LockCore> LockCore::adopt(std::vector<os::UniqueHandle> handles) {
  if (handles.size() != 1) throw SerializationError{"a Lock arrived without its handle"};
  return std::shared_ptr<LockCore>{
      new LockCore{SharedPage<LockState>::adopt(std::move(handles.front()))}};
}

// No clock is read, and nothing asked of the system, when the mutex is free.
inline os::Acquired LockCore::take(Timeout timeout) noexcept {
  os::RobustLock& mutex = page_->mutex;
  os::Acquired result = mutex.try_lock();
  if (result != os::Acquired::no) return result;
  const Deadline deadline{timeout};
  while (result == os::Acquired::no && !deadline.passed()) {
    result = mutex.lock(Deadline{deadline.left(longest_sleep)});
  }
  return result;
}

inline bool LockCore::acquire(Timeout timeout) {
  if (abandoned()) throw_abandoned();
  const os::Acquired taken = take(timeout);
  MULTIPROCESSING_STOP_POINT("lock.acquire.taken");
  if (taken == os::Acquired::abandoned) {
    // From here to the end of unlock() this thread owns the mutex: whoever dies on the way leaves
    // it as the first one did.
    page_->abandoned.store(1, std::memory_order_release);
    MULTIPROCESSING_STOP_POINT("lock.acquire.marked");
  }
  if (!abandoned()) return taken == os::Acquired::yes;
  if (taken != os::Acquired::no) {
    page_->mutex.unlock();
    MULTIPROCESSING_STOP_POINT("lock.acquire.given_back");
  }
  throw_abandoned();
}

inline bool LockCore::recover(Timeout timeout) {
  if (take(timeout) == os::Acquired::no) return false;
  MULTIPROCESSING_STOP_POINT("lock.recover.taken");
  page_->abandoned.store(0, std::memory_order_release);
  MULTIPROCESSING_STOP_POINT("lock.recover.sound");
  return true;
}

inline void LockCore::release() {
  MULTIPROCESSING_STOP_POINT("lock.release.begun");
  if (!page_->mutex.unlock()) {
    throw std::logic_error{
        "this thread does not hold the lock that it releases; to hand over to another thread or "
        "process use a Semaphore or an Event"};
  }
  MULTIPROCESSING_STOP_POINT("lock.release.unlocked");
}

}  // namespace detail

/// @brief A lock for threads in any processes, which is held by one of them at a time.
/// @python{multiprocessing.Lock()}
///
/// A handle: copies, also those in other processes, are the same lock. The owner is a thread.
/// std::lock_guard, std::unique_lock and std::scoped_lock take it.
///
/// An owner that dies holding it, process or thread, *abandons* the lock: what it guarded may be
/// half changed. Then every acquire, also one that waits already, throws AbandonedLock at once,
/// until somebody who knows how to mend what is guarded calls recover(). Nobody ever waits for a
/// dead owner.
/// @code
/// mp::Lock lock;
/// mp::Process process{[](mp::Lock l) { const std::lock_guard guard{l}; ... }, lock};
/// process.start();
/// try {
///   lock.acquire();
/// } catch (const mp::AbandonedLock&) {
///   lock.recover();
///   ...  // mend what the dead one left
/// }
/// lock.release();
/// @endcode
/// Not recursive: a thread that acquires what it owns waits. To travel, it is passed to a process
/// when starting it, or sent through a duplex Pipe.
///
/// Differences from Python: there anybody may release a lock, and a lock whose owner died stays
/// held for ever.
/// @shape One handle and one page of memory. While a thread of this process holds a lock whose last
/// copy here is destroyed, its page stays mapped until this process ends.
/// @threads any, at once.
/// @processes any, at once: those that got the lock by fork, in a state, or in an argument. After a
/// bare fork() the child owns nothing.
class Lock {
 public:
  /// @brief Free and sound.
  /// @throws std::system_error the system has no descriptor or memory left.
  Lock() : core_{detail::LockCore::create()} {}
  Lock(const Lock&) = default;
  Lock& operator=(const Lock&) = default;
  ~Lock() = default;

  /// @brief Takes the lock. No system call when it is free.
  /// @param timeout how long to wait while somebody else holds it; with zero, false may also mean
  /// that another thread is just finding out that the owner died.
  /// @returns false: somebody else held it for so long.
  /// @throws AbandonedLock an owner died holding it, and nobody has called recover(); the caller
  /// holds nothing.
  bool acquire(Timeout timeout = forever) { return core_->acquire(timeout); }

  /// @brief Gives the lock back.
  /// @throws std::logic_error this thread does not hold it: it is free, or another thread or
  /// process does; nothing changed. Python lets anybody release it; a Semaphore does here too.
  void release() { core_->release(); }

  /// @brief Whether somebody holds it, in any process; an owner that died is nobody.
  [[nodiscard]] bool locked() const noexcept { return core_->locked(); }

  /// @brief acquire() of a lock that may be abandoned: the caller holds it, and it is sound again.
  /// What it guards is the caller's to mend: whoever dies before release() abandons it again. A
  /// sound lock is just acquired. Python has no counterpart.
  /// @param timeout how long to wait while somebody else holds it.
  /// @returns false: somebody else held it for so long.
  bool recover(Timeout timeout = forever) { return core_->recover(timeout); }

  // ---- what the standard's guards call ----

  /// @brief acquire() without end. @throws AbandonedLock as it does.
  void lock() { acquire(); }
  /// @brief acquire() that does not wait. @throws AbandonedLock as it does.
  [[nodiscard]] bool try_lock() { return acquire(std::chrono::seconds{0}); }
  /// @brief acquire(). @throws AbandonedLock as it does.
  [[nodiscard]] bool try_lock_for(Timeout timeout) { return acquire(timeout); }
  /// @brief acquire() until a moment of any clock, which may be set meanwhile.
  /// @throws AbandonedLock as it does.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& end) {
    if (try_lock()) return true;
    for (auto now = Clock::now(); now < end; now = Clock::now()) {
      if (acquire(end - now)) return true;
    }
    return false;
  }
  /// @brief release(). @throws std::logic_error as it does.
  void unlock() { release(); }

 private:
  friend struct codec<Lock>;
  explicit Lock(std::shared_ptr<detail::LockCore> core) noexcept : core_{std::move(core)} {}

  std::shared_ptr<detail::LockCore> core_;
};

/// @brief A lock travels as its memory's handle.
template <>
struct codec<Lock> {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const Lock& lock) {
    reduction::save_shared(encoder, lock.core_, detail::LockState::name);
  }
  static Lock decode(Decoder& decoder) {
    return Lock{reduction::load_shared<detail::LockCore>(decoder)};
  }
};

}  // namespace multiprocessing
