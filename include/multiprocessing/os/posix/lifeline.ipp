// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/lifeline.hpp>
#include <multiprocessing/os/process.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE Lifeline make_lifeline(std::error_code& ec) noexcept {
  std::array<int, 2> ends{};
  if (MULTIPROCESSING_SYSTEM(socketpair)(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                                         ends.data()) != 0) {
    ec.assign(errno, std::system_category());
    return {};
  }
  UniqueHandle second{ends[1]};
  Lifeline made;
  made.parents = posix::above_streams(ends[0], ec);
  if (ec) return {};
  made.childs = posix::above_streams(second.release(), ec);
  if (ec) return {};
  return made;
}

MULTIPROCESSING_INLINE void die_with_parent(native_handle_type childs,
                                            std::error_code& ec) noexcept {
  if (posix::fcntl_function(childs, F_SETOWN, process_id()) != 0 ||
      posix::fcntl_function(childs, F_SETSIG, SIGKILL) != 0 ||
      posix::fcntl_function(childs, F_SETFL, O_ASYNC | O_NONBLOCK) != 0) {
    ec.assign(errno, std::system_category());
    return;
  }
  ec.clear();
  if (wait_ready(childs, detail::Deadline{std::chrono::nanoseconds::zero()})) {
    MULTIPROCESSING_SYSTEM(kill)(process_id(), SIGKILL);
  }
}

namespace posix {

inline auto* send_function = &MULTIPROCESSING_SYSTEM(send);  // see close_function

}  // namespace posix

MULTIPROCESSING_INLINE void report_exit(native_handle_type childs, int code) noexcept {
  while (posix::send_function(childs, &code, sizeof code, MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

MULTIPROCESSING_INLINE std::optional<int> reported_exit(native_handle_type parents) noexcept {
  int code = 0;
  ssize_t got = 0;
  do {
    got = MULTIPROCESSING_SYSTEM(recv)(parents, &code, sizeof code, 0);
  } while (got < 0 && errno == EINTR);
  if (got != static_cast<ssize_t>(sizeof code)) return {};
  return code & 0xFF;  // as the system cuts it
}

}  // namespace multiprocessing::os
