// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file crew_ends.ipp
/// @brief A crew's beginning and its ends.
#include <multiprocessing/workers/crew.hpp>

#include <cstdlib>

namespace multiprocessing::detail {

MULTIPROCESSING_INLINE Crew::Crew(CrewOptions options)
    : options_{std::move(options)},
      forks_{process_state().forks},
      results_{Ring::create(0)},
      board_{Board::create(options_.workers)},
      trace_{options_.trace} {
  os::install_fork_handlers();  // which count
  for (std::uint32_t number = 0; number < options_.workers; ++number) {
    places_.push_back(std::make_unique<Place>());
    places_.back()->number = number;
    places_.back()->tasks = Ring::create(0);
  }
}

MULTIPROCESSING_INLINE std::shared_ptr<Crew> Crew::create(CrewOptions options) {
  std::shared_ptr<Crew> crew{new Crew{std::move(options)}};
  if (crew->options_.on_demand) return crew;
  try {
    for (const auto& place : crew->places_) crew->start_process(*place);
    register_living(crew);
  } catch (...) {
    crew->terminate();
    throw;
  }
  return crew;
}

MULTIPROCESSING_INLINE Crew::~Crew() {
  if (!background_.joinable()) return;
  // The thread may be what held the last reference.
  if (background_.get_id() == std::this_thread::get_id()) {
    background_.detach();
  } else {
    background_.join();
  }
}

MULTIPROCESSING_INLINE void Crew::check_process() const {
  if (is_ours()) return;
  throw std::logic_error{std::string{options_.name} +
                         " belongs to another process: make one in this process"};
}

MULTIPROCESSING_INLINE void Crew::close() {
  check_process();
  const Locked lock{mutex_};
  if (state_ != State::running) return;
  state_ = State::closed;
  if (open_.load() != 0) return;
  for (const auto& place : places_) tell_to_end(*place);
}

MULTIPROCESSING_INLINE bool Crew::join(const Deadline& deadline, const std::stop_token& stop) {
  check_process();
  {
    const Locked lock{mutex_};
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
  if (!stop_background(stop.stop_requested() ? Deadline{std::chrono::seconds{0}} : deadline)) {
    return false;
  }
  if (!join_workers(deadline, stop)) return false;
  const Locked lock{mutex_};
  trace_.finish();
  return true;
}

/// Nothing is left to do: the workers end by themselves.
/// @returns false: that took too long, or `stop` was requested.
MULTIPROCESSING_INLINE bool Crew::join_workers(const Deadline& deadline,
                                               const std::stop_token& stop) {
  Workers workers;
  Workers dismissed;
  {
    const Locked lock{mutex_};
    for (const auto& place : places_) {
      if (place->state == Place::State::alive) {
        tell_to_end(*place);
        workers.push_back(place->process);
      } else if (place->process) {
        dismissed.push_back(place->process);
      }
    }
  }
  const auto moment = stop.stop_possible() ? std::chrono::nanoseconds{tick} : std::chrono::hours{1};
  const auto have_ended = [&](const Workers& some, const Deadline& limit) {
    for (const auto& worker : some) {
      while (!worker->join(limit.left(deadline.left(moment)))) {
        if (deadline.passed() || stop.stop_requested()) return false;
        if (limit.passed()) break;
      }
    }
    return true;
  };
  if (!have_ended(workers, Deadline{forever}) || !have_ended(dismissed, Deadline{asked + forced})) {
    return false;
  }
  const Locked lock{mutex_};
  for (const auto& place : places_) {
    if (place->state != Place::State::alive) continue;
    place->state = Place::State::vacant;
    place->process.reset();
    place->channel.reset();
  }
  return true;
}

MULTIPROCESSING_INLINE void Crew::terminate(os::Signal first) {
  check_process();
  {
    const Locked lock{mutex_};
    if (state_ != State::broken) state_ = State::terminated;
    fail_all_later(
        [this] {
          const std::string text = std::string{options_.name} + " was terminated";
          return std::make_exception_ptr(CancelledError{text});
        },
        true);
  }
  await_end(dismiss(first));
  resolve_failed();  // callbacks may wait for each other's results
  stop_background();
  const Locked lock{mutex_};
  trace_.finish();
}

MULTIPROCESSING_INLINE void Crew::retire() {
  check_process();
  const Locked lock{mutex_};
  is_retired_ = true;
  background_bell_.notify_one();
}

/// Waits until the background thread has gone, but not for a callback that does not return.
/// @returns false: the deadline came first. The thread ends all the same.
MULTIPROCESSING_INLINE bool Crew::stop_background(const Deadline& deadline) {
  constexpr std::chrono::seconds longest{2};
  std::thread thread;
  {
    std::unique_lock lock{mutex_};
    background_ends_ = true;
    background_bell_.notify_one();
    if (!background_.joinable()) return true;  // there was none, or another call has it
    const bool is_itself = background_.get_id() == std::this_thread::get_id();
    const bool has_gone =
        !is_itself && background_gone_.wait_for(lock, deadline.left(longest),
                                                [this] { return !has_background_; });
    if (!background_.joinable()) return true;  // likewise, meanwhile
    if (!has_gone && !is_itself && deadline.passed()) return false;
    thread = std::move(background_);
    if (!has_gone) {
      thread.detach();
      return true;
    }
  }
  thread.join();
  return true;
}

MULTIPROCESSING_INLINE PoolStats Crew::stats() {
  check_process();
  const Locked lock{mutex_};
  PoolStats all;
  all.done = done_;
  all.failed = failures_;
  all.restarts = restarts_;
  for (const auto& place : places_) {
    all.workers.push_back(place->stats);
    if (place->state != Place::State::alive) {
      all.workers.back().pid.reset();
      continue;
    }
    const auto word = board_->slot(place->number).word.load(std::memory_order_seq_cst);
    if (table_.find(word / 2) != nullptr) ++all.running;
  }
  all.queued = table_.size() - std::min(all.running, table_.size());
  return all;
}

// ---- crews at the end of the program ----

/// The crews of one process that this module made; the state's mutex guards it.
struct LivingCrews {
  int process = 0;
  std::vector<std::weak_ptr<Crew>> crews;

  static LivingCrews& all() {
    static auto& one = *new LivingCrews;  // exit handlers use it
    return one;
  }
};

/// Its exit handler runs before the one that waits for all children, so it comes after that: a
/// worker has been started.
MULTIPROCESSING_INLINE void Crew::register_living(const std::shared_ptr<Crew>& crew) {
  LivingCrews& all = LivingCrews::all();
  const std::lock_guard lock{process_state().mutex};
  if (all.process != os::process_id()) {
    all.crews.clear();
    if (std::atexit([] { finish_living(); }) != 0) throw std::bad_alloc{};
    all.process = os::process_id();
  }
  std::erase_if(all.crews, [](const auto& each) { return each.expired(); });
  for (const auto& each : all.crews) {
    if (!each.owner_before(crew) && !crew.owner_before(each)) return;
  }
  all.crews.push_back(crew);
}

MULTIPROCESSING_INLINE void Crew::finish_living() noexcept {
  std::vector<std::weak_ptr<Crew>> crews;
  {
    const std::lock_guard lock{process_state().mutex};
    if (LivingCrews::all().process != os::process_id()) return;
    crews = std::exchange(LivingCrews::all().crews, {});
  }
  for (const auto& each : crews) {
    const auto crew = each.lock();
    if (!crew) continue;
    try {
      if (crew->options_.on_demand) {
        crew->close();
        crew->join();
      } else {
        crew->terminate();
      }
    } catch (const std::exception& error) {  // exit all the same
      log(LogLevel::error, error.what());
    }
  }
}

}  // namespace multiprocessing::detail
