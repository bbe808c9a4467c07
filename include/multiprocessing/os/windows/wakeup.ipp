// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/random.hpp>
#include <multiprocessing/os/wakeup.hpp>
#include <multiprocessing/os/windows/named_event.ipp>

#include <span>
#include <system_error>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE void Wakeup::initialise() noexcept {
  std::error_code ec;  // a name that is not random is one all the same
  unused_ = 0;
  random_bytes(std::as_writable_bytes(std::span{&name_, 1}), ec);
}

MULTIPROCESSING_INLINE void Wakeup::sleep(std::uint32_t seen,
                                          std::chrono::nanoseconds limit) noexcept {
  const auto event = windows::sleepers_event({&name_, 1});
  if (word_.load(std::memory_order_seq_cst) != seen) return;
  windows::sleep_until_woken(event, limit < longest_sleep ? limit : longest_sleep);
}

MULTIPROCESSING_INLINE void Wakeup::wake() noexcept {
  word_.fetch_add(1, std::memory_order_seq_cst);
  MULTIPROCESSING_STOP_POINT("wakeup.wake.counted");
  windows::wake_sleeper({&name_, 1});
}

}  // namespace multiprocessing::os
