// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/wait.hpp>

#include <array>
#include <cerrno>
#include <cstdint>
#include <ctime>
#include <new>
#include <vector>

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace multiprocessing::os {

namespace posix {

MULTIPROCESSING_INLINE timespec as_timespec(std::chrono::nanoseconds time) noexcept {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  return {static_cast<time_t>(seconds.count()), static_cast<long>((time - seconds).count())};
}

// Waits for any of the polled, the last of which is the interrupt's place.
MULTIPROCESSING_INLINE Waited poll_until(std::span<pollfd> polled,
                                         const Interrupt& interrupt,
                                         const detail::Deadline& deadline,
                                         std::error_code& ec) noexcept {
  ec.clear();
  pollfd& event = polled.back();
  const bool may_sleep = !deadline.is_now();
  event = {may_sleep && interrupt.event != nullptr ? interrupt.event() : -1, POLLIN, 0};
  for (;;) {
    if (interrupt.is_raised()) return Waited::interrupted;
    const bool blind = interrupt.raised != nullptr && event.fd < 0;
    const bool endless = deadline.is_forever() && !blind;
    const timespec limit = as_timespec(
        deadline.left(blind ? Interrupt::longest_blind_wait : std::chrono::hours{24 * 365}));
    const int count = MULTIPROCESSING_SYSTEM(ppoll)(polled.data(), polled.size(),
                                                    endless ? nullptr : &limit, nullptr);
    if (count < 0 && errno != EINTR) {
      ec.assign(errno, std::system_category());
      return Waited::timed_out;
    }
    if (count > (event.revents != 0 ? 1 : 0)) return Waited::ready;
    if (count > 0) {
      if (interrupt.is_raised()) return Waited::interrupted;
      MULTIPROCESSING_SYSTEM(sched_yield)();  // meant for another, who is about to leave
    }
    if (count == 0 && deadline.passed()) return Waited::timed_out;
  }
}

}  // namespace posix

MULTIPROCESSING_INLINE UniqueHandle make_event(std::error_code& ec) noexcept {
  return posix::above_streams(MULTIPROCESSING_SYSTEM(eventfd)(0, EFD_CLOEXEC | EFD_NONBLOCK), ec);
}

MULTIPROCESSING_INLINE void set_event(native_handle_type event) noexcept {
  const std::uint64_t one = 1;
  while (MULTIPROCESSING_SYSTEM(write)(event, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

MULTIPROCESSING_INLINE void reset_event(native_handle_type event) noexcept {
  std::uint64_t count = 0;
  while (MULTIPROCESSING_SYSTEM(read)(event, &count, sizeof count) < 0 && errno == EINTR) {
  }
}

MULTIPROCESSING_INLINE Waited wait_ready(native_handle_type handle,
                                         Readiness what,
                                         const Interrupt& interrupt,
                                         const detail::Deadline& deadline,
                                         std::error_code& ec) noexcept {
  const short events = what == Readiness::readable ? POLLIN : POLLOUT;
  if (handle < 0) {  // poll() passes over it
    ec.assign(EBADF, std::system_category());
    return Waited::timed_out;
  }
  std::array<pollfd, 2> polled{pollfd{handle, events, 0}, pollfd{}};
  const Waited waited = posix::poll_until(polled, interrupt, deadline, ec);
  if (waited == Waited::ready && (polled[0].revents & POLLNVAL) != 0) {
    ec.assign(EBADF, std::system_category());
  }
  return waited;
}

MULTIPROCESSING_INLINE Waited wait_any(std::span<const native_handle_type> handles,
                                       std::span<bool> ready,
                                       const Interrupt& interrupt,
                                       const detail::Deadline& deadline,
                                       std::error_code& ec) noexcept try {
  std::vector<pollfd> polled;
  polled.reserve(handles.size() + 1);
  for (const native_handle_type handle : handles) {
    if (handle < 0) {  // poll() passes over it
      ec.assign(EBADF, std::system_category());
      return Waited::timed_out;
    }
    polled.push_back({handle, POLLIN, 0});
  }
  polled.emplace_back();
  const Waited waited = posix::poll_until(polled, interrupt, deadline, ec);
  if (waited != Waited::ready) return waited;
  for (std::size_t i = 0; i < handles.size(); ++i) {
    if ((polled[i].revents & POLLNVAL) == 0) continue;
    ec.assign(EBADF, std::system_category());
    return Waited::timed_out;
  }
  for (std::size_t i = 0; i < handles.size(); ++i) ready[i] = polled[i].revents != 0;
  return waited;
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return Waited::timed_out;
}

MULTIPROCESSING_INLINE Waited pause_for(std::chrono::nanoseconds time,
                                        const Interrupt& interrupt) noexcept {
  std::error_code ignored;
  std::array<pollfd, 1> polled{};
  return posix::poll_until(polled, interrupt, detail::Deadline{time}, ignored);
}

}  // namespace multiprocessing::os
