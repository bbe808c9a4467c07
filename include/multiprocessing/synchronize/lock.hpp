// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file lock.hpp
/// @brief Mutual exclusion between processes, which says when an owner died.
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/synchronize/lock_core.hpp>
#include <multiprocessing/synchronize/lockable.hpp>
#include <multiprocessing/timeout.hpp>

#include <memory>
#include <utility>

namespace multiprocessing {

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
/// @shape 128 bytes of memory; a few handles for thousands of locks. A thread holds 2,000 of all
/// kinds at most. While a thread of this process holds a lock whose last copy here is destroyed,
/// its memory stays mapped until this process ends.
/// @threads any, at once.
/// @processes any, at once: those that got the lock by fork, in a state, or in an argument. After a
/// bare fork() the child owns nothing.
class Lock : public detail::StandardLockable<Lock> {
 public:
  /// @brief Free and sound.
  /// @throws std::system_error the system has no descriptor or memory left.
  Lock() : core_{detail::LockCore::create(false)} {}
  Lock(const Lock&) = default;
  Lock& operator=(const Lock&) = default;
  ~Lock() = default;

  /// @brief Takes the lock. No system call when it is free.
  /// @param timeout how long to wait while somebody else holds it; with zero, false may also mean
  /// that another thread is just finding out that the owner died.
  /// @returns false: somebody else held it for so long.
  /// @throws AbandonedLock an owner died holding it, and nobody has called recover(); the caller
  /// holds nothing. std::system_error this thread holds 2,000 locks already.
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

 private:
  friend struct codec<Lock>;
  friend struct detail::CoreOf;
  explicit Lock(std::shared_ptr<detail::LockCore> core) noexcept : core_{std::move(core)} {}

  std::shared_ptr<detail::LockCore> core_;
};

/// @brief A lock travels as its place in shared memory.
template <>
struct codec<Lock> {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const Lock& lock) { lock.core_->save(encoder); }
  static Lock decode(Decoder& decoder) { return Lock{detail::LockCore::load(decoder, false)}; }
};

}  // namespace multiprocessing
