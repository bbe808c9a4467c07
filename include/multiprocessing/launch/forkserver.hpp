// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file forkserver.hpp
/// @brief Start method forkserver: the child is a copy of a small process that ran nothing of this
/// program but its start.
///
/// Who starts a child makes a channel, puts the child's state into it, and sends its other end to
/// the server as the request. The server forks; the child itself answers that it runs, so whatever
/// becomes of the server, a child runs exactly when its parent knows of it. Later the server says
/// through the same channel how the child ended.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/launch/children.hpp>
#include <multiprocessing/launch/entry.hpp>
#include <multiprocessing/launch/plan.hpp>
#include <multiprocessing/launch/server.hpp>
#include <multiprocessing/launch/state.hpp>
#include <multiprocessing/os/channel.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/exception.hpp>
#include <multiprocessing/os/lifeline.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/os/streams.hpp>
#include <multiprocessing/os/surroundings.hpp>
#include <multiprocessing/os/wait.hpp>
#include <multiprocessing/serialization.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

// ---- what both sides say ----

/// @brief The kind of a message that brings a state: which parts of the surroundings come first
/// among its handles, and whether more messages with handles follow.
struct DepartureKind {
  static constexpr std::uint8_t output = 1;
  static constexpr std::uint8_t error = 2;
  static constexpr std::uint8_t folder = 4;
  static constexpr std::uint8_t more = 8;
};

/// @brief Sends without waiting. @param ec set, too, when there is no room.
inline void send_at_once(native_handle_type to,
                         const os::OutgoingMessage& message,
                         std::error_code& ec) {
  const auto outcome = os::send_message(to, message, {}, Deadline{std::chrono::seconds{0}}, ec);
  if (!ec && outcome != os::Outcome::done) ec = std::make_error_code(std::errc::no_buffer_space);
}

/// @brief Sends a state and what surrounds this process. Does not wait.
inline void send_departure(native_handle_type to,
                           const DepartingState& state,
                           native_handle_type lifeline,
                           native_handle_type server,
                           std::error_code& ec) {
  os::PassingHandles opened;
  os::Surroundings here;
  const native_handle_type folder = opened.add_one([&] {
    here = os::surroundings(ec);
    return std::move(here.folder);
  });
  if (ec) return;
  std::uint8_t kind = 0;
  std::vector<native_handle_type> handles;
  const auto add = [&](native_handle_type handle, std::uint8_t flag) {
    if (handle == os::invalid_handle) return;
    kind |= flag;
    handles.push_back(handle);
  };
  add(here.output, DepartureKind::output);
  add(here.error, DepartureKind::error);
  add(folder, DepartureKind::folder);
  const auto own = state.handles(lifeline, server);
  handles.insert(handles.end(), own.begin(), own.end());

  std::span<const native_handle_type> left{handles};
  std::span<const std::byte> bytes{state.bytes()};
  do {
    const auto now = left.first(std::min(left.size(), os::most_handles));
    left = left.subspan(now.size());
    if (!left.empty()) kind |= DepartureKind::more;
    send_at_once(to, {kind, bytes, now}, ec);
    if (ec) return;
    bytes = {};
    kind = 0;
  } while (!left.empty());
}

inline void send_answer(const os::UniqueHandle& to,
                        ServerAnswer::Kind kind,
                        const ServerAnswer& answer,
                        std::span<const native_handle_type> handles,
                        std::error_code& ec) {
  const auto bytes = dumps(answer);
  send_at_once(to.get(), {static_cast<std::uint8_t>(kind), bytes, handles}, ec);
}

// ---- the server's child ----

/// @brief A request, as the server and its child have it.
struct Arrival {
  os::UniqueHandle answers;
  os::UniqueHandle output;
  os::UniqueHandle error;
  os::UniqueHandle folder;
  std::vector<std::byte> bytes;
  std::vector<os::UniqueHandle> handles;
};

/// @brief Takes what send_departure() sent.
/// @param ec set, too, when whoever sent it is gone or was not one of ours.
inline void receive_arrival(Arrival& arrival, std::error_code& ec) {
  std::uint8_t first_kind = 0;
  for (bool first = true, more = true; more; first = false) {
    os::IncomingMessage message;
    const auto outcome = os::receive_message(arrival.answers.get(), message, {},
                                             Deadline{std::chrono::seconds{0}}, ec);
    if (!ec && outcome != os::Outcome::done) ec = std::make_error_code(std::errc::bad_message);
    if (ec) return;
    more = (message.kind() & DepartureKind::more) != 0;
    std::move(message.handles.begin(), message.handles.end(), std::back_inserter(arrival.handles));
    if (!first) continue;
    first_kind = message.kind();
    const std::size_t size = message.bytes().size();
    arrival.bytes = std::move(message).take_bytes(size);
  }
  auto next = arrival.handles.begin();
  const auto take = [&](std::uint8_t flag, os::UniqueHandle& into) {
    if ((first_kind & flag) != 0 && next != arrival.handles.end()) into = std::move(*next++);
  };
  take(DepartureKind::output, arrival.output);
  take(DepartureKind::error, arrival.error);
  take(DepartureKind::folder, arrival.folder);
  arrival.handles.erase(arrival.handles.begin(), next);
}

/// @brief All that a fork server's child ever does. Exit handlers and static objects are those of
/// the server, which the child leaves alone, as under fork.
[[noreturn]] inline void run_served_child(Arrival& arrival) noexcept {
  const int code = exit_code_of([&] {
    os::end_exit_with(&say_farewell);
    os::enter(arrival.output.get(), arrival.error.get(), arrival.folder.get());
    for (auto* const handle : {&arrival.output, &arrival.error, &arrival.folder}) handle->reset();
    std::error_code ec;
    {
      const os::UniqueHandle self = os::open_process(os::process_id(), ec);
      const std::array<native_handle_type, 1> handles{self.get()};
      if (ec) {
        send_answer(arrival.answers, ServerAnswer::failed, {0, ec.value()}, {}, ec);
      } else {
        send_answer(arrival.answers, ServerAnswer::runs, {os::process_id()}, handles, ec);
      }
      if (!self || ec) os::exit_now(ec ? ec.value() : 1);  // the starter knows of no child
    }
    arrival.answers.reset();
    ArrivedState{arrival.bytes, std::move(arrival.handles)}.run();
  });
  os::exit_process(code);
}

// ---- the server ----

/// @brief Forks children until it is killed, or nobody can ask it any more.
class ForkServer {
 public:
  /// @param requests borrowed.
  explicit ForkServer(native_handle_type requests) : requests_{requests} {}

  /// @brief Refuses everything from now on. @param why a sentence for the caller of start().
  void refuse(std::string why) { refusal_ = std::move(why); }

  [[noreturn]] void serve() {
    for (;;) {
      std::vector<native_handle_type> handles{requests_};
      for (const Child& child : children_) handles.push_back(child.process.get());
      const auto ready = std::make_unique<bool[]>(handles.size());
      std::error_code ec;
      static_cast<void>(
          os::wait_any(handles, {ready.get(), handles.size()}, {}, Deadline{forever}, ec));
      if (ec) throw std::system_error{ec, "the fork server cannot wait"};
      std::erase_if(children_, [](const Child& child) { return report_end(child); });
      if (ready[0]) take_request();
    }
  }

 private:
  struct Child {
    int pid = 0;
    os::UniqueHandle process;
    os::UniqueHandle answers;
  };

  static bool report_end(const Child& child) {
    const os::ProcessEnd end = os::collect_process(child.process.get());
    if (!end.ended) return false;
    MULTIPROCESSING_STOP_POINT("forkserver.reaped");
    std::error_code ignored;
    send_answer(child.answers, ServerAnswer::ended,
                {child.pid, end.code.value_or(unknown_exit_code)}, {}, ignored);
    return true;
  }

  void take_request() {
    os::IncomingMessage request;
    std::error_code ec;
    const auto outcome =
        os::receive_message(requests_, request, {}, Deadline{std::chrono::seconds{0}}, ec);
    if (outcome == os::Outcome::ended) os::exit_now(0);
    if (ec || outcome != os::Outcome::done || request.handles.size() != 1) return;
    MULTIPROCESSING_STOP_POINT("forkserver.requested");
    Arrival arrival;
    arrival.answers = std::move(request.handles.front());
    if (!refusal_.empty()) {
      return send_answer(arrival.answers, ServerAnswer::refused, {0, 0, refusal_}, {}, ec);
    }
    receive_arrival(arrival, ec);
    if (!ec) fork_for(arrival, ec);
    if (ec) send_answer(arrival.answers, ServerAnswer::failed, {0, ec.value()}, {}, ec);
  }

  void fork_for(Arrival& arrival, std::error_code& ec) {
    children_.reserve(children_.size() + 1);
    os::UniqueHandle room{os::duplicate_handle(requests_, ec)};  // for the child's handle
    if (ec) return;
    os::flush_streams();
    MULTIPROCESSING_STOP_POINT("forkserver.fork");
    const int pid = os::fork_served_process(ec);
    if (ec) return;
    if (pid == 0) {
      children_.clear();
      room.reset();
      MULTIPROCESSING_STOP_POINT("forkserver.child.born");
      run_served_child(arrival);
    }
    MULTIPROCESSING_STOP_POINT("forkserver.forked");
    room.reset();
    Child child{pid, os::open_process(pid, ec), std::move(arrival.answers)};
    if (ec) {  // the system's own table is full: whom we cannot watch we may not have
      os::discard_process(pid);
      arrival.answers = std::move(child.answers);
      return;
    }
    children_.push_back(std::move(child));
  }

  native_handle_type requests_;
  std::vector<Child> children_;
  std::string refusal_;
};

/// @brief Does what set_forkserver_preload() asked for. @returns what went wrong, if anything did.
[[nodiscard]] inline std::string preload(std::span<const std::byte> call) {
  const std::string failed = "the fork server could not do its preload: ";
  try {
    Transit transit;  // no handles travel, but references to code do
    Decoder decoder{call, &transit};
    if (!call.empty()) run_call(decoder);
  } catch (const std::exception& error) {
    return failed + os::current_exception_type() + ": " + error.what();
  } catch (...) {
    return failed + os::current_exception_type();
  }
  constexpr std::chrono::milliseconds moment{1};
  constexpr int patience = 500;  // the system counts a thread that was joined a little longer
  for (int i = 0; i < patience && os::thread_count() > 1; ++i) os::pause_for(moment, {});
  if (os::thread_count() > 1) {
    return "the fork server has more than one thread, so it cannot fork safely: static objects of "
           "this program, or its preload, start threads. Start processes by spawn instead";
  }
  return {};
}

/// @brief What a fork server lives by is closed in every fork, also in those that its preload
/// makes: who held the end that requests come from would hide the server's death from who asks it.
inline void keep_from_forks(os::UniqueHandle lifeline, os::UniqueHandle requests) {
  os::install_fork_handlers();
  ProcessState& state = process_state();
  const std::lock_guard lock{state.mutex};
  state.served_lifeline = os::to_integer(lifeline.release());
  state.served_requests = os::to_integer(requests.release());
}

/// @brief All that a fork server ever does.
[[noreturn]] inline void run_forkserver(std::span<const std::byte> bytes,
                                        std::vector<os::UniqueHandle> handles) {
  std::error_code ec;
  os::die_with_parent(handles.at(ServerHandles::lifeline).get(), ec);
  if (ec) throw std::system_error{ec, "cannot tie the fork server to its parent"};
  Decoder decoder{bytes};
  auto state = decode<ServerState>(decoder);
  use_program_files(std::move(state.files));
  keep_from_forks(std::move(handles.at(ServerHandles::lifeline)),
                  std::move(handles.at(ServerHandles::requests)));
  ForkServer server{os::to_handle(process_state().served_requests)};
  server.refuse(preload(state.preload));
  os::leave_signals_to_others();  // who has a handler from the preload, or static objects, keeps it
  {
    const std::lock_guard lock{process_state().mutex};
    end_forkserver();  // one that the preload began
  }
  os::flush_streams();
  os::silence_outputs();  // each child brings its own; a pipe's reader waits for nobody here
  os::leave_folder();     // likewise
  server.serve();
}

// ---- the starter ----

/// @brief A request for a child: a channel in which its state lies already. Nobody who is forked
/// meanwhile holds an end, so the server's death is seen.
struct ChildRequest {
  os::PassingHandles handles;
  native_handle_type ours = os::invalid_handle;
  native_handle_type servers = os::invalid_handle;
  unsigned server = 0;  ///< The number of the one that it is for.
};

/// @brief Makes one. The state is copied with no lock held.
[[nodiscard]] inline ChildRequest make_request(const ChildRecord& record,
                                               const DepartingState& child,
                                               std::error_code& ec) {
  ChildRequest made;
  native_handle_type server = os::invalid_handle;
  {
    const ProcessState& state = process_state();
    const std::lock_guard lock{process_state().mutex};
    made.server = state.forkserver_number;
    if (state.forkserver == -1) ec = std::make_error_code(std::errc::broken_pipe);
    if (ec) return made;
    server = made.handles.add_one([&] {
      return os::UniqueHandle{os::duplicate_handle(os::to_handle(state.forkserver), ec)};
    });
  }
  if (ec) return made;
  made.handles.add([&] {
    std::vector<os::UniqueHandle> ends;
    os::ChannelEnds channel = os::make_channel(ec);
    if (ec) return ends;
    made.ours = channel.first.get();
    made.servers = channel.second.get();
    ends.push_back(std::move(channel.first));
    ends.push_back(std::move(channel.second));
    return ends;
  });
  if (!ec) send_departure(made.ours, child, record.childs_lifeline.get(), server, ec);
  return made;
}

/// @brief Sends a request; where the answers come from is the record's then.
/// @returns whether it was sent. If not, and without an error, the server has much to do.
[[nodiscard]] inline bool ask_for(ChildRecord& record, ChildRequest& request, std::error_code& ec) {
  const ProcessState& state = process_state();
  const std::lock_guard lock{process_state().mutex};
  if (state.forkserver == -1 || state.forkserver_number != request.server) {
    ec = std::make_error_code(std::errc::broken_pipe);
    return false;
  }
  // Room for the child's handle, which must not fail to arrive: the child runs then.
  record.sentinel = os::UniqueHandle{os::duplicate_handle(record.childs_lifeline.get(), ec)};
  if (ec) return false;
  const std::array<native_handle_type, 1> handles{request.servers};
  const auto sent = os::send_message(os::to_handle(state.forkserver), {0, {}, handles}, {},
                                     Deadline{std::chrono::seconds{0}}, ec);
  if (ec || sent != os::Outcome::done) return false;
  record.reports = request.handles.take(request.ours);
  request = {};  // the server alone has its end
  return true;
}

/// @brief Waits for the answer and makes a child of it.
/// @returns none: the request is gone, and no child runs.
/// @throws std::system_error, std::logic_error the server refuses.
inline ChildReference finish_by_answer(Starting& starting) {
  ChildRecord& record = starting.record();
  std::error_code ec;
  static_cast<void>(os::wait_for_message(record.reports.get(), {}, Deadline{forever}, ec));
  if (ec) throw starting.failure(ec, "waiting for the fork server's answer");
  os::IncomingMessage message;
  ServerAnswer answer;
  {
    const std::lock_guard lock{process_state().mutex};  // no fork comes in between, as above
    record.sentinel.reset();
    const auto outcome = os::receive_message(record.reports.get(), message, {},
                                             Deadline{std::chrono::seconds{0}}, ec);
    if (ec) throw starting.failure(ec, "the fork server's answer");
    if (outcome != os::Outcome::done) return {};
    answer = loads<ServerAnswer>(message.bytes());
    if (message.kind() == ServerAnswer::ended) {
      // Only a signal ends a child untold, or that it could not tell.
      if (answer.code >= 0 && answer.code != unknown_exit_code) {
        throw starting.failure({answer.code, std::system_category()}, "its answer");
      }
      return starting.finish_ended(answer.pid, answer.code);
    }
    if (message.kind() == ServerAnswer::runs) record.sentinel = std::move(message.handles.at(0));
  }
  if (message.kind() == ServerAnswer::runs) return starting.finish({answer.pid, {}, {}});
  if (message.kind() == ServerAnswer::refused) throw std::logic_error{answer.text};
  throw starting.failure({answer.code, std::system_category()}, "the fork server");
}

/// @brief What start() throws when each fork server ends at once. @param last the number of one.
[[nodiscard]] inline ProcessError no_forkserver_stays(const std::string& name, unsigned last) {
  std::optional<int> code;
  {
    const std::lock_guard lock{process_state().mutex};
    if (process_state().forkserver_number == last) code = end_forkserver();
  }
  return ProcessError{
      "cannot start process " + name + ": the fork server ended each time before it answered" +
      (code ? ", at last with exit code " + std::to_string(*code) : std::string{}) +
      ". It is this program as far as freeze_support(): what it wrote to the error output may say "
      "why"};
}

/// @brief Starts a child by the fork server, which is started first where there is none.
/// @throws std::logic_error main() does not call freeze_support(), or the server cannot fork: says
/// why. SerializationError the work cannot travel. std::system_error the system refuses.
/// ProcessError no server stays.
inline ChildReference start_by_forkserver(const ChildPlan& plan) {
  constexpr std::chrono::milliseconds moment{1};
  constexpr int tries = 10;  // two for each server that dies
  check_freeze_support();
  const DepartingState state{plan, true};
  os::flush_streams();
  Starting starting{plan.identity};
  std::optional<ChildRequest> request;
  unsigned dead = 0;
  unsigned last = 0;
  for (int i = 0; i < tries;) {
    ensure_forkserver(dead);
    MULTIPROCESSING_STOP_POINT("process.start.served");
    std::error_code ec;
    if (!request) request = make_request(starting.record(), state, ec);
    last = request->server;
    const bool is_sent = !ec && ask_for(starting.record(), *request, ec);
    if (ec && ec != std::errc::broken_pipe) throw starting.failure(ec, "the fork server");
    if (!is_sent && !ec) {
      os::pause_for(moment, {});
      continue;
    }
    request.reset();
    if (is_sent) {
      MULTIPROCESSING_STOP_POINT("process.start.requested");
      if (auto child = finish_by_answer(starting)) return child;
    } else {
      dead = last;
    }
    ++i;
  }
  throw no_forkserver_stays(plan.identity.name, last);
}

}  // namespace multiprocessing::detail
