// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/limits.hpp>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE MemoryLimit::MemoryLimit(std::size_t /*bytes*/,
                                                std::error_code& ec) noexcept {
  ec = std::make_error_code(std::errc::function_not_supported);
}

MULTIPROCESSING_INLINE MemoryLimit::~MemoryLimit() {
  static_cast<void>(is_set_);  // clang++ wants what a class has used
  static_cast<void>(before_);
}

MULTIPROCESSING_INLINE bool MemoryLimit::is_available() noexcept {
  return false;
}

}  // namespace multiprocessing::os
