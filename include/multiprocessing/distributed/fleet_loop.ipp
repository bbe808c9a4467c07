// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file fleet_loop.ipp
/// @brief The loop: what comes from agents, and what goes to them.
#include <multiprocessing/distributed/fleet.hpp>

#include <new>

namespace multiprocessing::detail {

/// One event, and all that is to be sent.
inline void Fleet::step(const Deadline& deadline) {
  flush();
  handle(engine_->poll(Timeout{deadline.left(tick)}));
  look_at_clock();
  resolve_failed();
  flush();
}

inline void Fleet::flush() {
  std::vector<Outgoing> outgoing;
  {
    const std::lock_guard lock{mutex_};
    hand_out();
    outgoing.swap(outgoing_);
  }
  for (Outgoing& each : outgoing) {
    try {
      engine_->send(each.peer, std::move(each.message));
    } catch (const std::bad_alloc&) {  // what it was to get is lost, and nothing else
      engine_->drop(each.peer);
      lose(agents_.at(each.peer), "there is no memory for what it was to be sent");
    }
  }
}

inline void Fleet::handle(EngineEvent event) {
  if (event.kind == EngineEvent::Kind::none) return;
  Agent* agent = nullptr;
  bool is_late = false;
  {
    const std::lock_guard lock{mutex_};
    const bool is_new = event.kind == EngineEvent::Kind::joined;
    const auto known = agents_.find(event.peer);
    if (known == agents_.end() && !is_new) return;
    agent = &agents_[event.peer];  // no agent is ever erased: the reference stays good
    if (is_new) {
      agent->peer = event.peer;
      agent->status.host = event.text;
      agent->answers_until = Clock::now() + answers_within;
      is_late = is_leaving_;
      agent->was_told_to_leave = is_late;
    }
    if (agent->state == Agent::State::gone) return;
  }
  switch (event.kind) {
    case EngineEvent::Kind::joined:
      return welcome(*agent, is_late);
    case EngineEvent::Kind::message:
      try {
        return handle_message(*agent, event.message);
      } catch (const SerializationError& error) {
        engine_->drop(event.peer);
        return lose(*agent, std::string{"it sent what is no message: "} + error.what());
      }
    case EngineEvent::Kind::lost:
      return lose(*agent, event.text);
    case EngineEvent::Kind::none:
      return;
  }
}

inline void Fleet::welcome(Agent& agent, bool is_late) try {
  engine_->send(agent.peer, open_message_);
  if (is_late) {
    engine_->send(agent.peer, make_frame(MessageTo::leave, LeaveFrame{LeaveFrame::terminate}));
  }
} catch (const std::bad_alloc&) {
  engine_->drop(agent.peer);
  lose(agent, "there is no memory for the first message to it");
}

inline void Fleet::handle_message(Agent& agent, std::span<const std::byte> message) {
  const auto what = take_header<MessageTo>(message);
  switch (what) {
    case MessageTo::ready:
      return handle_ready(agent, message);
    case MessageTo::result:
      return handle_result(agent, message);
    case MessageTo::refused: {
      const auto text = read_message<TextMessage>(message).text;
      log(LogLevel::error, text);
      engine_->drop(agent.peer);
      return lose(agent, text);
    }
    case MessageTo::reply: {
      const auto frame = take_header<RequestFrame>(message);
      const std::lock_guard lock{mutex_};
      const auto asked = requests_.find(frame.number);
      if (asked == requests_.end()) return;
      asked->second->answer.store(frame.answer != 0 ? 1 : 0);
      requests_.erase(asked);
      return agents_bell_.notify_all();
    }
    case MessageTo::broken:
      return break_down(read_message<TextMessage>(message).text);
    case MessageTo::left:
      return lose(agent, "it has left");
    default:
      throw SerializationError{"a message of kind " +
                               std::to_string(static_cast<std::uint32_t>(what))};
  }
}

inline void Fleet::handle_ready(Agent& agent, std::span<const std::byte> rest) {
  const auto ready = read_message<ReadyMessage>(rest);
  if (ready.workers == 0 || (ready.workers > most_workers && !ready.is_server)) {
    throw SerializationError{"an agent with " + std::to_string(ready.workers) + " workers"};
  }
  const std::lock_guard lock{mutex_};
  if (agent.state != Agent::State::joined && !ready.is_server) {
    throw SerializationError{"an agent that is ready twice"};
  }
  agent.status = {ready.host, ready.pid, ready.workers};
  agent.stats.pid = ready.pid;
  agent.is_server = ready.is_server;
  agent.state = Agent::State::ready;
  agents_bell_.notify_all();
}

inline void Fleet::handle_result(Agent& agent, std::span<const std::byte> rest) {
  const auto frame = take_header<ResultFrame>(rest);
  TaskTable::Entry entry;
  std::string host;
  std::string death;
  bool breaks = false;
  {
    const std::lock_guard lock{mutex_};
    if (!agent.is_server) host = agent.status.host;  // what may throw comes first
    if (frame.outcome == ResultFrame::died && options_.breaks_on_death) {
      death = host.empty() ? as_text(rest) : "on host " + host + ", " + as_text(rest);
    }
    if (const auto sent = agent.sent.find(frame.id); sent != agent.sent.end()) {
      agent.sent_bytes -= sent->second;
      agent.sent.erase(sent);
    } else {
      return;  // it was given up, or is another's by now
    }
    agent.pace = frame.pace;
    ++agent.stats.done;
    if (frame.outcome == ResultFrame::died) {
      ++restarts_;
      ++agent.stats.restarts;
      breaks = options_.breaks_on_death;
      if (!breaks && try_again(frame.id)) return;
    }
    entry = table_.take(frame.id);
  }
  if (entry.id != 0) deliver(std::move(entry), frame, rest, host);
  if (breaks) break_down(death);
}

/// Tells the receiver. Nothing that it does, or that the bytes are, comes out of here.
inline void Fleet::deliver(TaskTable::Entry entry,
                           const ResultFrame& frame,
                           std::span<const std::byte> rest,
                           const std::string& host) {
  std::exception_ptr error;
  try {
    const auto words = [&] {
      return host.empty() ? as_text(rest) : "on host " + host + ": " + as_text(rest);
    };
    Transit transit;
    Decoder decoder{rest, &transit, Origin::peer};
    switch (frame.outcome) {
      case ResultFrame::value: {
        const Telling telling{*this};
        entry.receiver->on_value(entry.part, decoder);
        break;
      }
      case ResultFrame::error:
        error = decode_exception(decoder);
        break;
      case ResultFrame::died:
        error = std::make_exception_ptr(BrokenProcessPool{words()});
        break;
      case ResultFrame::timed_out:
        error = std::make_exception_ptr(TimeoutError{words()});
        break;
      case ResultFrame::cancelled: {
        const Telling telling{*this};
        entry.receiver->on_cancelled(entry.part, std::make_exception_ptr(CancelledError{words()}));
        return finish(entry, false);
      }
      default:
        error = std::make_exception_ptr(SerializationError{words()});
    }
  } catch (...) {
    error = std::current_exception();
  }
  if (error) return fail(std::move(entry), std::move(error));
  finish(entry, true);
}

/// What an agent had is lost with it, or is done by another one.
inline void Fleet::lose(Agent& agent, const std::string& why) {
  bool had_tasks = false;
  std::string text;
  {
    const std::lock_guard lock{mutex_};
    if (agent.state == Agent::State::gone) return;
    text = "the agent on host " + agent.status.host +
           (agent.status.pid != 0 ? " (pid " + std::to_string(agent.status.pid) + ")" : "") +
           " is lost: " + why;
    if (agent.is_server || engine_->answers_when_it_likes()) text = why;
    had_tasks = had_tasks || !agent.sent.empty();
    while (!agent.sent.empty()) {
      const std::uint64_t task = agent.sent.begin()->first;
      if (table_.find(task) != nullptr && !try_again(task)) {
        fail_later(task,
                   std::make_exception_ptr(BrokenProcessPool{text + "; it had " + describe(task)}),
                   false);
      }
      agent.sent.erase(agent.sent.begin());
    }
    agent.state = Agent::State::gone;
    agent.sent_bytes = 0;
    agent.stats.pid.reset();
    for (auto asked = requests_.begin(); asked != requests_.end();) {
      const bool is_its = asked->second->peer == agent.peer;
      if (is_its) asked->second->answer.store(0);
      asked = is_its ? requests_.erase(asked) : std::next(asked);
    }
    agents_bell_.notify_all();
    if (agent.was_told_to_leave) text.clear();
  }
  call_followers(nullptr);
  if (!text.empty()) {
    log(LogLevel::warning, text);
    const bool was_last = [&] {
      const std::lock_guard lock{mutex_};
      return all_gone() && still_expected() == 0 && !engine_->is_elastic();
    }();
    if (was_last || (had_tasks && options_.breaks_on_death)) break_down(text);
  }
}

/// Agents that have not joined yet.
inline std::uint32_t Fleet::still_expected() const noexcept {
  const auto joined = static_cast<std::uint32_t>(agents_.size());
  return expected_ > joined ? expected_ - joined : 0;
}

inline void Fleet::look_at_clock() {
  std::vector<Agent*> silent;
  bool leaves = false;
  {
    const std::lock_guard lock{mutex_};
    const auto now = Clock::now();
    for (auto& [peer, agent] : agents_) {
      if (agent.state == Agent::State::joined && now > agent.answers_until &&
          !engine_->answers_when_it_likes()) {
        silent.push_back(&agent);
      }
    }
    if (is_retired_ && open_.load() == 0) {
      leaves = !is_leaving_;
      if (leaves) tell_all_to_leave(LeaveFrame::finish);
      if (!leaves && all_gone()) ends_.store(true);
    }
  }
  for (Agent* const agent : silent) {
    engine_->drop(agent->peer);
    lose(*agent,
         "it does not answer: is the agent of the same version, and is its first line of "
         "main() freeze_support()?");
  }
}

inline void Fleet::fail(TaskTable::Entry entry, std::exception_ptr error) {
  {
    const Telling telling{*this};
    entry.receiver->on_error(entry.part, std::move(error));
  }
  finish(entry, false);
}

/// The receiver has been told.
inline void Fleet::finish(TaskTable::Entry& entry, bool returned) {
  const Receiver* const receiver = entry.receiver.get();
  entry.receiver.reset();
  bool is_over = false;
  {
    const std::lock_guard lock{mutex_};
    ++(returned ? done_ : failures_);
    is_over = open_.fetch_sub(1) == 1;
    if (followers_.empty()) return;
  }
  call_followers(is_over ? nullptr : receiver);
}

inline void Fleet::resolve(Failed one) {
  if (one.entry.id == 0) return;
  if (!one.is_cancelled) return fail(std::move(one.entry), std::move(one.error));
  {
    const Telling telling{*this};
    one.entry.receiver->on_cancelled(one.entry.part, std::move(one.error));
  }
  finish(one.entry, false);
}

inline void Fleet::resolve_failed() {
  for (;;) {
    Failed one;
    {
      const std::lock_guard lock{mutex_};
      if (failed_.empty()) return;
      one = std::move(failed_.back());
      failed_.pop_back();
    }
    resolve(std::move(one));
  }
}

/// No more can be done: everything fails. Nobody else would do it, so nothing comes out of here.
inline void Fleet::break_down(std::string_view why) noexcept {
  // Nothing tells when there is memory again.
  while (!try_to_break_down(why)) std::this_thread::sleep_for(tick);  // until there is memory
  resolve_failed();
}

/// @returns false: there is no memory, and it has to be called again.
inline bool Fleet::try_to_break_down(std::string_view why) noexcept try {
  std::string text;
  {
    const std::lock_guard lock{mutex_};
    if (state_ == State::broken || state_ == State::terminated) return true;
    text.append(options_.name).append(" is broken: ").append(why);
    fail_all_later([&] { return std::make_exception_ptr(BrokenProcessPool{text}); }, false);
    tell_all_to_leave(LeaveFrame::terminate);
    why_broken_ = text;
    state_ = State::broken;
    agents_bell_.notify_all();
  }
  log(LogLevel::error, text);
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

}  // namespace multiprocessing::detail
