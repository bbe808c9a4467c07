// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file barrier.hpp
/// @brief Where a number of threads of any processes wait for each other.
#include <multiprocessing/callable.hpp>
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/heap.hpp>
#include <multiprocessing/os/lock.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/synchronize/lock_core.hpp>
#include <multiprocessing/timeout.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace multiprocessing {

namespace detail {

/// @brief How a barrier stands, in one word: the number of the round that it is in, how the last
/// rounds ended, and whether it is broken. One store ends a round.
class BarrierPhase {
 public:
  static constexpr std::uint32_t remembered = 31;  ///< Rounds whose end is known.

  explicit BarrierPhase(std::uint64_t word) noexcept : word_{word} {}
  [[nodiscard]] std::uint64_t word() const noexcept { return word_; }
  [[nodiscard]] std::uint32_t round() const noexcept {
    return static_cast<std::uint32_t>(word_ >> 32U);
  }
  [[nodiscard]] bool is_broken() const noexcept { return (word_ & 1U) != 0; }
  /// @brief Whether all came to a round that has ended; one that is forgotten counts as broken off.
  [[nodiscard]] bool has_passed(std::uint32_t which) const noexcept {
    const std::uint32_t age = round() - which;
    return age <= remembered && ((word_ >> age) & 1U) != 0;
  }
  /// @brief The next round begins.
  [[nodiscard]] BarrierPhase after(bool passed, bool broken) const noexcept {
    constexpr std::uint64_t history = 0xFFFF'FFFE;
    const std::uint64_t older = ((word_ & history) << 1U) & 0xFFFF'FFFF;
    const std::uint64_t next = std::uint64_t{round() + 1U} << 32U;
    return BarrierPhase{next | older | (passed ? 2U : 0U) | (broken ? 1U : 0U)};
  }

 private:
  std::uint64_t word_;
};

/// @brief What lies in a barrier's shared memory. Its parties sit in the arena's waiting room,
/// their tickets are the round that they came to.
struct BarrierState {
  static constexpr std::uint64_t expected_magic = 0x3172726142706d21;  // "!mpBarr1"
  static constexpr const char* name = "a Barrier";

  std::uint64_t magic;
  std::uint64_t number;              ///< By which its seats name it; written once, and so is
  std::uint32_t parties;             ///< the number of parties.
  std::atomic<std::uint64_t> phase;  ///< A BarrierPhase. Changed by the mutex's holder.
  os::RobustLock mutex;              ///< Held for a few steps, never by who waits.
  LatestDeath deaths;                ///< Of parties whose seats others have by now.
};

/// @brief What all copies of a barrier in one process share.
class BarrierCore {
 public:
  static std::shared_ptr<BarrierCore> create(unsigned parties, Task action, Timeout timeout);
  BarrierCore(const BarrierCore&) = delete;
  BarrierCore& operator=(const BarrierCore&) = delete;
  ~BarrierCore() {
    if (state_->mutex.must_stay_mapped()) state_.leave_held(state_->mutex);
  }
  void save(Encoder& encoder) const;
  static std::shared_ptr<BarrierCore> load(Decoder& decoder);

  unsigned wait(Timeout timeout);
  void reset() { end_round(false); }
  void abort() { end_round(true); }
  [[nodiscard]] Timeout timeout() const noexcept { return timeout_; }
  [[nodiscard]] unsigned parties() const noexcept { return state_->parties; }
  [[nodiscard]] unsigned n_waiting() const noexcept {
    const BarrierPhase now = phase();
    return now.is_broken() ? 0 : survey(now.round()).present;
  }
  [[nodiscard]] bool broken() const noexcept {
    const BarrierPhase now = phase();
    return now.is_broken() || survey(now.round()).has_dead;
  }

 private:
  struct Survey {
    unsigned present = 0;   ///< Parties of this round that have a seat.
    bool has_dead = false;  ///< One of this round died.
    bool is_slow = false;   ///< Somebody has not yet left a round that is about to be forgotten.
  };
  enum class Entry {
    seated,
    full,  ///< All of this round have come without this one.
    slow,  ///< There is no round yet: see Survey::is_slow.
  };
  class Party;

  BarrierCore(SharedObject<BarrierState> state, Task action, Timeout timeout) noexcept
      : state_{std::move(state)},
        room_{state_.block().arena()},
        action_{std::move(action)},
        timeout_{timeout} {}

  [[nodiscard]] BarrierPhase phase() const noexcept {
    return BarrierPhase{state_->phase.load(std::memory_order_seq_cst)};
  }
  void store(BarrierPhase next) noexcept {
    state_->phase.store(next.word(), std::memory_order_seq_cst);
    state_->deaths.forget(next.round() - 1);
    MULTIPROCESSING_STOP_POINT("barrier.phase.stored");
  }
  Survey survey(std::uint32_t round) const noexcept;
  void wake_all(const Seat* but = nullptr) const noexcept;
  void end_round(bool broken) noexcept;
  void break_if_dead() noexcept;
  bool break_round(std::uint32_t round) noexcept;
  [[nodiscard]] Entry enter(Party& party, unsigned& index);
  void act(const Party& party);
  void wait_for_the_others(Seat& seat, std::uint32_t round, const Deadline& deadline);
  [[noreturn]] static void throw_broken() {
    throw BrokenBarrierError{
        "the barrier is broken: a party timed out, died or failed, or somebody called abort() or "
        "reset()"};
  }

  SharedObject<BarrierState> state_;
  WaitingRoom room_;
  Task action_;
  Timeout timeout_;
};

/// @brief A thread's seat while it waits.
class BarrierCore::Party {
 public:
  explicit Party(const WaitingRoom& room) : seat{room.take()} {}
  Party(const Party&) = delete;
  Party& operator=(const Party&) = delete;
  ~Party() { WaitingRoom::stand_up(seat); }

  Seat& seat;
  std::uint32_t round = 0;
};

inline std::shared_ptr<BarrierCore> BarrierCore::create(unsigned parties,
                                                        Task action,
                                                        Timeout timeout) {
  if (parties == 0) throw std::invalid_argument{"a barrier has one party or more, not 0"};
  std::shared_ptr<BarrierCore> core{
      new BarrierCore{SharedObject<BarrierState>::create(), std::move(action), timeout}};
  std::error_code ec;
  core->state_->mutex.initialise(ec);
  if (ec) throw std::system_error{ec, "cannot initialise a Barrier"};
  core->state_->number = core->room_.next_object();
  core->state_->parties = parties;
  return core;
}

inline void BarrierCore::save(Encoder& encoder) const {
  state_.save(encoder);
  codec<Task>::encode(encoder, action_);
  encoder.write_number(static_cast<std::int64_t>(timeout_.value().count()));
}

inline std::shared_ptr<BarrierCore> BarrierCore::load(Decoder& decoder) {
  auto state = SharedObject<BarrierState>::load(decoder);
  auto action = codec<Task>::decode(decoder);
  const std::chrono::nanoseconds timeout{decoder.read_number<std::int64_t>()};
  return std::shared_ptr<BarrierCore>{
      new BarrierCore{std::move(state), std::move(action), timeout}};
}

inline BarrierCore::Survey BarrierCore::survey(std::uint32_t round) const noexcept {
  Survey found;
  room_.each(state_->number, [&](Seat& seat, const SeatView& view) {
    if (view.sitting() != Sitting::expected) return;
    // Who looks without the mutex may be behind: to him, those of later rounds are none of his.
    const auto age = static_cast<std::int32_t>(round - static_cast<std::uint32_t>(view.ticket));
    if (age == 0) {
      ++found.present;
      found.has_dead = found.has_dead || !view.lives;
    } else if (age > 0 && !view.lives) {
      WaitingRoom::clear(seat, view);  // whom nobody waits for any more
    } else if (age >= static_cast<std::int32_t>(BarrierPhase::remembered)) {
      found.is_slow = true;
    }
  });
  // Behind the seats: who frees one has noted the death before.
  found.has_dead = found.has_dead || state_->deaths.has(round);
  return found;
}

inline void BarrierCore::wake_all(const Seat* but) const noexcept {
  room_.each(state_->number, [but](Seat& seat, const SeatView&) {
    if (&seat != but) seat.wakeup.wake();
  });
}

inline void BarrierCore::end_round(bool broken) noexcept {
  {
    const InnerGuard guard{state_->mutex};
    const BarrierPhase now = phase();
    const Survey found = survey(now.round());
    if (broken == now.is_broken() && found.present == 0 && !found.has_dead) return;
    store(now.after(false, broken));
  }
  wake_all();
}

// @returns false: the round had ended already.
inline bool BarrierCore::break_round(std::uint32_t round) noexcept {
  {
    const InnerGuard guard{state_->mutex};
    const BarrierPhase now = phase();
    if (now.round() != round) return false;
    store(now.after(false, true));
  }
  wake_all();
  return true;
}

inline void BarrierCore::break_if_dead() noexcept {
  const BarrierPhase now = phase();
  if (!now.is_broken() && survey(now.round()).has_dead) break_round(now.round());
}

inline BarrierCore::Entry BarrierCore::enter(Party& party, unsigned& index) {
  const InnerGuard guard{state_->mutex};
  MULTIPROCESSING_STOP_POINT("barrier.wait.locked");
  const BarrierPhase now = phase();
  if (now.is_broken()) throw_broken();
  const Survey found = survey(now.round());
  if (found.has_dead) {
    store(now.after(false, true));
    wake_all();
    throw_broken();
  }
  party.round = now.round();
  if (found.present >= state_->parties) return Entry::full;
  if (found.is_slow) return Entry::slow;
  index = found.present;
  const auto* const deaths = reinterpret_cast<const std::byte*>(&state_->deaths);
  WaitingRoom::sit(party.seat, state_->number, party.round, Sitting::expected,
                   static_cast<std::uint64_t>(deaths - state_.block().arena().region.data()));
  MULTIPROCESSING_STOP_POINT("barrier.wait.seated");
  return Entry::seated;
}

// All are here, and this party is the last.
inline void BarrierCore::act(const Party& party) {
  try {
    action_();
  } catch (...) {
    break_round(party.round);
    throw;
  }
  MULTIPROCESSING_STOP_POINT("barrier.wait.acted");
  bool passed = false;
  {
    const InnerGuard guard{state_->mutex};
    const BarrierPhase now = phase();
    if (now.round() != party.round) throw_broken();
    passed = !survey(party.round).has_dead;
    store(now.after(passed, !passed));
  }
  wake_all(&party.seat);
  MULTIPROCESSING_STOP_POINT("barrier.wait.woke_all");
  if (!passed) throw_broken();
}

inline void BarrierCore::wait_for_the_others(Seat& seat,
                                             std::uint32_t round,
                                             const Deadline& deadline) {
  for (;;) {
    const std::uint32_t seen = seat.wakeup.seen();
    const BarrierPhase now = phase();
    if (now.round() != round) {
      if (now.has_passed(round)) return;
      throw_broken();
    }
    const auto left = deadline.left(os::Wakeup::longest_sleep);
    if (left == left.zero()) {
      break_round(round);
      continue;  // it is broken now, or has just ended otherwise
    }
    seat.wakeup.sleep(seen, left);
    MULTIPROCESSING_STOP_POINT("barrier.wait.woken");
    if (seat.wakeup.seen() == seen) break_if_dead();
  }
}

inline unsigned BarrierCore::wait(Timeout timeout) {
  const Deadline deadline{timeout};
  unsigned index = 0;
  Party party{room_};
  for (Entry entry = enter(party, index); entry != Entry::seated; entry = enter(party, index)) {
    constexpr std::chrono::milliseconds moment{1};
    if (deadline.passed()) {
      if (entry == Entry::full) {  // nobody waits for this one
        throw BrokenBarrierError{
            "the time is over, and the barrier is full of others; it is not broken"};
      }
      break_round(party.round);
      throw_broken();
    }
    party.seat.wakeup.sleep(party.seat.wakeup.seen(), deadline.left(moment));
  }
  if (index + 1 == state_->parties) {
    act(party);
  } else {
    wait_for_the_others(party.seat, party.round, deadline);
  }
  return index;
}

}  // namespace detail

/// @brief Where a fixed number of threads, in any processes, wait until all have come; then all go
/// on, and the next round begins.
/// @python{multiprocessing.Barrier(parties, action=None, timeout=None)}
///
/// A handle: copies, also those in other processes, are the same barrier. It is *broken* when a
/// party's time is over, its action throws, it dies while it waits, or somebody calls abort(): then
/// wait() throws BrokenBarrierError in all who wait, within 50 ms after a death, and in all who
/// come later, until somebody calls reset(). Of more threads than parties, one that finds a round
/// full waits until it has ended; if its time is over before, it alone gets BrokenBarrierError, and
/// nothing is broken.
/// @code
/// mp::Barrier barrier{3};
/// void step(mp::Barrier barrier) {
///   ...
///   if (barrier.wait() == 0) std::cout << "all three are here\n";
/// }
/// @endcode
/// Each copy has the action and the timeout that the first was made with; both travel.
///
/// Differences from Python: there a party that dies while it waits is waited for on and on. Here
/// others may time out while the action runs; then it ran in vain.
/// @shape 128 bytes of memory and 128 for each who waits; a few handles for thousands of barriers.
/// At most 8,192 threads wait at once at the conditions and barriers that share memory.
/// @threads any, at once. @processes any, at once: those that got it by fork, in a state, or in an
/// argument.
class Barrier {
 public:
  /// @param parties how many go on together, at least 1.
  /// @param action is called by one of them in each round, when all have come and before they go
  /// on.
  /// @param timeout for wait() without one.
  /// @throws std::invalid_argument no parties. std::system_error the system has no descriptor or
  /// memory left.
  explicit Barrier(unsigned parties, Task action = {}, Timeout timeout = forever)
      : core_{detail::BarrierCore::create(parties, std::move(action), timeout)} {}
  Barrier(const Barrier&) = default;
  Barrier& operator=(const Barrier&) = default;
  ~Barrier() = default;

  /// @brief Waits for the other parties, no longer than the barrier's timeout.
  /// @returns a number from 0 to parties() - 1, another one for each of them.
  /// @throws BrokenBarrierError; what the action throws, in the party that called it.
  unsigned wait() { return core_->wait(core_->timeout()); }
  /// @param timeout if they have not come by then, the barrier breaks. Zero: at once, unless this
  /// is the last one.
  unsigned wait(Timeout timeout) { return core_->wait(timeout); }

  /// @brief A sound and empty barrier from now on; who waits gets BrokenBarrierError.
  void reset() noexcept { core_->reset(); }
  /// @brief Breaks it.
  void abort() noexcept { core_->abort(); }

  /// @brief How many must come for all to go on.
  [[nodiscard]] unsigned parties() const noexcept { return core_->parties(); }
  /// @brief How many wait at this moment.
  [[nodiscard]] unsigned n_waiting() const noexcept { return core_->n_waiting(); }
  /// @brief Whether it is broken, until reset().
  [[nodiscard]] bool broken() const noexcept { return core_->broken(); }

 private:
  friend struct codec<Barrier>;
  explicit Barrier(std::shared_ptr<detail::BarrierCore> core) noexcept : core_{std::move(core)} {}

  std::shared_ptr<detail::BarrierCore> core_;
};

/// @brief A barrier travels as its place in shared memory, its action and its timeout.
template <>
struct codec<Barrier> {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const Barrier& barrier) { barrier.core_->save(encoder); }
  static Barrier decode(Decoder& decoder) { return Barrier{detail::BarrierCore::load(decoder)}; }
};

}  // namespace multiprocessing
