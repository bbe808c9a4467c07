// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/detail/config.hpp>

#include <cerrno>
#include <csignal>
#include <ctime>

#include <pthread.h>

namespace multiprocessing::os::posix {

// Keeps from the program a signal that a system call of this thread may raise beside its error
// (SIGPIPE, SIGXFSZ), unless that signal was pending before.
class BlockedSignal {
 public:
  explicit BlockedSignal(int signal) noexcept {
    sigset_t pending;
    sigemptyset(&signal_);
    sigaddset(&signal_, signal);
    sigpending(&pending);
    was_pending_ = sigismember(&pending, signal) == 1;
    MULTIPROCESSING_SYSTEM(pthread_sigmask)(SIG_BLOCK, &signal_, &before_);
  }
  BlockedSignal(const BlockedSignal&) = delete;
  BlockedSignal& operator=(const BlockedSignal&) = delete;
  ~BlockedSignal() {
    const int kept = errno;
    const timespec no_wait{};
    if (!was_pending_) {
      while (sigtimedwait(&signal_, nullptr, &no_wait) < 0 && errno == EINTR) {
      }
    }
    MULTIPROCESSING_SYSTEM(pthread_sigmask)(SIG_SETMASK, &before_, nullptr);
    errno = kept;
  }

 private:
  sigset_t signal_{};
  sigset_t before_{};
  bool was_pending_ = false;
};

}  // namespace multiprocessing::os::posix
