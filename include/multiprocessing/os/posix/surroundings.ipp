// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/surroundings.hpp>

#include <fcntl.h>
#include <unistd.h>

namespace multiprocessing::os {

namespace posix {

inline native_handle_type if_open(int number) noexcept {
  return MULTIPROCESSING_SYSTEM(fcntl)(number, F_GETFD) < 0 ? invalid_handle : number;
}

inline void replace_output(int number, native_handle_type by) noexcept {
  if (by == invalid_handle) {
    MULTIPROCESSING_SYSTEM(close)(number);
  } else {
    MULTIPROCESSING_SYSTEM(dup2)(by, number);
  }
}

}  // namespace posix

inline Surroundings surroundings(std::error_code& ec) noexcept {
  Surroundings ours;
  ours.output = posix::if_open(STDOUT_FILENO);
  ours.error = posix::if_open(STDERR_FILENO);
  ours.folder =
      posix::above_streams(MULTIPROCESSING_SYSTEM(open)(".", O_PATH | O_DIRECTORY | O_CLOEXEC), ec);
  if (ec == std::errc::permission_denied || ec == std::errc::no_such_file_or_directory) ec.clear();
  return ours;
}

inline void enter(native_handle_type output,
                  native_handle_type error,
                  native_handle_type folder) noexcept {
  posix::replace_output(STDOUT_FILENO, output);
  posix::replace_output(STDERR_FILENO, error);
  if (folder != invalid_handle) {
    static_cast<void>(MULTIPROCESSING_SYSTEM(fchdir)(folder) != 0);
  }
}

}  // namespace multiprocessing::os
