// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/posix/pipe_page.ipp>

#include <algorithm>
#include <array>
#include <chrono>
#include <vector>

#include <unistd.h>

namespace multiprocessing::os::posix {

// Empties the pipe when the ring is empty. Who holds `writing` is either about to write, or in the
// middle of a message, for whose next part one must not wait here.
MULTIPROCESSING_INLINE Outcome make_unreadable(int pipe,
                                               OneWayEnd::Shared& shared,
                                               const Interrupt& interrupt,
                                               const detail::Deadline& deadline) noexcept {
  constexpr std::chrono::milliseconds look_again{1};
  while (shared.written.load() == shared.read.load()) {
    if (interrupt.is_raised()) return Outcome::interrupted;
    if (shared.writing.lock(detail::Deadline{deadline.left(look_again)}) != Acquired::no) {
      const Unlocker unlocker{shared.writing};
      if (shared.written.load() != shared.read.load()) break;
      shared.rung.store(0);
      MULTIPROCESSING_STOP_POINT("pipe.recv.quiet");
      std::array<std::byte, 64> bytes;
      while (MULTIPROCESSING_SYSTEM(read)(pipe, bytes.data(), bytes.size()) < 0 && errno == EINTR) {
      }
      break;
    }
    if (deadline.passed()) return Outcome::timed_out;
  }
  return Outcome::done;
}

// By who found the ring empty. Most answers come soon; who sleeps for them on the ring's bell saves
// both sides the pipe. Longer than this nobody does, for the bell does not tell of an end to come.
MULTIPROCESSING_INLINE bool comes_soon(int pipe,
                                       OneWayEnd::Shared& shared,
                                       Patience& patience,
                                       const detail::Deadline& deadline) noexcept {
  constexpr std::chrono::milliseconds soon{10};
  if (deadline.is_now()) return false;
  const auto is_there = [&shared] { return shared.written.load() != shared.read.load(); };
  if (patience.spin(is_there)) return true;
  if ((polled(pipe) & POLLHUP) != 0) return false;
  const std::uint32_t announced = Bell::announce(shared.more);
  if (!is_there()) Bell{}.sleep(shared.more, announced, deadline.left(soon));
  return is_there();
}

// By who leaves something behind: a bell wakes one at a time.
MULTIPROCESSING_INLINE void wake_next(OneWayEnd::Shared& shared) noexcept {
  if (shared.written.load() != shared.read.load() && Bell::has_sleeper(shared.more)) {
    Bell{}.ring(shared.more);
  }
}

// By who found the ring empty. done: look again; ended: once more, for nobody can send any more.
MULTIPROCESSING_INLINE Outcome wait_for_byte(int pipe,
                                             OneWayEnd::Shared& shared,
                                             const Interrupt& interrupt,
                                             const detail::Deadline& deadline,
                                             std::error_code& ec) noexcept {
  // Who was told that the pipe is readable, and asks now, waits for the message that the byte is
  // for.
  const detail::Deadline until = deadline.is_now() ? a_moment() : deadline;
  if (shared.rung.load() != 0) {
    const Outcome outcome = make_unreadable(pipe, shared, interrupt, until);
    if (outcome != Outcome::done) return outcome;
  }
  const Waited waited = wait_ready(pipe, Readiness::readable, interrupt, deadline, ec);
  if (ec || waited != Waited::ready || shared.rung.load() != 0) return as_outcome(waited);
  const short events = polled(pipe);
  if ((events & POLLIN) != 0) {  // a dead sender's byte, or one that was just written
    return make_unreadable(pipe, shared, interrupt, until);
  }
  return (events & POLLHUP) != 0 ? Outcome::ended : Outcome::done;
}

// Reads the parts of one message. The caller holds `reading`.
class PartReader {
 public:
  PartReader(const std::byte* ring, OneWayEnd::Shared& shared) noexcept
      : ring_{ring}, shared_{shared} {}

  // timed_out: there is no message, nor the beginning of one. May throw std::bad_alloc.
  Outcome read(IncomingMessage& into, const Interrupt& interrupt, std::error_code& ec) {
    while (look(shared_.read.load(std::memory_order_relaxed), ec)) {
      if (header_.which == PartHeader::further) {  // the rest of one whose receiver died
        leave_behind();
      } else if (header_.size == header_.place) {
        const std::size_t size = header_.size;
        PacketBuffer buffer;
        static_assert(part_size <= PacketBuffer::capacity);
        take({buffer.data(), size});
        into = IncomingMessage{header_.kind, std::move(buffer), 0, size};
        return Outcome::done;
      } else {
        const Outcome outcome = gather(into, interrupt, ec);
        if (ec || outcome != Outcome::timed_out) return outcome;
      }
    }
    return Outcome::timed_out;
  }

  // Whether there is a message, or one whose sender is at work. Leaves behind what is none.
  bool has_message(std::error_code& ec) noexcept {
    for (;;) {
      const std::uint64_t first = shared_.read.load(std::memory_order_relaxed);
      if (!look(first, ec)) return false;
      if (header_.which == PartHeader::first && is_coming(first, ec)) return true;
      if (ec || !look(first, ec)) return false;
      leave_behind();
    }
  }

 private:
  // Reads the header of the part there into header_; false: nothing is there.
  bool look(std::uint64_t at, std::error_code& ec) noexcept {
    const std::uint64_t there = shared_.written.load() - at;
    if (there == 0) return false;
    std::memcpy(&header_, ring_ + at % ring_size, sizeof header_);
    const bool is_first = header_.which == PartHeader::first;
    if (there > ring_size || at % sizeof header_ != 0 || header_.size > part_size ||
        in_ring(header_.size) > there || (!is_first && header_.which != PartHeader::further) ||
        (is_first && header_.size > header_.place)) {
      ec = std::make_error_code(std::errc::bad_message);
      return false;
    }
    return true;
  }

  // The part of header_, which is the first that is there.
  void take(std::span<std::byte> into) noexcept {
    copy_from(ring_, shared_.read.load(std::memory_order_relaxed) + sizeof header_, into);
    MULTIPROCESSING_STOP_POINT("pipe.recv.copied");
    leave_behind();
  }

  void leave_behind() noexcept {
    const std::uint64_t end = shared_.read.load(std::memory_order_relaxed) + in_ring(header_.size);
    shared_.read.store(end);
    MULTIPROCESSING_STOP_POINT("pipe.recv.part");
    const std::uint64_t left = shared_.written.load(std::memory_order_relaxed) - end;
    if (left <= ring_size / 2 && Bell::has_sleeper(shared_.room)) Bell{}.ring(shared_.room);
  }

  // The message that begins there, with header_.
  bool is_coming(std::uint64_t at, std::error_code& ec) noexcept {
    const std::uint64_t total = header_.place;
    std::uint64_t there = header_.size;
    while (there < total) {
      at += in_ring(header_.size);
      if (!look(at, ec)) {
        if (ec) return false;
        if (!nobody_writes()) return true;
        if (!look(at, ec)) return false;
      }
      if (header_.which == PartHeader::first || header_.place != there) return false;
      there += header_.size;
    }
    return true;
  }

  // Who is in the middle of a message holds the lock.
  [[nodiscard]] bool nobody_writes() noexcept {
    if (shared_.writing.try_lock() == Acquired::no) return false;
    shared_.writing.unlock();
    return true;
  }

  // A message of several parts, the first of which is that of header_. timed_out: its sender died,
  // or gave up.
  Outcome gather(IncomingMessage& into, const Interrupt& interrupt, std::error_code& ec) {
    const std::uint64_t total = header_.place;
    const std::uint8_t kind = header_.kind;
    // What is said to come is believed as it comes.
    constexpr std::size_t believed = std::size_t{1} << 20U;
    std::vector<std::byte> whole(std::min<std::size_t>(total, believed));
    std::size_t filled = 0;
    for (;;) {
      if (header_.size > total - filled) {
        ec = std::make_error_code(std::errc::bad_message);
        return Outcome::timed_out;
      }
      if (whole.size() < filled + header_.size) {
        whole.resize(std::min<std::size_t>(total, 2 * whole.size()));
      }
      const std::size_t size = header_.size;
      take({whole.data() + filled, size});
      filled += size;
      if (filled == total) break;
      const Outcome outcome = wait_for_part(interrupt, ec);
      if (ec || outcome != Outcome::done) return outcome;
      if (header_.which == PartHeader::first || header_.place != filled) return Outcome::timed_out;
    }
    into = IncomingMessage{kind, std::move(whole)};
    return Outcome::done;
  }

  Outcome wait_for_part(const Interrupt& interrupt, std::error_code& ec) noexcept {
    const auto next = shared_.read.load(std::memory_order_relaxed);
    const auto is_there = [&] { return shared_.written.load() != next; };
    Patience patience;
    for (;;) {
      if (patience.spin(is_there) || is_there()) {
        return look(next, ec) ? Outcome::done : Outcome::timed_out;
      }
      if (interrupt.is_raised()) return Outcome::interrupted;
      // Then it may have come to its end in between.
      if (nobody_writes()) return look(next, ec) ? Outcome::done : Outcome::timed_out;
      const std::uint32_t announced = Bell::announce(shared_.more);
      if (!is_there()) Bell{}.sleep(shared_.more, announced, Bell::longest_sleep);
    }
  }

  const std::byte* ring_;
  OneWayEnd::Shared& shared_;
  PartHeader header_{};
};

}  // namespace multiprocessing::os::posix
