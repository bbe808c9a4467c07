// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/cpu.hpp>
#include <multiprocessing/os/windows/api.ipp>

#include <algorithm>
#include <bit>

namespace multiprocessing::os {

namespace windows {

// 0: it may use all.
MULTIPROCESSING_INLINE unsigned affinity() noexcept {
  DWORD_PTR ours = 0;
  DWORD_PTR machines = 0;
  if (MULTIPROCESSING_SYSTEM(GetProcessAffinityMask)(MULTIPROCESSING_SYSTEM(GetCurrentProcess)(),
                                                     &ours, &machines) == 0 ||
      ours == machines) {
    return 0;
  }
  return static_cast<unsigned>(std::popcount(ours));
}

// The hard limit of the job that this process is in, in processors; 0: none.
MULTIPROCESSING_INLINE unsigned rate() noexcept {
  JOBOBJECT_CPU_RATE_CONTROL_INFORMATION control{};
  constexpr DWORD limited =
      JOB_OBJECT_CPU_RATE_CONTROL_ENABLE | JOB_OBJECT_CPU_RATE_CONTROL_HARD_CAP;
  constexpr DWORD all = 10000;
  if (MULTIPROCESSING_SYSTEM(QueryInformationJobObject)(nullptr, JobObjectCpuRateControlInformation,
                                                        &control, sizeof control, nullptr) == 0 ||
      (control.ControlFlags & limited) != limited) {
    return 0;
  }
  return (control.CpuRate * cpu_count() + all - 1) / all;
}

}  // namespace windows

MULTIPROCESSING_INLINE unsigned cpu_count() noexcept {
  return std::max<unsigned>(MULTIPROCESSING_SYSTEM(GetActiveProcessorCount)(ALL_PROCESSOR_GROUPS),
                            1);
}

MULTIPROCESSING_INLINE unsigned usable_cpu_count(const std::string& /*root*/) {
  unsigned usable = cpu_count();
  for (const unsigned limit : {windows::affinity(), windows::rate()}) {
    if (limit != 0) usable = std::min(usable, limit);
  }
  return usable;
}

}  // namespace multiprocessing::os
