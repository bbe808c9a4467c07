// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file threads.hpp
/// @brief Threads for tests of what threads wait at.
#include <support/asleep.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#if MULTIPROCESSING_POSIX
#  include <pthread.h>
#endif

namespace test {

/// @brief A thread, and whether it sleeps in the library yet. Its destructor joins.
class Thread {
 public:
  template <class Work>
  explicit Thread(Work work)
      : thread_{[this, work] {
          id_ = thread_id();
          work();
        }} {}
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;
  ~Thread() {
    if (thread_.joinable()) thread_.join();
  }
  void join() { thread_.join(); }
#if MULTIPROCESSING_POSIX
  void signal(int number) {
    ::pthread_kill(thread_.native_handle(), number);
  }
#endif
  [[nodiscard]] bool sleeps() const {
    return id_ != 0 && sleeps_in_futex(id_);
  }

 private:
  std::atomic<int> id_{0};
  std::thread thread_;
};

/// @brief Does something in another thread, and waits for its end.
template <class Work>
void in_a_thread(Work work) {
  std::thread{work}.join();
}

template <class Call>
void expect_at_least(std::chrono::milliseconds time, Call call) {
  const auto begin = std::chrono::steady_clock::now();
  call();
  EXPECT_GE(std::chrono::steady_clock::now() - begin, time);
}

}  // namespace test
