// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/surroundings.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace multiprocessing::os {

namespace posix {

// Born close-on-exec, it is no stream but somebody's handle that got the free number.
MULTIPROCESSING_INLINE native_handle_type if_stream(int number) noexcept {
  const int flags = MULTIPROCESSING_SYSTEM(fcntl)(number, F_GETFD);
  return flags < 0 || (flags & FD_CLOEXEC) != 0 ? invalid_handle : number;
}

MULTIPROCESSING_INLINE std::vector<gid_t> more_groups() {
  const auto some = [](std::vector<gid_t> into) {
    const int count = MULTIPROCESSING_SYSTEM(getgroups)(static_cast<int>(into.size()), into.data());
    into.resize(static_cast<std::size_t>(std::max(0, count)));
    return into;
  };
  return some(some({}));  // first how many
}

MULTIPROCESSING_INLINE void replace_output(int number, native_handle_type by) noexcept {
  if (by == invalid_handle) {
    MULTIPROCESSING_SYSTEM(close)(number);
  } else {
    MULTIPROCESSING_SYSTEM(dup2)(by, number);
  }
}

}  // namespace posix

MULTIPROCESSING_INLINE Surroundings surroundings(std::error_code& ec) noexcept {
  Surroundings ours;
  ours.output = posix::if_stream(STDOUT_FILENO);
  ours.error = posix::if_stream(STDERR_FILENO);
  ours.folder = posix::open_above_streams(ec, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (ec == std::errc::permission_denied || ec == std::errc::no_such_file_or_directory) ec.clear();
  return ours;
}

MULTIPROCESSING_INLINE void enter(native_handle_type output,
                                  native_handle_type error,
                                  native_handle_type folder) noexcept {
  posix::replace_output(STDOUT_FILENO, output);
  posix::replace_output(STDERR_FILENO, error);
  if (folder != invalid_handle) {
    static_cast<void>(MULTIPROCESSING_SYSTEM(fchdir)(folder) != 0);
  }
}

MULTIPROCESSING_INLINE void leave_folder() noexcept {
  static_cast<void>(MULTIPROCESSING_SYSTEM(chdir)("/") != 0);
}

MULTIPROCESSING_INLINE std::string rights() {
  std::array<uid_t, 3> users{};
  std::array<gid_t, 3> own{};
  MULTIPROCESSING_SYSTEM(getresuid)(&users[0], &users[1], &users[2]);
  MULTIPROCESSING_SYSTEM(getresgid)(&own[0], &own[1], &own[2]);
  std::string text;
  for (const uid_t user : users) text += std::to_string(user) + " ";
  for (const gid_t group : own) text += std::to_string(group) + " ";
  for (const gid_t group : posix::more_groups()) text += std::to_string(group) + " ";
  return text + std::to_string(MULTIPROCESSING_SYSTEM(prctl)(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
}

}  // namespace multiprocessing::os
