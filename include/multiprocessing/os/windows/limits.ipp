// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/limits.hpp>

namespace multiprocessing::os {

inline MemoryLimit::MemoryLimit(std::size_t /*bytes*/, std::error_code& ec) noexcept {
  ec.clear();
}

inline MemoryLimit::~MemoryLimit() = default;

}  // namespace multiprocessing::os
