// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file limits.hpp
/// @brief How much memory this process may use.
#include <multiprocessing/detail/config.hpp>

#include <cstddef>
#include <cstdint>
#include <system_error>

namespace multiprocessing::os {

/// @brief For as long as it lives, this process may allocate only so many bytes more than it has:
/// beyond that, allocations fail as if the machine had no more.
///
/// POSIX: RLIMIT_DATA, which counts private writable memory, not shared memory nor code. Windows:
/// nothing is limited, and is_available() says so.
/// @threads One object at a time in a process.
class MemoryLimit {
 public:
  MemoryLimit() noexcept = default;
  /// @errors POSIX `prlimit`: EPERM; no /proc, or Windows: `function_not_supported`. Nothing is
  /// limited then.
  MemoryLimit(std::size_t bytes, std::error_code& ec) noexcept;
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;
  ~MemoryLimit();

  /// @brief Whether this system can do it at all.
  [[nodiscard]] static bool is_available() noexcept;

 private:
  bool is_set_ = false;
  std::uint64_t before_ = 0;
};

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/limits.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/limits.ipp>
#endif
