// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/bell.hpp>
#include <multiprocessing/os/lock.hpp>
#include <multiprocessing/os/one_way_channel.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <poll.h>
#include <sched.h>
#include <unistd.h>

namespace multiprocessing::os {

// The page that travels with both ends; a ring of parts of messages lies behind it. It was zero.
// Of the holder of a lock alone is what nobody else reads; what is atomic, others read or change.
struct OneWayEnd::Shared {
  alignas(64) RobustLock writing;      // held from a message's first part to its last
  std::atomic<std::uint64_t> written;  // bytes of the ring ever written; their last store commits
  std::uint64_t known_read;            // `read` when the holder of `writing` last looked
  std::uint64_t usable;                // bytes of the ring that are committed memory
  std::int64_t asked_at;               // when it was last asked whether anybody can receive, ns
  std::uint64_t known_leavers;         // `leavers` then
  alignas(64) RobustLock reading;      // held from a message's first part to its last
  std::atomic<std::uint64_t> read;     // bytes of the ring ever read
  // 1: the pipe holds a byte, so it is readable. Changed by the holder of `writing`, who writes the
  // byte before a 1, and takes it out after a 0: who dies in between leaves a byte too many.
  alignas(64) std::atomic<std::uint32_t> rung;
  std::atomic<std::uint32_t> watched;         // 1: somebody may poll the pipe himself
  std::atomic<std::uint32_t> leavers;         // receiving ends that were given up
  std::atomic<std::uint32_t> raises_sigpipe;  // 1: this kernel cannot write without it
  BellState room;                             // senders that wait for some
  BellState more;                             // a receiver in the middle of a message
};

namespace posix {

// What begins each part, at a multiple of its size, so that none is cut in two at the ring's end.
struct PartHeader {
  static constexpr std::uint16_t first = 0x6d31;
  static constexpr std::uint16_t further = 0x6d32;

  std::uint16_t which;
  std::uint8_t kind;
  std::uint8_t unused;
  std::uint32_t size;   // of the bytes that follow
  std::uint64_t place;  // first: the whole message's size; further: of the bytes in the message
};
static_assert(sizeof(PartHeader) == 16);

inline constexpr std::size_t page_size = 4096;
inline constexpr std::size_t ring_size = std::size_t{256} << 10U;
inline constexpr std::size_t part_size = std::size_t{32} << 10U;  // at most, without its header

inline constexpr std::size_t in_ring(std::size_t size) noexcept {
  return (sizeof(PartHeader) + size + sizeof(PartHeader) - 1) / sizeof(PartHeader) *
         sizeof(PartHeader);
}

// The kernel likes to put both ends of a pipe on one processor, where looking again and again is in
// vain; so it is tried in full less often than elsewhere.
inline constexpr unsigned tries_again_every = 64;

// For what should not wait, but for who is in the middle of a small message.
MULTIPROCESSING_INLINE detail::Deadline a_moment() noexcept {
  return detail::Deadline{Interrupt::longest_blind_wait};
}

class Unlocker {
 public:
  explicit Unlocker(RobustLock& lock) noexcept : lock_{lock} {}
  Unlocker(const Unlocker&) = delete;
  Unlocker& operator=(const Unlocker&) = delete;
  ~Unlocker() { lock_.unlock(); }

 private:
  RobustLock& lock_;
};

MULTIPROCESSING_INLINE Outcome acquire(RobustLock& lock,
                                       const Interrupt& interrupt,
                                       const detail::Deadline& deadline,
                                       bool& abandoned) noexcept {
  constexpr int tries_of_now = 20;  // somebody may be in the middle of a small message
  for (int i = 0;; ++i) {
    const Acquired acquired =
        i == 0 || deadline.is_now()
            ? lock.try_lock()
            : lock.lock(detail::Deadline{deadline.left(Interrupt::longest_blind_wait)});
    abandoned = acquired == Acquired::abandoned;
    if (acquired != Acquired::no) return Outcome::done;
    if (interrupt.is_raised()) return Outcome::interrupted;
    if (i > tries_of_now || !deadline.is_now()) {
      if (deadline.passed()) return Outcome::timed_out;
    }
    if (deadline.is_now()) MULTIPROCESSING_SYSTEM(sched_yield)();
  }
}

// One of the page's. Nothing needs a look that its last owner left when he died: what he had not
// committed is not there, and a message that he had not ended is known by what follows it.
MULTIPROCESSING_INLINE Outcome acquire(RobustLock& lock,
                                       const Interrupt& interrupt,
                                       const detail::Deadline& deadline) noexcept {
  bool abandoned = false;
  return acquire(lock, interrupt, deadline, abandoned);
}

// Bytes that lie one after the other in the ring, which begins again at its end.
MULTIPROCESSING_INLINE void copy_into(std::byte* ring,
                                      std::uint64_t at,
                                      std::span<const std::byte> bytes) noexcept {
  const std::size_t place = at % ring_size;
  const std::size_t before_end = std::min(bytes.size(), ring_size - place);
  if (before_end != 0) std::memcpy(ring + place, bytes.data(), before_end);
  if (before_end != bytes.size()) {
    std::memcpy(ring, bytes.data() + before_end, bytes.size() - before_end);
  }
}

MULTIPROCESSING_INLINE void copy_from(const std::byte* ring,
                                      std::uint64_t at,
                                      std::span<std::byte> bytes) noexcept {
  const std::size_t place = at % ring_size;
  const std::size_t before_end = std::min(bytes.size(), ring_size - place);
  if (before_end != 0) std::memcpy(bytes.data(), ring + place, before_end);
  if (before_end != bytes.size()) {
    std::memcpy(bytes.data() + before_end, ring, bytes.size() - before_end);
  }
}

MULTIPROCESSING_INLINE short polled(int pipe) noexcept {
  pollfd one{pipe, POLLIN, 0};
  while (MULTIPROCESSING_SYSTEM(poll)(&one, 1, 0) < 0 && errno == EINTR) {
  }
  return one.revents;
}

}  // namespace posix
}  // namespace multiprocessing::os
