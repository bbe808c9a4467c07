// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/bell.hpp>
#include <multiprocessing/os/windows/api.ipp>

#include <utility>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE Bell Bell::create(std::error_code& ec) noexcept {
  Bell made;
  made.event_ =
      windows::owned(MULTIPROCESSING_SYSTEM(CreateEventW)(nullptr, FALSE, FALSE, nullptr), ec);
  return made;
}

MULTIPROCESSING_INLINE Bell Bell::adopt(std::vector<UniqueHandle> handles) noexcept {
  Bell adopted;
  if (!handles.empty()) adopted.event_ = std::move(handles.front());
  return adopted;
}

MULTIPROCESSING_INLINE std::vector<native_handle_type> Bell::handles() const {
  return {event_.get()};
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
  if (state.rings.load(std::memory_order_seq_cst) == announced) {
    MULTIPROCESSING_SYSTEM(WaitForSingleObject)(event_.get(), windows::as_milliseconds(capped));
  }
  state.sleeper.store(1, std::memory_order_seq_cst);  // the others that may still sleep
}

MULTIPROCESSING_INLINE void Bell::ring(BellState& state) noexcept {
  if (!has_sleeper(state) || state.sleeper.exchange(0, std::memory_order_seq_cst) == 0) return;
  state.rings.fetch_add(1, std::memory_order_seq_cst);
  MULTIPROCESSING_STOP_POINT("bell.ring.counted");
  MULTIPROCESSING_SYSTEM(SetEvent)(event_.get());
}

MULTIPROCESSING_INLINE void relax() noexcept {
  YieldProcessor();
}

}  // namespace multiprocessing::os
