// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/large_pages.hpp>

#include <cstdint>

#include <sys/mman.h>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE void prefer_large_pages(void* memory, std::size_t size) noexcept {
  constexpr std::uintptr_t page = std::uintptr_t{2} << 20U;  // or a multiple of the system's
  const auto begin = (reinterpret_cast<std::uintptr_t>(memory) + page - 1) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(memory) + size) / page * page;
  if (begin >= end) return;
  // A kernel without them answers EINVAL, and all stays as it is.
  static_cast<void>(
      MULTIPROCESSING_SYSTEM(madvise)(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE));
}

}  // namespace multiprocessing::os
