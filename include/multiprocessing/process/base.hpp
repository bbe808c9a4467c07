// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file base.hpp
/// @brief What all processes can do.
#include <multiprocessing/launch.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/process/start_method.hpp>
#include <multiprocessing/timeout.hpp>

#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace multiprocessing {

/// @brief What may be said about a process when it is made.
struct ProcessOptions {
  /// Default: the class's name (`Process` for targets) and the process's number, "Worker-1"; the
  /// children of "Worker-1" are "Worker-1:1", "Worker-1:2", ...
  std::string name = {};
  /// Default: what the creating process is. A daemon ends with its parent, and has no children.
  std::optional<bool> daemon = {};
  /// Default: get_start_method() at the time of start().
  std::optional<StartMethod> start_method = {};
};

class BaseProcess;

namespace detail {

/// @brief What a class of processes knows how to do. No virtual functions, so that a subclass may
/// use any name.
struct ProcessClass {
  std::string_view name;
  /// @throws std::logic_error the object is of a class derived from this one.
  void (*check)(const BaseProcess&);
  /// As ChildPlan::reduce.
  void (*reduce)(const BaseProcess&, Encoder&);
  /// Gives up what only the child needs.
  void (*release)(BaseProcess&);
  /// The workers of a pool: they end with their parent, whatever it is.
  bool daemons_may_start_it = false;
};

/// @brief For the entry of a spawned child, whose Process object is made anew.
void run_as_current(BaseProcess& process);

}  // namespace detail

/// @brief A process: what a subclass of Process and a Process made from a target have in common.
///
/// The object stays with the process that made it; the child has a copy, whose `run()` is called.
/// The destructor neither waits nor kills: when the program exits, children that are daemons are
/// terminated (killed, where they do not hear within five seconds) and the others waited for.
/// @threads join, is_alive, exitcode, terminate, kill, interrupt and sentinel: any number at once.
/// @processes Only the one that started it may ask about it or signal it; others may ask for name,
/// daemon and pid. In the child, the object is the current process: alive, and not to be joined.
/// @python{multiprocessing.Process}
class BaseProcess {
 public:
  BaseProcess(const BaseProcess&) = delete;
  BaseProcess& operator=(const BaseProcess&) = delete;
  virtual ~BaseProcess() = default;

  /// @brief What the child does. When it returns, the child's exit code is 0; when it throws, that
  /// is printed on stderr and the code is 1; a SystemExit decides otherwise.
  virtual void run() = 0;

  /// @brief Starts the child, once. Waits for nobody but the fork server, which answers at once
  /// unless it is stopped.
  /// @throws std::logic_error started before, made by another process, this process is a daemon,
  /// its class is derived from the one that was given to Process<>, or spawn is used in a program
  /// whose main() does not call freeze_support(). std::invalid_argument it is closed, or the start
  /// method is not available. SerializationError it cannot travel to the child.
  /// std::system_error the system refuses: EAGAIN, ENOMEM, EMFILE, ENOENT (the executable), EPERM
  /// (spawn and forkserver, in a set-user-ID program). ProcessError each fork server ended before
  /// it answered. Unless it was started, it may be tried again.
  void start();

  /// @brief Waits until the child has ended. @returns whether it has.
  /// @throws std::logic_error not started, or not by this process. std::invalid_argument closed.
  bool join(Timeout timeout = forever);

  /// @brief Whether it was started and has not ended. A stopped process is alive.
  /// @throws as join, but it need not have been started.
  [[nodiscard]] bool is_alive() const;

  /// @brief Asks the child to end: SIGTERM. Its exit code is then -15, unless it handles that. Its
  /// exit handlers do not run, its own children live on. Windows: TerminateProcess.
  /// @throws as join; std::system_error not permitted.
  void terminate() { signal(os::Signal::terminate); }
  /// @brief Ends the child: SIGKILL, which nothing survives. @throws as terminate.
  void kill() { signal(os::Signal::kill); }
  /// @brief As Ctrl-C: SIGINT. @throws as terminate.
  void interrupt() { signal(os::Signal::interrupt); }

  /// @brief Gives back what the object holds of the child; twice is fine. Afterwards only name,
  /// daemon and close may be called.
  /// @throws std::invalid_argument the child still runs: join() or terminate() it first.
  void close();

  /// @brief What it is called in messages and reports.
  [[nodiscard]] std::string name() const;
  /// @brief A name is for people: it need not be unique.
  void set_name(std::string name);
  /// @brief Whether it ends with its parent.
  [[nodiscard]] bool daemon() const noexcept { return daemon_; }
  /// @throws std::logic_error it was started already.
  void set_daemon(bool daemon);

  /// @brief The child's process id; none before start(). @throws std::invalid_argument closed.
  [[nodiscard]] std::optional<int> pid() const;
  /// @brief The same as pid().
  [[nodiscard]] std::optional<int> ident() const { return pid(); }

  /// @brief How the child ended. None: it has not, or was not started. 0: run() returned. 1: it
  /// threw. -N: by signal N. 255: nobody knows any more.
  /// @throws std::invalid_argument closed.
  [[nodiscard]] std::optional<int> exitcode() const;

  /// @brief A handle that is ready for reading once the child has ended, for wait(), poll, epoll.
  /// It belongs to this object and is good until close().
  /// @throws std::invalid_argument not started, or closed. std::logic_error started by another
  /// process.
  [[nodiscard]] native_handle_type sentinel() const;

 protected:
  /// @brief For Process.
  BaseProcess(const detail::ProcessClass& kind, ProcessOptions options);
  /// The other object is closed.
  BaseProcess(BaseProcess&& other) noexcept { *this = std::move(other); }
  /// The other object is closed.
  BaseProcess& operator=(BaseProcess&& other) noexcept;

 private:
  friend void detail::run_as_current(BaseProcess&);

  [[nodiscard]] std::string called(std::string_view after) const;
  [[nodiscard]] bool is_current() const noexcept {
    return current_ != 0 && current_ == os::process_id();
  }
  void check_open() const;
  [[nodiscard]] detail::ChildReference child_to(const char* act) const;
  void check_startable() const;
  void signal(os::Signal signal);

  const detail::ProcessClass* kind_ = nullptr;
  std::string name_;
  std::vector<unsigned> path_;
  std::optional<StartMethod> start_method_;
  bool daemon_ = false;
  int maker_ = 0;    // the process that made this object
  int current_ = 0;  // the process that this object is, in that process
  // These two under the state's mutex:
  bool closed_ = false;
  detail::ChildReference child_;
};

inline BaseProcess::BaseProcess(const detail::ProcessClass& kind, ProcessOptions options)
    : kind_{&kind}, start_method_{options.start_method}, maker_{os::process_id()} {
  detail::ProcessState& state = detail::process_state();
  const std::lock_guard lock{state.mutex};
  if (std::exchange(state.remaking, false)) {
    name_ = state.name;
    path_ = state.identity;
    daemon_ = state.daemon;
    return;
  }
  path_ = state.identity;
  path_.push_back(++state.processes_made);
  daemon_ = options.daemon.value_or(state.daemon);
  name_ = std::move(options.name);
  if (!name_.empty()) return;
  name_ = kind.name;
  char separator = '-';
  for (const unsigned number : path_) {
    name_ += std::exchange(separator, ':') + std::to_string(number);
  }
}

inline BaseProcess& BaseProcess::operator=(BaseProcess&& other) noexcept {
  if (this == &other) return *this;
  const std::lock_guard lock{detail::process_state().mutex};
  kind_ = other.kind_;
  name_ = std::move(other.name_);
  path_ = std::move(other.path_);
  start_method_ = other.start_method_;
  daemon_ = other.daemon_;
  maker_ = other.maker_;
  current_ = std::exchange(other.current_, 0);
  closed_ = std::exchange(other.closed_, true);
  child_ = std::move(other.child_);
  return *this;
}

inline std::string BaseProcess::called(std::string_view after) const {
  return ("process " + name_).append(" ").append(after);
}

inline void BaseProcess::check_open() const {
  if (closed_) throw std::invalid_argument{called("is closed")};
}

inline detail::ChildReference BaseProcess::child_to(const char* act) const {
  const std::lock_guard lock{detail::process_state().mutex};
  check_open();
  if (is_current()) {
    throw std::logic_error{called("is the current process, which cannot ").append(act)};
  }
  if (maker_ != os::process_id()) {
    throw std::logic_error{called("was made by another process: only that one can ").append(act)};
  }
  return child_;
}

inline void BaseProcess::check_startable() const {
  const std::lock_guard lock{detail::process_state().mutex};
  check_open();
  if (maker_ != os::process_id()) {
    throw std::logic_error{called("was made by another process, which alone may start it")};
  }
  if (child_ || current_ != 0) throw std::logic_error{called("was started already")};
  if (detail::process_state().daemon && !kind_->daemons_may_start_it) {
    throw std::logic_error{
        called("cannot be started: the current process is a daemon, and "
               "daemons may not have children")};
  }
}

inline void BaseProcess::start() {
  check_startable();
  kind_->check(*this);
  detail::living_children();  // reaps those that nobody joined
  const detail::ChildPlan plan{{name_, path_, daemon_},
                               [this] { detail::run_as_current(*this); },
                               [this](Encoder& encoder) { kind_->reduce(*this, encoder); }};
  const StartMethod method = start_method_ ? *start_method_ : *get_start_method();
  auto child = detail::launch(method, plan);
  int pid = 0;
  {
    const std::lock_guard lock{detail::process_state().mutex};
    pid = child->pid;
    child_ = std::move(child);
  }
  kind_->release(*this);
  log(LogLevel::debug, [&] {
    return "started process " + plan.identity.name + ", pid " + std::to_string(pid) + ", by " +
           to_string(method);
  });
}

inline bool BaseProcess::join(Timeout timeout) {
  const auto child = child_to("join it");
  if (!child) throw std::logic_error{called("was not started, so it cannot be joined")};
  return detail::wait_for_child(child, timeout);
}

inline bool BaseProcess::is_alive() const {
  if (is_current()) return true;
  const auto child = child_to("ask whether it is alive");
  return child && !detail::has_ended_by_now(child);
}

inline void BaseProcess::signal(os::Signal signal) {
  const auto child = child_to("send it a signal");
  if (!child) throw std::logic_error{called("was not started, so it cannot get a signal")};
  detail::signal_child(*child, signal);
}

inline void BaseProcess::close() {
  std::unique_lock lock{detail::process_state().mutex};
  if (const auto child = child_; child && maker_ == os::process_id()) {
    lock.unlock();
    detail::has_ended_by_now(child);
    lock.lock();
  }
  if (child_ && maker_ == os::process_id() && !detail::has_ended(*child_)) {
    throw std::invalid_argument{
        called("still runs, so it cannot be closed: join() or terminate() it first")};
  }
  closed_ = true;
  child_ = {};
}

inline std::string BaseProcess::name() const {
  const std::lock_guard lock{detail::process_state().mutex};
  return is_current() ? detail::process_state().name : name_;
}

inline void BaseProcess::set_name(std::string name) {
  const std::lock_guard lock{detail::process_state().mutex};
  if (is_current()) detail::process_state().name = name;
  if (child_) child_->name = name;
  name_ = std::move(name);
}

inline void BaseProcess::set_daemon(bool daemon) {
  const std::lock_guard lock{detail::process_state().mutex};
  check_open();
  if (child_ || current_ != 0) {
    throw std::logic_error{called("was started already: set_daemon() comes before start()")};
  }
  daemon_ = daemon;
}

inline std::optional<int> BaseProcess::pid() const {
  const std::lock_guard lock{detail::process_state().mutex};
  check_open();
  if (is_current()) return current_;
  return child_ ? std::optional{child_->pid} : std::nullopt;
}

inline std::optional<int> BaseProcess::exitcode() const {
  detail::ChildReference child;
  {
    const std::lock_guard lock{detail::process_state().mutex};
    check_open();
    if (!child_ || is_current()) return std::nullopt;
    child = child_;
  }
  detail::has_ended_by_now(child);
  const std::lock_guard lock{detail::process_state().mutex};
  return child->exit_code;
}

inline native_handle_type BaseProcess::sentinel() const {
  const auto child = child_to("wait for its sentinel");
  if (!child) throw std::invalid_argument{called("was not started, so it has no sentinel")};
  return child->sentinel.get();
}

inline void detail::run_as_current(BaseProcess& process) {
  process.current_ = os::process_id();
  process.run();
}

}  // namespace multiprocessing
