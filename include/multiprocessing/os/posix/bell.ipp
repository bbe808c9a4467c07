// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/bell.hpp>

#include <cerrno>
#include <ctime>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE Bell Bell::create(std::error_code& ec) noexcept {
  ec.clear();
  return {};
}

// NOLINTNEXTLINE(performance-unnecessary-value-param): other systems have handles to keep
MULTIPROCESSING_INLINE Bell Bell::adopt(std::vector<UniqueHandle> /*handles*/) noexcept {
  return {};
}

MULTIPROCESSING_INLINE std::vector<native_handle_type> Bell::handles() const {
  return {};
}

MULTIPROCESSING_INLINE std::uint32_t Bell::announce(BellState& state) noexcept {
  const std::uint32_t seen = state.rings.load(std::memory_order_seq_cst);
  state.sleeper.store(1, std::memory_order_seq_cst);
  return seen;
}

MULTIPROCESSING_INLINE void Bell::sleep(BellState& state,
                                        std::uint32_t announced,
                                        std::chrono::nanoseconds limit) noexcept {
  const auto capped = limit < longest_sleep ? limit : longest_sleep;
  const timespec timeout{0, static_cast<long>(capped.count())};
  MULTIPROCESSING_SYSTEM(syscall)
  (SYS_futex, &state.rings, FUTEX_WAIT, announced, &timeout, nullptr, 0);
  state.sleeper.store(1, std::memory_order_seq_cst);  // the others that may still sleep
}

MULTIPROCESSING_INLINE void Bell::ring(BellState& state) noexcept {
  if (!has_sleeper(state) || state.sleeper.exchange(0, std::memory_order_seq_cst) == 0) return;
  state.rings.fetch_add(1, std::memory_order_seq_cst);
  MULTIPROCESSING_STOP_POINT("bell.ring.counted");
  MULTIPROCESSING_SYSTEM(syscall)(SYS_futex, &state.rings, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

MULTIPROCESSING_INLINE void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace multiprocessing::os
