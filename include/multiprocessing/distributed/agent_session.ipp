// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file agent_session.ipp
/// @brief What an agent does with what its master says.
#include <multiprocessing/distributed/agent_session.hpp>

#include <algorithm>
#include <system_error>

namespace multiprocessing::detail {

/// One task's way home.
class AgentSession::OneResult final : public Receiver {
 public:
  OneResult(AgentSession& session, std::uint64_t task, std::shared_ptr<TaskMemory> memory)
      : session_{&session}, task_{task}, memory_{std::move(memory)} {}

  void on_value(std::uint32_t /*part*/, Decoder& value) override {
    if (value.transit() != nullptr && !value.transit()->objects().empty()) {
      throw SerializationError{
          "queues, connections, locks and other shared objects live in the memory of one machine: "
          "they cannot be the result of a task on another"};
    }
    std::size_t in_memory = 0;
    if (memory_) {
      in_memory = CallInMemory::decode_result(value);
      if (in_memory != 0) static_cast<void>(memory_->part(0, in_memory));  // it is there
      memory_->settle();
    }
    session_->put_result(task_, ResultFrame::value, value.take(value.remaining()),
                         in_memory != 0 ? memory_ : nullptr, in_memory);
  }
  bool on_encoded_error(std::uint32_t /*part*/, Decoder& error) override {
    if (memory_) memory_->settle();
    session_->put_result(task_, ResultFrame::error, error.take(error.remaining()));
    return true;
  }
  void on_error(std::uint32_t /*part*/, std::exception_ptr error) noexcept override {
    try {
      std::rethrow_exception(error);
    } catch (const BrokenProcessPool& what) {
      session_->say_if_broken();
      put(ResultFrame::died, what.what());
    } catch (const TimeoutError& what) {
      put(ResultFrame::timed_out, what.what());
    } catch (const std::exception& what) {
      put(ResultFrame::refused, what.what());
    } catch (...) {
      put(ResultFrame::refused, "something that is no std::exception");
    }
  }
  void on_cancelled(std::uint32_t /*part*/, std::exception_ptr error) noexcept override {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& what) {
      put(ResultFrame::cancelled, what.what());
    } catch (...) {
      put(ResultFrame::cancelled, "");
    }
  }

 private:
  void put(ResultFrame::Outcome outcome, std::string_view words) noexcept {
    session_->put_result(task_, outcome, std::as_bytes(std::span{words}));
  }
  AgentSession* session_;  // which ends its crew, and with it us, before itself
  std::uint64_t task_;
  std::shared_ptr<TaskMemory> memory_;
};

inline void AgentSession::handle(std::span<const std::byte> message,
                                 const std::shared_ptr<TaskMemory>& memory) {
  const auto what = take_header<MessageTo>(message);
  switch (what) {
    case MessageTo::open:
      return open(read_message<OpenMessage>(message));
    case MessageTo::task:
      return run_task(message, memory);
    case MessageTo::request:
      return answer(take_header<RequestFrame>(message));
    case MessageTo::leave:
      return leave(take_header<LeaveFrame>(message));
    default:
      throw SerializationError{"an agent cannot do anything with a message of kind " +
                               std::to_string(static_cast<std::uint32_t>(what))};
  }
}

inline void AgentSession::refuse(const std::string& why) {
  log(LogLevel::error, why);
  end_with(make_message(MessageTo::refused, TextMessage{"host " + host_ + " refuses: " + why}));
}

/// The last word, and only then has it ended.
inline void AgentSession::end_with(std::vector<std::byte> message) {
  outbox_->put(std::move(message));
  has_ended_.store(true);
  outbox_->wake();
}

/// The pool may have failed the task because it fails all.
inline void AgentSession::say_if_broken() noexcept {
  try {
    crew_->check_takes_tasks();
  } catch (const BrokenProcessPool& error) {
    try {
      outbox_->put(make_message(
          MessageTo::broken, TextMessage{"on host " + host_ + ": " + std::string{error.what()}}));
    } catch (const std::exception&) {  // no memory: the next task says so
    }
  } catch (const std::exception&) {  // it is being left
  }
}

inline void AgentSession::open(const OpenMessage& message) {
  if (message.version != OpenMessage::expected_version) {
    return refuse("the master speaks version " + std::to_string(message.version) +
                  " of this library's protocol, this agent speaks version " +
                  std::to_string(OpenMessage::expected_version));
  }
  if (crew_) throw SerializationError{"a pool that is opened twice"};
  const std::string differs = difference(message.builds, own_builds());
  const SessionOptions& options = message.options;
  if (!differs.empty()) return refuse(differs);
  CrewOptions crew;
  crew.name = "the agent's pool";
  crew.workers = options.workers != 0 ? options.workers : process_cpu_count();
  crew.tasks_per_worker = options.tasks_per_worker;
  crew.start_method = method_;
  crew.on_demand = options.on_demand;
  if (!options.environment.empty() || !options.directory.empty() || !options.initializer.empty()) {
    crew.initializer =
        Task{HostInitializer{options.environment, options.directory, options.initializer}};
  }
  const unsigned workers = crew.workers;
  try {
    crew_ = Crew::create(std::move(crew));
    if (results_ == Results::come) crew_->work_in_background();
  } catch (const std::exception& error) {
    return refuse(std::string{"its pool cannot be made: "} + error.what());
  }
  outbox_->put(make_message(MessageTo::ready, ReadyMessage{host_, os::process_id(), workers}));
}

/// The lines for a definition: one object for each, so that the crew knows it again.
inline const AgentSession::KnownDefinition& AgentSession::known_definition(
    std::span<const std::byte> definition, std::string_view name) {
  const std::string_view key{reinterpret_cast<const char*>(definition.data()), definition.size()};
  if (const auto known = codes_.find(key); known != codes_.end()) return *known->second;
  auto made = std::make_unique<KnownDefinition>();
  made->bytes.assign(definition.begin(), definition.end());
  made->name = name;
  made->code.key = made.get();
  made->code.name = made->name;
  made->code.define = [](const Code& code) {
    return static_cast<const KnownDefinition*>(code.key)->bytes;
  };
  made->code_in_memory = made->code;
  made->code_in_memory.callable.front() = std::byte{1};  // so that the two are not equal
  made->code_in_memory.define = [](const Code& code) {
    return CallInMemory::define(static_cast<const KnownDefinition*>(code.key)->bytes);
  };
  return *codes_.emplace(std::string{key}, std::move(made)).first->second;
}

/// @returns false: no descriptor is left for it.
inline bool encode_call_in_memory(Encoder& encoder,
                                  const std::shared_ptr<TaskMemory>& memory,
                                  std::span<const std::byte> arguments) try {
  const auto begin = static_cast<std::size_t>(arguments.data() - memory->data());
  CallInMemory::encode_arguments(encoder, memory, begin, arguments.size());
  return true;
} catch (const std::system_error&) {
  return false;
}

inline void AgentSession::run_task(std::span<const std::byte> rest,
                                   const std::shared_ptr<TaskMemory>& memory) {
  const auto frame = take_header<TaskFrame>(rest);
  if (!crew_ || std::uint64_t{frame.code_size} + frame.name_size > rest.size()) {
    throw SerializationError{"a task that is cut off, or comes before its pool"};
  }
  const auto definition = rest.first(frame.code_size);
  const std::string name = as_text(rest.subspan(frame.code_size, frame.name_size));
  const KnownDefinition& known = known_definition(definition, name);
  TaskOptions options;
  if (frame.timeout >= 0) options.timeout = std::chrono::nanoseconds{frame.timeout};
  options.max_memory = static_cast<std::size_t>(frame.max_memory);
  try {
    {
      const std::lock_guard lock{mutex_};
      open_.emplace(frame.id, 0);
      tasks_.store(open_.size());
    }
    auto arguments = rest.subspan(definition.size() + name.size());
    std::vector<std::byte> where;
    Transit transit;
    // A limit of a worker's memory is for what the task itself takes.
    Encoder encoder{where, &transit};
    const bool in_memory =
        memory && options.max_memory == 0 && encode_call_in_memory(encoder, memory, arguments);
    if (in_memory) arguments = where;
    auto receiver = std::make_shared<OneResult>(*this, frame.id, in_memory ? memory : nullptr);
    const std::uint64_t task =
        crew_->submit({in_memory ? &known.code_in_memory : &known.code, arguments, &transit,
                       std::move(receiver), 0, &options});
    const std::lock_guard lock{mutex_};
    if (const auto entry = open_.find(frame.id); entry != open_.end()) entry->second = task;
  } catch (const BrokenProcessPool& error) {
    outbox_->put(make_message(MessageTo::broken,
                              TextMessage{"on host " + host_ + ": " + std::string{error.what()}}));
  } catch (const std::exception& error) {
    const std::string_view words = error.what();
    put_result(frame.id, ResultFrame::refused, std::as_bytes(std::span{words}));
  }
}

inline void AgentSession::answer(RequestFrame frame) {
  std::uint64_t task = 0;
  {
    const std::lock_guard lock{mutex_};
    if (const auto entry = open_.find(frame.task); entry != open_.end()) task = entry->second;
  }
  bool yes = false;
  if (crew_ && task != 0) {
    switch (frame.what) {
      case RequestFrame::cancel:
        yes = crew_->cancel(task);
        break;
      case RequestFrame::kill:
        yes = crew_->kill(task);
        break;
      default:
        yes = crew_->is_running(task);
    }
  }
  frame.answer = yes ? 1 : 0;
  outbox_->put(make_frame(MessageTo::reply, frame));
}

inline void AgentSession::leave(const LeaveFrame& frame) {
  const auto left = make_frame(MessageTo::left, LeaveFrame{frame.how});
  if (!crew_) return end_with(left);
  const auto end_now = [crew = crew_](std::uint64_t how) {
    crew->terminate(how == LeaveFrame::kill ? os::Signal::kill : os::Signal::terminate);
  };
  if (leaver_.joinable()) {  // it leaves already, and is to hurry
    if (frame.how != LeaveFrame::finish) end_now(frame.how);
    return;
  }
  leaver_ = std::thread{[this, left, how = frame.how, end_now] {
    try {
      if (how == LeaveFrame::finish) {
        crew_->close();
        crew_->join();
      } else {
        end_now(how);
      }
    } catch (const std::exception& error) {
      log(LogLevel::error, error.what());
    }
    end_with(left);
  }};
}

inline bool AgentSession::fetch() {
  return crew_ && crew_->poll();
}

inline bool AgentSession::fetch(const Deadline& deadline) {
  return crew_ &&
         crew_->wait(
             nullptr, [this, before = tasks_.load()] { return tasks_.load() < before; }, deadline);
}

inline void AgentSession::abandon() noexcept {
  if (crew_) {
    try {
      crew_->terminate(os::Signal::kill);
    } catch (const std::exception& error) {
      log(LogLevel::error, error.what());
    }
  }
  if (leaver_.joinable()) leaver_.join();
  crew_.reset();
  has_ended_.store(true);
}

/// How long a task takes here, in microseconds; looked at now and then.
inline std::uint32_t AgentSession::pace() {
  constexpr std::chrono::milliseconds often{20};
  const auto now = Clock::now();
  {
    const std::lock_guard lock{mutex_};
    if (now - paced_at_ < often && pace_ != 0) return pace_;
    paced_at_ = now;
  }
  std::size_t done = 0;
  std::chrono::nanoseconds busy{0};
  if (const auto crew = crew_) {
    for (const WorkerStats& each : crew->stats().workers) {
      done += each.done;
      busy += each.busy;
    }
  }
  if (done == 0) return 0;
  const auto mean = std::chrono::duration_cast<std::chrono::microseconds>(busy).count() /
                    static_cast<std::int64_t>(done);
  const std::lock_guard lock{mutex_};
  pace_ = static_cast<std::uint32_t>(std::clamp<std::int64_t>(mean, 1, 1'000'000'000));
  return pace_;
}

inline void AgentSession::put_result(std::uint64_t task,
                                     ResultFrame::Outcome outcome,
                                     std::span<const std::byte> rest,
                                     std::shared_ptr<TaskMemory> memory,
                                     std::size_t in_memory) noexcept {
  try {
    {
      const std::lock_guard lock{mutex_};
      if (open_.erase(task) == 0) return;  // its result is on its way
      tasks_.store(open_.size());
    }
    ResultFrame frame;
    frame.id = task;
    frame.outcome = outcome;
    frame.pace = pace();
    outbox_->put(Parcel{make_frame(MessageTo::result, frame, rest), std::move(memory), in_memory});
  } catch (const std::exception& error) {  // no memory: the master would wait for ever
    log(LogLevel::error, error.what());
    os::exit_now(1);
  }
}

}  // namespace multiprocessing::detail
