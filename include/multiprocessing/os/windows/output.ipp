// SPDX-License-Identifier: BSL-1.0
#pragma once
// What stands behind the C library's standard output and error.
#include <multiprocessing/os/windows/api.ipp>

#include <cstdint>
#include <cstdlib>

#include <io.h>

namespace multiprocessing::os::windows {

// A null pointer: nothing. A closed descriptor is an invalid parameter for the newer C library,
// which ends the program unless it is told not to. One that a program without a console never
// opened is a number that the system takes for the thread that asks.
MULTIPROCESSING_INLINE HANDLE output_of(int descriptor) noexcept {
#if defined(_UCRT) || defined(_MSC_VER)
  const auto before = ::_set_thread_local_invalid_parameter_handler(
      [](const wchar_t*, const wchar_t*, const wchar_t*, unsigned, std::uintptr_t) {});
#endif
  const auto handle = reinterpret_cast<HANDLE>(::_get_osfhandle(descriptor));
#if defined(_UCRT) || defined(_MSC_VER)
  ::_set_thread_local_invalid_parameter_handler(before);
#endif
  return MULTIPROCESSING_SYSTEM(GetFileType)(handle) == FILE_TYPE_UNKNOWN ? nullptr : handle;
}

}  // namespace multiprocessing::os::windows
