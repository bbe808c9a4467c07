// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file server.ipp
/// @brief How a server answers.
#include <multiprocessing/base_manager/server.hpp>

namespace multiprocessing::detail {

inline std::uint64_t ServerSide::add(ServedObject object,
                                     std::uint64_t type,
                                     ManagerSession* session) {
  const std::lock_guard lock{mutex_};
  if (has_ended_) throw ProcessError{"the manager's server has ended"};
  const std::uint64_t id = next_object_++;
  if (session != nullptr && session->has_ended) return id;  // nobody will come
  objects_.emplace(id, Entry{std::move(object), type, session == nullptr ? 0U : 1U});
  if (session != nullptr) ++session->held[id];
  return id;
}

inline ServedObject ServerSide::find(std::uint64_t object, std::uint64_t type) {
  const std::lock_guard lock{mutex_};
  const auto found = objects_.find(object);
  if (found == objects_.end()) {
    throw ProcessError{"the manager has no such object (any more): nobody had it meanwhile"};
  }
  if (found->second.type != type) {
    throw ProcessError{"the manager's object is of another type than its proxy"};
  }
  return found->second.object;
}

inline void ServerSide::acquire(std::uint64_t object, std::uint64_t type, ManagerSession* session) {
  static_cast<void>(find(object, type));
  const std::lock_guard lock{mutex_};
  const auto found = objects_.find(object);
  if (found == objects_.end()) throw ProcessError{"the manager's object has just gone"};
  if (session != nullptr) {
    if (session->has_ended) return;
    ++session->held[object];
  }
  ++found->second.references;
}

inline void ServerSide::release(std::uint64_t object, ManagerSession* session) noexcept {
  Entry gone;  // its destructor is the user's: it runs without the mutex
  const std::lock_guard lock{mutex_};
  if (session != nullptr) {
    const auto held = session->held.find(object);
    if (held == session->held.end()) return;
    if (--held->second == 0) session->held.erase(held);
  }
  const auto found = objects_.find(object);
  if (found == objects_.end() || --found->second.references != 0) return;
  gone = std::move(found->second);
  objects_.erase(found);
}

inline std::shared_ptr<ManagerSession> ServerSide::session_of(const ManagerId& client,
                                                              bool is_first) {
  const std::lock_guard lock{mutex_};
  auto& session = sessions_[client];
  if (!session && is_first) session = std::make_shared<ManagerSession>();
  if (session) return session;
  sessions_.erase(client);
  throw ProcessError{"a client's connection came after its first one had ended"};
}

inline void ServerSide::end_session(const ManagerId& client, ManagerSession& session) {
  std::map<std::uint64_t, std::size_t> held;
  {
    const std::lock_guard lock{mutex_};
    session.has_ended = true;
    held.swap(session.held);
    sessions_.erase(client);
  }
  for (const auto& [object, times] : held) {
    for (std::size_t i = 0; i < times; ++i) release(object, nullptr);
  }
}

// A module that this process has not loaded stays so, whatever a client says. What it has named has
// its number, also where it was refused: the client counts on.
inline ServerSide::Function* ServerSide::function_of(Decoder& question,
                                                     std::vector<Function*>& code) {
  const auto index = question.read_number<std::uint32_t>();
  if (index > code.size()) throw SerializationError{"a call of code that was never named"};
  if (index == code.size()) {
    code.push_back(nullptr);
    const auto reference = codec<CodeReference>::decode(question);
    if (os::find_module(reference.module, reference.path)) {
      code.back() = resolve<Function>(reference, question.origin());
    }
  }
  if (code[index] != nullptr) return code[index];
  throw SerializationError{
      "the manager's server does not have that code: it runs another build, or the method was "
      "never instantiated there"};
}

inline void ServerSide::answer_one(Decoder& question,
                                   Encoder& answer,
                                   std::vector<Function*>& code) {
  const auto request = static_cast<Request>(question.read_number<std::uint8_t>());
  ManagerSession* const session = serving().session;
  switch (request) {
    case Request::run: {
      Function* const function = function_of(question, code);
      ServedCall call{*this, question, answer};
      return function(call);
    }
    case Request::acquire: {
      const auto object = question.read_number<std::uint64_t>();
      return acquire(object, question.read_number<std::uint64_t>(), session);
    }
    case Request::release:
      return release(question.read_number<std::uint64_t>(), session);
    case Request::count:
      return answer.write_number(std::uint64_t{count()});
    case Request::shutdown:
      return;
  }
  throw SerializationError{"a manager's server was asked for something unknown"};
}

inline void ServerSide::answer(ManagerLine& line, ManagerSession& session) {
  std::vector<Function*> code;
  std::vector<std::byte> bytes;
  std::vector<std::byte> message;
  serving() = {this, &session, nullptr};
  for (;;) {
    line.receive(message);
    code.reserve(code.size() + 1);  // without memory the line ends, rather than a number is lost
    const auto begin = [&](Answer answer) {
      bytes.clear();
      bytes.push_back(static_cast<std::byte>(answer));
    };
    begin(Answer::value);
    Decoder question{message, nullptr, Origin::peer};
    Encoder result{bytes};
    serving().answer = &result;
    try {
      answer_one(question, result, code);
    } catch (...) {
      begin(Answer::error);
      encode_exception(result, "in the manager's server, " + current_process().name() + ":\n");
    }
    serving().answer = nullptr;
    line.send(bytes);
    if (!message.empty() && message.front() == static_cast<std::byte>(Request::shutdown)) {
      listener_.close();
      return;
    }
  }
}

inline void ServerSide::talk(ManagerLine& line) {
  std::vector<std::byte> greeting;
  line.receive(greeting);
  Decoder decoder{greeting};
  if (decoder.read_number<std::uint64_t>() != manager_greeting) return;
  const auto client = detail::decode<ManagerId>(decoder);
  const bool is_first = decoder.read_number<std::uint8_t>() != 0;
  const auto session = session_of(client, is_first);
  std::vector<std::byte> bytes;
  Encoder encoder{bytes};
  encoder.write_number(manager_greeting);
  encode<ManagerId>(encoder, id_);
  try {
    line.send(bytes);
    answer(line, *session);
  } catch (...) {  // the client has ended, or is none of ours
    static_cast<void>(0);
  }
  serving() = {};
  if (is_first) end_session(client, *session);
}

inline void ServerSide::forget_ended_talks() {
  for (auto talk = talks_.begin(); talk != talks_.end();) {
    if (!talk->has_ended) {
      ++talk;
      continue;
    }
    talk->thread.join();
    talk = talks_.erase(talk);
  }
}

// A proxy in an object releases another one, so each goes alone, and without the mutex. What they
// have of each other keeps nothing: they may have it in a circle.
inline void ServerSide::forget_objects() {
  for (;;) {
    Entry gone;
    const std::lock_guard lock{mutex_};
    has_ended_ = true;
    if (objects_.empty()) return;
    gone = std::move(objects_.begin()->second);
    objects_.erase(objects_.begin());
  }
}

inline void ServerSide::serve() {
  constexpr std::chrono::milliseconds breath{20};
  os::install_fork_handlers();
  {
    ManagerServers& servers = manager_servers();
    const std::lock_guard lock{process_state().mutex};
    servers.all.push_back(this);
  }
  while (!listener_.closed()) {
    try {
      Talk& talk = talks_.emplace_back(listener_.core()->accept(Deadline{forever}));
      try {
        talk.thread = std::thread{[this, &talk] {
          try {
            this->talk(talk.line);
          } catch (...) {  // who greets wrongly is sent away
            static_cast<void>(0);
          }
          talk.close();
          talk.has_ended = true;
        }};
      } catch (...) {
        talks_.pop_back();
        throw;
      }
      forget_ended_talks();
    } catch (const AuthenticationError&) {
      continue;
    } catch (const std::invalid_argument&) {
      break;  // closed
    } catch (const std::system_error&) {
      std::this_thread::sleep_for(breath);  // nothing tells when a descriptor or thread is there
    } catch (const std::bad_alloc&) {
      std::this_thread::sleep_for(breath);  // nor when memory is
    }
  }
  for (Talk& talk : talks_) talk.shut_down();
  for (Talk& talk : talks_) talk.thread.join();
  talks_.clear();
  forget_objects();
  ManagerServers& servers = manager_servers();
  const std::lock_guard lock{process_state().mutex};
  std::erase(servers.all, this);
}

}  // namespace multiprocessing::detail
