// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/random.hpp>
#include <multiprocessing/os/wakeup.hpp>
#include <multiprocessing/os/windows/api.ipp>

#include <array>
#include <cwchar>
#include <span>

namespace multiprocessing::os {

namespace windows {

using WakeupName = std::array<wchar_t, 64>;
inline WakeupName wakeup_name(std::uint64_t number) noexcept {
  WakeupName text{};
  constexpr wchar_t digits[] = L"0123456789abcdef";
  constexpr wchar_t begin[] = L"Local\\multiprocessing-wakeup-";
  wchar_t* to = std::wcscpy(text.data(), begin) + std::wcslen(begin);
  for (unsigned shift = 0; shift < 64; shift += 4) *to++ = digits[(number >> shift) & 15U];
  return text;
}

}  // namespace windows

inline void Wakeup::initialise() noexcept {
  unused_ = 0;
  std::error_code ignored;  // then several share an event, and look more often than they must
  random_bytes(std::as_writable_bytes(std::span{&name_, 1}), ignored);
}

inline void Wakeup::sleep(std::uint32_t seen, std::chrono::nanoseconds limit) noexcept {
  const auto capped = limit < longest_sleep ? limit : longest_sleep;
  std::error_code ec;  // without an event, it sleeps and looks
  const UniqueHandle event =
      windows::owned(MULTIPROCESSING_SYSTEM(CreateEventW)(nullptr, FALSE, FALSE,
                                                          windows::wakeup_name(name_).data()),
                     ec);
  if (word_.load(std::memory_order_seq_cst) != seen) return;
  if (event) {
    MULTIPROCESSING_SYSTEM(WaitForSingleObject)(event.get(), windows::as_milliseconds(capped));
  } else {
    MULTIPROCESSING_SYSTEM(Sleep)(1);
  }
}

inline void Wakeup::wake() noexcept {
  word_.fetch_add(1, std::memory_order_seq_cst);
  MULTIPROCESSING_STOP_POINT("wakeup.wake.counted");
  const HANDLE event = MULTIPROCESSING_SYSTEM(OpenEventW)(EVENT_MODIFY_STATE, FALSE,
                                                          windows::wakeup_name(name_).data());
  if (event == nullptr) return;  // nobody sleeps
  const UniqueHandle owned{event};
  MULTIPROCESSING_SYSTEM(SetEvent)(event);
}

}  // namespace multiprocessing::os
