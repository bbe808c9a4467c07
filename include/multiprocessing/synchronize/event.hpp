// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file event.hpp
/// @brief A flag that processes wait for.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/heap.hpp>
#include <multiprocessing/os/bell.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/synchronize/shared_bell.hpp>
#include <multiprocessing/timeout.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace multiprocessing {

namespace detail {

/// @brief What lies in an Event's shared memory.
struct EventState {
  static constexpr std::uint64_t expected_magic = 0x31746e7645706d21;  // "!mpEvnt1"
  static constexpr const char* name = "an Event";

  std::uint64_t magic;
  /// Bit 0: set. The rest counts how often it was set, so that who waited through set() and clear()
  /// sees it. Changed by anybody, by one operation each.
  std::atomic<std::uint32_t> word;
  os::BellState bell;  ///< Rung by set(), and by each waiter that leaves for the next one.
};

/// @brief What all copies of an Event in one process share.
class EventCore {
 public:
  static std::shared_ptr<EventCore> create() {
    return std::shared_ptr<EventCore>{
        new EventCore{SharedObject<EventState>::create(), SharedBell::create(EventState::name)}};
  }
  void save(Encoder& encoder) const {
    page_.save(encoder);
    SharedBell::save(encoder, bell_, EventState::name);
  }
  static std::shared_ptr<EventCore> load(Decoder& decoder) {
    auto page = SharedObject<EventState>::load(decoder);
    return std::shared_ptr<EventCore>{new EventCore{std::move(page), SharedBell::load(decoder)}};
  }

  [[nodiscard]] bool is_set() const noexcept { return (word() & set_bit) != 0; }
  void set() noexcept;
  void clear() noexcept {
    page_->word.fetch_and(~set_bit, std::memory_order_seq_cst);
    MULTIPROCESSING_STOP_POINT("event.clear.stored");
  }
  bool wait(Timeout timeout) noexcept;

 private:
  static constexpr std::uint32_t set_bit = 1;
  static constexpr std::uint32_t one_more = 2;

  EventCore(SharedObject<EventState> page, std::shared_ptr<SharedBell> bell) noexcept
      : page_{std::move(page)}, bell_{std::move(bell)} {}

  [[nodiscard]] std::uint32_t word() const noexcept {
    return page_->word.load(std::memory_order_seq_cst);
  }

  SharedObject<EventState> page_;
  std::shared_ptr<SharedBell> bell_;
};

inline void EventCore::set() noexcept {
  std::uint32_t now = word();
  while ((now & set_bit) == 0 &&
         !page_->word.compare_exchange_weak(now, (now + one_more) | set_bit)) {
  }
  MULTIPROCESSING_STOP_POINT("event.set.stored");
  (**bell_).ring(page_->bell);  // also when it was set before: that setter may have died here
  MULTIPROCESSING_STOP_POINT("event.set.rung");
}

inline bool EventCore::wait(Timeout timeout) noexcept {
  const std::uint32_t first = word();
  if ((first & set_bit) != 0) return true;
  const Deadline deadline{timeout};
  if (deadline.is_now()) return false;
  for (;;) {
    const auto announced = os::Bell::announce(page_->bell);
    MULTIPROCESSING_STOP_POINT("event.wait.announced");
    if (word() != first) break;
    const auto left = deadline.left(os::Bell::longest_sleep);
    if (left == left.zero()) return false;
    (**bell_).sleep(page_->bell, announced, left);
    MULTIPROCESSING_STOP_POINT("event.wait.woken");
  }
  (**bell_).ring(page_->bell);
  MULTIPROCESSING_STOP_POINT("event.wait.rung");
  return true;
}

}  // namespace detail

/// @brief A flag that any number of threads in any processes set, clear and wait for.
/// @python{multiprocessing.Event()}
///
/// A handle: copies, also those in other processes, are the same event. Whoever dies, at any
/// instruction, holds nobody up: set() leaves within its own few steps, and a waiter whose waker
/// was killed on the way finds out by itself within 50 ms.
/// @code
/// mp::Event ready;
/// mp::Process process{[](mp::Event e) { e.set(); }, ready};
/// process.start();
/// ready.wait();
/// @endcode
/// To travel, it is passed to a process when starting it, or sent through a duplex Pipe.
///
/// Differences from Python: there a waiter may miss a set() that a clear() follows at once, and
/// set() waits until each waiter has confirmed, for ever when one was killed.
/// POSIX: set() may be called in a signal handler.
/// @shape 128 bytes of memory, however many wait; a few handles for thousands of events.
/// @threads any, at once.
/// @processes any, at once: those that got the event by fork, in a state, or in an argument.
class Event {
 public:
  /// @brief Not set.
  /// @throws std::system_error the system has no descriptor or memory left.
  Event() : core_{detail::EventCore::create()} {}
  Event(const Event&) = default;
  Event& operator=(const Event&) = default;
  ~Event() = default;

  /// @brief Whether it is set: a moment's picture.
  [[nodiscard]] bool is_set() const noexcept { return core_->is_set(); }
  /// @brief From now on it is set; everybody who waits goes on. Waits for nobody: it wakes one, and
  /// each wakes the next. No system call while nobody waits.
  void set() noexcept { core_->set(); }
  /// @brief From now on it is not set. Whoever waited when it was set last goes on all the same.
  void clear() noexcept { core_->clear(); }

  /// @brief Waits until the event is set.
  /// @param timeout how long to wait.
  /// @returns true: it was set when wait() was called, or has been since; it may have been cleared
  /// meanwhile. false: it was not for so long.
  bool wait(Timeout timeout = forever) { return core_->wait(timeout); }

 private:
  friend struct codec<Event>;
  explicit Event(std::shared_ptr<detail::EventCore> core) noexcept : core_{std::move(core)} {}

  std::shared_ptr<detail::EventCore> core_;
};

/// @brief An event travels as its place in shared memory.
template <>
struct codec<Event> {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const Event& event) { event.core_->save(encoder); }
  static Event decode(Decoder& decoder) { return Event{detail::EventCore::load(decoder)}; }
};

}  // namespace multiprocessing
