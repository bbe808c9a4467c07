// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/lifeline.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/os/windows/spawn.ipp>

#include <chrono>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE Lifeline make_lifeline(std::error_code& ec) noexcept {
  Lifeline made;
  made.childs = windows::open_by_id(MULTIPROCESSING_SYSTEM(GetCurrentProcessId)(), SYNCHRONIZE, ec);
  return made;
}

// The child was born in a job whose other handle its parent has. From now on the job ends with its
// last handle, so ours is closed: if the parent's is closed already, that is the end.
MULTIPROCESSING_INLINE void die_with_parent(native_handle_type childs,
                                            std::error_code& ec) noexcept {
  JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits{};
  limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
  const UniqueHandle job = std::move(windows::job_of_birth);
  ec.clear();
  if (MULTIPROCESSING_SYSTEM(SetInformationJobObject)(job.get(), JobObjectExtendedLimitInformation,
                                                      &limits, sizeof limits) == 0) {
    ec = windows::last_error();
  } else if (wait_ready(childs, detail::Deadline{std::chrono::nanoseconds::zero()})) {
    exit_now(windows::terminated);
  }
}

MULTIPROCESSING_INLINE void report_exit(native_handle_type /*childs*/, int /*code*/) noexcept {}

MULTIPROCESSING_INLINE std::optional<int> reported_exit(native_handle_type /*parents*/) noexcept {
  return {};
}

}  // namespace multiprocessing::os
