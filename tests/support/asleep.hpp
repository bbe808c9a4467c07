// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file asleep.hpp
/// @brief Whether somebody sleeps already, for tests that wake sleepers.
#include <multiprocessing/detail/config.hpp>

#include <atomic>
#include <chrono>
#include <fstream>
#include <map>
#include <string>

#if MULTIPROCESSING_POSIX
#  include <sys/syscall.h>
#  include <unistd.h>
#endif

namespace test {

/// @brief What sleeps_in_futex() knows this thread by.
inline int thread_id() {
#if MULTIPROCESSING_POSIX
  return static_cast<int>(::syscall(SYS_gettid));
#else
  static std::atomic<int> last{0};
  thread_local const int mine = --last;  // processes have positive ones
  return mine;
#endif
}

/// @brief Whether the thread sleeps in a futex call now, or, under the thread sanitizer, naps until
/// it looks at a lock again. @param id of a thread, or of a process:
/// its first thread is meant. Windows does not say: whoever has been asked about for 30 ms is taken
/// to sleep. Where that is wrong, a test shows less, and is right all the same.
inline bool sleeps_in_futex(int id) {
#if MULTIPROCESSING_POSIX
  std::ifstream file{"/proc/" + std::to_string(id) + "/syscall"};
  std::string number;
  file >> number;
#  if MULTIPROCESSING_THREAD_SANITIZER
  if (number == std::to_string(SYS_clock_nanosleep)) return true;
#  endif
  return number == std::to_string(SYS_futex);
#else
  static std::map<int, std::chrono::steady_clock::time_point> asked;
  const auto now = std::chrono::steady_clock::now();
  return now - asked.try_emplace(id, now).first->second > std::chrono::milliseconds{30};
#endif
}

#if MULTIPROCESSING_POSIX
/// @brief Whether it sleeps in a futex call or waits for descriptors now. @param id as above.
inline bool is_asleep(int id) {
  if (sleeps_in_futex(id)) return true;
  std::ifstream file{"/proc/" + std::to_string(id) + "/syscall"};
  long number = -1;
  file >> number;
#  if defined(SYS_poll)
  if (number == SYS_poll) return true;
#  endif
  return number == SYS_ppoll;
}
#endif

/// @brief Whether the thread of this process sleeps in any call now, for ever or for a while, or
/// has ended.
inline bool sleeps(int id) {
#if MULTIPROCESSING_POSIX
  std::ifstream file{"/proc/self/task/" + std::to_string(id) + "/stat"};
  if (!file) return true;
  std::string line;
  std::getline(file, line);
  const auto end_of_name = line.rfind(')');
  return end_of_name != std::string::npos && line.compare(end_of_name, 3, ") S") == 0;
#else
  return sleeps_in_futex(id);
#endif
}

}  // namespace test
