// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file crew_workers.ipp
/// @brief Workers from their start to their end.
#include <multiprocessing/workers/crew.hpp>

namespace multiprocessing::detail {

/// @throws what BaseProcess::start() throws; the place is as before.
MULTIPROCESSING_INLINE void Crew::start_process(Place& place) {
  WorkerSlot& slot = board_->slot(place.number);
  slot.word.store(0, std::memory_order_relaxed);
  slot.begun.store(0, std::memory_order_relaxed);
  slot.received.store(0, std::memory_order_relaxed);
  slot.maps_tasks.store(0, std::memory_order_relaxed);
  slot.ready.store(0, std::memory_order_seq_cst);
  board_->crash(place.number).clear();
  os::CrashRecorder::prepare();
  std::error_code ec;
  auto ends = os::TwoWayEnd::create(ec);
  if (ec) throw std::system_error{ec, "making a worker's channel"};
  WorkerLink link{place.tasks,  results_,
                  board_,       std::make_shared<DuplexCore>(std::move(ends.second)),
                  place.number, options_.initializer};
  ProcessOptions options;
  options.daemon = true;
  options.start_method = options_.start_method;
  auto worker = std::make_shared<PoolWorker>(std::move(options), std::move(link));
  auto channel = std::make_shared<DuplexCore>(std::move(ends.first));
  const std::string name = worker->name();
  worker->start();
  // Nothing throws from here on: a worker that runs has its place, or nobody would bury it.
  worker->drop_link();

  const Locked lock{mutex_};
  place.process = std::move(worker);
  place.channel = std::move(channel);
  place.state = Place::State::alive;
  place.assigned = 0;
  place.ends = false;
  place.killed = 0;
  place.has_begun = false;
  place.in_channel = 0;
  if (place.stats.pid) ++place.stats.restarts, ++restarts_;
  place.stats.pid = place.process->pid();
  try {
    trace_.worker(*place.stats.pid, place.number, name);
  } catch (const std::bad_alloc&) {  // a line less
  }
}

/// The place is marked as starting.
MULTIPROCESSING_INLINE void Crew::start(Place& place) noexcept {
  std::exception_ptr failure;
  try {
    start_process(place);
  } catch (const std::exception& error) {
    failure = std::current_exception();
    log(LogLevel::warning, [&] { return std::string{"a pool's worker: "} + error.what(); });
  } catch (...) {  // the program's: an initializer that is encoded
    failure = std::current_exception();
  }
  bool is_late = false;
  bool gives_up = false;
  {
    const Locked lock{mutex_};
    is_late = state_ == State::terminated || state_ == State::broken;
    try {
      if (!failure && state_ == State::closed && open_.load() == 0) {
        tell_to_end(place);
      } else if (!failure && !is_late) {
        refill_idle();
        balance(place);
      }
    } catch (const std::exception& error) {  // no memory; the next look at the workers tries again
      log(LogLevel::error, error.what());
    }
    if (failure) {
      place.state = Place::State::vacant;
      place.restart_at = Clock::now() + first_pause * (1U << std::min(place.failures, 7U));
      // While others work, it may succeed later.
      const bool is_alone = std::all_of(places_.begin(), places_.end(), [](const auto& each) {
        return each->state == Place::State::vacant;
      });
      gives_up = ++place.failures > most_starts && is_alone;
    }
  }
  try {
    if (gives_up) break_down("no worker can be started", failure);
    if (is_late) await_end(dismiss(os::Signal::kill));
    if (!failure) register_living(shared_from_this());
  } catch (...) {  // no memory; the next look at the workers tries again
    log_current_exception();
  }
}

/// Which of them have ended.
MULTIPROCESSING_INLINE void Crew::find_dead(std::span<const native_handle_type> sentinels,
                                            std::span<bool> is_dead) {
  const auto ask = [](auto some, auto answers) {
    std::error_code ec;
    static_cast<void>(os::wait_any(some, answers, {}, Deadline{std::chrono::seconds{0}}, ec));
    return ec;
  };
  if (!ask(sentinels, is_dead)) return;
  // All at once may be too many: for the memory, or for the descriptors that a process may have.
  for (std::size_t i = 0; i < sentinels.size(); ++i) {
    const auto ec = ask(sentinels.subspan(i, 1), is_dead.subspan(i, 1));
    if (ec && !std::exchange(is_blind_, true)) {
      log(LogLevel::error,
          [&] { return "a pool cannot see its workers' deaths: " + ec.message(); });
    }
  }
}

/// Driver only.
MULTIPROCESSING_INLINE void Crew::look_after_workers() {
  std::vector<Place*> alive;
  std::vector<native_handle_type> sentinels;
  std::vector<std::shared_ptr<PoolWorker>> held;
  {
    const Locked lock{mutex_};
    if (state_ == State::terminated || state_ == State::broken) return;
    for (const auto& place : places_) {
      if (place->state != Place::State::alive) continue;
      alive.push_back(place.get());
      held.push_back(place->process);
      sentinels.push_back(place->process->sentinel());
    }
  }
  if (!alive.empty()) {
    const std::unique_ptr<bool[]> dead{new bool[alive.size()]{}};
    find_dead(sentinels, {dead.get(), alive.size()});
    for (std::size_t i = 0; i < alive.size(); ++i) {
      if (dead[i]) bury(*alive[i], *held[i]);
    }
  }
  resolve_failed();  // starting others may take long: a fork, of a large process
  std::vector<Place*> due;
  {
    const Locked lock{mutex_};
    if (watches_) watch_limits();
    due = places_to_start();
  }
  for (Place* const place : due) start(*place);
  const Locked lock{mutex_};
  for (const auto& place : places_) end_if_used_up(*place);
  balance_idle();
  refill_all();
}

[[nodiscard]] inline std::string end_text(int code) {
  return code < 0
             ? "was ended by " + os::signal_name(-code) + " (signal " + std::to_string(-code) + ")"
             : "exited with code " + std::to_string(code);
}

/// Whether some worker got as far as taking tasks. The mutex is held.
[[nodiscard]] inline bool Crew::works_somewhere() const {
  return std::any_of(places_.begin(), places_.end(), [this](const auto& each) {
    return each->state == Place::State::alive &&
           board_->slot(each->number).ready.load(std::memory_order_seq_cst) != 0;
  });
}

/// A worker has ended: what it had begun is lost, what it had not goes to others. Driver only.
MULTIPROCESSING_INLINE void Crew::bury(Place& place, PoolWorker& worker) {
  constexpr std::chrono::seconds long_enough{5};  // a debugger may see its end first
  if (!worker.join(long_enough)) return;
  const int code = worker.exitcode().value_or(unknown_exit_code);
  const std::string death = "worker " + worker.name() + " (pid " +
                            std::to_string(worker.pid().value_or(0)) + ") " + end_text(code);
  const auto crash = crash_words(board_->crash(place.number), code);
  std::vector<std::byte> message;
  for (std::size_t left = results_->qsize(); left > 0; --left) {  // all that it has said
    ResultHeader header;
    // A worker that is inside, stopped perhaps, has the lock: what this one said is not lost.
    if (!take_result(header, message, Deadline{grace})) return;
  }
  bool gives_up = false;
  const bool expected = [&] {
    const Locked lock{mutex_};
    if (place.state != Place::State::alive || place.process.get() != &worker) return true;
    const bool was_ready = board_->slot(place.number).ready.load(std::memory_order_seq_cst) != 0;
    place.state = Place::State::vacant;  // or take_back() writes to a worker that is no more
    try {
      take_back(place, no_limit);
    } catch (...) {  // no memory: the next look at the workers goes on
      place.state = Place::State::alive;
      throw;
    }
    // One that was told to end may still die before it does, of its initializer or of its last
    // task.
    const bool is_expected = place.killed != 0 || (place.ends && code == 0 && place.sent.empty());
    // What is not in the ring any more was in its hands.
    try {
      while (!place.sent.empty()) {
        lose(place, place.sent.front().id, death, crash);
        place.sent.pop_front();
        place.has_begun = true;
      }
    } catch (...) {
      place.state = Place::State::alive;
      throw;
    }
    place.sent_bytes = 0;
    place.tasks->take_from_the_dead();
    results_->take_from_the_dead();
    place.process.reset();
    place.channel.reset();
    // One that began a task has cost a task: that comes to an end.
    if (place.killed == 0 && !place.has_begun && !(is_expected && was_ready)) {
      place.restart_at = Clock::now() + first_pause * (1U << std::min(place.failures, 7U));
      gives_up = ++place.failures > most_failures && !was_ready && !works_somewhere();
    } else {
      place.failures = 0;
    }
    return is_expected;
  }();
  log(LogLevel::info, death);
  if (gives_up) {
    break_down("workers end before they begin: " + death, {}, crash);
  } else if (options_.breaks_on_death && !expected) {
    break_down(death, {}, crash);
  }
}

[[nodiscard]] inline std::string Crew::describe(std::uint64_t task) {
  const TaskTable::Entry* const entry = table_.find(task);
  const std::string number = "task " + std::to_string(static_cast<std::uint32_t>(task >> 32U));
  return entry == nullptr ? number
                          : number + ", a call of " + std::string{codes_[entry->code].name};
}

/// A task that died with its worker. The mutex is held.
MULTIPROCESSING_INLINE void Crew::lose(Place& place,
                                       std::uint64_t task,
                                       const std::string& death,
                                       const std::function<std::string()>& crash) {
  TaskTable::Entry* const entry = table_.find(task);
  if (entry == nullptr) return;
  const bool was_killed = place.killed == task;
  if (!was_killed && entry->extra && entry->extra->retries_left > 0) {
    waiting_.push_front({task, entry->extra->arguments});
    --entry->extra->retries_left;
    entry->place = TaskTable::nowhere;
    return;
  }
  const std::string what = describe(task);
  if (!was_killed) {
    fail_later(task,
               std::make_exception_ptr(BrokenProcessPool{death + " while it ran " + what, crash}),
               false);
  } else if (place.killed_for_time) {
    fail_later(task,
               std::make_exception_ptr(TimeoutError{what + ", ran longer than it may; " + death}),
               false);
  } else {
    fail_later(task, std::make_exception_ptr(CancelledError{what + ", was killed; " + death}),
               true);
  }
}

/// The mutex is held.
MULTIPROCESSING_INLINE void Crew::watch_limits() {
  const auto now = Clock::now();
  const std::int64_t nanoseconds = now_in_nanoseconds();
  for (const auto& place : places_) {
    if (place->state != Place::State::alive) continue;
    if (place->killed != 0) {
      if (now >= place->kill_at) place->process->kill();
      continue;
    }
    const WorkerSlot& slot = board_->slot(place->number);
    const std::uint64_t task = slot.word.load(std::memory_order_seq_cst) / 2;
    const TaskTable::Entry* const entry = table_.find(task);
    if (entry == nullptr || !entry->extra || entry->extra->timeout.is_forever()) continue;
    if (nanoseconds - slot.begun.load(std::memory_order_relaxed) >=
        entry->extra->timeout.value().count()) {
      condemn(*place, task, true);
    }
  }
}

/// Ends a worker because of the task that it runs. The mutex is held.
/// @returns false: it runs that task no more.
MULTIPROCESSING_INLINE bool Crew::condemn(Place& place, std::uint64_t task, bool for_time) {
  if (place.state != Place::State::alive) return false;
  std::uint64_t word = WorkerSlot::word_for(task);
  if (!board_->slot(place.number)
           .word.compare_exchange_strong(word, word | WorkerSlot::condemned)) {
    return word == (WorkerSlot::word_for(task) | WorkerSlot::condemned);
  }
  place.killed = task;
  place.killed_for_time = for_time;
  place.kill_at = Clock::now() + grace;
  watches_ = true;
  place.process->terminate();
  return true;
}

/// The pool can do no more work: everything fails.
MULTIPROCESSING_INLINE void Crew::break_down(const std::string& why,
                                             const std::exception_ptr& because,
                                             const std::function<std::string()>& crash) {
  std::string text = std::string{options_.name} + " is broken: " + why;
  if (because) {
    try {
      std::rethrow_exception(because);
    } catch (const std::exception& error) {
      text += std::string{": "} + error.what();
    } catch (...) {
      text += ": something that is no std::exception";
    }
  }
  {
    const Locked lock{mutex_};
    if (state_ == State::broken || state_ == State::terminated) return;
    why_broken_ = BrokenProcessPool{text, crash};
    state_ = State::broken;
    fail_all_later([&] { return with_nested(why_broken_, because); }, false);
  }
  log(LogLevel::error, text);
  const Workers workers = dismiss(os::Signal::terminate);
  resolve_failed();  // one may not end when it is asked to, or be stopped
  await_end(workers);
}

template <class Act>
void Crew::with_each(const Workers& workers, const Act& act) {
  for (const auto& worker : workers) {
    try {
      act(*worker);
    } catch (const std::system_error& error) {  // no right to end it
      log(LogLevel::error, error.what());
    }
  }
}

/// The crew has no workers any more; they are asked to end. Those of an earlier call too: who made
/// it may not have come to force them, but be in a callback.
MULTIPROCESSING_INLINE Crew::Workers Crew::dismiss(os::Signal first) {
  Workers workers;
  {
    const Locked lock{mutex_};
    for (const auto& place : places_) {
      if (!place->process) continue;
      workers.push_back(place->process);
      place->state = Place::State::vacant;
      place->sent.clear();
      place->channel.reset();
    }
  }
  with_each(workers, [first](PoolWorker& worker) {
    first == os::Signal::kill ? worker.kill() : worker.terminate();
  });
  return workers;
}

/// They end: after half a second they are forced to.
MULTIPROCESSING_INLINE void Crew::await_end(const Workers& workers) {
  Deadline deadline{asked};
  with_each(workers, [&](PoolWorker& worker) {
    if (!worker.join(deadline.left(asked))) worker.kill();
  });
  deadline = Deadline{forced};
  with_each(workers, [&](PoolWorker& worker) { worker.join(deadline.left(forced)); });
}

}  // namespace multiprocessing::detail
