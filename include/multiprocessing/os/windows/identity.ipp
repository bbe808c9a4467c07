// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/identity.hpp>
#include <multiprocessing/os/windows/api.ipp>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE std::uint64_t birth_of(int pid) noexcept {
  constexpr unsigned half = 32;
  const HANDLE process = MULTIPROCESSING_SYSTEM(OpenProcess)(PROCESS_QUERY_LIMITED_INFORMATION,
                                                             FALSE, static_cast<DWORD>(pid));
  if (process == nullptr) return 0;
  FILETIME birth{};
  FILETIME others[3]{};
  const BOOL known =
      MULTIPROCESSING_SYSTEM(GetProcessTimes)(process, &birth, &others[0], &others[1], &others[2]);
  MULTIPROCESSING_SYSTEM(CloseHandle)(process);
  return known == 0 ? 0 : (std::uint64_t{birth.dwHighDateTime} << half) | birth.dwLowDateTime;
}

}  // namespace multiprocessing::os
