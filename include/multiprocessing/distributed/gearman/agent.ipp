// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file agent.ipp
/// @brief What an agent does with its jobs.
#include <multiprocessing/distributed/gearman/agent.hpp>

namespace multiprocessing::detail {

/// The functions by which an agent's tasks come, and by whose names it is counted.
inline std::vector<std::string> agent_functions(const std::string& tasks, unsigned workers) {
  std::vector<std::string> all{tasks};
  for (unsigned bit = 0; bit < gearman::count_bits; ++bit) {
    if ((workers >> bit & 1U) != 0) all.push_back(gearman::count_function(tasks, bit));
  }
  return all;
}

inline GearmanAgent::GearmanAgent(const GearmanAgentOptions& options)
    : options_{options},
      tasks_{options.server, options.connection, "multiprocessing-agent",
             agent_functions(function_, options.workers), 0},
      controls_{options.server,
                options.connection,
                "multiprocessing-agent",
                {gearman::agent_function(function_, number_)},
                room_for_controls} {
  listener_ = std::thread{[this] { listen(); }};
}

inline GearmanAgent::~GearmanAgent() {
  ends_.store(true);
  controls_.wake();
  listener_.join();
  // Without the mutex: a pool that ends has results, of threads that it waits for.
  std::vector<std::unique_ptr<AgentSession>> pools;
  {
    const std::lock_guard lock{mutex_};
    for (auto& [number, session] : sessions_) pools.push_back(std::move(session.pool));
  }
  pools.clear();
  endings_.clear();
}

/// In a thread of its own: passes on what masters say, and does nothing by itself.
inline void GearmanAgent::listen() {
  try {
    while (!ends_.load()) {
      auto job = controls_.receive(Deadline{forever});
      if (!job) continue;
      const std::lock_guard lock{mutex_};
      obeyed_.push_back({std::move(job->handle), std::move(job->packet)});
      tasks_.wake();
    }
  } catch (const std::exception&) {
    const std::lock_guard lock{mutex_};
    why_ = std::current_exception();
    tasks_.wake();
  }
}

inline void GearmanAgent::run() {
  const std::stop_callback stopper{options_.stop, [this] { tasks_.wake(); }};
  tasks_.set_room(options_.workers);
  for (bool leaves = false;;) {
    if (!leaves && options_.stop.stop_requested()) {
      leaves = true;
      tasks_.set_room(0);
    }
    if (leaves && tasks_.is_done()) return;
    std::vector<Control> obeyed;
    {
      const std::lock_guard lock{mutex_};
      if (why_) std::rethrow_exception(why_);
      obeyed.swap(obeyed_);
    }
    for (Control& each : obeyed) obey(std::move(each));
    end_unused();
    const auto next = look_at_clock();
    const auto left = std::max<Clock::duration>(next - Clock::now(), {});
    if (auto job = tasks_.receive(Deadline{std::chrono::nanoseconds{left}})) take(*std::move(job));
  }
}

// ---- tasks ----

inline void GearmanAgent::take(Job job) {
  std::span<const std::byte> data = job.packet.data();
  std::uint64_t number = 0;
  try {
    const auto head = gearman::take_job_header(data);
    if (job.function != function_ || head.what != gearman::JobHeader::task) {
      throw SerializationError{"a job that is no task"};
    }
    static_cast<void>(task_of(job));
    number = head.session;
  } catch (const SerializationError& error) {
    log(LogLevel::warning, error.what());
    return tasks_.fail(job.handle);
  }
  Session* session = nullptr;
  bool asks = false;
  std::string handle = job.handle;
  {
    const std::lock_guard lock{mutex_};
    session = &sessions_[number];
    session->used_at = Clock::now();
    held_[handle] = {number, Clock::now(), false};
    if (!session->pool) {
      asks = session->waiting.empty();
      if (asks) session->waits_since = Clock::now();
      session->waiting.push_back(std::move(job));
    }
  }
  // Nobody but this thread makes sessions, or ends them.
  if (session->pool) return start(*session, job);
  if (asks) tasks_.tell(handle, header(gearman::JobHeader::asks, number), {});
}

/// The master's number of a task. @throws SerializationError it is none.
inline std::uint64_t GearmanAgent::task_of(const Job& job) {
  std::span<const std::byte> data = job.packet.data();
  static_cast<void>(gearman::take_job_header(data));
  if (take_header<MessageTo>(data) != MessageTo::task) throw SerializationError{"no task"};
  return take_header<TaskFrame>(data).id;
}

inline void GearmanAgent::start(Session& session, const Job& job) {
  std::span<const std::byte> data = job.packet.data();
  try {
    const std::uint64_t task = task_of(job);
    static_cast<void>(gearman::take_job_header(data));
    std::string before;
    bool runs_already = false;
    {
      const std::lock_guard lock{mutex_};
      const auto [place, is_new] = session.handles.try_emplace(task, job.handle);
      runs_already = !is_new;
      if (runs_already) {
        before = std::exchange(place->second, job.handle);
        held_.erase(before);
      }
    }
    // Its master gave it up here, and it came here again.
    if (runs_already) return tasks_.fail(before);
    session.pool->handle(data);
  } catch (const SerializationError& error) {
    log(LogLevel::warning, error.what());
    {
      const std::lock_guard lock{mutex_};
      held_.erase(job.handle);
    }
    tasks_.fail(job.handle);
  }
}

/// In any thread of a session's pool, and in ours.
inline void GearmanAgent::drain(std::uint64_t number) noexcept {
  try {
    const std::lock_guard lock{mutex_};
    const auto found = sessions_.find(number);
    if (found == sessions_.end()) return tasks_.wake();  // it has ended
    for (const auto& message : found->second.outbox->take()) {
      deliver(number, found->second, message.bytes);
    }
  } catch (const std::exception& error) {  // no memory: the master would wait for ever
    log(LogLevel::error, error.what());
    os::exit_now(1);
  }
}

/// The mutex is held.
inline void GearmanAgent::deliver(std::uint64_t number,
                                  Session& session,
                                  std::span<const std::byte> message) {
  std::span<const std::byte> rest = message;
  const auto what = take_header<MessageTo>(rest);
  const auto head = header(gearman::JobHeader::result, number);
  if (what == MessageTo::result) {
    auto frame = take_header<ResultFrame>(rest);
    auto node = session.handles.extract(frame.id);
    if (node.empty()) return;
    held_.erase(node.mapped());
    session.used_at = Clock::now();
    if (message.size() > most_bytes) {
      const std::string words = "on host " + host_ + ": the result of the task has " +
                                std::to_string(rest.size()) +
                                " bytes; what goes through a Gearman server has less than 4 GiB";
      frame.outcome = ResultFrame::refused;
      return tasks_.complete(node.mapped(), head,
                             make_frame(MessageTo::result, frame, as_bytes(words)));
    }
    if (frame.outcome == ResultFrame::value || frame.outcome == ResultFrame::error) {
      return tasks_.complete(node.mapped(), head, message);
    }
    const std::string words = "on host " + host_ + ": " + as_text(rest);
    tasks_.complete(node.mapped(), head, make_frame(MessageTo::result, frame, as_bytes(words)));
  } else if (what == MessageTo::reply && !session.control.empty()) {
    controls_.complete(std::exchange(session.control, {}), head, message);
  } else if (what == MessageTo::broken || what == MessageTo::refused) {
    tell_all(number, message);
  }
}

/// The mutex is held. The session does no more: its master hears why, by all that it has here.
inline void GearmanAgent::tell_all(std::uint64_t number, std::span<const std::byte> message) {
  std::span<const std::byte> rest = message;
  const bool is_refused = take_header<MessageTo>(rest) == MessageTo::refused;
  const std::string words = is_refused ? read_message<TextMessage>(rest).text : std::string{};
  Session& session = sessions_.at(number);
  const auto tell = [&](const std::string& handle, std::uint64_t task) {
    held_.erase(handle);
    const auto head = header(gearman::JobHeader::result, number);
    if (!is_refused) return tasks_.complete(handle, head, message);
    ResultFrame frame;  // another agent may do it
    frame.id = task;
    frame.outcome = ResultFrame::died;
    tasks_.complete(handle, head, make_frame(MessageTo::result, frame, as_bytes(words)));
  };
  for (const auto& [task, handle] : std::exchange(session.handles, {})) tell(handle, task);
  for (const Job& job : std::exchange(session.waiting, {})) tell(job.handle, task_of(job));
}

// ---- what a master says to this agent ----

inline void GearmanAgent::obey(Control control) {
  std::span<const std::byte> data = control.packet.data();
  const auto done = [&](std::uint64_t session) {
    controls_.complete(control.handle, header(gearman::JobHeader::result, session), {});
  };
  try {
    const std::uint64_t number = gearman::take_job_header(data).session;
    std::span<const std::byte> rest = data;
    switch (take_header<MessageTo>(rest)) {
      case MessageTo::open:
        done(number);
        return open(number, rest);
      case MessageTo::leave:
        done(number);
        return end(number, static_cast<LeaveFrame::How>(take_header<LeaveFrame>(rest).how));
      case MessageTo::request: {
        Session* session = nullptr;
        {
          const std::lock_guard lock{mutex_};
          const auto found = sessions_.find(number);
          if (found != sessions_.end() && found->second.pool) session = &found->second;
          if (session != nullptr) session->control = control.handle;
        }
        if (session == nullptr) return done(number);
        return session->pool->handle(data);
      }
      default:
        throw SerializationError{"a master says what an agent does not know"};
    }
  } catch (const SerializationError& error) {
    log(LogLevel::warning, error.what());
    controls_.fail(control.handle);
  }
}

inline void GearmanAgent::open(std::uint64_t number, std::span<const std::byte> rest) {
  auto message = read_message<OpenMessage>(rest);
  const unsigned most = options_.workers;
  const unsigned asked = message.options.workers;
  message.options.workers = asked == 0 ? most : std::min(asked, most);
  Session* session = nullptr;
  {
    const std::lock_guard lock{mutex_};
    session = &sessions_[number];
    session->used_at = Clock::now();
    if (session->pool) return;
    session->outbox = std::make_shared<Outbox>([this, number] { drain(number); });
  }
  // Workers are started here, and what refuses comes through drain().
  auto pool = std::make_unique<AgentSession>(session->outbox, *get_start_method(), host_);
  pool->handle(make_message(MessageTo::open, message));
  if (pool->has_ended()) {
    end(number, LeaveFrame::kill);
    // It would draw all tasks of such masters, for each fails at once.
    if (!difference(message.builds, own_builds()).empty()) {
      log(LogLevel::error, "this agent takes no more tasks");
      tasks_.set_room(0);
    }
    return;
  }
  std::vector<Job> waiting;
  {
    const std::lock_guard lock{mutex_};
    session->pool = std::move(pool);
    waiting.swap(session->waiting);
  }
  for (const Job& job : waiting) start(*session, job);
}

inline void GearmanAgent::end(std::uint64_t number, LeaveFrame::How how) {
  std::unique_ptr<AgentSession> pool;
  std::vector<std::string> handles;
  {
    const std::lock_guard lock{mutex_};
    const auto found = sessions_.find(number);
    if (found == sessions_.end()) return;
    pool = std::move(found->second.pool);
    sessions_.erase(found);
    for (auto each = held_.begin(); each != held_.end();) {
      const bool is_its = each->second.session == number;
      if (is_its) handles.push_back(each->first);
      each = is_its ? held_.erase(each) : std::next(each);
    }
  }
  for (const std::string& handle : handles) tasks_.fail(handle);
  if (!pool) return;
  // What runs still is nobody's any more.
  if (!handles.empty() && how == LeaveFrame::finish) how = LeaveFrame::terminate;
  pool->handle(make_frame(MessageTo::leave, LeaveFrame{how}));
  endings_.push_back(std::move(pool));  // workers take their time to end
}

/// Something may have come for them since they were seen to be unused.
inline void GearmanAgent::end_unused() {
  for (const std::uint64_t number : std::exchange(unused_, {})) {
    bool is_unused = false;
    {
      const std::lock_guard lock{mutex_};
      const auto found = sessions_.find(number);
      is_unused = found != sessions_.end() && found->second.handles.empty() &&
                  found->second.waiting.empty();
    }
    // Nobody but this thread gives it tasks.
    if (is_unused) end(number, LeaveFrame::kill);
  }
}

// ---- time ----

/// The mutex is held. Its master is gone, or busy; that one gets them back, and submits them again.
inline void GearmanAgent::give_up_waiting(std::uint64_t number, Session& session) {
  for (const Job& job : std::exchange(session.waiting, {})) {
    held_.erase(job.handle);
    std::span<const std::byte> task = job.packet.data();
    static_cast<void>(gearman::take_job_header(task));
    if (task.size() > most_bytes) {
      tasks_.fail(job.handle);
    } else {
      tasks_.complete(job.handle, header(gearman::JobHeader::asks, number), task);
    }
  }
}

/// Signs of life, and sessions that nobody needs. @returns when to look again.
inline GearmanAgent::Clock::time_point GearmanAgent::look_at_clock() {
  const auto now = Clock::now();
  auto next = now + std::chrono::hours{1};
  std::erase_if(endings_, [](const auto& each) { return each->has_ended(); });
  const std::lock_guard lock{mutex_};
  for (auto& [handle, held] : held_) {
    const auto due = held.said_at + (held.is_announced ? gearman::beat : gearman::unsaid);
    if (now >= due) {
      tasks_.tell(handle, header(gearman::JobHeader::begun, held.session), place_);
      held.said_at = now;
      held.is_announced = true;
    }
    next = std::min(next, now >= due ? now + gearman::beat : due);
  }
  for (auto& [number, session] : sessions_) {
    const bool is_in_vain = !session.waiting.empty() && now - session.waits_since > answers_within;
    if (is_in_vain) give_up_waiting(number, session);
    const bool is_idle = session.handles.empty() && session.waiting.empty();
    if (is_in_vain || (is_idle && now - session.used_at > idle)) unused_.push_back(number);
    next = std::min(next, is_idle ? session.used_at + idle : now + answers_within);
  }
  return unused_.empty() ? next : now;
}

}  // namespace multiprocessing::detail
