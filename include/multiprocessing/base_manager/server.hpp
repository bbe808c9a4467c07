// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file server.hpp
/// @brief The process in which a BaseManager's objects live.
#include <multiprocessing/base_manager/line.hpp>
#include <multiprocessing/base_manager/protocol.hpp>
#include <multiprocessing/callable.hpp>
#include <multiprocessing/connection.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/network.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/random.hpp>
#include <multiprocessing/process.hpp>
#include <multiprocessing/workers/remote_exception.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

[[nodiscard]] inline ManagerId random_manager_id() {
  ManagerId id{};
  std::error_code ec;
  os::random_bytes(std::as_writable_bytes(std::span{id}), ec);
  if (ec) throw std::system_error{ec, "cannot make a manager's number"};
  return id;
}

/// @brief A client process, as its server knows it: alive as long as its first connection is open.
/// Guarded by the server's mutex.
struct ManagerSession {
  std::map<std::uint64_t, std::size_t> held;  ///< Objects, and how often.
  bool has_ended = false;
};

/// @brief Keeps objects, and answers clients: a thread for each connection.
///
/// An object lives as long as a client has it, or another object here does. What a client has goes
/// when its first connection ends, however that comes; its other connections are its threads'. All
/// objects go when it has ended, whoever has them; proxies in this process may outlive it.
/// @threads any. Made by std::make_shared.
class ServerSide : public std::enable_shared_from_this<ServerSide> {
 public:
  ServerSide(Listener listener, std::string authkey)
      : listener_{std::move(listener)},
        authkey_{std::move(authkey)},
        id_{random_manager_id()},
        forks_{process_state().forks.load()} {
    listener_.core()->keep_from_children();
  }
  ServerSide(const ServerSide&) = delete;
  ServerSide& operator=(const ServerSide&) = delete;
  ~ServerSide() = default;

  [[nodiscard]] const ManagerId& id() const noexcept { return id_; }
  [[nodiscard]] Address address() const { return listener_.address(); }
  [[nodiscard]] const std::string& authkey() const noexcept { return authkey_; }
  /// @brief Whether it is this process's, and not a copy in a forked child.
  [[nodiscard]] bool is_here() const noexcept { return forks_ == process_state().forks; }

  /// @brief Answers until somebody asks it to end, and all that was begun is done.
  void serve();

  // ---- objects ----

  /// @brief A new object, which the session has; none: which nobody has yet.
  /// @throws ProcessError the server has ended.
  std::uint64_t add(ServedObject object, std::uint64_t type, ManagerSession* session);
  /// @throws ProcessError there is none of that type.
  [[nodiscard]] ServedObject find(std::uint64_t object, std::uint64_t type);
  /// @brief The client that is being answered, or an object here, has it once more.
  void acquire(std::uint64_t object, std::uint64_t type, ManagerSession* session);
  void release(std::uint64_t object, ManagerSession* session) noexcept;
  [[nodiscard]] std::size_t count() {
    const std::lock_guard lock{mutex_};
    return objects_.size();
  }

  /// @brief Who is being answered by this thread.
  struct Serving {
    ServerSide* server = nullptr;
    ManagerSession* session = nullptr;
    const Encoder* answer = nullptr;  ///< What goes to that client; else it goes elsewhere.
  };
  [[nodiscard]] static Serving& serving() noexcept {
    thread_local constinit Serving now{};
    return now;
  }

 private:
  using Function = void(ServedCall&);
  struct Entry {
    ServedObject object;
    std::uint64_t type = 0;
    std::size_t references = 0;
  };
  struct Talk {
    explicit Talk(std::shared_ptr<StreamCore> with) : line{connection_of(std::move(with))} {}
    /// Its thread's last word: nobody else closes what that thread uses.
    void close() noexcept {
      const std::lock_guard lock{mutex};
      is_closed = true;
      line.close();
    }
    void shut_down() {
      const std::lock_guard lock{mutex};
      if (!is_closed) line.shut_down();
    }
    ManagerLine line;  // children do not get it
    std::mutex mutex;  // guards the next, and the line's end
    bool is_closed = false;
    std::thread thread;
    std::atomic<bool> has_ended{false};
  };

  void talk(ManagerLine& line);
  void answer(ManagerLine& line, ManagerSession& session);
  void answer_one(Decoder& question, Encoder& answer, std::vector<Function*>& code);
  static Function* function_of(Decoder& question, std::vector<Function*>& code);
  std::shared_ptr<ManagerSession> session_of(const ManagerId& client, bool is_first);
  void end_session(const ManagerId& client, ManagerSession& session);
  void forget_ended_talks();
  void forget_objects();

  Listener listener_;
  std::string authkey_;
  ManagerId id_;
  std::uint32_t forks_;
  std::mutex mutex_;
  bool has_ended_ = false;
  std::map<std::uint64_t, Entry> objects_;
  std::uint64_t next_object_ = 1;
  std::map<ManagerId, std::shared_ptr<ManagerSession>> sessions_;
  std::list<Talk> talks_;  // by serve() alone
};

/// @brief The servers of this process that serve. Guarded by the process state's mutex.
struct ManagerServers {
  std::vector<ServerSide*> all;
};
[[nodiscard]] inline ManagerServers& manager_servers() {
  static auto& one = os::process_wide<ManagerServers>();
  return one;
}
/// @brief The server of this process that has a number; none.
[[nodiscard]] inline std::shared_ptr<ServerSide> server_here(const ManagerId& id) {
  ManagerServers& servers = manager_servers();
  const std::lock_guard lock{process_state().mutex};
  for (ServerSide* const server : servers.all) {
    if (server->is_here() && server->id() == id) return server->shared_from_this();
  }
  return nullptr;
}

}  // namespace multiprocessing::detail

#include <multiprocessing/base_manager/server.ipp>
