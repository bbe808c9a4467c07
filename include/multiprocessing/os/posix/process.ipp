// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/os/streams.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
extern "C" {  // glibc 2.36 forgot it
#include <sys/pidfd.h>
}

namespace multiprocessing::os {

namespace posix {

MULTIPROCESSING_INLINE int code_of(const siginfo_t& info) noexcept {
  return info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
}

// struct pidfd_info of <linux/pidfd.h>, which distributions have only since Linux 6.15.
struct ProcessInfo {
  std::uint64_t mask = 0;
  std::array<std::uint32_t, 13> others{};
  std::int32_t exit_status = 0;
  std::array<std::uint32_t, 2> later{};
};
static_assert(sizeof(ProcessInfo) == 72);

// How a process ended that somebody else waited for.
MULTIPROCESSING_INLINE std::optional<int> remembered_code(int process) noexcept {
  constexpr std::uint64_t exit_is_known = 8;  // PIDFD_INFO_EXIT
  for (int tries = 0; tries < 2; ++tries) {
    ProcessInfo info;
    info.mask = exit_is_known;
    if (MULTIPROCESSING_SYSTEM(ioctl)(process, _IOWR(0xFF, 11, ProcessInfo), &info) != 0) return {};
    if ((info.mask & exit_is_known) != 0) {
      return WIFEXITED(info.exit_status) ? WEXITSTATUS(info.exit_status)
                                         : -WTERMSIG(info.exit_status);
    }
    // It ends right now: the kernel says "ended" a little before it says how, then hangs up.
    constexpr int milliseconds = 50;
    pollfd gone{process, 0, 0};
    MULTIPROCESSING_SYSTEM(poll)(&gone, 1, milliseconds);
  }
  return {};
}

inline auto* on_exit_function = &MULTIPROCESSING_SYSTEM(on_exit);  // see close_function
inline auto* exit_function = &MULTIPROCESSING_SYSTEM(exit);
inline auto* last_exit_function = &MULTIPROCESSING_SYSTEM(_exit);

MULTIPROCESSING_INLINE void exit_action(int code, void* action) {
  reinterpret_cast<ExitAction>(action)(code);
}

MULTIPROCESSING_INLINE void last_exit_action(int code, void* action) {
  reinterpret_cast<ExitAction>(action)(code);
  last_exit_function(code);
}

MULTIPROCESSING_INLINE bool on_exit(void (*handler)(int, void*), ExitAction action) noexcept {
  return on_exit_function(handler, reinterpret_cast<void*>(action)) == 0;
}

}  // namespace posix

MULTIPROCESSING_INLINE int process_id() noexcept {
  return MULTIPROCESSING_SYSTEM(getpid)();
}

MULTIPROCESSING_INLINE int fork_process(std::error_code& ec) noexcept {
  const int pid = MULTIPROCESSING_SYSTEM(fork)();
  if (pid < 0) {
    ec.assign(errno, std::system_category());
  } else {
    ec.clear();
  }
  return pid;
}

MULTIPROCESSING_INLINE UniqueHandle open_process(int pid, std::error_code& ec) noexcept {
  return posix::above_streams(MULTIPROCESSING_SYSTEM(pidfd_open)(pid, 0), ec);
}

MULTIPROCESSING_INLINE UniqueHandle open_ready(std::error_code& ec) noexcept {
  return posix::above_streams(MULTIPROCESSING_SYSTEM(eventfd)(1, EFD_CLOEXEC | EFD_NONBLOCK), ec);
}

namespace posix {

// For whom ppoll was refused, which it is where no handle may be opened (RLIMIT_NOFILE is 0), and
// select is not. Waits for a moment.
MULTIPROCESSING_INLINE bool is_ready_by_select(int handle) noexcept {
  fd_set handles;
  FD_ZERO(&handles);
  const bool fits = handle >= 0 && handle < FD_SETSIZE;
  if (fits) FD_SET(handle, &handles);
  timeval moment{0, 1000};
  return MULTIPROCESSING_SYSTEM(select)(fits ? handle + 1 : 0, &handles, nullptr, nullptr,
                                        &moment) > 0;
}

}  // namespace posix

MULTIPROCESSING_INLINE bool wait_ready(native_handle_type handle,
                                       const detail::Deadline& deadline) noexcept {
  constexpr std::chrono::hours limit{1};  // of one call
  for (;;) {
    const auto left = deadline.left(limit);
    const auto seconds = std::chrono::floor<std::chrono::seconds>(left);
    const timespec time{seconds.count(), (left - seconds).count()};
    pollfd waited{handle, POLLIN, 0};
    const int ready = MULTIPROCESSING_SYSTEM(ppoll)(&waited, 1, &time, nullptr);
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR && posix::is_ready_by_select(handle)) return true;
    if (deadline.passed()) return false;
  }
}

MULTIPROCESSING_INLINE ProcessEnd collect_process(native_handle_type process) noexcept {
  siginfo_t info{};
  int result = 0;
  do {
    result = MULTIPROCESSING_SYSTEM(waitid)(P_PIDFD, static_cast<id_t>(process), &info,
                                            WEXITED | WNOHANG);
  } while (result != 0 && errno == EINTR);
  if (result == 0) {
    if (info.si_pid == 0) return {};
    return {true, posix::code_of(info)};
  }
  if (!wait_ready(process, detail::Deadline{std::chrono::nanoseconds::zero()})) return {};
  return {true, posix::remembered_code(process)};
}

MULTIPROCESSING_INLINE unsigned thread_count() noexcept {
  struct stat status {};
  constexpr unsigned own_entries = 2;  // a folder's links: itself, its name, its folders
  if (MULTIPROCESSING_SYSTEM(stat)("/proc/self/task", &status) != 0) return 0;
  return static_cast<unsigned>(status.st_nlink) - own_entries;
}

MULTIPROCESSING_INLINE void signal_process(native_handle_type process,
                                           Signal signal,
                                           std::error_code& ec) noexcept {
  const int number = signal == Signal::interrupt ? SIGINT
                     : signal == Signal::kill    ? SIGKILL
                                                 : SIGTERM;
  ec.clear();
  if (MULTIPROCESSING_SYSTEM(pidfd_send_signal)(process, number, nullptr, 0) != 0 &&
      errno != ESRCH) {
    ec.assign(errno, std::system_category());
  }
}

MULTIPROCESSING_INLINE std::string signal_name(int number) {
  const char* const name = sigabbrev_np(number);
  return name == nullptr ? "signal " + std::to_string(number) : std::string{"SIG"} + name;
}

MULTIPROCESSING_INLINE void discard_process(int pid) noexcept {
  MULTIPROCESSING_SYSTEM(kill)(pid, SIGKILL);
  while (MULTIPROCESSING_SYSTEM(waitpid)(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

namespace posix {

inline struct sigaction interrupt_before {};
inline struct sigaction child_before {};

inline auto* mask_function = &MULTIPROCESSING_SYSTEM(pthread_sigmask);  // see close_function
inline const sigset_t no_signals = [] {
  sigset_t none;
  sigemptyset(&none);
  return none;
}();

}  // namespace posix

MULTIPROCESSING_INLINE void leave_signals_to_others() noexcept {
  struct sigaction action {};
  action.sa_handler = SIG_IGN;
  MULTIPROCESSING_SYSTEM(sigaction)(SIGINT, &action, &posix::interrupt_before);
  action.sa_handler = SIG_DFL;
  MULTIPROCESSING_SYSTEM(sigaction)(SIGCHLD, &action, &posix::child_before);
}

MULTIPROCESSING_INLINE int fork_served_process(std::error_code& ec) noexcept {
  sigset_t interrupt;
  sigset_t before;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  // What is blocked stays pending, although it is ignored.
  posix::mask_function(SIG_BLOCK, &interrupt, &before);
  const int pid = fork_process(ec);
  if (pid == 0) {
    MULTIPROCESSING_SYSTEM(sigaction)(SIGINT, &posix::interrupt_before, nullptr);
    MULTIPROCESSING_SYSTEM(sigaction)(SIGCHLD, &posix::child_before, nullptr);
  } else {
    posix::mask_function(SIG_SETMASK, &before, nullptr);
  }
  return pid;
}

MULTIPROCESSING_INLINE void unblock_signals() noexcept {
  posix::mask_function(SIG_SETMASK, &posix::no_signals, nullptr);
}

MULTIPROCESSING_INLINE void exit_process(int code) noexcept {
  posix::exit_function(code);
  std::abort();  // not reached, which the type of a pointer does not say
}

MULTIPROCESSING_INLINE void exit_now(int code) noexcept {
  posix::last_exit_function(code);
  std::abort();  // as above
}

MULTIPROCESSING_INLINE void call_at_exit(ExitAction action) {
  if (!posix::on_exit(&posix::exit_action, action)) throw std::bad_alloc{};
}

MULTIPROCESSING_INLINE void end_exit_with(ExitAction action) noexcept {
  if (posix::on_exit(&posix::last_exit_action, action)) return;
  write_error("a new process cannot begin: there is no memory to register its end\n");
  exit_now(1);
}

}  // namespace multiprocessing::os
