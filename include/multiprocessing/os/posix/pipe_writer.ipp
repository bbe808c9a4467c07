// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/posix/blocked_signal.ipp>
#include <multiprocessing/os/posix/pipe_page.ipp>

#include <algorithm>
#include <chrono>

#include <sys/uio.h>
#include <unistd.h>

namespace multiprocessing::os::posix {

// A byte, never with SIGPIPE. A pipe that is full is readable, which is all that is wanted.
MULTIPROCESSING_INLINE void make_readable(int pipe,
                                          OneWayEnd::Shared& shared,
                                          std::error_code& ec) noexcept {
  constexpr int no_signal = 0x100;  // RWF_NOSIGNAL, Linux 6.18
  std::byte byte{};
  const iovec part{&byte, 1};
  for (;;) {
    ssize_t written = -1;
    if (shared.raises_sigpipe.load(std::memory_order_relaxed) == 0) {
      written = MULTIPROCESSING_SYSTEM(pwritev2)(pipe, &part, 1, -1, no_signal);
      if (written < 0 && (errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS)) {
        shared.raises_sigpipe.store(1);
        continue;
      }
    } else {
      const BlockedSignal blocked{SIGPIPE};
      written = MULTIPROCESSING_SYSTEM(writev)(pipe, &part, 1);
    }
    if (written >= 0 || errno == EAGAIN) return;
    if (errno != EINTR) return ec.assign(errno, std::system_category());
  }
}

// Writes the parts of one message. The caller holds `writing`.
class PartWriter {
 public:
  PartWriter(int pipe, SharedRegion& region, OneWayEnd::Shared& shared) noexcept
      : pipe_{pipe}, region_{region}, shared_{shared} {}

  // timed_out: there is no room now, and nothing was written, or the deadline has passed.
  Outcome write(const OutgoingMessage& message,
                const Interrupt& interrupt,
                const detail::Deadline& deadline,
                std::error_code& ec) noexcept {
    const std::size_t total = message.bytes.size();
    std::size_t done = 0;
    do {
      const auto part = message.bytes.subspan(done, std::min(total - done, part_size));
      while (!has_room(in_ring(part.size()))) {
        if (done == 0) return Outcome::timed_out;
        const Outcome outcome = wait_for_room(interrupt, deadline, ec);
        if (ec || outcome != Outcome::done) return outcome;
      }
      prepare(in_ring(part.size()), ec);
      if (ec) return Outcome::timed_out;
      append({done == 0 ? PartHeader::first : PartHeader::further, message.kind, 0,
              static_cast<std::uint32_t>(part.size()), done == 0 ? total : done},
             part);
      done += part.size();
      if (done < total) wake_receiver();
      MULTIPROCESSING_STOP_POINT("pipe.send.part");
    } while (done < total);
    return Outcome::done;
  }

  // After the last part, without the lock: whom this wakes may get this processor.
  void wake_receiver() noexcept {
    if (Bell::has_sleeper(shared_.more)) Bell{}.ring(shared_.more);
  }

  // Also by who does not hold `writing`. done: there was room.
  Outcome wait_for_room(const Interrupt& interrupt,
                        const detail::Deadline& deadline,
                        std::error_code& ec) noexcept {
    for (;;) {
      if (interrupt.is_raised()) return Outcome::interrupted;
      if (deadline.passed()) return Outcome::timed_out;
      require_receiver(ec);
      if (ec) return Outcome::timed_out;
      const std::uint32_t announced = Bell::announce(shared_.room);
      if (!is_half_full()) return Outcome::done;
      Bell{}.sleep(shared_.room, announced, deadline.left(Bell::longest_sleep));
    }
  }

 private:
  [[nodiscard]] bool has_room(std::size_t size) noexcept {
    const std::uint64_t end = shared_.written.load(std::memory_order_relaxed) + size;
    if (end - shared_.known_read <= ring_size) return true;
    shared_.known_read = shared_.read.load(std::memory_order_acquire);
    return end - shared_.known_read <= ring_size;
  }

  [[nodiscard]] bool is_half_full() const noexcept {
    return shared_.written.load() - shared_.read.load() > ring_size / 2;
  }

  // Memory for a part, and a byte in the pipe: before the part is there, for then it is no harm to
  // die in between, and an error means that it was not sent.
  void prepare(std::size_t size, std::error_code& ec) noexcept {
    ec.clear();
    const std::uint64_t end = shared_.written.load(std::memory_order_relaxed) + size;
    if (end > shared_.usable && shared_.usable < ring_size) {
      const std::size_t wanted =
          std::min<std::size_t>(ring_size, std::max<std::size_t>(2 * shared_.usable, end));
      region_.commit(page_size, wanted, ec);
      if (ec) return;
      shared_.usable = wanted;
    }
    if (shared_.rung.load(std::memory_order_relaxed) != 0) return ask_now_and_then(ec);
    make_readable(pipe_, shared_, ec);
    MULTIPROCESSING_STOP_POINT("pipe.send.announced");
    if (!ec) shared_.rung.store(1);
  }

  void append(const PartHeader& header, std::span<const std::byte> bytes) noexcept {
    std::byte* const ring = region_.data() + page_size;
    const std::uint64_t at = shared_.written.load(std::memory_order_relaxed);
    std::memcpy(ring + at % ring_size, &header, sizeof header);
    copy_into(ring, at + sizeof header, bytes);
    MULTIPROCESSING_STOP_POINT("pipe.send.copied");
    shared_.written.store(at + in_ring(bytes.size()));
    MULTIPROCESSING_STOP_POINT("pipe.send.committed");
  }

  // Writing says whether anybody can still receive, but costs a system call; so who does not write
  // asks at intervals, and at once where an end was given up.
  void ask_now_and_then(std::error_code& ec) noexcept {
    constexpr std::int64_t interval = 50'000;  // ns
    const std::int64_t now = std::chrono::steady_clock::now().time_since_epoch().count();
    const std::uint32_t leavers = shared_.leavers.load(std::memory_order_acquire);
    if (now - shared_.asked_at < interval && leavers == shared_.known_leavers) return;
    require_receiver(ec);
    shared_.asked_at = now;
    shared_.known_leavers = leavers;
  }

  void require_receiver(std::error_code& ec) const noexcept {
    if ((polled(pipe_) & POLLERR) != 0) ec = std::make_error_code(std::errc::broken_pipe);
  }

  int pipe_;
  SharedRegion& region_;
  OneWayEnd::Shared& shared_;
};

}  // namespace multiprocessing::os::posix
