// SPDX-License-Identifier: BSL-1.0
#pragma once
// Events that sleepers have only while they sleep, for objects in shared memory that have no
// handle. The system forgets the name with the last sleeper.
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/windows/api.ipp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <span>

namespace multiprocessing::os::windows {

using EventName = std::array<wchar_t, 64>;

// Of random numbers, so nobody meets it by chance.
MULTIPROCESSING_INLINE EventName event_name(std::span<const std::uint64_t> numbers) noexcept {
  EventName text{};
  constexpr wchar_t digits[] = L"0123456789abcdef";
  constexpr wchar_t begin[] = L"Local\\multiprocessing-";
  wchar_t* to = std::copy_n(begin, std::size(begin) - 1, text.data());
  for (const std::uint64_t number : numbers) {
    for (unsigned shift = 0; shift < 64; shift += 4) *to++ = digits[(number >> shift) & 15U];
  }
  return text;
}

// None when the system is out of handles: then its sleepers look now and then.
MULTIPROCESSING_INLINE UniqueHandle
sleepers_event(std::span<const std::uint64_t> numbers) noexcept {
  std::error_code ec;
  return owned(
      MULTIPROCESSING_SYSTEM(CreateEventW)(nullptr, FALSE, FALSE, event_name(numbers).data()), ec);
}

MULTIPROCESSING_INLINE void wake_sleeper(std::span<const std::uint64_t> numbers) noexcept {
  std::error_code ec;
  const UniqueHandle event = owned(
      MULTIPROCESSING_SYSTEM(OpenEventW)(EVENT_MODIFY_STATE, FALSE, event_name(numbers).data()),
      ec);
  if (event) MULTIPROCESSING_SYSTEM(SetEvent)(event.get());
}

// Whether it was woken.
MULTIPROCESSING_INLINE bool sleep_until_woken(const UniqueHandle& event,
                                              std::chrono::nanoseconds limit) noexcept {
  const DWORD time = as_milliseconds(limit);
  if (event) {
    return MULTIPROCESSING_SYSTEM(WaitForSingleObject)(event.get(), time) == WAIT_OBJECT_0;
  }
  MULTIPROCESSING_SYSTEM(Sleep)(time);
  return false;
}

}  // namespace multiprocessing::os::windows
