// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file relatives.hpp
/// @brief This process, its parent and its children.
#include <multiprocessing/launch.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/timeout.hpp>

#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace multiprocessing {

/// @brief The process that runs this.
class CurrentProcess {
 public:
  /// @brief "MainProcess" in a process that was not started by a Process.
  [[nodiscard]] std::string name() const {
    const std::lock_guard lock{detail::process_state().mutex};
    return detail::process_state().name;
  }
  /// @brief A name is for people: it need not be unique.
  void set_name(std::string name) const {
    const std::lock_guard lock{detail::process_state().mutex};
    detail::process_state().name = std::move(name);
  }
  /// @brief Its process id.
  [[nodiscard]] int pid() const noexcept { return os::process_id(); }
  /// @brief The same as pid().
  [[nodiscard]] int ident() const noexcept { return pid(); }
  /// @brief Whether it ends with its parent.
  [[nodiscard]] bool daemon() const {
    const std::lock_guard lock{detail::process_state().mutex};
    return detail::process_state().daemon;
  }
  /// @brief A secret that all processes of one tree share: 32 random bytes.
  [[nodiscard]] std::string authkey() const { return detail::authkey(); }
};

/// @python{multiprocessing.current_process()}
[[nodiscard]] inline CurrentProcess current_process() noexcept {
  return {};
}

/// @brief The process that started this one. @python{multiprocessing.parent_process()}
class ParentProcess {
 public:
  /// @brief For parent_process().
  explicit ParentProcess(detail::ParentRecord record) : record_{std::move(record)} {}

  /// @brief Its name when it started this one.
  [[nodiscard]] std::string name() const { return record_.name; }
  /// @brief Its process id.
  [[nodiscard]] int pid() const noexcept { return record_.pid; }
  /// @brief The same as pid().
  [[nodiscard]] int ident() const noexcept { return pid(); }
  /// @brief Whether it has not ended.
  [[nodiscard]] bool is_alive() const noexcept { return !join(std::chrono::seconds{0}); }
  /// @brief Waits until it has ended. @returns whether it has.
  bool join(Timeout timeout = forever) const noexcept {
    return os::wait_ready(sentinel(), detail::Deadline{timeout});
  }
  /// @brief Ready for reading once it has ended. Lives as long as this process; not to be read.
  [[nodiscard]] native_handle_type sentinel() const noexcept {
    return os::to_handle(record_.lifeline);
  }

 private:
  detail::ParentRecord record_;
};

/// @brief The process that started this one; none where no Process did.
[[nodiscard]] inline std::optional<ParentProcess> parent_process() {
  const std::lock_guard lock{detail::process_state().mutex};
  const auto& parent = detail::process_state().parent;
  return parent ? std::optional{ParentProcess{*parent}} : std::nullopt;
}

/// @brief A child of this process, whatever became of the object that started it. A copy refers to
/// the same child.
/// @threads Any number at once. @processes As BaseProcess: only the one that has the child.
class ChildProcess {
 public:
  /// @brief For active_children().
  explicit ChildProcess(detail::ChildReference child) noexcept : child_{std::move(child)} {}

  /// @brief Its name when it was started.
  [[nodiscard]] std::string name() const {
    const std::lock_guard lock{detail::process_state().mutex};
    return child_->name;
  }
  /// @brief Its process id.
  [[nodiscard]] int pid() const noexcept { return child_->pid; }
  /// @brief The same as pid().
  [[nodiscard]] int ident() const noexcept { return pid(); }
  /// @brief Whether it ends with this process.
  [[nodiscard]] bool daemon() const noexcept { return child_->daemon; }
  /// @brief Whether it has not ended.
  [[nodiscard]] bool is_alive() const { return !exitcode(); }
  /// @brief As BaseProcess::exitcode().
  [[nodiscard]] std::optional<int> exitcode() const {
    check_ours();
    detail::has_ended_by_now(child_);
    const std::lock_guard lock{detail::process_state().mutex};
    return child_->exit_code;
  }
  /// @brief Waits until it has ended. @returns whether it has.
  bool join(Timeout timeout = forever) const {
    check_ours();
    return detail::wait_for_child(child_, timeout);
  }
  /// @brief As BaseProcess::terminate().
  void terminate() const { signal(os::Signal::terminate); }
  /// @brief As BaseProcess::kill().
  void kill() const { signal(os::Signal::kill); }
  /// @brief As BaseProcess::interrupt().
  void interrupt() const { signal(os::Signal::interrupt); }
  /// @brief Ready for reading once it has ended; good as long as this handle or a copy lives.
  [[nodiscard]] native_handle_type sentinel() const {
    check_ours();
    return child_->sentinel.get();
  }

 private:
  void check_ours() const {
    if (child_->parent == os::process_id()) return;
    throw std::logic_error{"process " + name() + " is the child of another process"};
  }
  void signal(os::Signal signal) const {
    check_ours();
    detail::signal_child(*child_, signal);
  }

  detail::ChildReference child_;
};

/// @brief The children of this process that have not ended. Those that have are reaped.
/// @python{multiprocessing.active_children()}
[[nodiscard]] inline std::vector<ChildProcess> active_children() {
  std::vector<ChildProcess> active;
  for (auto& child : detail::living_children()) {
    if (!detail::has_ended_by_now(child)) active.emplace_back(std::move(child));
  }
  return active;
}

}  // namespace multiprocessing
