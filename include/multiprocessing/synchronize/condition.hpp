// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file condition.hpp
/// @brief Waiting, without a lock, until another process says that something has changed.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/heap.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/synchronize/lock.hpp>
#include <multiprocessing/synchronize/lock_core.hpp>
#include <multiprocessing/synchronize/lockable.hpp>
#include <multiprocessing/synchronize/rlock.hpp>
#include <multiprocessing/timeout.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace multiprocessing {

namespace detail {

/// @brief What lies in a condition's shared memory. Who waits sits in the arena's waiting room.
struct ConditionState {
  static constexpr std::uint64_t expected_magic = 0x31646e6f43706d21;  // "!mpCond1"
  static constexpr const char* name = "a Condition";

  std::uint64_t magic;
  std::uint64_t number;                ///< By which its seats name it; written once.
  std::atomic<std::uint64_t> tickets;  ///< Given out so far. Changed by the lock's holder.
};

/// @brief What all copies of a condition in one process share.
class ConditionCore {
 public:
  static std::shared_ptr<ConditionCore> create(std::shared_ptr<LockCore> lock) {
    std::shared_ptr<ConditionCore> core{
        new ConditionCore{SharedObject<ConditionState>::create(), std::move(lock)}};
    core->state_->number = core->room_.next_object();
    return core;
  }
  ConditionCore(const ConditionCore&) = delete;
  ConditionCore& operator=(const ConditionCore&) = delete;
  ~ConditionCore() = default;
  void save(Encoder& encoder) const;
  static std::shared_ptr<ConditionCore> load(Decoder& decoder);

  [[nodiscard]] LockCore& lock() noexcept { return *lock_; }
  bool wait(Timeout timeout);
  void notify(std::size_t n) {
    check_mine("notify");
    room_.call(state_->number, state_->tickets, n);
  }
  void notify_all() {
    check_mine("notify");
    room_.call_all(state_->number, state_->tickets);
  }

 private:
  ConditionCore(SharedObject<ConditionState> state, std::shared_ptr<LockCore> lock) noexcept
      : state_{std::move(state)}, room_{state_.block().arena()}, lock_{std::move(lock)} {}

  void check_mine(const std::string& what) const {
    if (lock_->is_mine()) return;
    throw std::logic_error{"cannot " + what +
                           ": this thread does not hold the condition's lock; acquire() it first"};
  }
  void sleep(Seat& seat, const Deadline& deadline) noexcept;

  SharedObject<ConditionState> state_;
  WaitingRoom room_;
  std::shared_ptr<LockCore> lock_;
};

inline void ConditionCore::save(Encoder& encoder) const {
  state_.save(encoder);
  encoder.write_number(static_cast<std::uint8_t>(lock_->is_recursive()));
  lock_->save(encoder);
}

inline std::shared_ptr<ConditionCore> ConditionCore::load(Decoder& decoder) {
  auto state = SharedObject<ConditionState>::load(decoder);
  const bool is_recursive = decoder.read_number<std::uint8_t>() != 0;
  return std::shared_ptr<ConditionCore>{
      new ConditionCore{std::move(state), LockCore::load(decoder, is_recursive)}};
}

// Until this thread was called, its time is over, or the lock's owner, who may have been about to
// call it, died.
inline void ConditionCore::sleep(Seat& seat, const Deadline& deadline) noexcept {
  for (;;) {
    const std::uint32_t seen = seat.wakeup.seen();
    if (seat.sitting() == Sitting::called || lock_->is_abandoned()) return;
    const auto left = deadline.left(os::Wakeup::longest_sleep);
    if (left == left.zero()) return;
    seat.wakeup.sleep(seen, left);
    MULTIPROCESSING_STOP_POINT("condition.wait.woken");
    if (seat.wakeup.seen() == seen) room_.call_for_the_dead(state_->number);
  }
}

inline bool ConditionCore::wait(Timeout timeout) {
  check_mine("wait");
  const Deadline deadline{timeout};
  Seat& seat = room_.take();
  MULTIPROCESSING_STOP_POINT("condition.wait.seat_taken");
  WaitingRoom::sit(seat, state_->number, state_->tickets.fetch_add(1), Sitting::waiting);
  MULTIPROCESSING_STOP_POINT("condition.wait.seated");
  const std::uint32_t depth = lock_->release_all();
  MULTIPROCESSING_STOP_POINT("condition.wait.released");
  sleep(seat, deadline);
  bool is_sound = lock_->take_back(depth);
  MULTIPROCESSING_STOP_POINT("condition.wait.taken_back");
  // An owner had died, but somebody else has recovered the lock since: it was not this one's turn.
  while (is_sound && seat.sitting() == Sitting::waiting && !deadline.passed()) {
    lock_->release_all();
    sleep(seat, deadline);
    is_sound = lock_->take_back(depth);
  }
  const bool was_called = WaitingRoom::stand_up(seat);
  MULTIPROCESSING_STOP_POINT("condition.wait.stood_up");
  if (!is_sound) LockCore::throw_abandoned();
  return was_called;
}

}  // namespace detail

/// @brief A lock, and a place to wait, without the lock, until somebody who has it says that what
/// it guards has changed.
/// @python{multiprocessing.Condition(lock=None)}
///
/// A handle: copies, also those in other processes, are the same condition. std::lock_guard and its
/// like take it. notify() wakes those who wait at that moment, the longest waiting first; one that
/// nobody waits for is not remembered; nobody wakes without having been notified.
/// @code
/// mp::Condition changed;
/// // a consumer:
/// std::unique_lock guard{changed};
/// changed.wait_for([&] { return !shelf.empty(); });
/// // a producer:
/// std::unique_lock guard{changed};
/// shelf.push(item);
/// changed.notify();
/// @endcode
/// **Death.** A waiter that is killed disturbs nobody: notify() passes over the dead, and if one
/// dies that it has woken before wait() returned there, another one who waited then is woken in its
/// place, within 50 ms. An owner of the lock that dies abandons it, as it does a Lock. Of those who
/// wait, one is told, within 50 ms: its wait() throws AbandonedLock *with* the lock held and sound
/// again, so that the guard around it stays right; it mends what the lock guards, and calls
/// notify_all() if others may wait for that. recover() is Lock's.
///
/// Differences from Python: notify() and notify_all() wait for nobody, where Python's wait until
/// all who were woken have said so, for ever when one was killed.
/// @shape 128 bytes of memory and 128 for each who waits, and those of its lock; a few handles for
/// thousands of conditions. At most 8,192 threads wait at once at the conditions and barriers that
/// share memory.
/// @threads any, at once.
/// @processes any, at once: those that got it by fork, in a state, or in an argument.
class Condition : public detail::StandardLockable<Condition> {
 public:
  /// @brief With a lock of its own.
  /// @throws std::system_error the system has no descriptor or memory left.
  Condition() : Condition{RLock{}} {}
  /// @brief With a lock that others may use, too; for several conditions, for instance.
  explicit Condition(const RLock& lock)
      : core_{detail::ConditionCore::create(detail::CoreOf::lock(lock))} {}
  /// @overload
  explicit Condition(const Lock& lock)
      : core_{detail::ConditionCore::create(detail::CoreOf::lock(lock))} {}
  Condition(const Condition&) = default;
  Condition& operator=(const Condition&) = default;
  ~Condition() = default;

  /// @brief Takes the lock; see RLock.
  /// @throws AbandonedLock an owner died holding it, and nobody has called recover().
  bool acquire(Timeout timeout = forever) { return core_->lock().acquire(timeout); }
  /// @brief Gives the lock back. @throws std::logic_error this thread does not hold it.
  void release() { core_->lock().release(); }
  /// @brief Takes the lock, abandoned or not; see Lock::recover().
  bool recover(Timeout timeout = forever) { return core_->lock().recover(timeout); }
  /// @brief Whether somebody holds the lock.
  [[nodiscard]] bool locked() const noexcept { return core_->lock().locked(); }

  /// @brief Gives the lock back, however often this thread has taken it; waits to be notified; and
  /// takes it as often again.
  /// @param timeout how long to wait; taking the lock back is not limited.
  /// @returns false: not notified for so long.
  /// @throws AbandonedLock an owner of the lock died; this thread holds it now. std::logic_error
  /// this thread does not hold the lock. std::system_error no room for another one who waits.
  bool wait(Timeout timeout = forever) { return core_->wait(timeout); }

  /// @brief Waits until `predicate()`, which is called with the lock held, is true.
  /// @param predicate what is waited for, of what the lock guards.
  /// @param timeout how long to wait in all.
  /// @returns what it said last.
  /// @throws as wait() does, and what the predicate throws.
  template <class Predicate>
  bool wait_for(Predicate predicate, Timeout timeout = forever) {
    const detail::Deadline deadline{timeout};
    while (!predicate()) {
      if (deadline.passed()) return false;
      constexpr std::chrono::hours a_long_time{24};  // then it looks again
      core_->wait(deadline.left(a_long_time));
    }
    return true;
  }

  /// @brief Wakes up to n of those who wait. Waits for nobody: they go on when they get the lock.
  /// @throws std::logic_error this thread does not hold the lock.
  void notify(std::size_t n = 1) { core_->notify(n); }
  /// @brief Wakes all who wait. @throws std::logic_error this thread does not hold the lock.
  void notify_all() { core_->notify_all(); }

 private:
  friend struct codec<Condition>;
  explicit Condition(std::shared_ptr<detail::ConditionCore> core) noexcept
      : core_{std::move(core)} {}

  std::shared_ptr<detail::ConditionCore> core_;
};

/// @brief A condition travels as its place in shared memory, and its lock's.
template <>
struct codec<Condition> {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const Condition& condition) {
    condition.core_->save(encoder);
  }
  static Condition decode(Decoder& decoder) {
    return Condition{detail::ConditionCore::load(decoder)};
  }
};

}  // namespace multiprocessing
