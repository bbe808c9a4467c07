// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file children.hpp
/// @brief The parent's side of every start method: children from their first moment to the last.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/launch/plan.hpp>
#include <multiprocessing/launch/server.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/lifeline.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/timeout.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace multiprocessing::detail {

/// The exit code of a child of which nobody knows it.
inline constexpr int unknown_exit_code = 255;

/// @brief Forgets a child. The state's mutex is held.
inline void unlist_child(ChildRecord& record) {
  auto& children = process_state().children;
  const auto found = std::find(children.begin(), children.end(), &record);
  if (found == children.end()) return;
  const ChildReference gone{*found};
  gone->references.fetch_sub(1, std::memory_order_relaxed);  // the list's own
  children.erase(found);
}

/// @brief Gives up what is only needed while a child lives. The state's mutex is held.
inline void forget_ended(ChildRecord& record) {
  if (!record.exit_code) record.exit_code = unknown_exit_code;
  record.lifeline.reset();
  record.reports.reset();
  unlist_child(record);
}

/// @brief has_ended() for a child of the fork server, which reaps it and says how it ended: soon,
/// so it may be too early to ask. The child's own word comes first: it is there already.
inline bool has_ended_served(ChildRecord& record) {
  if (!os::wait_ready(record.sentinel.get(), Deadline{std::chrono::seconds{0}})) return false;
  record.exit_code = os::reported_exit(record.lifeline.get());
  const ServerReport report = receive_report(record.reports);
  if (!record.exit_code && !report.is_final) return false;
  std::optional<int> code = report.code;
  if (report.is_final && !code) {  // the server is gone, and we may be who inherits its children
    code = os::collect_process(record.sentinel.get()).code;
  }
  if (!record.exit_code) record.exit_code = code;
  forget_ended(record);
  return true;
}

/// @brief Whether a child has ended; reaps it the first time. The state's mutex is held, so that
/// happens once, whichever threads ask.
inline bool has_ended(ChildRecord& record) {
  if (record.exit_code) return true;
  if (record.pid == 0 || record.parent != os::process_id()) return false;
  if (record.reports) return has_ended_served(record);
  const os::ProcessEnd end = os::collect_process(record.sentinel.get());
  if (!end.ended) return false;
  record.exit_code = end.code ? end.code : os::reported_exit(record.lifeline.get());
  forget_ended(record);
  return true;
}

/// @brief The same, without the mutex held: a child whose sentinel is ready has ended, once its
/// fork server has had a moment to say how. Nobody else waits meanwhile.
inline bool has_ended_by_now(const ChildReference& child) {
  constexpr std::chrono::microseconds moment{200};
  constexpr int patience = 250;  // such moments: a server that is stopped says nothing
  for (int i = 0;; ++i) {
    {
      const std::lock_guard lock{process_state().mutex};
      if (has_ended(*child)) return true;
      if (!child->reports || i == patience) return false;
    }
    if (!os::wait_ready(child->sentinel.get(), Deadline{std::chrono::seconds{0}})) return false;
    os::pause_for(moment, {});
  }
}

/// @brief Waits for a child's end. @returns whether it has ended.
/// @threads Any number at once.
inline bool wait_for_child(const ChildReference& child, Timeout timeout) {
  constexpr std::chrono::milliseconds moment{1};
  const Deadline deadline{timeout};
  while (os::wait_ready(child->sentinel.get(), deadline)) {
    if (has_ended_by_now(child)) return true;
    // A debugger sees its end first, and we when it lets go.
    if (deadline.passed()) return false;
    std::this_thread::sleep_for(moment);
  }
  return false;
}

/// @brief Sends a signal to a child; one that has ended ignores it.
/// @throws std::system_error it may not be sent.
inline void signal_child(ChildRecord& record, os::Signal signal) {
  const std::lock_guard lock{process_state().mutex};
  if (record.exit_code) return;
  std::error_code ec;
  os::signal_process(record.sentinel.get(), signal, ec);
  if (ec) throw std::system_error{ec, "cannot send a signal to process " + record.name};
}

/// @brief The children that have not ended; reaps those that have.
inline std::vector<ChildReference> living_children() {
  std::vector<ChildReference> living;
  const std::lock_guard lock{process_state().mutex};
  const auto children = process_state().children;  // has_ended changes the list
  for (ChildRecord* const record : children) {
    if (record->pid != 0 && !has_ended(*record)) living.emplace_back(record);
  }
  return living;
}

[[nodiscard]] inline std::string name_of(const ChildRecord& record) {
  const std::lock_guard lock{process_state().mutex};
  return record.name;
}

/// @brief Asks a daemon to end, or ends it. The system does where we have no right to: it kills who
/// finds our end of its lifeline closed.
inline void end_daemon(ChildRecord& daemon, os::Signal signal) noexcept {
  try {
    signal_child(daemon, signal);
  } catch (const std::exception&) {
    const std::lock_guard lock{process_state().mutex};
    daemon.lifeline.reset();
  }
}

/// @brief What a process owes its children when it exits: daemons are terminated, and killed where
/// they have not ended after a while, then they and all others are waited for.
inline void finish_children() noexcept {
  try {
    {
      const std::lock_guard lock{process_state().mutex};
      process_state().exit_handler_installed = false;  // it runs once
    }
    const auto children = living_children();
    for (const ChildReference& child : children) {
      if (!child->daemon) continue;
      log(LogLevel::debug, [&] { return "calling terminate() for daemon " + name_of(*child); });
      end_daemon(*child, os::Signal::terminate);
    }
    constexpr std::chrono::seconds patience{5};  // with all daemons together
    const Deadline deadline{patience};
    for (const bool daemons : {true, false}) {
      for (const ChildReference& child : children) {
        if (child->daemon != daemons) continue;
        log(LogLevel::debug, [&] { return "calling join() for process " + name_of(*child); });
        if (daemons && !wait_for_child(child, deadline.left(patience))) {
          end_daemon(*child, os::Signal::kill);
        }
        wait_for_child(child, forever);
      }
    }
  } catch (const std::exception&) {  // no memory: exit all the same
  }
  const std::lock_guard lock{process_state().mutex};
  end_forkserver();
}

/// @brief What this process's children know of it; without a lifeline.
[[nodiscard]] inline ParentRecord current_as_parent() {
  const std::lock_guard lock{process_state().mutex};
  return {os::process_id(), process_state().name, os::to_integer(os::invalid_handle), 0};
}

/// @brief A child while it is being started: its record stands in the registry, so that every
/// fork() in the meantime, by any thread, keeps its lifeline out of the other child.
class Starting {
 public:
  /// @throws std::system_error no lifeline: out of handles or memory.
  explicit Starting(const ChildIdentity& identity) : record_{ChildReference::make()} {
    os::install_fork_handlers();
    ProcessState& state = process_state();
    const std::lock_guard lock{state.mutex};
    if (!state.exit_handler_installed) {
      if (std::atexit([] { finish_children(); }) != 0) throw std::bad_alloc{};
      state.exit_handler_installed = true;
    }
    record_->name = identity.name;
    record_->daemon = identity.daemon;
    record_->parent = os::process_id();
    record_->starter = std::this_thread::get_id();
    std::error_code ec;
    os::Lifeline lifeline = os::make_lifeline(ec);
    if (ec) throw failure(ec, "its lifeline");
    record_->lifeline = std::move(lifeline.parents);
    record_->childs_lifeline = std::move(lifeline.childs);
    state.children.push_back(record_.get());
    record_->references.fetch_add(1, std::memory_order_relaxed);
  }
  Starting(const Starting&) = delete;
  Starting& operator=(const Starting&) = delete;
  ~Starting() {
    if (!record_) return;
    const std::lock_guard lock{process_state().mutex};
    record_->lifeline.reset();
    record_->childs_lifeline.reset();
    unlist_child(*record_);
  }

  [[nodiscard]] ChildRecord& record() const noexcept { return *record_; }

  /// @brief The child exists.
  /// @throws std::system_error it cannot be watched, so it was killed.
  ChildReference finish(os::Started child) {
    const std::lock_guard lock{process_state().mutex};
    record_->childs_lifeline.reset();  // leaves room for the sentinel, where handles are scarce
    std::error_code ec;
    if (child.process) record_->sentinel = std::move(child.process);
    if (child.lifeline) record_->lifeline = std::move(child.lifeline);
    if (!record_->sentinel) record_->sentinel = os::open_process(child.pid, ec);
    if (ec == std::errc::no_such_process) {  // ended already, and SIGCHLD is ignored
      return finish_ended(child.pid, os::reported_exit(record_->lifeline.get()));
    }
    if (ec) os::discard_process(child.pid);
    if (ec) throw failure(ec, "a handle of it");
    record_->pid = child.pid;
    return std::move(record_);
  }

  /// @brief The child has been, and nothing of it is left. The state's mutex is held.
  ChildReference finish_ended(int pid, std::optional<int> code) {
    record_->childs_lifeline.reset();
    std::error_code ec;
    record_->sentinel = os::open_ready(ec);
    if (ec) throw failure(ec, "a handle of it");
    record_->exit_code = code;
    forget_ended(*record_);
    record_->pid = pid;
    return std::move(record_);
  }

  /// @brief What start() throws when the system refuses.
  [[nodiscard]] std::system_error failure(std::error_code ec, const std::string& what) const {
    return std::system_error{ec, "cannot start process " + record_->name + ": " + what};
  }

 private:
  ChildReference record_;
};

}  // namespace multiprocessing::detail
