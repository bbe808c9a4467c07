// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file rlock.hpp
/// @brief Mutual exclusion between processes that its owner may take again.
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/synchronize/lock_core.hpp>
#include <multiprocessing/synchronize/lockable.hpp>
#include <multiprocessing/timeout.hpp>

#include <memory>
#include <utility>

namespace multiprocessing {

/// @brief A Lock that the thread that owns it may take again; it is free after as many calls of
/// release() as of acquire().
/// @python{multiprocessing.RLock()}
///
/// All that is said of Lock holds: it is a handle, the owner is a thread, and an owner that dies
/// abandons it, however often it had taken it.
/// @code
/// mp::RLock lock;
/// void deposit(mp::RLock lock) { const std::lock_guard guard{lock}; ... }
/// void transfer(mp::RLock lock) { const std::lock_guard guard{lock}; deposit(lock); }
/// @endcode
/// @shape as Lock. It may be taken 2^32 - 1 times.
/// @threads any, at once.
/// @processes any, at once: those that got the lock by fork, in a state, or in an argument. After a
/// bare fork() the child owns nothing.
class RLock : public detail::StandardLockable<RLock> {
 public:
  /// @brief Free and sound.
  /// @throws std::system_error the system has no descriptor or memory left.
  RLock() : core_{detail::LockCore::create(true)} {}
  RLock(const RLock&) = default;
  RLock& operator=(const RLock&) = default;
  ~RLock() = default;

  /// @brief Takes the lock, once more if this thread has it. No system call when it is free.
  /// @param timeout how long to wait while somebody else holds it.
  /// @returns false: somebody else held it for so long.
  /// @throws AbandonedLock an owner died holding it, and nobody has called recover(); the caller
  /// holds nothing. std::system_error this thread holds 2,000 locks already.
  bool acquire(Timeout timeout = forever) { return core_->acquire(timeout); }

  /// @brief Gives the lock back once.
  /// @throws std::logic_error this thread does not hold it; nothing changed. Python:
  /// AssertionError.
  void release() { core_->release(); }

  /// @brief Whether somebody holds it, in any process, the caller included.
  [[nodiscard]] bool locked() const noexcept { return core_->locked(); }

  /// @brief As Lock::recover(). @returns false: somebody else held it for so long.
  bool recover(Timeout timeout = forever) { return core_->recover(timeout); }

 private:
  friend struct codec<RLock>;
  friend struct detail::CoreOf;
  explicit RLock(std::shared_ptr<detail::LockCore> core) noexcept : core_{std::move(core)} {}

  std::shared_ptr<detail::LockCore> core_;
};

/// @brief As a Lock's.
template <>
struct codec<RLock> {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const RLock& lock) { lock.core_->save(encoder); }
  static RLock decode(Decoder& decoder) { return RLock{detail::LockCore::load(decoder, true)}; }
};

}  // namespace multiprocessing
