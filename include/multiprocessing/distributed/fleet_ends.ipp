// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file fleet_ends.ipp
/// @brief A fleet's beginning and its ends.
#include <multiprocessing/distributed/fleet.hpp>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace multiprocessing::detail {

inline Fleet::Fleet(FleetOptions options, std::unique_ptr<Engine> engine)
    : options_{std::move(options)}, process_{os::process_id()}, engine_{std::move(engine)} {
  OpenMessage open;
  open.builds = own_builds();
  open.options = options_.session;
  open_message_ = make_message(MessageTo::open, open);
}

inline std::shared_ptr<Fleet> Fleet::create(FleetOptions options, std::unique_ptr<Engine> engine) {
  std::shared_ptr<Fleet> fleet{new Fleet{std::move(options), std::move(engine)}};
  fleet->expected_ = fleet->engine_->connect();
  register_living(fleet);
  fleet->has_loop_ = true;
  try {
    fleet->thread_ = std::thread{[fleet] { fleet->run(); }};
  } catch (...) {
    fleet->has_loop_ = false;
    fleet->engine_->close();
    throw;
  }
  return fleet;
}

inline Fleet::~Fleet() {
  if (!thread_.joinable()) return;
  // The thread may be what held the last reference.
  if (thread_.get_id() == std::this_thread::get_id()) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

inline void Fleet::check_process() const {
  if (process_ == os::process_id()) return;
  throw std::logic_error{std::string{options_.name} +
                         " belongs to another process: make one in this process"};
}

/// The mutex is held.
inline bool Fleet::all_gone() const {
  return std::all_of(agents_.begin(), agents_.end(),
                     [](const auto& each) { return each.second.state == Agent::State::gone; });
}

inline bool Fleet::bootup(const Deadline& deadline) {
  check_process();
  std::unique_lock lock{mutex_};
  const auto is_settled = [this] {
    return !has_loop_ || state_ == State::broken ||
           (still_expected() == 0 &&
            std::none_of(agents_.begin(), agents_.end(), [](const auto& each) {
              return each.second.state == Agent::State::joined;
            }));
  };
  listen(lock, is_settled, deadline);
  if (state_ == State::broken) throw BrokenProcessPool{why_broken_};
  return is_settled();
}

inline unsigned Fleet::workers() {
  bootup(Deadline{forever});
  unsigned all = 0;
  const std::lock_guard lock{mutex_};
  for (const auto& [peer, agent] : agents_) {
    if (agent.state == Agent::State::ready) all += agent.status.workers;
  }
  return std::max(all, 1U);
}

inline std::vector<Fleet::AgentStatus> Fleet::agents() const {
  check_process();
  std::vector<AgentStatus> all;
  const std::lock_guard lock{mutex_};
  for (const auto& [peer, agent] : agents_) {
    if (agent.state == Agent::State::ready) all.push_back(agent.status);
  }
  return all;
}

inline void Fleet::close() {
  check_process();
  const std::lock_guard lock{mutex_};
  if (state_ == State::running) state_ = State::closed;
}

inline bool Fleet::join(const Deadline& deadline, const std::stop_token& stop) {
  check_process();
  {
    const std::lock_guard lock{mutex_};
    if (state_ == State::running) {
      throw std::invalid_argument{std::string{options_.name} +
                                  " is still running: close() or terminate() comes first"};
    }
  }
  const Telling::Held held{*this, held_by_joins_};  // to the end: others that join count on it
  if (held.is_inside()) call_followers(nullptr);
  const auto is_done = [&] {
    return open_.load() <= (held.is_inside() ? held_by_joins_.load() : 0);
  };
  if (!wait(nullptr, is_done, deadline, stop)) return false;
  constexpr std::chrono::seconds longest{10};  // what the workers do at their exit takes its time
  end(LeaveFrame::finish, longest);
  return true;
}

inline void Fleet::terminate(os::Signal first) {
  check_process();
  const auto how = first == os::Signal::kill ? LeaveFrame::kill : LeaveFrame::terminate;
  {
    const std::lock_guard lock{mutex_};
    if (state_ != State::broken) state_ = State::terminated;
    const std::string text = std::string{options_.name} + " was terminated";
    fail_all_later([&] { return std::make_exception_ptr(CancelledError{text}); }, true);
    if (has_loop_) tell_all_to_leave(how);  // before callbacks, which may take their time
  }
  engine_->wake();
  resolve_failed();
  constexpr std::chrono::milliseconds longest{2500};
  end(how, longest);
}

inline void Fleet::retire() {
  check_process();
  {
    const std::lock_guard lock{mutex_};
    is_retired_ = true;
    thread_bell_.notify_one();
  }
  engine_->wake();
}

/// The mutex is held. Who leaves is not told again, but that it is to be sooner.
inline void Fleet::tell_all_to_leave(LeaveFrame::How how) {
  for (auto& [peer, agent] : agents_) {
    if (agent.state == Agent::State::gone) continue;
    if (agent.was_told_to_leave && how <= agent.told) continue;
    outgoing_.push_back({peer, make_frame(MessageTo::leave, LeaveFrame{how})});
    agent.was_told_to_leave = true;
    agent.told = how;
  }
  is_leaving_ = true;  // where memory is missing, they are told the next time
}

/// All agents leave, then the loop ends.
inline void Fleet::end(LeaveFrame::How how, std::chrono::milliseconds longest) {
  bool is_needed = false;
  {
    const std::lock_guard lock{mutex_};
    is_needed = has_loop_;
    if (is_needed) tell_all_to_leave(how);
  }
  if (is_needed) {
    engine_->wake();
    const Deadline deadline{longest};
    std::unique_lock lock{mutex_};
    const bool drives = driver_ == std::this_thread::get_id();  // inside a callback
    const auto is_over = [this, drives] {
      return !has_loop_ || (all_gone() && still_expected() == 0) || (drives && ends_.load());
    };
    listen(lock, is_over, deadline);
  }
  stop_loop();
}

/// Waits until the loop's thread has gone, but not for a callback that does not return.
inline void Fleet::stop_loop() {
  constexpr std::chrono::seconds longest{2};
  ends_.store(true);
  engine_->wake();
  std::thread thread;
  {
    std::unique_lock lock{mutex_};
    thread_bell_.notify_one();
    if (!thread_.joinable()) return;
    // Inside a callback of a thread that waits: the fleet ends when that has returned.
    if (driver_ == std::this_thread::get_id() && driver_ != thread_.get_id()) return;
    thread = std::move(thread_);
    const bool is_itself = thread.get_id() == std::this_thread::get_id();
    if (is_itself || !loop_gone_.wait_for(lock, longest, [this] { return !has_loop_; })) {
      thread.detach();
      if (!is_itself) engine_->abandon();
      return;
    }
  }
  thread.join();
}

inline PoolStats Fleet::stats() {
  check_process();
  const std::lock_guard lock{mutex_};
  PoolStats all;
  all.done = done_;
  all.failed = failures_;
  all.restarts = restarts_;
  for (const auto& [peer, agent] : agents_) {
    all.workers.push_back(agent.stats);
    all.running += std::min<std::size_t>(agent.sent.size(), agent.status.workers);
  }
  all.queued = table_.size() - std::min(all.running, table_.size());
  return all;
}

// ---- fleets at the end of the program ----

/// The fleets of one process; the state's mutex guards it.
struct LivingFleets {
  int process = 0;
  std::vector<std::weak_ptr<Fleet>> fleets;

  static LivingFleets& all() {
    static auto& one = *new LivingFleets;  // exit handlers use it
    return one;
  }
};

inline void Fleet::register_living(const std::shared_ptr<Fleet>& fleet) {
  LivingFleets& all = LivingFleets::all();
  const std::lock_guard lock{process_state().mutex};
  if (all.process != os::process_id()) {
    all.fleets.clear();
    if (std::atexit([] { finish_living(); }) != 0) throw std::bad_alloc{};
    all.process = os::process_id();
  }
  std::erase_if(all.fleets, [](const auto& each) { return each.expired(); });
  all.fleets.push_back(fleet);
}

inline void Fleet::finish_living() noexcept {
  std::vector<std::weak_ptr<Fleet>> fleets;
  {
    const std::lock_guard lock{process_state().mutex};
    if (LivingFleets::all().process != os::process_id()) return;
    fleets = std::exchange(LivingFleets::all().fleets, {});
  }
  for (const auto& each : fleets) {
    const auto fleet = each.lock();
    if (!fleet) continue;
    try {
      if (fleet->options_.finishes_at_exit) {
        fleet->close();
        fleet->join();
      } else {
        fleet->terminate(os::Signal::terminate);
      }
    } catch (const std::exception& error) {  // exit all the same
      log(LogLevel::error, error.what());
    }
  }
}

}  // namespace multiprocessing::detail
