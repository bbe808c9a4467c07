// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/windows/api.ipp>

#include <atomic>

namespace multiprocessing::os {

namespace windows {

// Set with the first socket. Says whether the handle was one, and closes it then.
inline std::atomic<bool (*)(HANDLE) noexcept> close_if_socket{nullptr};

}  // namespace windows

MULTIPROCESSING_INLINE void close_handle(native_handle_type handle) noexcept {
  const DWORD kept = MULTIPROCESSING_SYSTEM(GetLastError)();
  const auto close_if_socket = windows::close_if_socket.load(std::memory_order_acquire);
  if (close_if_socket == nullptr || !close_if_socket(handle)) {
    MULTIPROCESSING_SYSTEM(CloseHandle)(handle);
  }
  MULTIPROCESSING_SYSTEM(SetLastError)(kept);
}

MULTIPROCESSING_INLINE native_handle_type duplicate_handle(native_handle_type handle,
                                                           std::error_code& ec) noexcept {
  const HANDLE self = MULTIPROCESSING_SYSTEM(GetCurrentProcess)();
  HANDLE copy = nullptr;
  // The invalid handle is what the system takes for this process.
  if (handle == invalid_handle) {
    ec = windows::as_error(ERROR_INVALID_HANDLE);
    return invalid_handle;
  }
  if (MULTIPROCESSING_SYSTEM(DuplicateHandle)(self, handle, self, &copy, 0, FALSE,
                                              DUPLICATE_SAME_ACCESS) == 0) {
    ec = windows::last_error();
    return invalid_handle;
  }
  ec.clear();
  return copy;
}

namespace windows {

// Most functions answer "no handle" by a null pointer.
MULTIPROCESSING_INLINE UniqueHandle owned(HANDLE handle, std::error_code& ec) noexcept {
  if (handle == nullptr || handle == INVALID_HANDLE_VALUE) {
    ec = last_error();
    return {};
  }
  ec.clear();
  return UniqueHandle{handle};
}

}  // namespace windows

}  // namespace multiprocessing::os
