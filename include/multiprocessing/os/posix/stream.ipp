// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/one_way_channel.hpp>
#include <multiprocessing/os/posix/sealed_memory.ipp>
#include <multiprocessing/os/posix/send_parts.ipp>
#include <multiprocessing/os/stream.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

namespace multiprocessing::os {

namespace posix {

inline constexpr std::size_t largest_short_size = 0x7fffffff;
inline constexpr std::size_t short_header = 4;
inline constexpr std::size_t long_header = 12;

MULTIPROCESSING_INLINE void write_big_endian(std::byte* into,
                                             std::uint64_t number,
                                             std::size_t size) noexcept {
  for (std::size_t i = 0; i < size; ++i) {
    into[i] = static_cast<std::byte>(number >> (8 * (size - 1 - i)));
  }
}
MULTIPROCESSING_INLINE std::uint64_t read_big_endian(std::span<const std::byte> bytes) noexcept {
  std::uint64_t number = 0;
  for (const std::byte one : bytes) number = number << 8U | std::to_integer<std::uint64_t>(one);
  return number;
}

// ECONNRESET is said once. Over a local socket it means that the other end closed with messages
// unread, and all that it sent comes still; from the internet, that some may be lost.
MULTIPROCESSING_INLINE void note_reset(int socket, StreamState& state) noexcept {
  int domain = 0;
  socklen_t length = sizeof domain;
  if (MULTIPROCESSING_SYSTEM(getsockopt)(socket, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0 ||
      domain != AF_UNIX) {
    state.was_reset.store(1);
  }
}

// The bytes of a message that are still to be sent.
class StreamParts {
 public:
  StreamParts(std::span<const std::byte> bytes, std::span<const std::byte> tail) noexcept {
    const std::size_t size = bytes.size() + tail.size();
    std::size_t header = short_header;
    if (size > largest_short_size) {
      header = long_header;
      write_big_endian(buffer_.data(), 0xffffffff, short_header);
      write_big_endian(buffer_.data() + short_header, size, long_header - short_header);
    } else {
      write_big_endian(buffer_.data(), size, short_header);
    }
    left_ = header + size;
    parts_[0] = {buffer_.data(), header};
    if (size <= small) {  // one buffer is faster than two, even when it must be filled
      if (!bytes.empty()) std::memcpy(buffer_.data() + header, bytes.data(), bytes.size());
      if (!tail.empty()) {
        std::memcpy(buffer_.data() + header + bytes.size(), tail.data(), tail.size());
      }
      parts_[0].iov_len += size;
    } else {
      parts_[count_++] = {const_cast<std::byte*>(bytes.data()), bytes.size()};
      parts_[count_++] = {const_cast<std::byte*>(tail.data()), tail.size()};
    }
  }
  StreamParts(const StreamParts&) = delete;
  StreamParts& operator=(const StreamParts&) = delete;

  [[nodiscard]] std::size_t left() const noexcept { return left_; }
  // One system call. After ECONNRESET comes EPIPE.
  ssize_t try_send(int socket, StreamState& state) noexcept {
    msghdr message{};
    message.msg_iov = &parts_[first_];
    message.msg_iovlen = count_ - first_;
    for (;;) {
      const auto sent = send_parts(socket, message);
      if (sent >= 0) forget(static_cast<std::size_t>(sent));
      if (sent >= 0 || (errno != EINTR && errno != ECONNRESET)) return sent;
      if (errno == ECONNRESET) note_reset(socket, state);
    }
  }

 private:
  static constexpr std::size_t small = 1024;

  void forget(std::size_t sent) noexcept {
    left_ -= sent;
    while (first_ < count_ && sent >= parts_[first_].iov_len) sent -= parts_[first_++].iov_len;
    if (first_ == count_) return;
    parts_[first_].iov_base = static_cast<std::byte*>(parts_[first_].iov_base) + sent;
    parts_[first_].iov_len -= sent;
  }

  std::array<std::byte, long_header + small> buffer_;
  std::array<iovec, 3> parts_{};
  std::size_t first_ = 0;
  std::size_t count_ = 1;
  std::size_t left_ = 0;
};

// Whether a message can begin that may not wait: it finds room whole, as far as one can tell, or is
// alone.
MULTIPROCESSING_INLINE bool stream_has_room(int socket, std::size_t size) noexcept {
  int unsent = 0;
  int room = 0;
  socklen_t length = sizeof room;
  if (MULTIPROCESSING_SYSTEM(ioctl)(socket, SIOCOUTQ, &unsent) != 0 || unsent == 0) return true;
  if (MULTIPROCESSING_SYSTEM(getsockopt)(socket, SOL_SOCKET, SO_SNDBUF, &room, &length) != 0) {
    return true;
  }
  constexpr std::size_t overhead = 4096;  // the kernel counts what it keeps beside the bytes, too
  return 2 * (static_cast<std::size_t>(unsent) + size) + overhead <= static_cast<std::size_t>(room);
}

// -1: errno says why; ECONNRESET only in the place of an end. What came before it comes after it.
MULTIPROCESSING_INLINE ssize_t receive_retrying(int socket,
                                                std::byte* into,
                                                std::size_t size,
                                                StreamState& state) noexcept {
  for (;;) {
    const auto got = MULTIPROCESSING_SYSTEM(recv)(socket, into, size, MSG_DONTWAIT);
    if (got == 0 && state.was_reset.load() != 0) {
      errno = ECONNRESET;
      return -1;
    }
    if (got >= 0 || (errno != EINTR && errno != ECONNRESET)) return got;
    if (errno == ECONNRESET) note_reset(socket, state);
  }
}

}  // namespace posix

struct Stream::Parts : posix::StreamParts {
  using posix::StreamParts::StreamParts;
};

MULTIPROCESSING_INLINE void StreamState::initialise(std::error_code& ec) noexcept {
  out.lock.initialise(ec);
  if (!ec) in.lock.initialise(ec);
}

MULTIPROCESSING_INLINE void Stream::after_open() const {}

MULTIPROCESSING_INLINE bool Stream::someone_died_inside() const noexcept {
  const auto died = [](const StreamDirection& direction) {
    // Asked twice: in between the next may have got the lock, and be inside alive.
    return direction.lock.is_abandoned() && direction.inside.load() != 0 &&
           direction.lock.is_abandoned();
  };
  return died(state_.out) || died(state_.in);
}

// Half a header and then the end: whoever reads it, Python too, knows that a message is missing.
MULTIPROCESSING_INLINE void Stream::break_it() const noexcept {
  const bool was_sound = state_.out.broken.exchange(1) == 0;
  state_.in.broken.store(1);
  const Acquired acquired = was_sound ? state_.out.lock.try_lock() : Acquired::no;
  if (acquired != Acquired::no) {
    const posix::Unlocker unlocker{state_.out.lock};
    std::array<std::byte, posix::short_header + 1> half{};
    posix::write_big_endian(half.data(), 0xffffffff, posix::short_header);
    if (state_.out.inside.load() == 0) {
      MULTIPROCESSING_SYSTEM(send)(socket_, half.data(), half.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
  }
  MULTIPROCESSING_SYSTEM(shutdown)(socket_, SHUT_RDWR);
}

MULTIPROCESSING_INLINE Outcome Stream::enter(StreamDirection& direction,
                                             const Interrupt& interrupt,
                                             const detail::Deadline& deadline,
                                             std::error_code& ec) const noexcept {
  ec.clear();
  bool abandoned = false;
  const Outcome acquired = posix::acquire(direction.lock, interrupt, deadline, abandoned);
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
    const detail::Deadline look{
        deadline.left(is_shared ? Interrupt::longest_blind_wait : unshared_wait)};
    const Waited waited = wait_ready(socket_, what, interrupt, look, ec);
    if (ec || waited != Waited::timed_out || deadline.passed()) return as_outcome(waited);
  }
}

// Of as much room as a message with a limit needs the kernel gives no notice.
MULTIPROCESSING_INLINE Outcome Stream::wait_for_room(std::size_t size,
                                                     const Interrupt& interrupt,
                                                     const detail::Deadline& deadline,
                                                     std::error_code& ec) const noexcept {
  const Outcome waited = wait_for(Readiness::writable, interrupt, deadline, ec);
  if (ec || waited != Outcome::done || deadline.is_forever()) return waited;
  if (posix::stream_has_room(socket_, size)) return waited;
  if (deadline.passed()) return Outcome::timed_out;
  const auto nap = deadline.left(std::chrono::milliseconds{1});
  return pause_for(nap, interrupt) == Waited::interrupted ? Outcome::interrupted : Outcome::done;
}

MULTIPROCESSING_INLINE Outcome Stream::send(std::span<const std::byte> bytes,
                                            std::span<const std::byte> tail,
                                            const Interrupt& interrupt,
                                            const detail::Deadline& deadline,
                                            std::error_code& ec) const noexcept {
  Parts parts{bytes, tail};
  for (;;) {
    Outcome outcome = enter(state_.out, interrupt, deadline, ec);
    if (ec || outcome != Outcome::done) return outcome;
    {
      const posix::Unlocker unlocker{state_.out.lock};
      outcome = send_now(parts, !deadline.is_forever(), interrupt, ec);
    }
    // Without the lock: who is stopped while it waits for room holds nobody up.
    if (ec || outcome != Outcome::timed_out) return outcome;
    outcome = wait_for_room(parts.left(), interrupt, deadline, ec);
    if (ec || outcome != Outcome::done) return outcome;
  }
}

MULTIPROCESSING_INLINE Outcome Stream::send_now(Parts& parts,
                                                bool has_limit,
                                                const Interrupt& interrupt,
                                                std::error_code& ec) const noexcept {
  if (has_limit && !posix::stream_has_room(socket_, parts.left())) return Outcome::timed_out;
  bool begun = false;
  for (;;) {
    state_.out.inside.store(1);
    MULTIPROCESSING_STOP_POINT("stream.send.inside");
    const auto sent = parts.try_send(socket_, state_);
    const int error = errno;
    begun = begun || sent > 0;
    if (begun) MULTIPROCESSING_STOP_POINT("stream.send.sent");
    if (!begun || parts.left() == 0) state_.out.inside.store(0);
    if (parts.left() == 0) return Outcome::done;
    if (sent >= 0) continue;
    if (error != EAGAIN) {
      ec.assign(error, std::system_category());
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
      const posix::Unlocker unlocker{state_.in.lock};
      try {
        outcome = read_message(kind, max, into, interrupt, ec);
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
  std::array<std::byte, posix::long_header> header{};
  state_.in.inside.store(1);
  MULTIPROCESSING_STOP_POINT("stream.recv.inside");
  const auto got = posix::receive_retrying(socket_, header.data(), posix::short_header, state_);
  if (got <= 0) {
    if (got < 0 && errno != EAGAIN) posix::assign_errno(ec);
    state_.in.inside.store(0);
    if (got == 0 && state_.in.broken.load() != 0) {
      ec = std::make_error_code(std::errc::connection_aborted);
    }
    return got == 0 ? Outcome::ended : Outcome::timed_out;
  }
  MULTIPROCESSING_STOP_POINT("stream.recv.begun");
  const std::span all{header};
  Outcome outcome =
      read_all(all.first(posix::short_header), static_cast<std::size_t>(got), interrupt, ec);
  std::uint64_t size = posix::read_big_endian(all.first(posix::short_header));
  if (outcome == Outcome::done && size == 0xffffffff) {
    outcome = read_all(all.subspan(posix::short_header), 0, interrupt, ec);
    size = posix::read_big_endian(all.subspan(posix::short_header));
  } else if (outcome == Outcome::done && size > posix::largest_short_size) {
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
  } else if (const auto room = into.room(kind); size <= room.size()) {
    const auto whole = room.first(static_cast<std::size_t>(size));
    outcome = read_all(whole, 0, interrupt, ec);
    if (ec || outcome != Outcome::done) return outcome;
    into = IncomingMessage{kind, whole};
  } else {
    constexpr std::uint64_t believed = std::uint64_t{1} << 20U;
    constexpr std::uint64_t addresses = std::uint64_t{64}
                                        << 20U;  // not memory before it is written
    std::vector<std::byte> whole;
    if (size > whole.max_size()) throw std::bad_alloc{};
    whole.reserve(static_cast<std::size_t>(std::min(size, addresses)));
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
    const auto got =
        posix::receive_retrying(socket_, into.data() + done, into.size() - done, state_);
    if (got > 0) {
      done += static_cast<std::size_t>(got);
    } else if (got == 0 || errno == ECONNRESET) {
      ec = std::make_error_code(std::errc::connection_aborted);
      return Outcome::timed_out;
    } else if (errno == EAGAIN) {
      const Outcome waited =
          wait_for(Readiness::readable, interrupt, detail::Deadline{forever}, ec);
      if (ec || waited != Outcome::done) return waited;
    } else {
      posix::assign_errno(ec);
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
}

}  // namespace multiprocessing::os
