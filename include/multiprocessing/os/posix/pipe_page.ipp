// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/lock.hpp>
#include <multiprocessing/os/one_way_channel.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include <poll.h>
#include <sched.h>
#include <unistd.h>

namespace multiprocessing::os {

// The page that travels with both ends. It was zero.
struct OneWayEnd::Shared {
  alignas(64) RobustLock writing;  // held from a run's first fragment to its last
  // The number of the newest run. Changed by the holder of `writing`.
  std::atomic<std::uint64_t> last_run;
  // The run of several fragments that is being written, or 0. Changed by the holder of `writing`;
  // not 0 when `writing` is abandoned: that run will never be complete.
  std::atomic<std::uint64_t> current_run;
  // Runs that will never be complete, the newest 64, as a ring; more than a pipe can hold the
  // beginnings of. Added to by the holder of `writing`, before current_run becomes 0.
  std::atomic<std::uint64_t> dead_runs;
  std::array<std::atomic<std::uint64_t>, 64> dead;
  alignas(64) RobustLock reading;  // held from a run's first fragment to its last
  // The newest run that was written whole, as far as its writer lived to say so. What readers that
  // find the pipe empty look at for a while before they sleep; changed by the holder of `writing`.
  alignas(64) std::atomic<std::uint64_t> written;
  // 1: the pipe may begin with what is no message. Set by any holder of either lock, cleared by who
  // holds both and sees the pipe empty.
  std::atomic<std::uint32_t> suspect;
  // 1: this kernel cannot write without SIGPIPE. Set by any writer that was told so.
  std::atomic<std::uint32_t> raises_sigpipe;
};

namespace posix {

// A message is a run of fragments; a fragment is one packet of the pipe.
struct FragmentHeader {
  static constexpr std::uint32_t right_magic = 0x3170706dU;

  std::uint32_t magic;
  std::uint32_t kind;
  std::uint64_t run;
  std::uint64_t offset;  // of this fragment's bytes in the message
  std::uint64_t total;   // of the message
};
static_assert(sizeof(FragmentHeader) == 32);

// The kernel likes to put both ends of a pipe on one processor, where looking again and again is in
// vain; so it is tried in full less often than elsewhere.
inline constexpr unsigned tries_again_every = 64;

inline constexpr std::size_t packet_size = 4096;  // PIPE_BUF: what the kernel keeps as one packet
inline constexpr std::size_t fragment_size = packet_size - sizeof(FragmentHeader);

class Unlocker {
 public:
  explicit Unlocker(RobustLock& lock) noexcept : lock_{lock} {}
  Unlocker(const Unlocker&) = delete;
  Unlocker& operator=(const Unlocker&) = delete;
  ~Unlocker() { lock_.unlock(); }

 private:
  RobustLock& lock_;
};

inline Outcome acquire(RobustLock& lock,
                       const Interrupt& interrupt,
                       const detail::Deadline& deadline,
                       bool& abandoned) noexcept {
  constexpr int tries_of_now = 20;  // somebody may be in the middle of a packet
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

// By the holder of `writing`: the run that was being written will never be complete.
inline void bury_current_run(OneWayEnd::Shared& shared) noexcept {
  const std::uint64_t run = shared.current_run.load();
  if (run == 0) return;
  shared.suspect.store(1);
  const std::uint64_t place = shared.dead_runs.load();
  shared.dead[place % shared.dead.size()].store(run);
  shared.dead_runs.store(place + 1);
  MULTIPROCESSING_STOP_POINT("pipe.bury.entered");
  shared.current_run.store(0);
}

inline bool is_dead(const OneWayEnd::Shared& shared, std::uint64_t run) noexcept {
  return std::ranges::any_of(shared.dead, [run](const auto& dead) { return dead.load() == run; });
}

// Whether nobody is writing at this moment; finds dead writers.
inline bool nobody_writes(OneWayEnd::Shared& shared) noexcept {
  const Acquired acquired = shared.writing.try_lock();
  if (acquired == Acquired::no) return false;
  const Unlocker unlocker{shared.writing};
  if (acquired == Acquired::abandoned) bury_current_run(shared);
  return true;
}

inline ssize_t read_retrying(int from, void* into, std::size_t size) noexcept {
  for (;;) {
    const auto received = MULTIPROCESSING_SYSTEM(read)(from, into, size);
    if (received >= 0 || errno != EINTR) return received;
  }
}

inline short polled(int pipe) noexcept {
  pollfd one{pipe, POLLIN, 0};
  while (MULTIPROCESSING_SYSTEM(poll)(&one, 1, 0) < 0 && errno == EINTR) {
  }
  return one.revents;
}

// Reading 0 bytes is not enough to know the end: a writer that dies while the kernel copies may
// leave an empty packet.
inline bool at_end(int pipe) noexcept {
  const short events = polled(pipe);
  return (events & POLLHUP) != 0 && (events & POLLIN) == 0;
}

}  // namespace posix
}  // namespace multiprocessing::os
