// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/tracker.hpp>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE bool needs_tracker() noexcept {
  return false;
}

MULTIPROCESSING_INLINE UniqueHandle start_tracker(std::error_code& ec) {
  ec = std::make_error_code(std::errc::function_not_supported);
  return {};
}

MULTIPROCESSING_INLINE void remove_socket_file(const std::string& /*path*/,
                                               const MemoryIdentity& /*identity*/,
                                               std::error_code& ec) noexcept {
  ec = std::make_error_code(std::errc::no_such_file_or_directory);
}

MULTIPROCESSING_INLINE void tell_tracker(native_handle_type /*tracker*/,
                                         bool /*comes*/,
                                         const TrackedName& /*name*/,
                                         std::error_code& ec) noexcept {
  ec = std::make_error_code(std::errc::function_not_supported);
}

}  // namespace multiprocessing::os
