// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file fork.hpp
/// @brief Start method fork: the child is a copy of this process and goes on from here.
#include <multiprocessing/launch/children.hpp>
#include <multiprocessing/launch/entry.hpp>
#include <multiprocessing/launch/plan.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/streams.hpp>

#include <atomic>
#include <string>
#include <system_error>
#include <utility>

namespace multiprocessing::detail {

/// @brief What a forked child needs at its beginning, made before the fork: the child pays for
/// every page that it touches first.
struct ForkedChild {
  const ChildPlan& plan;
  ChildIdentity identity;
  ParentRecord parent;
  os::StandardInput input;
};

/// @brief All that a forked child ever does. No user code runs before it knows who it is; the
/// parent's exit handlers never do.
[[noreturn]] inline void run_forked_child(ForkedChild& child, ChildRecord& record) noexcept {
  const int code = exit_code_of([&] {
    os::end_exit_with(&say_farewell);
    child.parent.lifeline = os::to_integer(record.childs_lifeline.release());
    become_child(std::move(child.identity), std::move(child.parent));
    os::silence_stdin(child.input);
    log_run();
    child.plan.run();
  });
  os::exit_process(code);
}

/// @brief Logs, once in a process, that it is forked and has other threads.
inline void warn_of_threads() {
  if (!is_logged(LogLevel::warning)) return;
  std::atomic<int>& warned = process_state().warned_of_threads;
  const int here = os::process_id();
  if (warned == here) return;
  const unsigned threads = os::thread_count();
  if (threads < 2 || warned.exchange(here) == here) return;
  log(LogLevel::warning, [threads] {
    return "fork of a process with " + std::to_string(threads) +
           " threads: a lock that another thread holds now stays locked in the child. Start "
           "processes before threads, or by forkserver or spawn";
  });
}

/// @brief Starts a child by fork.
/// @throws std::system_error the system refuses: EAGAIN (RLIMIT_NPROC), ENOMEM, EMFILE.
inline ChildReference start_by_fork(const ChildPlan& plan) {
  warn_of_threads();
  Starting starting{plan.identity};
  ForkedChild child{plan, plan.identity, current_as_parent(), os::standard_input()};
  // A string as long as that changes hands; copying one is a function on a page of its own.
  child.identity.name.reserve(sizeof(std::string));
  child.parent.name.reserve(sizeof(std::string));
  os::flush_streams();
  MULTIPROCESSING_STOP_POINT("process.start.fork");
  std::error_code ec;
  const int pid = os::fork_process(ec);
  if (pid == 0) run_forked_child(child, starting.record());
  if (ec) throw starting.failure(ec, "fork");
  MULTIPROCESSING_STOP_POINT("process.start.forked");
  return starting.finish({pid, {}, {}});
}

}  // namespace multiprocessing::detail
