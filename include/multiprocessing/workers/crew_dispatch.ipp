// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file crew_dispatch.ipp
/// @brief How tasks get to workers, and back.
#include <multiprocessing/workers/crew.hpp>

namespace multiprocessing::detail {

/// @param definition null: nobody has asked for it. @returns none: it is needed.
MULTIPROCESSING_INLINE std::optional<std::uint32_t> Crew::number_of(
    const Code& code, const std::vector<std::byte>* definition) {
  if (const auto known = numbers_.find(code); known != numbers_.end()) return known->second;
  if (definition == nullptr) return std::nullopt;
  const std::uint64_t page = board_->write(*definition);
  const auto number = static_cast<std::uint32_t>(codes_.size());
  codes_.resize(number);  // of the two, one may have grown and then there was no memory
  pages_.resize(number);
  pages_.push_back(page);
  codes_.push_back(code);
  numbers_.emplace(code, number);
  return number;
}

MULTIPROCESSING_INLINE void Crew::check_running() const {
  if (state_ == State::broken) throw BrokenProcessPool{why_broken_};
  if (state_ != State::running) {
    throw std::invalid_argument{std::string{options_.name} +
                                " not running: it was closed, shut "
                                "down or terminated"};
  }
}

MULTIPROCESSING_INLINE void Crew::check_takes_tasks() {
  check_process();
  const Locked lock{mutex_};
  check_running();
}

MULTIPROCESSING_INLINE std::uint64_t Crew::submit(const NewTask& task) {
  check_process();
  if (task.options->max_memory != 0 && !os::MemoryLimit::is_available()) {
    throw std::invalid_argument{
        "TaskOptions::max_memory: this system cannot limit the memory of a "
        "task"};
  }
  if (const std::uint64_t id = submit(task, nullptr); id != 0) return id;
  // Without the mutex: it may call the program, which may ask the pool.
  const std::vector<std::byte> definition = task.code->define(*task.code);
  return submit(task, &definition);
}

/// @returns 0: its code is new, and needs the definition.
MULTIPROCESSING_INLINE std::uint64_t Crew::submit(const NewTask& task,
                                                  const std::vector<std::byte>* definition) {
  std::vector<Place*> to_start;
  std::uint64_t id = 0;
  {
    const Locked lock{mutex_};
    check_running();
    const std::optional<std::uint32_t> code = number_of(*task.code, definition);
    if (!code) return 0;
    TaskTable::Entry& entry = table_.add();
    id = entry.id;
    try {
      entry.receiver = task.receiver;
      entry.part = task.part;
      entry.code = *code;
      const bool has_handles = task.transit != nullptr && !task.transit->objects().empty();
      const TaskOptions& options = *task.options;
      const bool has_limits = !options.timeout.is_forever() || options.max_memory != 0;
      if (has_handles || has_limits || options.retries != 0) {
        entry.extra = std::make_unique<TaskTable::Extra>();
        entry.extra->timeout = options.timeout;
        entry.extra->max_memory = options.max_memory;
        entry.extra->retries_left = options.retries;
        if (options.retries != 0) {
          entry.extra->arguments.assign(task.arguments.begin(), task.arguments.end());
        }
        if (has_handles) entry.extra->transit = std::move(*task.transit);
        watches_ = watches_ || has_limits;
      }
      Place* const place = waiting_.empty() ? place_for_one() : nullptr;
      if (place == nullptr || !hand_out(*place, entry, task.arguments)) {
        waiting_.push_back({id, {task.arguments.begin(), task.arguments.end()}});
      }
    } catch (...) {
      table_.take(id);
      throw;
    }
    open_.fetch_add(1, std::memory_order_relaxed);
    try {
      if (options_.on_demand) to_start = places_to_start();
    } catch (const std::bad_alloc&) {  // the task is handed out: the next look starts them
    }
    if (background_sleeps_ && driver_ == std::thread::id{}) background_bell_.notify_one();
  }
  if (to_start.empty()) return id;
  const auto self = shared_from_this();  // a start that fails may call back, and that may end this
  for (Place* const place : to_start) start(*place);
  return id;
}

MULTIPROCESSING_INLINE bool Crew::accepts(const Place& place) const {
  return place.state == Place::State::alive && !place.ends && place.killed == 0 &&
         place.sent.size() < ahead && place.sent_bytes < ahead_bytes &&
         (options_.tasks_per_worker == 0 || place.assigned < options_.tasks_per_worker);
}

/// Whether its worker takes tasks: its initializer has returned.
MULTIPROCESSING_INLINE bool Crew::is_ready(const Place& place) const {
  return board_->slot(place.number).ready.load(std::memory_order_relaxed) != 0;
}

MULTIPROCESSING_INLINE Crew::Place* Crew::place_for_one() {
  Place* best = nullptr;
  for (const auto& place : places_) {
    if (!accepts(*place)) continue;
    if (place->sent.empty() && is_ready(*place)) return place.get();
    if (best == nullptr || place->sent.size() < best->sent.size()) best = place.get();
  }
  return best;
}

/// @returns false: its channel has no room now.
MULTIPROCESSING_INLINE bool Crew::hand_out(Place& place,
                                           TaskTable::Entry& entry,
                                           std::span<const std::byte> arguments) {
  TaskHeader header;
  header.id = entry.id;
  header.code = entry.code;
  header.page = pages_[entry.code];
  if (entry.extra) {
    TaskTable::Extra& extra = *entry.extra;
    header.max_memory = extra.max_memory;
    if (!extra.transit.objects().empty()) {
      const auto message = channel_message(entry.id, extra.transit);
      try {
        if (!place.channel->send({0, message, extra.transit.departing(), place.process->sentinel()},
                                 Deadline{std::chrono::seconds{0}})) {
          return false;
        }
      } catch (const std::system_error& error) {  // the worker has ended, which is not seen yet
        if (error.code() != std::errc::broken_pipe && error.code() != std::errc::connection_reset) {
          throw;
        }
        return false;
      }
      header.in_channel = ++place.in_channel;
    }
  }
  place.sent.push_back({entry.id, arguments.size()});
  try {
    put(place, header, arguments);
  } catch (...) {
    place.sent.pop_back();
    throw;
  }
  place.sent_bytes += arguments.size();
  entry.place = place.number;
  ++place.assigned;
  end_if_used_up(place);
  return true;
}

MULTIPROCESSING_INLINE void Crew::put(Place& place,
                                      const TaskHeader& header,
                                      std::span<const std::byte> arguments) {
  const bool maps = board_->slot(place.number).maps_tasks.load(std::memory_order_relaxed) != 0;
  put_message(place.tasks, sizeof header + arguments.size(), maps, [&](std::byte* to) {
    std::memcpy(to, &header, sizeof header);
    if (!arguments.empty()) std::memcpy(to + sizeof header, arguments.data(), arguments.size());
  });
}

MULTIPROCESSING_INLINE void Crew::tell_to_end(Place& place) {
  if (place.state != Place::State::alive || place.ends) return;
  TaskHeader header;
  header.flags = TaskHeader::end;
  put(place, header, {});
  place.ends = true;
}

/// A worker that has had as many tasks as it may is to end. If there is no memory to tell it, the
/// next look at the workers does.
MULTIPROCESSING_INLINE void Crew::end_if_used_up(Place& place) noexcept {
  if (options_.tasks_per_worker == 0 || place.assigned < options_.tasks_per_worker) return;
  try {
    tell_to_end(place);
  } catch (const std::exception& error) {
    log(LogLevel::error, error.what());
  }
}

/// What waits goes to this worker, as far as it takes it.
MULTIPROCESSING_INLINE void Crew::refill(Place& place, std::size_t most) {
  for (; most > 0 && !waiting_.empty() && accepts(place); --most) {
    Waiting& next = waiting_.front();
    TaskTable::Entry* const entry = table_.find(next.id);
    if (entry != nullptr) {  // else it was cancelled
      try {
        if (!hand_out(place, *entry, next.arguments)) return;
      } catch (const std::exception&) {  // no memory for it
        fail_later(next.id, std::current_exception(), false);
      }
    } else if (stale_ > 0) {
      --stale_;
    }
    waiting_.pop_front();
  }
}

/// Those that can begin at once.
MULTIPROCESSING_INLINE void Crew::refill_idle() {
  for (const auto& place : places_) {
    if (waiting_.empty()) return;
    if (place->sent.empty() && is_ready(*place)) refill(*place);
  }
}

MULTIPROCESSING_INLINE void Crew::refill_all() noexcept {
  try {
    refill_idle();
    for (const auto& place : places_) {
      if (waiting_.empty()) return;
      if (place->sent.empty()) refill(*place);
    }
    for (const auto& place : places_) {
      if (waiting_.empty()) return;
      refill(*place);
    }
  } catch (...) {  // no memory; the next look at the workers tries again
    log_current_exception();
  }
}

/// A worker with nothing to do gets what waits, or half of what another one has not begun.
/// @param least how many that one must have, begun ones too: with 1, the only task is taken from
/// one that does not come to it.
MULTIPROCESSING_INLINE void Crew::balance(Place& idle, std::size_t least) {
  if (waiting_.empty() && !table_.empty() && accepts(idle)) {
    Place* longest = nullptr;
    std::size_t most = 0;
    for (const auto& place : places_) {
      if (place.get() == &idle || place->sent.size() < least) continue;
      const std::uint64_t begun =
          board_->slot(place->number).word.load(std::memory_order_seq_cst) / 2;
      const std::size_t free = place->sent.size() - (place->sent.front().id == begun ? 1 : 0);
      if (free > most) {
        most = free;
        longest = place.get();
      }
    }
    if (longest != nullptr) {
      const std::size_t half = (most + 1) / 2;
      // What tells it to end lies behind its last task: it is told anew, behind the new last one.
      take_back(*longest, longest->ends ? no_limit : half);
      refill(idle, half);
      return refill(*longest);
    }
  }
  refill(idle);
}

/// The workers that have nothing to do, and were refused when they asked: another one was just
/// inside its ring.
MULTIPROCESSING_INLINE void Crew::balance_idle() noexcept {
  try {
    for (const auto& place : places_) {
      if (place->sent.empty() && is_ready(*place)) balance(*place, 1);
    }
  } catch (...) {  // no memory; the next look tries again
    log_current_exception();
  }
}

/// Takes tasks that are not begun out of a worker's ring; they go to the front of what waits.
/// Waits for nobody: while the worker is just taking one, nothing is taken.
/// @returns how many.
MULTIPROCESSING_INLINE std::size_t Crew::take_back(Place& place, std::size_t most) {
  std::size_t taken = 0;
  std::uint64_t in_channel = 0;
  const std::uint64_t begun = board_->slot(place.number).word.load(std::memory_order_seq_cst) / 2;
  bool was_told_to_end = false;
  const auto take = [&](std::span<const std::byte> message) {
    const auto header = take_header<TaskHeader>(message);
    // A worker that died before the ring knew that it had taken this has begun it: it stays among
    // what was sent there, and is lost with it.
    if ((header.flags & (TaskHeader::end | TaskHeader::pass_over)) == 0 && header.id != begun) {
      put_back(place, header.id, message, taken);
      ++taken;
    }
    if (header.in_channel != 0) in_channel = header.in_channel;
    if ((header.flags & TaskHeader::end) != 0) was_told_to_end = true;
  };
  std::exception_ptr failure;
  try {
    while (taken < most && place.tasks->get(take, Deadline{std::chrono::seconds{0}})) {
    }
  } catch (...) {  // no memory: the next one has stayed in the ring
    failure = std::current_exception();
  }
  if (place.state == Place::State::alive) {
    if (was_told_to_end) place.ends = false;
    if (in_channel != 0) {
      TaskHeader header;
      header.flags = TaskHeader::pass_over;
      header.in_channel = in_channel;
      put(place, header, {});
    }
    // It may have been told because it had had all its tasks, some of which others do now.
    if (was_told_to_end) table_.empty() ? tell_to_end(place) : end_if_used_up(place);
  }
  if (failure) std::rethrow_exception(failure);
  return taken;
}

/// Books a task that is about to leave a worker's ring: all of it, or nothing and it throws.
/// @param position among what waits.
MULTIPROCESSING_INLINE void Crew::put_back(Place& place,
                                           std::uint64_t task,
                                           std::span<const std::byte> arguments,
                                           std::size_t position) {
  waiting_.insert(waiting_.begin() + static_cast<std::ptrdiff_t>(position),
                  Waiting{task, {arguments.begin(), arguments.end()}});
  const auto sent = std::find_if(place.sent.begin(), place.sent.end(),
                                 [&](const auto& each) { return each.id == task; });
  if (sent != place.sent.end()) {
    place.sent_bytes -= sent->size;
    place.sent.erase(sent);
  }
  if (place.assigned > 0) --place.assigned;
  if (TaskTable::Entry* const entry = table_.find(task)) entry->place = TaskTable::nowhere;
}

/// Its receiver is told by resolve_failed().
MULTIPROCESSING_INLINE void Crew::fail_later(std::uint64_t task,
                                             std::exception_ptr error,
                                             bool is_cancelled) {
  make_room_for_one(failed_);
  failed_.push_back({table_.take(task), std::move(error), is_cancelled});
  has_failed_ = true;
}

MULTIPROCESSING_INLINE void Crew::cancel_later(std::uint64_t task, const std::string& why) {
  fail_later(task, std::make_exception_ptr(CancelledError{why}), true);
}

MULTIPROCESSING_INLINE void Crew::fail_all_later(
    const std::function<std::exception_ptr()>& make_error, bool is_cancelled) {
  has_failed_ = true;
  const auto error_or_why_not = [&]() noexcept {
    try {
      return make_error();
    } catch (...) {
      return std::current_exception();
    }
  };
  try {
    failed_.reserve(failed_.size() + table_.size());
    for (auto& entry : table_.take_all()) {
      failed_.push_back({std::move(entry), error_or_why_not(), is_cancelled});
    }
  } catch (const std::bad_alloc&) {  // resolve_failed() takes them one by one
  }
  waiting_.clear();
  stale_ = 0;
  for (const auto& place : places_) {
    place->sent.clear();
    place->sent_bytes = 0;
  }
}

/// What tasks fail with that were open when it ended.
MULTIPROCESSING_INLINE std::exception_ptr Crew::why_ended() const noexcept {
  try {
    if (state_ == State::broken) return std::make_exception_ptr(BrokenProcessPool{why_broken_});
    return std::make_exception_ptr(CancelledError{std::string{options_.name} + " was terminated"});
  } catch (...) {
    return std::current_exception();
  }
}

/// The places where a worker is to be started now; they are marked so, unless it throws.
MULTIPROCESSING_INLINE std::vector<Crew::Place*> Crew::places_to_start() {
  if (state_ != State::running && (state_ != State::closed || table_.empty())) return {};
  std::vector<Place*> due;
  std::size_t working = 0;
  if (options_.on_demand) {
    for (const auto& place : places_) {
      if (place->state == Place::State::vacant) continue;
      if (accepts(*place) && place->sent.empty()) return {};
      if (!place->ends) ++working;
    }
  }
  for (const auto& place : places_) {
    if (options_.on_demand && working >= table_.size()) break;
    if (place->state != Place::State::vacant) continue;
    if (place->failures != 0 && Clock::now() < place->restart_at) continue;
    if (due.empty()) due.reserve(places_.size());
    place->state = Place::State::starting;
    due.push_back(place.get());
    ++working;
  }
  return due;
}

}  // namespace multiprocessing::detail
