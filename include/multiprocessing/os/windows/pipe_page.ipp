// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/lock.hpp>
#include <multiprocessing/os/one_way_channel.hpp>
#include <multiprocessing/os/windows/api.ipp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace multiprocessing::os {

// The page that travels with both ends. It was zero.
struct OneWayEnd::Shared {
  RobustLock writing;  // held from a run's first fragment to its last
  RobustLock reading;  // likewise
  // The number of the newest run. Changed by the holder of `writing`.
  std::atomic<std::uint64_t> last_run;
  // The run of several fragments that is being written, or 0. Changed by the holder of `writing`;
  // not 0 when `writing` is abandoned: that run will never be complete.
  std::atomic<std::uint64_t> current_run;
  // Runs that will never be complete, the newest 64, as a ring; more than a pipe can hold the
  // beginnings of. Added to by the holder of `writing`, before current_run becomes 0.
  std::atomic<std::uint64_t> dead_runs;
  std::array<std::atomic<std::uint64_t>, 64> dead;
};

namespace windows {

// A message is a run of fragments; a fragment is one message of the pipe.
struct FragmentHeader {
  static constexpr std::uint32_t right_magic = 0x3270706dU;

  std::uint32_t magic;
  std::uint16_t kind;
  std::uint16_t handles;  // whose numbers come before the message's bytes
  std::uint64_t run;
  std::uint64_t offset;  // of this fragment's bytes in the message
  std::uint64_t total;   // of the message
};
static_assert(sizeof(FragmentHeader) == 32);

inline constexpr std::size_t fragment_size = std::size_t{64} << 10U;
inline constexpr std::size_t packet_size = fragment_size + sizeof(FragmentHeader);
inline constexpr std::size_t pipe_size = std::size_t{1} << 20U;

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
  constexpr int tries_of_now = 20;  // somebody may be in the middle of a fragment
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
    if (deadline.is_now()) MULTIPROCESSING_SYSTEM(SwitchToThread)();
  }
}

// By the holder of `writing`: the run that was being written will never be complete.
MULTIPROCESSING_INLINE void bury_current_run(OneWayEnd::Shared& shared) noexcept {
  const std::uint64_t run = shared.current_run.load();
  if (run == 0) return;
  const std::uint64_t place = shared.dead_runs.load();
  shared.dead[place % shared.dead.size()].store(run);
  shared.dead_runs.store(place + 1);
  MULTIPROCESSING_STOP_POINT("pipe.bury.entered");
  shared.current_run.store(0);
}

MULTIPROCESSING_INLINE bool is_dead(const OneWayEnd::Shared& shared, std::uint64_t run) noexcept {
  return std::ranges::any_of(shared.dead, [run](const auto& dead) { return dead.load() == run; });
}

// Whether nobody is writing at this moment; finds dead writers.
MULTIPROCESSING_INLINE bool nobody_writes(OneWayEnd::Shared& shared) noexcept {
  const Acquired acquired = shared.writing.try_lock();
  if (acquired == Acquired::no) return false;
  const Unlocker unlocker{shared.writing};
  if (acquired == Acquired::abandoned) bury_current_run(shared);
  return true;
}

}  // namespace windows
}  // namespace multiprocessing::os
