// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/large_pages.hpp>

namespace multiprocessing::os {

// Large pages need a privilege there.
MULTIPROCESSING_INLINE void prefer_large_pages(void* /*memory*/, std::size_t /*size*/) noexcept {}

}  // namespace multiprocessing::os
