// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/limits.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <limits>
#include <optional>

#include <sys/resource.h>
#include <unistd.h>

namespace multiprocessing::os {

namespace posix {

// What RLIMIT_DATA counts, and the stack, in bytes.
MULTIPROCESSING_INLINE std::optional<std::uint64_t> data_size() {
  constexpr int before_data = 5;  // numbers in /proc/self/statm
  std::ifstream file{"/proc/self/statm"};
  std::uint64_t pages = 0;
  for (int i = 0; i <= before_data; ++i) file >> pages;
  if (!file) return std::nullopt;
  return pages * static_cast<std::uint64_t>(MULTIPROCESSING_SYSTEM(sysconf)(_SC_PAGESIZE));
}

}  // namespace posix

MULTIPROCESSING_INLINE MemoryLimit::MemoryLimit(std::size_t bytes, std::error_code& ec) noexcept
    try {
  ec.clear();
  const auto used = posix::data_size();
  if (!used) {
    ec = std::make_error_code(std::errc::function_not_supported);
    return;
  }
  rlimit limit{};
  if (MULTIPROCESSING_SYSTEM(prlimit)(0, RLIMIT_DATA, nullptr, &limit) != 0) {
    ec.assign(errno, std::system_category());
    return;
  }
  before_ = limit.rlim_cur;
  constexpr auto most = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t wanted = bytes > most - *used ? most : *used + bytes;
  limit.rlim_cur = std::min<rlim_t>({wanted, limit.rlim_cur, limit.rlim_max});
  if (MULTIPROCESSING_SYSTEM(prlimit)(0, RLIMIT_DATA, &limit, nullptr) != 0) {
    ec.assign(errno, std::system_category());
    return;
  }
  is_set_ = true;
} catch (const std::exception&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
}

MULTIPROCESSING_INLINE MemoryLimit::~MemoryLimit() {
  if (!is_set_) return;
  rlimit limit{};
  if (MULTIPROCESSING_SYSTEM(prlimit)(0, RLIMIT_DATA, nullptr, &limit) != 0) return;
  limit.rlim_cur = static_cast<rlim_t>(before_);
  MULTIPROCESSING_SYSTEM(prlimit)(0, RLIMIT_DATA, &limit, nullptr);
}

MULTIPROCESSING_INLINE bool MemoryLimit::is_available() noexcept {
  return true;
}

}  // namespace multiprocessing::os
