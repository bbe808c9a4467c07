// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/native_handle.hpp>

#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE void close_handle(native_handle_type handle) noexcept {
  const int kept = errno;
  MULTIPROCESSING_SYSTEM(close)(handle);
  errno = kept;
}

MULTIPROCESSING_INLINE native_handle_type duplicate_handle(native_handle_type handle,
                                                           std::error_code& ec) noexcept {
  const int copy = MULTIPROCESSING_SYSTEM(fcntl)(handle, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) {
    ec.assign(errno, std::system_category());
    return invalid_handle;
  }
  ec.clear();
  return copy;
}

namespace posix {

// Linking is lazy: a function that a process never called is looked up at the first call, which
// costs ten pages, and what only children call, every child looks up anew. An address in a variable
// is known from the beginning.
inline auto* close_function = &MULTIPROCESSING_SYSTEM(close);
inline auto* fcntl_function = &MULTIPROCESSING_SYSTEM(fcntl);

// Numbers 0 to 2 are the standard streams' also while they are closed: a handle there would be
// written to by whoever prints, and a child would close it.
MULTIPROCESSING_INLINE UniqueHandle above_streams(int fd, std::error_code& ec) noexcept {
  UniqueHandle handle{fd};
  if (fd < 0) {
    ec.assign(errno, std::system_category());
    return {};
  }
  ec.clear();
  if (fd > STDERR_FILENO) return handle;
  UniqueHandle moved{MULTIPROCESSING_SYSTEM(fcntl)(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)};
  if (!moved) ec.assign(errno, std::system_category());
  return moved;
}

// The same for what is opened; some file systems let a signal interrupt that.
template <class... Mode>
UniqueHandle open_above_streams(std::error_code& ec,
                                const char* path,
                                int how,
                                Mode... mode) noexcept {
  int fd = -1;
  do {
    fd = MULTIPROCESSING_SYSTEM(open)(path, how, mode...);
  } while (fd < 0 && errno == EINTR);
  return above_streams(fd, ec);
}

}  // namespace posix

}  // namespace multiprocessing::os
