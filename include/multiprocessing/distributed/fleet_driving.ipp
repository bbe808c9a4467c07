// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file fleet_driving.ipp
/// @brief Who drives the loop, and who waits meanwhile.
#include <multiprocessing/distributed/fleet.hpp>

#include <new>

namespace multiprocessing::detail {

inline bool Fleet::wait(const Receiver* of,
                        const std::function<bool()>& done,
                        const Deadline& deadline,
                        const std::stop_token& stop) {
  if (done()) return true;
  check_process();
  constexpr std::chrono::milliseconds soon{20};  // how soon a stop is seen
  const auto me = std::this_thread::get_id();
  std::unique_lock lock{mutex_};
  const bool is_nested = driver_ == me;  // inside a callback
  bool drives = is_nested;
  while (!done() && !deadline.passed() && !stop.stop_requested()) {
    if (!drives && may_drive()) {
      driver_ = me;
      drives = true;
    }
    if (drives) {
      lock.unlock();
      drive(Deadline{deadline.left(soon)});
      lock.lock();
      if (is_nested || !ends_.load()) continue;
      leave_loop();  // its own thread brings it to its end
      drives = false;
      continue;
    }
    if (driver_ == thread_.get_id()) engine_->wake();  // it makes way
    Follower self;
    self.of = of;
    const auto place = followers_.insert(followers_.end(), &self);
    const auto limit = deadline.left(stop.stop_possible() ? std::chrono::nanoseconds{soon}
                                                          : std::chrono::hours{1});
    self.bell.wait_for(lock, limit, [&] { return self.is_called; });
    followers_.erase(place);
  }
  if (drives ? !is_nested : driver_ == std::thread::id{}) {
    const auto left_at = left_at_;
    leave_loop();
    if (!drives) left_at_ = left_at;  // it may ask again and again without waiting
  }
  lock.unlock();
  return done();
}

inline bool Fleet::may_drive() const noexcept {
  return driver_ == std::thread::id{} && has_loop_ && !ends_.load();
}

/// The mutex is held. Somebody else drives now, if anybody needs it.
inline void Fleet::leave_loop() {
  driver_ = {};
  left_at_ = Clock::now();
  if (ends_.load()) return thread_bell_.notify_one();  // only the fleet's own thread may
  for (Follower* const follower : followers_) {
    if (follower->is_called) continue;
    follower->is_called = true;
    follower->bell.notify_one();
    return;
  }
  if (thread_sleeps_ && (!table_.empty() || listeners_ != 0)) thread_bell_.notify_one();
}

/// Waits for what agents say, on agents_bell_, and runs no callback: the caller may hold what one
/// takes. Inside a callback it drives, for nobody else can.
template <class Done>
void Fleet::listen(std::unique_lock<std::mutex>& lock, const Done& done, const Deadline& deadline) {
  const bool drives = driver_ == std::this_thread::get_id();
  if (!drives) {
    ++listeners_;
    thread_bell_.notify_one();
  }
  while (!done() && !deadline.passed()) {
    if (drives) {
      lock.unlock();
      drive(Deadline{deadline.left(tick)});
      lock.lock();
    } else {
      agents_bell_.wait_for(lock, deadline.left(std::chrono::hours{1}));
    }
  }
  if (!drives) --listeners_;
}

/// What waits to be sent goes on its way: by us, if nobody drives.
inline void Fleet::send_at_once() {
  {
    const std::lock_guard lock{mutex_};
    if (!may_drive()) return engine_->wake();
    driver_ = std::this_thread::get_id();
  }
  try {
    flush();
  } catch (const std::bad_alloc&) {  // whoever drives next sends it
  } catch (const std::exception& error) {
    break_down(error.what());
    ends_.store(true);
  }
  const std::lock_guard lock{mutex_};
  const auto left_at = left_at_;
  leave_loop();
  left_at_ = left_at;  // who only submits does not drive
}

/// @param of whose results have come; null: all are to look.
inline void Fleet::call_followers(const Receiver* of) {
  const std::lock_guard lock{mutex_};
  for (Follower* const follower : followers_) {
    if (of != nullptr && follower->of != nullptr && follower->of != of) continue;
    follower->is_called = true;
    follower->bell.notify_one();
  }
}

/// The fleet's own thread: drives while nobody waits, for agents are to be heard at all times.
inline void Fleet::run() {
  constexpr int most_moments = 8;
  int moments = 0;
  std::unique_lock lock{mutex_};
  while (!ends_.load()) {
    const bool is_awaited = listeners_ != 0 && followers_.empty();  // by those who do not drive
    if (driver_ != std::thread::id{} || (!is_awaited && Clock::now() - left_at_ < moment)) {
      thread_sleeps_ = moments++ == most_moments;
      thread_bell_.wait_for(lock, thread_sleeps_ ? tick : moment);
      if (std::exchange(thread_sleeps_, false)) moments = 0;
      continue;
    }
    moments = 0;
    driver_ = std::this_thread::get_id();
    while (!ends_.load() && followers_.empty()) {
      lock.unlock();
      drive(Deadline{tick});
      lock.lock();
    }
    const auto left_at = left_at_;
    leave_loop();
    if (followers_.empty()) left_at_ = left_at;  // this thread need not make way for itself
  }
  while (driver_ != std::thread::id{}) {
    thread_sleeps_ = true;
    thread_bell_.wait(lock);
    thread_sleeps_ = false;
  }
  driver_ = std::this_thread::get_id();
  lock.unlock();
  close_engine();
}

inline void Fleet::close_engine() {
  resolve_failed();
  engine_->close();
  const std::lock_guard lock{mutex_};
  for (auto& [peer, agent] : agents_) agent.state = Agent::State::gone;
  for (auto& [number, request] : std::exchange(requests_, {})) request->answer.store(0);
  for (Follower* const follower : followers_) {
    follower->is_called = true;
    follower->bell.notify_one();
  }
  has_loop_ = false;
  driver_ = {};
  loop_gone_.notify_all();
  agents_bell_.notify_all();
}

/// What the engine throws ends the fleet.
inline void Fleet::drive(const Deadline& deadline) {
  try {
    step(deadline);
  } catch (const std::bad_alloc&) {
    std::this_thread::sleep_for(tick);  // nothing tells when there is memory again
  } catch (const std::exception& error) {
    break_down(error.what());
    ends_.store(true);
  }
}

}  // namespace multiprocessing::detail
