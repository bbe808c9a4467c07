// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file forked.hpp
/// @brief A child made by a bare fork(), for tests below the library's own processes.
#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <system_error>
#include <utility>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace test {

/// @brief Runs `work()` in a child and ends it by _exit(): 0, or 1 when an expectation failed there
///        or an exception came out. Its destructor kills and reaps.
class Forked {
 public:
  template <class Work>
  explicit Forked(Work work) : pid_{::fork()} {
    if (pid_ < 0) throw std::system_error{errno, std::system_category(), "fork"};
    if (pid_ != 0) return;
    ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);  // its siblings may look whether it sleeps
    int code = 0;
    try {
      work();
      if (testing::Test::HasFailure()) code = 1;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "child %d: %s\n", static_cast<int>(::getpid()), error.what());
      code = 1;
    }
    std::fflush(stdout);
    ::_exit(code);
  }
  Forked(Forked&& other) noexcept : pid_{std::exchange(other.pid_, -1)} {}
  Forked(const Forked&) = delete;
  Forked& operator=(const Forked&) = delete;
  Forked& operator=(Forked&&) = delete;
  ~Forked() { kill(); }

  [[nodiscard]] int pid() const { return pid_; }

  /// @brief What wait() says of a child that has ended.
  int join() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  /// @brief By SIGKILL, and reaps it.
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    join();
  }

 private:
  int pid_;
};

}  // namespace test
