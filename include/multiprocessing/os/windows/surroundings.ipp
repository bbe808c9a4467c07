// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/surroundings.hpp>

namespace multiprocessing::os {

inline Surroundings surroundings(std::error_code& ec) noexcept {
  ec.clear();
  return {};
}

inline void enter(native_handle_type /*output*/,
                  native_handle_type /*error*/,
                  native_handle_type /*folder*/) noexcept {}

inline void leave_folder() noexcept {}

inline std::string rights() {
  return {};
}

}  // namespace multiprocessing::os
