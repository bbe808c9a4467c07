// SPDX-License-Identifier: BSL-1.0
#pragma once
// The one place that includes <windows.h>, and what every backend needs of it.
#include <multiprocessing/detail/config.hpp>

#include <chrono>
#include <string>
#include <string_view>
#include <system_error>

#ifndef NOMINMAX
#  define NOMINMAX
#endif
#ifndef WIN32_LEAN_AND_MEAN
#  define WIN32_LEAN_AND_MEAN
#endif
#if !defined(_WINDOWS_)
#  include <windows.h>
// Words that programs use; the system's headers write them in capitals.
#  undef near
#  undef far
#  undef NEAR
#  undef FAR
#  define NEAR
#  define FAR
#endif

namespace multiprocessing::os::windows {

// The system's code, but the library's own word where callers ask for one.
inline std::error_code as_error(DWORD code) noexcept {
  switch (code) {
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
    case ERROR_COMMITMENT_LIMIT:
    case ERROR_NO_SYSTEM_RESOURCES:
      return std::make_error_code(std::errc::not_enough_memory);
    case ERROR_BROKEN_PIPE:
    case ERROR_NO_DATA:
    case ERROR_PIPE_NOT_CONNECTED:
      return std::make_error_code(std::errc::broken_pipe);
    default:
      return {static_cast<int>(code), std::system_category()};
  }
}

inline std::error_code last_error() noexcept {
  return as_error(MULTIPROCESSING_SYSTEM(GetLastError)());
}

// For waits; rounded up, so that none ends early.
inline DWORD as_milliseconds(std::chrono::nanoseconds time) noexcept {
  constexpr std::chrono::milliseconds longest{0x7FFFFFFF};
  const auto rounded = std::chrono::ceil<std::chrono::milliseconds>(time);
  return static_cast<DWORD>((rounded < longest ? rounded : longest).count());
}

// UTF-8 at the API, UTF-16 at the system. What is no text stays recognisable, and is no error here.
inline std::wstring to_wide(std::string_view text) {
  const int size = static_cast<int>(text.size());
  std::wstring wide(static_cast<std::size_t>(MULTIPROCESSING_SYSTEM(MultiByteToWideChar)(
                        CP_UTF8, 0, text.data(), size, nullptr, 0)),
                    L'\0');
  MULTIPROCESSING_SYSTEM(MultiByteToWideChar)
  (CP_UTF8, 0, text.data(), size, wide.data(), static_cast<int>(wide.size()));
  return wide;
}

inline std::string to_utf8(std::wstring_view wide) {
  const int size = static_cast<int>(wide.size());
  std::string text(static_cast<std::size_t>(MULTIPROCESSING_SYSTEM(WideCharToMultiByte)(
                       CP_UTF8, 0, wide.data(), size, nullptr, 0, nullptr, nullptr)),
                   '\0');
  MULTIPROCESSING_SYSTEM(WideCharToMultiByte)
  (CP_UTF8, 0, wide.data(), size, text.data(), static_cast<int>(text.size()), nullptr, nullptr);
  return text;
}

}  // namespace multiprocessing::os::windows
