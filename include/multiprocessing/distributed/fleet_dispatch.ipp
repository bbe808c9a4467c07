// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file fleet_dispatch.ipp
/// @brief How tasks get to agents, and back.
#include <multiprocessing/distributed/fleet.hpp>

#include <algorithm>
#include <new>

namespace multiprocessing::detail {

inline std::uint32_t Fleet::number_of(const Code& code) {
  if (const auto known = numbers_.find(code); known != numbers_.end()) return known->second;
  os::install_fork_handlers();  // no child is to begin with the loader's lock held by us
  auto definition = code.define(code);
  const auto number = static_cast<std::uint32_t>(codes_.size());
  codes_.push_back({code, std::move(definition)});
  numbers_.emplace(code, number);
  return number;
}

inline void Fleet::check_running() const {
  if (state_ == State::broken) throw BrokenProcessPool{why_broken_};
  if (state_ != State::running) {
    throw std::invalid_argument{std::string{options_.name} +
                                " not running: it was closed, shut down or terminated"};
  }
}

inline void Fleet::check_takes_tasks() {
  check_process();
  const std::lock_guard lock{mutex_};
  check_running();
}

inline std::vector<std::byte> Fleet::task_message(const NewTask& task,
                                                  std::uint64_t id,
                                                  std::uint32_t code) {
  const CodeLine& line = codes_[code];
  TaskFrame frame;
  frame.id = id;
  if (!task.options->timeout.is_forever()) frame.timeout = task.options->timeout.value().count();
  frame.max_memory = task.options->max_memory;
  frame.code_size = static_cast<std::uint32_t>(line.definition.size());
  frame.name_size = static_cast<std::uint32_t>(line.code.name.size());
  std::vector<std::byte> message;
  reserve_for_all(message, sizeof(MessageTo) + sizeof frame + line.definition.size() +
                               line.code.name.size() + task.arguments.size());
  put_header(message, MessageTo::task);
  put_header(message, frame);
  message.insert(message.end(), line.definition.begin(), line.definition.end());
  const auto name = std::as_bytes(std::span{line.code.name});
  message.insert(message.end(), name.begin(), name.end());
  message.insert(message.end(), task.arguments.begin(), task.arguments.end());
  return message;
}

inline std::uint64_t Fleet::submit(const NewTask& task) {
  check_process();
  if (task.transit != nullptr && !task.transit->objects().empty()) {
    throw SerializationError{
        "queues, connections, locks and other shared objects live in the memory of one machine: "
        "they cannot be arguments of a task that may run on another"};
  }
  std::uint64_t id = 0;
  {
    const std::lock_guard lock{mutex_};
    check_running();
    const std::uint32_t code = number_of(*task.code);
    TaskTable::Entry& entry = table_.add();
    id = entry.id;
    try {
      entry.receiver = task.receiver;
      entry.part = task.part;
      entry.code = code;
      auto message = task_message(task, id, code);
      const unsigned retries =
          task.options->retries != 0 ? task.options->retries : options_.retries;
      if (retries != 0) {
        entry.extra = std::make_unique<TaskTable::Extra>();
        entry.extra->retries_left = retries;
        entry.extra->arguments = message;
      }
      waiting_.push_back({id, std::move(message)});
    } catch (...) {
      table_.take(id);
      throw;
    }
    open_.fetch_add(1, std::memory_order_relaxed);
  }
  send_at_once();
  return id;
}

/// How many tasks an agent may have: one for each worker and, of short ones, some more, so that
/// none waits for the next while its result travels.
inline std::size_t Fleet::window(const Agent& agent, bool ahead) noexcept {
  const std::size_t workers = agent.status.workers;
  if (!ahead || agent.pace == 0) return workers;
  return workers + workers * std::min<std::size_t>(worth_ahead / agent.pace, most_ahead);
}

inline void Fleet::refill(Agent& agent, bool ahead) {
  const std::size_t most = window(agent, ahead);
  while (!waiting_.empty() && agent.sent.size() < most) {
    if (agent.sent.size() >= agent.status.workers && agent.sent_bytes > most_bytes_ahead) return;
    Waiting& next = waiting_.front();
    TaskTable::Entry* const entry = table_.find(next.id);
    if (entry != nullptr) {          // else it was cancelled
      make_room_for_one(outgoing_);  // what may throw comes first
      agent.sent.emplace(next.id, next.message.size());
      entry->place = agent.peer;
      agent.sent_bytes += next.message.size();
      outgoing_.push_back({agent.peer, std::move(next.message)});
    }
    waiting_.pop_front();
  }
}

/// First everybody's workers get something to do, then something to go on with.
inline void Fleet::hand_out() {
  for (const bool ahead : {false, true}) {
    for (auto& [peer, agent] : agents_) {
      if (waiting_.empty()) return;
      if (agent.state == Agent::State::ready && !agent.was_told_to_leave) refill(agent, ahead);
    }
  }
}

/// Its receiver is told by resolve_failed().
inline void Fleet::fail_later(std::uint64_t task, std::exception_ptr error, bool is_cancelled) {
  make_room_for_one(failed_);
  failed_.push_back({table_.take(task), std::move(error), is_cancelled});
}

/// @returns the one that there is, where there is no memory for another one.
template <class Make>
std::exception_ptr one_more(const Make& make_error, const std::exception_ptr& spare) noexcept try {
  return make_error();
} catch (const std::bad_alloc&) {
  return spare;
}

inline void Fleet::fail_all_later(const std::function<std::exception_ptr()>& make_error,
                                  bool is_cancelled) {
  failed_.reserve(failed_.size() + table_.size());
  const std::exception_ptr spare = make_error();  // what may throw comes first
  for (auto& entry : table_.take_all()) {
    failed_.push_back({std::move(entry), one_more(make_error, spare), is_cancelled});
  }
  waiting_.clear();
  for (auto& [peer, agent] : agents_) {
    agent.sent.clear();
    agent.sent_bytes = 0;
  }
}

/// A task whose worker or agent is lost. @returns false: it may not be tried again, or there is no
/// memory for it.
inline bool Fleet::try_again(std::uint64_t task) try {
  TaskTable::Entry* const entry = table_.find(task);
  if (entry == nullptr || !entry->extra || entry->extra->retries_left == 0) return false;
  if (state_ != State::running && state_ != State::closed) return false;
  TaskTable::Extra& extra = *entry->extra;
  const bool is_last = extra.retries_left == 1;
  waiting_.push_front({task, is_last ? std::move(extra.arguments) : extra.arguments});
  --extra.retries_left;
  entry->place = TaskTable::nowhere;
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

inline std::string Fleet::describe(std::uint64_t task) const {
  const TaskTable::Entry* const entry = const_cast<TaskTable&>(table_).find(task);
  const std::string number = "task " + std::to_string(static_cast<std::uint32_t>(task >> 32U));
  return entry == nullptr ? number
                          : number + ", a call of " + std::string{codes_[entry->code].code.name};
}

inline std::exception_ptr make_cancelled() {
  return std::make_exception_ptr(CancelledError{"the task was cancelled"});
}

inline bool Fleet::cancel(std::uint64_t task) {
  check_process();
  Failed taken;  // resolved here, and no other: our caller may hold what their callbacks take
  {
    const std::lock_guard lock{mutex_};
    const TaskTable::Entry* const entry = table_.find(task);
    if (entry == nullptr) return false;
    if (entry->place == TaskTable::nowhere) {
      taken.error = make_cancelled();
      taken.is_cancelled = true;
      taken.entry = table_.take(task);
    }
  }
  if (taken.entry.id == 0) return ask(RequestFrame::cancel, task);
  resolve(std::move(taken));
  return true;
}

inline bool Fleet::kill(std::uint64_t task) {
  if (cancel(task)) return true;
  {
    const std::lock_guard lock{mutex_};
    TaskTable::Entry* const entry = table_.find(task);
    if (entry == nullptr) return false;
    if (entry->extra) entry->extra->retries_left = 0;  // whoever loses it now
  }
  return ask(RequestFrame::kill, task);
}

inline bool Fleet::is_running(std::uint64_t task) {
  check_process();
  return ask(RequestFrame::is_running, task);
}

/// Of the agent that has the task; null: none has. The mutex is held.
inline std::shared_ptr<Fleet::Request> Fleet::make_request(RequestFrame::What what,
                                                           std::uint64_t task) {
  const TaskTable::Entry* const entry = table_.find(task);
  if (entry == nullptr || entry->place == TaskTable::nowhere) return nullptr;
  auto request = std::make_shared<Request>();
  request->peer = entry->place;
  const RequestFrame frame{++last_request_, task, what, 0};
  requests_.emplace(frame.number, request);
  outgoing_.push_back({entry->place, make_frame(MessageTo::request, frame)});
  return request;
}

/// Asks the agent that has the task. @returns false also where it is lost meanwhile, or does not
/// answer in time: the loop may be in a callback that waits for what our caller holds.
inline bool Fleet::ask(RequestFrame::What what, std::uint64_t task) {
  std::unique_lock lock{mutex_};
  const auto request = make_request(what, task);
  if (!request) return false;
  engine_->wake();
  listen(
      lock, [&] { return request->answer.load() >= 0 || !has_loop_; }, Deadline{request_within});
  return request->answer.load() == 1;
}

inline void Fleet::cancel_waiting() {
  check_process();
  std::vector<Failed> taken;
  std::vector<std::shared_ptr<Request>> asked;
  {
    const std::lock_guard lock{mutex_};
    for (const auto& [peer, agent] : agents_) {
      for (const auto& [task, size] : agent.sent) {
        if (auto request = make_request(RequestFrame::cancel, task)) {
          asked.push_back(std::move(request));
        }
      }
    }
    taken.reserve(waiting_.size());  // what may throw comes first
    const std::exception_ptr spare = make_cancelled();
    for (; !waiting_.empty(); waiting_.pop_front()) {
      taken.push_back({table_.take(waiting_.front().id), one_more(make_cancelled, spare), true});
    }
  }
  engine_->wake();
  for (Failed& each : taken) resolve(std::move(each));
  const auto is_answered = [](const auto& each) { return each->answer.load() >= 0; };
  auto next = asked.begin();  // not answered yet
  std::unique_lock lock{mutex_};
  listen(
      lock,
      [&] {
        next = std::find_if_not(next, asked.end(), is_answered);
        return next == asked.end() || !has_loop_;
      },
      Deadline{request_within});
}

}  // namespace multiprocessing::detail
