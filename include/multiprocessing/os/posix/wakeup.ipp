// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/wakeup.hpp>

#include <ctime>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE void Wakeup::initialise() noexcept {
  unused_ = 0;
  name_ = 0;
}

MULTIPROCESSING_INLINE void Wakeup::sleep(std::uint32_t seen,
                                          std::chrono::nanoseconds limit) noexcept {
  const auto capped = limit < longest_sleep ? limit : longest_sleep;
  const timespec timeout{0, static_cast<long>(capped.count())};
  MULTIPROCESSING_SYSTEM(syscall)(SYS_futex, &word_, FUTEX_WAIT, seen, &timeout, nullptr, 0);
}

MULTIPROCESSING_INLINE void Wakeup::wake() noexcept {
  word_.fetch_add(1, std::memory_order_seq_cst);
  MULTIPROCESSING_STOP_POINT("wakeup.wake.counted");
  MULTIPROCESSING_SYSTEM(syscall)(SYS_futex, &word_, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

}  // namespace multiprocessing::os
