// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/posix/blocked_signal.ipp>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <system_error>

#include <fcntl.h>

namespace multiprocessing::os::posix {

// At once, so that too much is refused at once. In steps where a signal comes: before Linux 6.11 it
// undoes what one call has done so far, and a timer that rings sooner than a large call takes would
// have it begin anew for ever.
MULTIPROCESSING_INLINE void commit_file(int file,
                                        std::size_t offset,
                                        std::size_t size,
                                        std::error_code& ec) noexcept {
  std::size_t step = size;
  const BlockedSignal too_large{SIGXFSZ};  // RLIMIT_FSIZE answers with it beside EFBIG
  ec.clear();
  while (size > 0) {
    const std::size_t now = size < step ? size : step;
    if (MULTIPROCESSING_SYSTEM(fallocate)(file, 0, static_cast<off_t>(offset),
                                          static_cast<off_t>(now)) == 0) {
      offset += now;
      size -= now;
    } else if (errno == EINTR) {
      step = std::size_t{1} << 20U;
    } else {
      ec.assign(errno, std::system_category());
      return;
    }
  }
}

// Best effort. The file keeps its size.
MULTIPROCESSING_INLINE void discard_in_file(int file,
                                            std::size_t offset,
                                            std::size_t size) noexcept {
  while (MULTIPROCESSING_SYSTEM(fallocate)(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                           static_cast<off_t>(offset),
                                           static_cast<off_t>(size)) != 0 &&
         errno == EINTR) {
  }
}

}  // namespace multiprocessing::os::posix
