// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file lock_core.hpp
/// @brief What Lock and RLock are made of: a lock with an owner, whose death is found out.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/heap.hpp>
#include <multiprocessing/os/lock.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/timeout.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace multiprocessing::detail {

/// @brief What lies in a lock's shared memory. `is_recursive` is written once. The mutex's holder
/// alone changes the rest, all read it. An owner's death that nobody has noticed stands in the
/// mutex.
struct LockState {
  static constexpr std::uint64_t expected_magic = 0x316b636f4c706d21;  // "!mpLock1"
  static constexpr const char* name = "a Lock";

  std::uint64_t magic;
  /// 1: an owner died holding the mutex, and nobody has recovered the lock.
  std::atomic<std::uint32_t> abandoned;
  std::uint32_t is_recursive;
  /// How often the owner has taken it; of a recursive lock that is held, else without meaning.
  std::atomic<std::uint32_t> depth;
  /// 1: should the owner die, what the lock guards may be half changed. Not so in acquire() until
  /// it returns, nor in release(), nor in who vouches for it.
  std::atomic<std::uint32_t> at_work;
  os::RobustLock mutex;
};

/// @brief Takes an inner lock. The kernel wakes whoever waits when an owner dies; Linux before 6.2
/// forgets the others when that one is killed before it has the lock, so everybody looks by himself
/// now and then. No clock is read, and nothing asked of the system, when it is free.
/// @throws std::system_error nobody will ever get it: its memory was written by something else.
inline os::Acquired take(os::RobustLock& mutex, Timeout timeout) {
  constexpr std::chrono::seconds longest_sleep{1};
  os::Acquired result = mutex.try_lock();
  if (result != os::Acquired::no) return result;
  const Deadline deadline{timeout};
  while (result == os::Acquired::no && !deadline.passed()) {
    std::error_code ec;
    result = mutex.lock(Deadline{deadline.left(longest_sleep)}, ec);
    if (ec) throw std::system_error{ec, "cannot take a lock"};
  }
  return result;
}

/// @brief Holds an inner lock, whatever became of its last owner: what it guards is whole at every
/// moment.
class InnerGuard {
 public:
  /// @throws as take()
  explicit InnerGuard(os::RobustLock& mutex) : mutex_{&mutex} { take(mutex, forever); }
  InnerGuard(const InnerGuard&) = delete;
  InnerGuard& operator=(const InnerGuard&) = delete;
  ~InnerGuard() { mutex_->unlock(); }

 private:
  os::RobustLock* mutex_;
};

/// @brief How many locks this thread holds. The kernel gives up those of a dead thread, but follows
/// its list no further than 2,048 (ROBUST_LIST_LIMIT): what it does not reach would stay locked for
/// ever. So a thread may hold fewer, with some to spare for the library's own.
class HeldLocks {
 public:
  static constexpr std::uint32_t most = 2000;

  /// @throws std::system_error this thread holds as many as it may.
  /// @returns how many it holds; for add().
  static std::uint32_t& check() {
    std::uint32_t& held = count();
    if (held < most) return held;
    throw std::system_error{
        std::make_error_code(std::errc::resource_unavailable_try_again),
        "this thread holds 2000 locks, and the system gives up no more of them should it die"};
  }
  static void add() noexcept { add(count()); }
  static void add(std::uint32_t& held) noexcept { ++held; }
  /// @brief By who holds one, so there was no fork since check() or add().
  static void remove() noexcept { --held_; }

 private:
  // A fork's child holds none.
  static std::uint32_t& count() noexcept {
    const std::uint32_t now = process_state().forks.load(std::memory_order_relaxed);
    if (forks_ != now) {
      forks_ = now;
      held_ = 0;
    }
    return held_;
  }

  // NOLINTBEGIN(*-identifier-naming): takes a thread's member for a variable
  inline static thread_local constinit std::uint32_t held_ = 0;
  inline static thread_local constinit std::uint32_t forks_ = 0;
  // NOLINTEND(*-identifier-naming)
};

/// @brief What all copies of a lock in one process share.
class LockCore {
 public:
  static std::shared_ptr<LockCore> create(bool is_recursive) {
    std::shared_ptr<LockCore> core{new LockCore{SharedObject<LockState>::create()}};
    core->state_->is_recursive = is_recursive ? 1 : 0;
    std::error_code ec;
    core->state_->mutex.initialise(ec);
    if (ec) throw std::system_error{ec, "cannot initialise a lock"};
    return core;
  }
  LockCore(const LockCore&) = delete;
  LockCore& operator=(const LockCore&) = delete;
  ~LockCore() {
    if (state_->mutex.must_stay_mapped()) state_.leave_held(state_->mutex);
  }
  void save(Encoder& encoder) const { state_.save(encoder); }
  static std::shared_ptr<LockCore> load(Decoder& decoder, bool is_recursive) {
    std::shared_ptr<LockCore> core{new LockCore{SharedObject<LockState>::load(decoder)}};
    if ((core->state_->is_recursive != 0) == is_recursive) return core;
    throw SerializationError{is_recursive ? "what arrived is a Lock, not an RLock"
                                          : "what arrived is an RLock, not a Lock"};
  }

  bool acquire(Timeout timeout) {
    if (!take_again() && !acquire_first(timeout)) return false;
    state_->at_work.store(1, std::memory_order_release);
    MULTIPROCESSING_STOP_POINT("lock.acquire.held");
    return true;
  }
  bool recover(Timeout timeout);
  void release();
  [[nodiscard]] bool locked() const noexcept { return !is_known_abandoned() && is_held(); }
  [[nodiscard]] bool is_recursive() const noexcept { return state_->is_recursive != 0; }
  [[nodiscard]] bool is_mine() const noexcept { return state_->mutex.is_mine(); }

  // ---- for Condition ----

  /// @brief Gives it up, however often the owner, who calls this, has taken it. @returns how often.
  std::uint32_t release_all() noexcept;
  /// @brief Takes it so often again, whatever became of it. @returns false: it was abandoned.
  bool take_back(std::uint32_t depth) noexcept;
  [[nodiscard]] bool is_abandoned() const noexcept {
    return is_known_abandoned() || (state_->mutex.is_abandoned() && state_->at_work != 0);
  }

  // ---- for Value ----

  /// @brief As acquire(); the caller vouches that what the lock guards is sound whenever it dies
  /// before release(). Who had taken a recursive lock before, does not vouch by this; nor does who
  /// takes it by acquire() afterwards, from then until nobody holds it.
  bool acquire_vouching(Timeout timeout) { return take_again() || acquire_first(timeout); }

  [[noreturn]] static void throw_abandoned() {
    throw AbandonedLock{
        "the lock's owner died holding it, so what it guards may be half changed; call recover(), "
        "mend that, and release the lock"};
  }

 private:
  explicit LockCore(SharedObject<LockState> state) noexcept : state_{std::move(state)} {}

  [[nodiscard]] bool is_held() const noexcept { return state_->mutex.is_held(); }
  [[nodiscard]] bool is_known_abandoned() const noexcept {
    return state_->abandoned.load(std::memory_order_acquire) != 0;
  }
  // Once more, if this thread has it and may.
  bool take_again() noexcept {
    if (!is_recursive() || !is_mine()) return false;
    const std::uint32_t depth = state_->depth.load(std::memory_order_relaxed);
    state_->depth.store(depth + 1, std::memory_order_relaxed);  // nobody else does
    return true;
  }
  bool acquire_first(Timeout timeout);
  void set_depth(std::uint32_t depth) noexcept {
    if (is_recursive()) state_->depth.store(depth, std::memory_order_relaxed);
  }
  // By the owner.
  void unlock() noexcept {
    state_->at_work.store(0, std::memory_order_release);
    MULTIPROCESSING_STOP_POINT("lock.release.done");
    state_->mutex.unlock();
    HeldLocks::remove();
    MULTIPROCESSING_STOP_POINT("lock.release.unlocked");
  }

  SharedObject<LockState> state_;
};

inline bool LockCore::acquire_first(Timeout timeout) {
  if (is_known_abandoned()) throw_abandoned();
  std::uint32_t& held = HeldLocks::check();
  os::Acquired taken = state_->mutex.try_lock();
  if (taken == os::Acquired::no && !Deadline{timeout}.is_now()) {
    taken = state_->mutex.try_after_nap();
  }
  if (taken == os::Acquired::no) taken = take(state_->mutex, timeout);
  MULTIPROCESSING_STOP_POINT("lock.acquire.taken");
  if (taken == os::Acquired::abandoned && state_->at_work != 0) {
    // From here to the end of unlock() this thread owns the mutex: whoever dies on the way leaves
    // it as the first one did.
    state_->abandoned.store(1, std::memory_order_release);
    MULTIPROCESSING_STOP_POINT("lock.acquire.marked");
  }
  if (is_known_abandoned()) {
    if (taken != os::Acquired::no) {
      state_->mutex.unlock();
      MULTIPROCESSING_STOP_POINT("lock.acquire.given_back");
    }
    throw_abandoned();
  }
  if (taken == os::Acquired::no) return false;
  HeldLocks::add(held);
  set_depth(1);
  return true;
}

inline bool LockCore::recover(Timeout timeout) {
  if (take_again()) {
    state_->at_work.store(1, std::memory_order_release);
    return true;
  }
  HeldLocks::check();
  if (take(state_->mutex, timeout) == os::Acquired::no) return false;
  HeldLocks::add();
  MULTIPROCESSING_STOP_POINT("lock.recover.taken");
  set_depth(1);
  state_->at_work.store(1, std::memory_order_release);
  MULTIPROCESSING_STOP_POINT("lock.recover.held");
  state_->abandoned.store(0, std::memory_order_release);
  MULTIPROCESSING_STOP_POINT("lock.recover.sound");
  return true;
}

inline void LockCore::release() {
  MULTIPROCESSING_STOP_POINT("lock.release.begun");
  if (!is_mine()) {
    throw std::logic_error{
        "this thread does not hold the lock that it releases; to hand over to another thread or "
        "process use a Semaphore or an Event"};
  }
  const std::uint32_t depth = state_->depth.load(std::memory_order_relaxed);
  if (!is_recursive() || depth == 1) return unlock();
  state_->depth.store(depth - 1, std::memory_order_relaxed);
}

inline std::uint32_t LockCore::release_all() noexcept {
  const std::uint32_t depth = is_recursive() ? state_->depth.load(std::memory_order_relaxed) : 1;
  unlock();
  return depth;
}

inline bool LockCore::take_back(std::uint32_t depth) noexcept {
  const os::Acquired taken = take(state_->mutex, forever);
  HeldLocks::add();
  MULTIPROCESSING_STOP_POINT("lock.take_back.taken");
  const bool was_abandoned =
      is_known_abandoned() || (taken == os::Acquired::abandoned && state_->at_work != 0);
  set_depth(depth);
  state_->at_work.store(1, std::memory_order_release);
  state_->abandoned.store(0, std::memory_order_release);
  return !was_abandoned;
}

/// @brief For what is built on locks.
struct CoreOf {
  template <class AnyLock>
  [[nodiscard]] static const std::shared_ptr<LockCore>& lock(const AnyLock& lock) noexcept {
    return lock.core_;
  }
};

}  // namespace multiprocessing::detail
