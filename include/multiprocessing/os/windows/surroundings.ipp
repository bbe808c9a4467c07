// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/surroundings.hpp>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE Surroundings surroundings(std::error_code& ec) noexcept {
  ec.clear();
  return {};
}

MULTIPROCESSING_INLINE void enter(native_handle_type /*output*/,
                                  native_handle_type /*error*/,
                                  native_handle_type /*folder*/) noexcept {}

MULTIPROCESSING_INLINE void leave_folder() noexcept {}

MULTIPROCESSING_INLINE std::string rights() {
  return {};
}

}  // namespace multiprocessing::os
