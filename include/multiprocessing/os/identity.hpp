// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file identity.hpp
/// @brief Which process it was, after its id may have become another's.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/process.hpp>

#include <cstdint>
#include <system_error>

namespace multiprocessing::os {

/// @brief A process, for notes in shared memory that others judge when it may be gone.
struct ProcessIdentity {
  std::uint64_t pid = 0;    ///< 0: nobody.
  std::uint64_t birth = 0;  ///< When it began, in the system's units; 0: nobody knows.
  friend bool operator==(const ProcessIdentity&, const ProcessIdentity&) = default;
};

/// @brief When a process began. POSIX: field 22 of /proc/<pid>/stat. Windows: GetProcessTimes.
/// @units POSIX: clock ticks since the machine's start. Windows: 100 ns since 1601.
/// @returns 0: there is no such process, or the system does not tell (no /proc).
[[nodiscard]] std::uint64_t birth_of(int pid) noexcept;

[[nodiscard]] inline ProcessIdentity own_identity() noexcept {
  const int pid = process_id();
  return {static_cast<std::uint64_t>(pid), birth_of(pid)};
}

/// @brief Whether a process has ended for certain: all its threads; whether anybody has reaped it
/// does not matter. Costs a few system calls.
/// @returns false too when the system has no handle left to look.
[[nodiscard]] inline bool has_ended(const ProcessIdentity& who) noexcept {
  const int pid = static_cast<int>(who.pid);
  if (pid != process_id()) {
    std::error_code ec;
    const UniqueHandle process = open_process(pid, ec);
    if (ec) {  // where the id is a thread's now, some systems say that there is no such file
      return ec == std::errc::no_such_process || ec == std::errc::invalid_argument ||
             ec == std::errc::no_such_file_or_directory;
    }
    if (wait_ready(process.get(), detail::Deadline{std::chrono::seconds{0}})) return true;
  }
  if (who.birth == 0) return false;
  const std::uint64_t birth = birth_of(pid);
  return birth != 0 && birth != who.birth;
}

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/identity.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/identity.ipp>
#endif
