// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file process.hpp
/// @brief Processes of the system: copying this one, waiting for another, signals, the end.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/timeout.hpp>

#include <optional>
#include <string>
#include <system_error>

namespace multiprocessing::os {

/// @brief This process's id.
[[nodiscard]] int process_id() noexcept;

/// @brief Whether this system can copy a process.
inline constexpr bool has_fork = MULTIPROCESSING_POSIX != 0;

/// @brief Copies this process, as the C library does it: its fork handlers run, and what it caches
/// per thread and per process is right in the child.
/// @returns the child's id; 0 in the child.
/// @errors POSIX `fork`: EAGAIN, ENOMEM, ENOSYS. Windows: `function_not_supported`, always.
int fork_process(std::error_code& ec) noexcept;

/// @brief A handle of a process: ready for reading once the process has ended, and never another's,
/// as ids come to be.
/// @param pid a child that is not waited for yet.
/// @errors POSIX `pidfd_open` (Linux 5.3): ESRCH: it has ended and nothing of it is left, because
/// this program ignores SIGCHLD; EMFILE, ENFILE, ENOMEM. Windows `OpenProcess`.
[[nodiscard]] UniqueHandle open_process(int pid, std::error_code& ec) noexcept;

/// @brief A process that was started.
struct Started {
  int pid = 0;                 ///< 0: it was not started.
  UniqueHandle process = {};   ///< Where the system gives it by itself (Windows); else
                               ///< open_process() does.
  UniqueHandle lifeline = {};  ///< The parent's end, where the child is born with the other one
                               ///< (Windows); else make_lifeline() made it.
};

/// @brief A handle that is ready for reading from the beginning. @errors POSIX `eventfd`: EMFILE,
/// ENFILE, ENOMEM. Windows `CreateEvent`, set.
[[nodiscard]] UniqueHandle open_ready(std::error_code& ec) noexcept;

/// @brief Waits until a handle is ready for reading or its other end is closed.
/// @returns whether it is. @errors none: what is no handle counts as ready, and where the system
/// does not say, it is asked again until the deadline. POSIX `ppoll`, and `select` where that is
/// refused (RLIMIT_NOFILE is 0); Windows `WaitForSingleObject`.
bool wait_ready(native_handle_type handle, const detail::Deadline& deadline) noexcept;

/// @brief Whether a process has ended, and how.
struct ProcessEnd {
  bool ended = false;
  std::optional<int> code = {};  ///< -N: by signal N. None: ended, but how is not known any more.
};

/// @brief Looks whether a child has ended and, the first time it has, takes its exit code, so that
/// the system can forget it. Does not wait.
///
/// The code is found also where somebody else took it (a `wait()` of the program's own, SIGCHLD
/// ignored), if the system still tells (Linux 6.15). Windows `GetExitCodeProcess`.
/// @threads One at a time for one process.
ProcessEnd collect_process(native_handle_type process) noexcept;

/// @brief How many threads this process has. 0: nobody knows (POSIX: no /proc).
[[nodiscard]] unsigned thread_count() noexcept;

/// @brief What one process can tell another to do.
enum class Signal { interrupt, terminate, kill };

/// @brief Sends a signal. A process that has ended ignores it.
/// @errors POSIX `pidfd_send_signal`: EPERM. Windows `TerminateProcess`, whatever the signal.
void signal_process(native_handle_type process, Signal signal, std::error_code& ec) noexcept;

/// @brief A signal's name, "SIGKILL"; of a number that is none, or where there are no signals
/// (Windows), "signal 77".
[[nodiscard]] std::string signal_name(int number);

/// @brief Kills a child that just came to be and waits for its end: its start is called off.
void discard_process(int pid) noexcept;

/// @brief This process serves others from now on: Ctrl-C is meant for those who work, so it is
/// ignored, and the system says how children ended. Handlers are replaced. Once in a process.
/// Windows: what it starts ignores Ctrl-C, too; nobody ignores Ctrl-Break.
void leave_signals_to_others() noexcept;

/// @brief As fork_process(), in such a process: the child has the handlers that were there before,
/// and a Ctrl-C that reaches it meanwhile waits until it calls unblock_signals(): none is lost.
/// @errors as fork_process().
int fork_served_process(std::error_code& ec) noexcept;

/// @brief Lets every signal through to the calling thread. Windows: nothing is done.
void unblock_signals() noexcept;

/// @brief As std::exit, at less cost where a forked child is the first to call it.
[[noreturn]] void exit_process(int code) noexcept;

/// @brief Ends this process at once: no handlers, nothing is flushed.
[[noreturn]] void exit_now(int code) noexcept;

/// @brief Called with the exit code.
using ExitAction = void (*)(int code) noexcept;

/// @brief Calls `action` when this process exits through `std::exit` or a return from main(), in
/// the reverse order of calls, among the handlers of `std::atexit`. @throws std::bad_alloc
void call_at_exit(ExitAction action);

/// @brief As call_at_exit; and when `action` has returned, the process ends, so that no handler or
/// destructor of a static object runs that was registered before. Those registered after do run.
///
/// For a copy of a process, whose handlers are another's: where there is no memory for this one,
/// the copy says so and ends at once, with code 1.
void end_exit_with(ExitAction action) noexcept;

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/process.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/process.ipp>
#endif
