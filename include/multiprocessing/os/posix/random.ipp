// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/random.hpp>

#include <cerrno>

#include <sys/random.h>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE void random_bytes(std::span<std::byte> into, std::error_code& ec) noexcept {
  ec.clear();
  while (!into.empty()) {
    const auto got = MULTIPROCESSING_SYSTEM(getrandom)(into.data(), into.size(), 0);
    if (got >= 0) {
      into = into.subspan(static_cast<std::size_t>(got));
    } else if (errno != EINTR) {
      ec.assign(errno, std::system_category());
      return;
    }
  }
}

}  // namespace multiprocessing::os
