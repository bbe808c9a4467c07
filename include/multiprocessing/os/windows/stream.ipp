// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/stream.hpp>
#include <multiprocessing/os/windows/stream_parts.ipp>

#include <chrono>

namespace multiprocessing::os {

struct Stream::Parts : windows::StreamParts {
  using windows::StreamParts::StreamParts;
};

MULTIPROCESSING_INLINE void StreamState::initialise(std::error_code& ec) noexcept {
  out.lock.initialise(ec);
  if (!ec) in.lock.initialise(ec);
}

MULTIPROCESSING_INLINE void Stream::after_open() const {
  if (windows::is_named_pipe(socket_)) {
    state_.keeps_messages.store(1);
    windows::EmptyMessages::here().begin(socket_, state_.empty_messages);
    return;
  }
  std::error_code ec;
  windows::start_winsock(ec);
  if (ec) throw std::system_error{ec, "making a Connection"};
}

MULTIPROCESSING_INLINE bool Stream::someone_died_inside() const noexcept {
  const auto died = [](const StreamDirection& direction) {
    // Asked twice: in between the next may have got the lock, and be inside alive.
    return direction.lock.is_abandoned() && direction.inside.load() != 0 &&
           direction.lock.is_abandoned();
  };
  return died(state_.out) || died(state_.in);
}

// Half a header and then the end: whoever reads it, Python too, knows that a message is missing. Of
// a pipe nobody can be told before all have closed it.
MULTIPROCESSING_INLINE void Stream::break_it() const noexcept {
  const bool was_sound = state_.out.broken.exchange(1) == 0;
  state_.in.broken.store(1);
  if (state_.keeps_messages.load() != 0) return;
  const SOCKET socket = windows::as_socket(socket_);
  const Acquired acquired = was_sound ? state_.out.lock.try_lock() : Acquired::no;
  if (acquired != Acquired::no) {
    const windows::Unlocker unlocker{state_.out.lock};
    std::array<char, windows::short_header + 1> half{'\xff', '\xff', '\xff', '\xff', '\0'};
    if (state_.out.inside.load() == 0) {
      WSABUF buffer{static_cast<ULONG>(half.size()), half.data()};
      int ignored = 0;
      windows::send_some(socket, {&buffer, 1}, ignored);
    }
  }
  MULTIPROCESSING_SYSTEM(shutdown)(socket, SD_BOTH);
}

MULTIPROCESSING_INLINE Outcome Stream::enter(StreamDirection& direction,
                                             const Interrupt& interrupt,
                                             const detail::Deadline& deadline,
                                             std::error_code& ec) const noexcept {
  ec.clear();
  bool abandoned = false;
  const Outcome acquired = windows::acquire(direction.lock, interrupt, deadline, abandoned);
  if (acquired != Outcome::done) return acquired;
  if (abandoned && direction.inside.load() != 0) break_it();
  if (direction.broken.load() != 0) {
    ec = std::make_error_code(std::errc::connection_aborted);
    direction.lock.unlock();
  }
  return Outcome::done;
}

MULTIPROCESSING_INLINE Outcome Stream::wait_for(Readiness what,
                                                const Interrupt& interrupt,
                                                const detail::Deadline& deadline,
                                                std::error_code& ec) const noexcept {
  constexpr std::chrono::seconds unshared_wait{1};  // then it may be shared
  for (;;) {
    const bool is_shared = is_shared_(owner_);
    if (is_shared && someone_died_inside()) {
      break_it();
      ec = std::make_error_code(std::errc::connection_aborted);
      return Outcome::timed_out;
    }
    if (what == Readiness::readable && state_.empty_messages.load() != 0) return Outcome::done;
    const detail::Deadline look{
        deadline.left(is_shared ? Interrupt::longest_blind_wait : unshared_wait)};
    const Waited waited =
        what == Readiness::readable
            ? wait_ready(socket_, what, interrupt, look, ec)
            : windows::wait_writable(windows::as_socket(socket_), interrupt, look, ec);
    if (ec || waited != Waited::timed_out || deadline.passed()) return as_outcome(waited);
  }
}

MULTIPROCESSING_INLINE Outcome Stream::wait_for_room(std::size_t /*size*/,
                                                     const Interrupt& interrupt,
                                                     const detail::Deadline& deadline,
                                                     std::error_code& ec) const noexcept {
  return wait_for(Readiness::writable, interrupt, deadline, ec);
}

MULTIPROCESSING_INLINE Outcome Stream::send(std::span<const std::byte> bytes,
                                            std::span<const std::byte> tail,
                                            const Interrupt& interrupt,
                                            const detail::Deadline& deadline,
                                            std::error_code& ec) const noexcept try {
  ec.clear();
  if (state_.keeps_messages.load() != 0) {
    if (state_.out.broken.load() != 0) ec = std::make_error_code(std::errc::connection_aborted);
    if (ec) return Outcome::timed_out;
    return windows::send_message(socket_, bytes, tail, interrupt, deadline, ec);
  }
  Parts parts{bytes, tail};
  for (;;) {
    Outcome outcome = enter(state_.out, interrupt, deadline, ec);
    if (ec || outcome != Outcome::done) return outcome;
    {
      const windows::Unlocker unlocker{state_.out.lock};
      outcome = send_now(parts, !deadline.is_forever(), interrupt, ec);
    }
    // Without the lock: who is stopped while it waits for room holds nobody up.
    if (ec || outcome != Outcome::timed_out || deadline.passed()) return outcome;
    outcome = wait_for_room(parts.left(), interrupt, deadline, ec);
    if (ec || outcome != Outcome::done) return outcome;
  }
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return Outcome::timed_out;
}

MULTIPROCESSING_INLINE Outcome Stream::send_now(Parts& parts,
                                                bool has_limit,
                                                const Interrupt& interrupt,
                                                std::error_code& ec) const noexcept {
  const SOCKET socket = windows::as_socket(socket_);
  // Where there is room, there is room for a message of some size, and a large one is not begun
  // elsewhere.
  const detail::Deadline now{std::chrono::seconds{0}};
  if (has_limit && windows::wait_writable(socket, {}, now, ec) != Waited::ready) {
    return Outcome::timed_out;
  }
  bool begun = false;
  for (;;) {
    state_.out.inside.store(1);
    MULTIPROCESSING_STOP_POINT("stream.send.inside");
    int error = 0;
    const int sent = parts.try_send(socket, state_, error);
    begun = begun || sent > 0;
    if (begun) MULTIPROCESSING_STOP_POINT("stream.send.sent");
    if (!begun || parts.left() == 0) state_.out.inside.store(0);
    if (parts.left() == 0) return Outcome::done;
    if (sent >= 0) continue;
    if (error != WSAEWOULDBLOCK) {
      ec = windows::as_socket_error(error);
      if (begun) state_.out.broken.store(1);
      return Outcome::timed_out;
    }
    if (!begun) return Outcome::timed_out;
    const Outcome waited = wait_for(Readiness::writable, interrupt, detail::Deadline{forever}, ec);
    if (ec || waited != Outcome::done) {
      break_it();
      return waited;
    }
  }
}

MULTIPROCESSING_INLINE Outcome Stream::receive(std::uint8_t kind,
                                               std::size_t max,
                                               IncomingMessage& into,
                                               const Interrupt& interrupt,
                                               const detail::Deadline& deadline,
                                               std::error_code& ec) const noexcept {
  for (;;) {
    Outcome outcome = enter(state_.in, interrupt, deadline, ec);
    if (ec || outcome != Outcome::done) return outcome;
    {
      const windows::Unlocker unlocker{state_.in.lock};
      try {
        outcome = state_.keeps_messages.load() != 0
                      ? windows::take_message(socket_, state_, kind, max, into, ec)
                      : read_message(kind, max, into, interrupt, ec);
      } catch (const std::bad_alloc&) {
        ec = std::make_error_code(std::errc::not_enough_memory);
      }
      if (state_.in.inside.load() != 0) break_it();
    }
    if (ec || outcome != Outcome::timed_out || deadline.passed()) return outcome;
    outcome = wait_for(Readiness::readable, interrupt, deadline, ec);
    if (ec || outcome != Outcome::done) return outcome;
  }
}

// Leaves `inside` as 1 where the rest of a message stayed in the stream.
MULTIPROCESSING_INLINE Outcome Stream::read_message(std::uint8_t kind,
                                                    std::size_t max,
                                                    IncomingMessage& into,
                                                    const Interrupt& interrupt,
                                                    std::error_code& ec) const {
  PacketBuffer buffer;  // before the first byte is taken, for want of memory must lose none
  std::array<std::byte, windows::long_header> header{};
  const std::span all{header};
  const auto first = all.first(windows::short_header);
  state_.in.inside.store(1);
  MULTIPROCESSING_STOP_POINT("stream.recv.inside");
  int error = 0;
  const int got = windows::receive_some(windows::as_socket(socket_), first, state_, error);
  if (got <= 0) {
    if (got < 0 && error != WSAEWOULDBLOCK) ec = windows::as_socket_error(error);
    state_.in.inside.store(0);
    if (got == 0 && state_.in.broken.load() != 0) {
      ec = std::make_error_code(std::errc::connection_aborted);
    }
    return got == 0 ? Outcome::ended : Outcome::timed_out;
  }
  MULTIPROCESSING_STOP_POINT("stream.recv.begun");
  Outcome outcome = read_all(first, static_cast<std::size_t>(got), interrupt, ec);
  std::uint64_t size = windows::read_big_endian(first);
  if (outcome == Outcome::done && size == 0xffffffff) {
    const auto second = all.subspan(windows::short_header);
    outcome = read_all(second, 0, interrupt, ec);
    size = windows::read_big_endian(second);
  } else if (outcome == Outcome::done && size > windows::largest_short_size) {
    ec = std::make_error_code(std::errc::bad_message);
  }
  if (!ec && outcome == Outcome::done && size > max) {
    ec = std::make_error_code(std::errc::message_size);
  }
  if (ec || outcome != Outcome::done) return outcome;
  if (size <= PacketBuffer::capacity) {
    outcome = read_all({buffer.data(), static_cast<std::size_t>(size)}, 0, interrupt, ec);
    if (ec || outcome != Outcome::done) return outcome;
    into = IncomingMessage{kind, std::move(buffer), 0, static_cast<std::size_t>(size)};
  } else {
    constexpr std::uint64_t believed = std::uint64_t{1} << 20U;
    std::vector<std::byte> whole;
    if (size > whole.max_size()) throw std::bad_alloc{};
    while (whole.size() < size) {
      const std::size_t done = whole.size();
      whole.resize(static_cast<std::size_t>(std::min(size, std::max(believed, done * 2))));
      outcome = read_all(std::span{whole}.subspan(done), 0, interrupt, ec);
      if (ec || outcome != Outcome::done) return outcome;
    }
    into = IncomingMessage{kind, std::move(whole)};
  }
  MULTIPROCESSING_STOP_POINT("stream.recv.whole");
  state_.in.inside.store(0);
  return Outcome::done;
}

MULTIPROCESSING_INLINE Outcome Stream::read_all(std::span<std::byte> into,
                                                std::size_t done,
                                                const Interrupt& interrupt,
                                                std::error_code& ec) const noexcept {
  while (done < into.size()) {
    int error = 0;
    const int got =
        windows::receive_some(windows::as_socket(socket_), into.subspan(done), state_, error);
    if (got > 0) {
      done += static_cast<std::size_t>(got);
    } else if (got == 0 || windows::is_reset(error)) {
      ec = std::make_error_code(std::errc::connection_aborted);
      return Outcome::timed_out;
    } else if (error == WSAEWOULDBLOCK) {
      const Outcome waited =
          wait_for(Readiness::readable, interrupt, detail::Deadline{forever}, ec);
      if (ec || waited != Outcome::done) return waited;
    } else {
      ec = windows::as_socket_error(error);
      return Outcome::timed_out;
    }
  }
  return Outcome::done;
}

MULTIPROCESSING_INLINE Outcome Stream::wait(const Interrupt& interrupt,
                                            const detail::Deadline& deadline,
                                            std::error_code& ec) const noexcept {
  const Outcome waited = wait_for(Readiness::readable, interrupt, deadline, ec);
  if (!ec && state_.in.broken.load() != 0) {
    ec = std::make_error_code(std::errc::connection_aborted);
  }
  return waited;
}

MULTIPROCESSING_INLINE void Stream::before_close() const noexcept {
  if (is_shared_(owner_) && someone_died_inside()) break_it();
  if (state_.keeps_messages.load() != 0) windows::EmptyMessages::here().end(socket_);
}

}  // namespace multiprocessing::os
