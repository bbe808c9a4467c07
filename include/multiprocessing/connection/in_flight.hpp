// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file in_flight.hpp
/// @brief How close() gets other threads out of a connection.
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/wait.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <system_error>
#include <thread>

namespace multiprocessing::detail {

/// @brief The event that every blocked call of this process also waits for; made by the first.
/// @returns `os::invalid_handle`: the system is out of handles.
inline native_handle_type interrupt_event() noexcept {
  std::atomic<std::intptr_t>& place = process_state().interrupt;
  auto known = place.load(std::memory_order_acquire);
  if (known == -1) {
    std::error_code ec;
    os::UniqueHandle made = os::make_event(ec);
    if (ec) return os::invalid_handle;
    if (place.compare_exchange_strong(known, os::to_integer(made.get()))) return made.release();
  }
  return os::to_handle(known);
}

/// @brief Counts the calls that use a handle, so that it is given back when the last has left.
///
/// A call that blocks waits for the process's interrupt event too. Who closes says so in `closing_`
/// and sets the event, again and again until the calls of this object have left; the blocked calls
/// of other objects wake up, see that they are not meant, and wait again.
/// @threads any, at once.
/// @processes A forked child has the count of its parent's threads, which are not there: the number
/// of forks before the count was begun stands beside it.
class CallsInFlight {
 public:
  CallsInFlight() { os::install_fork_handlers(); }

  [[nodiscard]] bool closed() const noexcept { return closing_.load(); }
  [[nodiscard]] os::Interrupt interrupt() const noexcept { return {&closing_, &interrupt_event}; }

  /// @brief A call, from beginning to end.
  class Call {
   public:
    explicit Call(CallsInFlight& calls) noexcept : calls_{calls}, entered_{calls.enter()} {}
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    ~Call() {
      if (entered_) calls_.leave();
    }
    /// @brief False: it is closed, and the handle must not be touched.
    [[nodiscard]] bool entered() const noexcept { return entered_; }

   private:
    CallsInFlight& calls_;
    bool entered_;
  };

  /// @brief Sends the others away, waits until they have gone, and gives the handle back; unless
  /// another call of close() does so, or did. Who did so when this process was forked stayed
  /// behind: there, the next call does.
  /// @param give_back called with nothing, throws nothing.
  template <class GiveBack>
  void close(GiveBack give_back) noexcept {
    if (!claim_closing()) return;
    closing_.store(true);
    send_away();
    give_back();
    closer_.store(nobody_any_more);
  }

 private:
  static constexpr unsigned era_shift = 32;
  static constexpr std::uint64_t nobody_any_more = ~std::uint64_t{0};

  [[nodiscard]] bool claim_closing() noexcept {
    const std::uint64_t mine = (era() >> era_shift) + 1;
    std::uint64_t was = closer_.load();
    do {
      if (was == nobody_any_more || was == mine) return false;
    } while (!closer_.compare_exchange_weak(was, mine));
    return true;
  }

  void send_away() noexcept {
    ProcessState& state = process_state();
    state.interrupters.fetch_add(1);
    for (unsigned round = 0; calls_of(count_.load()) != 0; ++round) {
      const auto event = os::to_handle(state.interrupt.load());
      if (event != os::invalid_handle) os::set_event(event);
      std::this_thread::yield();
      constexpr unsigned patient = 64;
      if (round > patient) os::pause_for(std::chrono::milliseconds{1}, {});
    }
    if (state.interrupters.fetch_sub(1) == 1) {
      const auto event = os::to_handle(state.interrupt.load());
      if (event != os::invalid_handle) os::reset_event(event);
    }
  }

  [[nodiscard]] bool enter() noexcept {
    std::uint64_t now = count_.load(std::memory_order_relaxed);
    do {
      if (closed()) return false;
    } while (!count_.compare_exchange_weak(now, calls_of(now) + era() + 1));
    if (!closed()) return true;
    leave();
    return false;
  }
  void leave() noexcept { count_.fetch_sub(1); }

  static std::uint64_t era() noexcept {
    return std::uint64_t{process_state().forks.load(std::memory_order_relaxed)} << era_shift;
  }
  // Of this process: those counted before a fork have stayed behind.
  static std::uint64_t calls_of(std::uint64_t count) noexcept {
    constexpr std::uint64_t era_mask = ~std::uint64_t{0} << era_shift;
    return (count & era_mask) == era() ? count & ~era_mask : 0;
  }

  std::atomic<bool> closing_{false};
  std::atomic<std::uint64_t> closer_{0};  // nobody yet, nobody any more, or whose era and one
  std::atomic<std::uint64_t> count_{0};   // era above, calls below
};

}  // namespace multiprocessing::detail
