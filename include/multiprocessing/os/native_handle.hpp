// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file native_handle.hpp
/// @brief The system's handle (POSIX: a descriptor, Windows: a HANDLE) and its owner.
#include <multiprocessing/detail/config.hpp>

#include <cstdint>
#include <system_error>
#include <utility>

namespace multiprocessing {

#if MULTIPROCESSING_WINDOWS
using native_handle_type = void*;  ///< HANDLE, spelled without <windows.h>.
#else
using native_handle_type = int;  ///< A file descriptor.
#endif

namespace os {

#if MULTIPROCESSING_WINDOWS
inline const native_handle_type invalid_handle = reinterpret_cast<void*>(-1);
[[nodiscard]] inline std::intptr_t to_integer(native_handle_type handle) noexcept {
  return reinterpret_cast<std::intptr_t>(handle);
}
[[nodiscard]] inline native_handle_type to_handle(std::intptr_t integer) noexcept {
  return reinterpret_cast<native_handle_type>(integer);
}
#else
inline constexpr native_handle_type invalid_handle = -1;
/// @brief For state that knows no handles; `invalid_handle` is -1 on every system.
[[nodiscard]] constexpr std::intptr_t to_integer(native_handle_type handle) noexcept {
  return handle;
}
[[nodiscard]] constexpr native_handle_type to_handle(std::intptr_t integer) noexcept {
  return static_cast<native_handle_type>(integer);
}
#endif

/// @brief Gives a handle back to the system. Never fails for a handle that one owns.
void close_handle(native_handle_type handle) noexcept;

/// @brief Another handle to the same object, inherited by nobody.
/// @errors POSIX `fcntl(F_DUPFD_CLOEXEC)`: EBADF, EMFILE; Windows `DuplicateHandle`.
[[nodiscard]] native_handle_type duplicate_handle(native_handle_type handle,
                                                  std::error_code& ec) noexcept;

/// @brief Owns one handle.
class UniqueHandle {
 public:
  UniqueHandle() noexcept = default;
  explicit UniqueHandle(native_handle_type handle) noexcept : handle_{handle} {}
  UniqueHandle(UniqueHandle&& other) noexcept : handle_{other.release()} {}
  UniqueHandle(const UniqueHandle&) = delete;
  UniqueHandle& operator=(const UniqueHandle&) = delete;
  UniqueHandle& operator=(UniqueHandle&& other) noexcept {
    UniqueHandle{std::move(other)}.swap(*this);
    return *this;
  }
  ~UniqueHandle() {
    if (handle_ != invalid_handle) close_handle(handle_);
  }

  void swap(UniqueHandle& other) noexcept { std::swap(handle_, other.handle_); }
  [[nodiscard]] native_handle_type get() const noexcept { return handle_; }
  [[nodiscard]] native_handle_type release() noexcept {
    return std::exchange(handle_, invalid_handle);
  }
  void reset() noexcept { UniqueHandle{}.swap(*this); }
  [[nodiscard]] explicit operator bool() const noexcept { return handle_ != invalid_handle; }

 private:
  native_handle_type handle_ = invalid_handle;
};

}  // namespace os
}  // namespace multiprocessing

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/native_handle.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/native_handle.ipp>
#endif
