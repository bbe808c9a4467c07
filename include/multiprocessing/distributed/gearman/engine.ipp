// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file engine.ipp
/// @brief How tasks become jobs, and what is said about jobs becomes results.
#include <multiprocessing/distributed/gearman/engine.hpp>
#include <multiprocessing/logging.hpp>

#include <algorithm>
#include <charconv>
#include <new>

namespace multiprocessing::detail {

inline std::uint32_t GearmanEngine::connect() {
  connection_.emplace(server_, options_);
  function_ = gearman::task_function();
  session_ = gearman::random_number();
  next_look_ = Clock::now();
  events_.push_back({EngineEvent::Kind::joined, 0, {}, server_.to_string()});
  return 1;
}

// ---- what the fleet says ----

inline void GearmanEngine::send(std::uint32_t /*peer*/, std::vector<std::byte> message) {
  if (is_over()) return;
  std::span<const std::byte> rest{message};
  switch (take_header<MessageTo>(rest)) {
    case MessageTo::open:
      open_message_ = std::move(message);
      return tell_ready();
    case MessageTo::task:
      return submit_task(rest, message);
    case MessageTo::request:
      return request(take_header<RequestFrame>(rest), message);
    case MessageTo::leave:
      left_message_ = make_frame(MessageTo::left, take_header<LeaveFrame>(rest));
      return leave(message);
    default:
      return;
  }
}

inline void GearmanEngine::submit_task(std::span<const std::byte> rest,
                                       std::span<const std::byte> message) {
  const auto frame = take_header<TaskFrame>(rest);
  const auto header = gearman::bytes_of({.what = gearman::JobHeader::task, .session = session_});
  const std::uint64_t number = ++last_job_;
  gearman::PacketWriter out;
  try {
    client_.submit(out, number, function_,
                   gearman::hexadecimal(session_) + "-" + std::to_string(number),
                   {header, message});
  } catch (const std::length_error& error) {
    return tell_outcome(frame.id, ResultFrame::refused, error.what());
  }
  Job& job = jobs_[number];
  job.task = frame.id;
  job.heard_at = listened_;
  by_task_[frame.id] = number;
  connection_->send(out);
}

inline void GearmanEngine::submit_control(std::uint64_t agent,
                                          std::span<const std::byte> message,
                                          std::optional<RequestFrame> request) {
  const auto header = gearman::bytes_of({.what = gearman::JobHeader::control, .session = session_});
  const std::uint64_t number = ++last_job_;
  gearman::PacketWriter out;
  client_.submit(out, number, gearman::agent_function(function_, agent),
                 gearman::hexadecimal(session_) + "-" + std::to_string(number), {header, message});
  Job& job = jobs_[number];
  job.agent = agent;
  job.heard_at = listened_;
  job.request = request;
  connection_->send(out);
}

inline void GearmanEngine::request(const RequestFrame& frame, std::span<const std::byte> message) {
  const auto found = by_task_.find(frame.task);
  if (found == by_task_.end()) return answer(frame, false);
  const std::uint64_t number = found->second;
  Job& job = jobs_.at(number);
  const bool is_taken = !job.host.empty();
  switch (frame.what) {
    case RequestFrame::is_running:
      return answer(frame, is_taken);
    case RequestFrame::cancel:
      // An agent takes a job when a worker is free: it has begun.
      if (is_taken || job.is_cancelled) return answer(frame, false);
      if (client_.handle_of(number).empty()) {
        early_cancels_.emplace_back(number, frame);
        return;
      }
      return cancel(number, frame);
    default:
      if (job.request) return answer(frame, true);  // it is being killed
      if (is_taken) return submit_control(job.agent, message, frame);
      job.request = frame;  // as soon as an agent says that it has the job
  }
}

/// The server answers with the job's end, and then with a line.
inline void GearmanEngine::cancel(std::uint64_t number, std::optional<RequestFrame> request) {
  const auto found = jobs_.find(number);
  if (found != jobs_.end()) found->second.is_cancelled = true;
  gearman::PacketWriter out;
  out.put_line("cancel job " + std::string{client_.handle_of(number)});
  questions_.push_back({false, request});
  connection_->send(out);
}

/// Those that have been confirmed, or have come to their end, since they were asked for.
inline void GearmanEngine::cancel_early_ones() {
  for (const auto& [number, frame] : std::exchange(early_cancels_, {})) {
    const auto found = jobs_.find(number);
    if (found == jobs_.end() || !found->second.host.empty() || found->second.is_cancelled) {
      answer(frame, false);
    } else if (client_.handle_of(number).empty()) {
      early_cancels_.emplace_back(number, frame);
    } else {
      cancel(number, frame);
    }
  }
}

inline void GearmanEngine::leave(std::span<const std::byte> message) {
  if (leaves_until_) return;
  for (const std::uint64_t agent : agents_) submit_control(agent, message);
  leaves_until_ = Clock::now() + longest_leave;
}

/// The server drops the jobs of who has gone, and agents get none of them any more.
inline void GearmanEngine::close() noexcept {
  is_dropped_ = true;
  if (connection_) connection_->hang_up();
}

// ---- what the server says ----

inline EngineEvent GearmanEngine::poll(Timeout timeout) {
  const Deadline deadline{timeout};
  for (;;) {
    if (!events_.empty()) {
      EngineEvent event = std::move(events_.front());
      events_.pop_front();
      return event;
    }
    if (is_over()) {
      connection_->idle(deadline);
      return {};
    }
    try {
      look_at_clock();
      if (!events_.empty()) continue;
      const auto soon = next_look_ - Clock::now();
      if (auto packet = listen(deadline.left(std::max<Clock::duration>(soon, {})))) {
        handle(*std::move(packet));
      } else {
        return {};
      }
    } catch (const ConnectionError& error) {
      lose(error.what());
    }
  }
}

inline std::optional<gearman::Packet> GearmanEngine::listen(Clock::duration longest) {
  constexpr std::chrono::milliseconds overslept{300};  // more: this process was stopped
  const auto begun = Clock::now();
  auto packet = connection_->receive(Deadline{longest});
  listened_ += std::min<Clock::duration>(Clock::now() - begun, longest + overslept);
  return packet;
}

inline void GearmanEngine::lose(const std::string& why) {
  is_lost_ = true;
  events_.push_back({EngineEvent::Kind::lost, 0, {}, why});
}

inline void GearmanEngine::handle(gearman::Packet packet) {
  if (packet.command() == gearman::Command::line) {
    const auto text = packet.data();
    return handle_line({reinterpret_cast<const char*>(text.data()), text.size()});
  }
  if (auto event = client_.take(std::move(packet))) handle_event(*std::move(event));
  if (!early_cancels_.empty()) cancel_early_ones();
}

inline void GearmanEngine::handle_line(std::string_view line) {
  if (questions_.empty()) gearman::refuse("it answers what nobody asked");
  const Question& question = questions_.front();
  if (question.is_status) return handle_status(line);
  const auto request = question.request;
  questions_.pop_front();
  // Where it did, the job's end came before.
  if (request) answer(*request, line.starts_with("OK") && !by_task_.contains(request->task));
}

/// function, jobs, running jobs, workers; tabs between them. A dot ends it.
inline void GearmanEngine::handle_status(std::string_view line) {
  if (line == ".") {
    questions_.pop_front();
    asks_status_ = false;
    workers_ = std::exchange(counted_, 0);
    has_workers_ = has_workers_ || workers_ != 0;
    return tell_ready();
  }
  if (!line.starts_with(function_ + ".")) return;
  line.remove_prefix(function_.size() + 1);
  const auto number = [](std::string_view text) {
    std::uint32_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
  };
  const std::uint32_t each = number(line);
  const std::size_t last = line.rfind('\t');
  if (last == line.npos) return;
  const std::uint64_t all = std::uint64_t{each} * number(line.substr(last + 1)) + counted_;
  counted_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(all, 32'767));
}

inline void GearmanEngine::handle_event(gearman::ClientRole::Event event) {
  using Kind = gearman::ClientRole::Event::Kind;
  const auto found = jobs_.find(event.job);
  if (found == jobs_.end()) return;
  Job& job = found->second;
  const auto data = event.packet.data();
  switch (event.kind) {
    case Kind::complete:
      return complete(event.job, data);
    case Kind::failed:
      return give_up(event.job, "its connection to the Gearman server has ended");
    case Kind::refused:
      return give_up(event.job, "the Gearman server did not take the task: " + as_text(data));
    case Kind::data:
      return handle_data(event.job, job, data);
    case Kind::status:
      if (!event.is_known) return give_up(event.job, "the Gearman server knows it no more");
      if (!event.is_running) {
        job.is_running = false;
        job.host.clear();  // its agent has gone, and the next one is still to come
      } else if (!std::exchange(job.is_running, true)) {
        job.running_since = listened_;
      }
      return;
  }
}

inline void GearmanEngine::handle_data(std::uint64_t /*number*/,
                                       Job& job,
                                       std::span<const std::byte> data) try {
  const auto header = gearman::take_job_header(data);
  job.heard_at = listened_;
  job.agent = header.agent;
  if (header.what == gearman::JobHeader::asks) {
    agents_.insert(header.agent);
    return submit_control(header.agent, open_message_);
  }
  job.host = as_text(data);
  if (job.task == 0 || !job.request) return;
  const RequestFrame frame = *std::exchange(job.request, std::nullopt);
  submit_control(header.agent, make_frame(MessageTo::request, frame), frame);
} catch (const SerializationError& error) {
  log(LogLevel::warning, error.what());
}

inline GearmanEngine::Job GearmanEngine::take(std::uint64_t number) {
  auto node = jobs_.extract(number);
  if (node.empty()) return {};
  const auto task = by_task_.find(node.mapped().task);
  if (task != by_task_.end() && task->second == number) by_task_.erase(task);
  return std::move(node.mapped());
}

inline void GearmanEngine::complete(std::uint64_t number, std::span<const std::byte> data) {
  const Job job = take(number);
  try {
    const auto header = gearman::take_job_header(data);
    if (header.what == gearman::JobHeader::asks && job.task != 0) return submit_again(job, data);
    if (job.task == 0 && data.empty()) {
      if (job.request) answer(*job.request, false);
      return;
    }
    std::span<const std::byte> rest{data};
    const auto what = take_header<MessageTo>(rest);
    const bool is_result =
        what == MessageTo::result && take_header<ResultFrame>(rest).id == job.task && job.task != 0;
    const bool is_reply = what == MessageTo::reply && job.request &&
                          take_header<RequestFrame>(rest).number == job.request->number;
    if (!is_result && !is_reply && what != MessageTo::broken) {
      throw SerializationError{"what an agent says does not fit what it was asked"};
    }
    if (job.request && !is_reply) answer(*job.request, false);  // it came too late
    tell({data.begin(), data.end()});
  } catch (const SerializationError& error) {
    if (job.request) answer(*job.request, false);
    if (job.task != 0) tell_outcome(job.task, ResultFrame::died, error.what());
  } catch (const std::bad_alloc&) {
    if (job.task != 0) {
      tell_outcome(job.task, ResultFrame::refused, "there is no memory for the task's result");
    }
  }
}

/// An agent gave it back, for it did not hear in time with what we open.
inline void GearmanEngine::submit_again(const Job& job, std::span<const std::byte> message) {
  if (leaves_until_) return;  // nobody waits for it
  std::span<const std::byte> rest = message;
  if (take_header<MessageTo>(rest) != MessageTo::task)
    throw SerializationError{"no task came back"};
  std::span<const std::byte> frame = rest;
  if (take_header<TaskFrame>(frame).id != job.task) throw SerializationError{"another came back"};
  submit_task(rest, message);
  const auto found = by_task_.find(job.task);
  if (found != by_task_.end()) {
    jobs_.at(found->second).request = job.request;  // to kill it
  } else if (job.request) {
    answer(*job.request, false);
  }
}

inline void GearmanEngine::give_up(std::uint64_t number, const std::string& why) {
  const Job job = take(number);
  client_.forget(number);
  if (job.request) answer(*job.request, false);
  if (job.task == 0) return;
  if (job.is_cancelled) return tell_outcome(job.task, ResultFrame::cancelled, "it was cancelled");
  tell_outcome(job.task, ResultFrame::died,
               "the agent " +
                   (job.host.empty() ? std::string{"that had the task"} : "on host " + job.host) +
                   " is lost, and the task with it: " + why);
}

// ---- what the fleet hears ----

inline void GearmanEngine::tell(std::vector<std::byte> message) {
  events_.push_back({EngineEvent::Kind::message, 0, std::move(message), {}});
}

inline void GearmanEngine::tell_ready() {
  if (!has_workers_ || open_message_.empty()) return;
  const std::uint32_t workers = std::max<std::uint32_t>(workers_, 1);
  if (std::exchange(told_workers_, workers) == workers) return;
  ReadyMessage ready;
  ready.host = server_.to_string();
  ready.workers = workers;
  ready.is_server = true;
  tell(make_message(MessageTo::ready, ready));
}

inline void GearmanEngine::answer(RequestFrame frame, bool yes) {
  frame.answer = yes ? 1 : 0;
  tell(make_frame(MessageTo::reply, frame));
}

inline void GearmanEngine::tell_outcome(std::uint64_t task,
                                        ResultFrame::Outcome outcome,
                                        std::string_view words) {
  ResultFrame frame;
  frame.id = task;
  frame.outcome = outcome;
  tell(make_frame(MessageTo::result, frame, std::as_bytes(std::span{words})));
}

// ---- time ----

inline void GearmanEngine::look_at_clock() {
  const auto now = Clock::now();
  if (leaves_until_) {
    const bool is_heard = std::ranges::none_of(
        jobs_, [](const auto& each) { return each.second.task == 0 && !each.second.request; });
    if ((is_heard && connection_->unsent() == 0) || now >= *leaves_until_) {
      leaves_until_.reset();
      is_dropped_ = true;
      return tell(left_message_);
    }
    next_look_ = std::min(next_look_, *leaves_until_);
  }
  if (now < next_look_) return;
  next_look_ = now + (!has_workers_   ? look_for_first
                      : jobs_.empty() ? std::chrono::milliseconds{look_idle}
                                      : look);
  gearman::PacketWriter out;
  if (!std::exchange(asks_status_, true)) {
    out.put_line("status");
    questions_.push_back({true, std::nullopt});
    connection_->send(out);  // before what else is asked below
  }
  // A part of the jobs each time, in turn.
  std::vector<std::uint64_t> looked_at;
  auto from = jobs_.upper_bound(watched_to_);
  if (from == jobs_.end()) from = jobs_.begin();
  for (; from != jobs_.end() && looked_at.size() < most_asked; ++from) {
    looked_at.push_back(from->first);
  }
  for (const std::uint64_t number : looked_at) {
    watch(number, jobs_.at(number), out);
    watched_to_ = number;
  }
  connection_->send(out);
}

inline void GearmanEngine::watch(std::uint64_t number, Job& job, gearman::PacketWriter& out) {
  const auto silence = options_.silence;
  const bool is_known = !job.host.empty();
  const bool is_silent = is_known || job.task == 0
                             ? listened_ - job.heard_at > silence
                             : job.is_running && listened_ - job.running_since > silence;
  if (is_silent) {
    // Or the server may give it to another, or keep for ever what is for an agent that died.
    if (!client_.handle_of(number).empty()) cancel(number, std::nullopt);
    if (const auto found = jobs_.find(number); found != jobs_.end()) {
      found->second.is_cancelled = false;
    }
    return give_up(number, "nothing was heard of it for " + std::to_string(silence.count()) + " s");
  }
  if (job.task == 0 || listened_ - std::max(job.heard_at, job.asked_at) < unsure) return;
  if (client_.ask_status(out, number)) job.asked_at = listened_;
}

}  // namespace multiprocessing::detail
