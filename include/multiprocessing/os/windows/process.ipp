// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/os/windows/api.ipp>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <new>
#include <string>

namespace multiprocessing::os {

namespace windows {

// The exit code of a process that was ended by another, which means -SIGTERM, as in Python.
inline constexpr int terminated = 0x10000;

MULTIPROCESSING_INLINE UniqueHandle open_by_id(DWORD pid,
                                               DWORD rights,
                                               std::error_code& ec) noexcept {
  UniqueHandle process = owned(MULTIPROCESSING_SYSTEM(OpenProcess)(rights, FALSE, pid), ec);
  if (ec.value() == ERROR_INVALID_PARAMETER) ec = std::make_error_code(std::errc::no_such_process);
  return process;
}

// For whom the system refused something. The exit code is there as soon as it begins to end, and
// that may take a while.
MULTIPROCESSING_INLINE bool is_ending(HANDLE process) noexcept {
  constexpr DWORD still_active = 259;
  DWORD code = still_active;
  return (MULTIPROCESSING_SYSTEM(GetExitCodeProcess)(process, &code) != 0 &&
          code != still_active) ||
         wait_ready(process, detail::Deadline{std::chrono::milliseconds{50}});
}

// What a handler of the C library's is not told.
inline std::atomic<int> exit_code{0};
// The handlers have no place for a pointer either.
inline std::array<std::atomic<ExitAction>, 4> exit_actions{};

template <std::size_t place, bool is_last>
void run_exit_action() {
  exit_actions[place].load()(exit_code);
  if constexpr (is_last) exit_now(exit_code);
}

template <std::size_t place, bool is_last>
bool register_exit_action(ExitAction action) {
  if constexpr (place < std::tuple_size_v<decltype(exit_actions)>) {
    ExitAction none = nullptr;
    if (!exit_actions[place].compare_exchange_strong(none, action)) {
      return register_exit_action<place + 1, is_last>(action);
    }
    return std::atexit(&run_exit_action<place, is_last>) == 0;
  } else {
    return false;
  }
}

}  // namespace windows

MULTIPROCESSING_INLINE int process_id() noexcept {
  return static_cast<int>(MULTIPROCESSING_SYSTEM(GetCurrentProcessId)());
}

MULTIPROCESSING_INLINE int fork_process(std::error_code& ec) noexcept {
  ec = std::make_error_code(std::errc::function_not_supported);
  return -1;
}

MULTIPROCESSING_INLINE UniqueHandle open_process(int pid, std::error_code& ec) noexcept {
  return windows::open_by_id(static_cast<DWORD>(pid),
                             SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_TERMINATE,
                             ec);
}

MULTIPROCESSING_INLINE UniqueHandle open_ready(std::error_code& ec) noexcept {
  return windows::owned(MULTIPROCESSING_SYSTEM(CreateEventW)(nullptr, TRUE, TRUE, nullptr), ec);
}

MULTIPROCESSING_INLINE bool wait_ready(native_handle_type handle,
                                       const detail::Deadline& deadline) noexcept {
  constexpr std::chrono::hours limit{1};  // of one call
  for (;;) {
    const DWORD result = MULTIPROCESSING_SYSTEM(WaitForSingleObject)(
        handle, windows::as_milliseconds(deadline.left(limit)));
    if (result != WAIT_TIMEOUT) return true;  // an error is that of what is no handle
    if (deadline.passed()) return false;
  }
}

MULTIPROCESSING_INLINE ProcessEnd collect_process(native_handle_type process) noexcept {
  DWORD code = 0;
  // Its code may be the one that stands for "still running", so the code is not asked for that.
  if (!wait_ready(process, detail::Deadline{std::chrono::nanoseconds::zero()})) return {};
  if (MULTIPROCESSING_SYSTEM(GetExitCodeProcess)(process, &code) == 0) return {true, {}};
  const int number = static_cast<int>(code);
  return {true, number == windows::terminated ? -SIGTERM : number};
}

MULTIPROCESSING_INLINE unsigned thread_count() noexcept {
  return 0;
}

MULTIPROCESSING_INLINE void signal_process(native_handle_type process,
                                           Signal /*signal*/,
                                           std::error_code& ec) noexcept {
  ec.clear();
  if (MULTIPROCESSING_SYSTEM(TerminateProcess)(process, windows::terminated) != 0) return;
  ec = windows::last_error();  // of one that ends, too
  if (windows::is_ending(process)) ec.clear();
}

MULTIPROCESSING_INLINE std::string signal_name(int number) {
  return "signal " + std::to_string(number);
}

MULTIPROCESSING_INLINE void discard_process(int pid) noexcept {
  std::error_code ec;
  const UniqueHandle process = open_process(pid, ec);
  if (ec) return;
  signal_process(process.get(), Signal::kill, ec);
  if (ec) return;
  wait_ready(process.get(), detail::Deadline{forever});
}

MULTIPROCESSING_INLINE void leave_signals_to_others() noexcept {
  MULTIPROCESSING_SYSTEM(SetConsoleCtrlHandler)(nullptr, TRUE);
}

MULTIPROCESSING_INLINE int fork_served_process(std::error_code& ec) noexcept {
  return fork_process(ec);
}

MULTIPROCESSING_INLINE void unblock_signals() noexcept {}

MULTIPROCESSING_INLINE void exit_process(int code) noexcept {
  windows::exit_code = code;
  std::exit(code);
}

MULTIPROCESSING_INLINE void exit_now(int code) noexcept {
  std::_Exit(code);
}

MULTIPROCESSING_INLINE void call_at_exit(ExitAction action) {
  if (!windows::register_exit_action<0, false>(action)) throw std::bad_alloc{};
}

MULTIPROCESSING_INLINE void end_exit_with(ExitAction action) noexcept {
  if (!windows::register_exit_action<0, true>(action)) exit_now(1);
}

}  // namespace multiprocessing::os
