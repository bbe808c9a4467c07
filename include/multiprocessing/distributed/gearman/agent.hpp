// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file agent.hpp
/// @brief An agent of a Gearman server: takes jobs, and has local pools do them.
#include <multiprocessing/distributed/agent_session.hpp>
#include <multiprocessing/distributed/gearman/job.hpp>
#include <multiprocessing/distributed/gearman/server_connection.hpp>
#include <multiprocessing/distributed/gearman/worker.hpp>
#include <multiprocessing/distributed/host_name.hpp>
#include <multiprocessing/distributed/message.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/network/address.hpp>
#include <multiprocessing/process.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief One connection of an agent, with the jobs that it has by it.
/// @threads any; receive(): one.
class AgentLink {
 public:
  AgentLink(const Address& server,
            const gearman::ServerOptions& options,
            std::string_view name,
            const std::vector<std::string>& functions,
            std::size_t room)
      : connection_{server, options} {
    gearman::PacketWriter out;
    role_.begin(out, name);
    for (const std::string& each : functions) role_.can_do(out, each);
    role_.set_room(out, room);
    connection_.send(out);
  }

  /// @brief A job; none: the deadline passed, or wake() was called. @throws ConnectionError
  [[nodiscard]] std::optional<gearman::WorkerRole::Job> receive(const Deadline& deadline) {
    for (;;) {
      auto packet = connection_.receive(deadline);
      if (!packet) return std::nullopt;
      const std::lock_guard lock{mutex_};
      gearman::PacketWriter out;
      auto job = role_.take(*std::move(packet), out);
      connection_.send(out);
      if (job) return job;
    }
  }
  /// @brief The end of a job that is no more ours is passed over, here and below.
  void complete(std::string_view handle,
                const gearman::JobHeader& header,
                std::span<const std::byte> message) {
    const auto head = gearman::bytes_of(header);
    say([&](auto& out) { role_.complete(out, handle, {head, message}); });
  }
  void fail(std::string_view handle) {
    say([&](auto& out) { role_.fail(out, handle); });
  }
  void tell(std::string_view handle, const gearman::JobHeader& header, std::string_view words) {
    const auto head = gearman::bytes_of(header);
    std::vector<std::byte> bytes{head.begin(), head.end()};
    const auto text = std::as_bytes(std::span{words});
    bytes.insert(bytes.end(), text.begin(), text.end());
    say([&](auto& out) { role_.say(out, handle, bytes); });
  }
  void set_room(std::size_t room) {
    say([&](auto& out) { role_.set_room(out, room); });
  }
  /// @brief It has no job, none may be on its way, and all that it said has been sent.
  [[nodiscard]] bool is_done() {
    const std::lock_guard lock{mutex_};
    return role_.held() == 0 && !role_.is_asking() && connection_.unsent() == 0;
  }
  void wake() noexcept { connection_.wake(); }

 private:
  template <class Words>
  void say(const Words& words) {
    const std::lock_guard lock{mutex_};
    gearman::PacketWriter out;
    words(out);
    connection_.send(out);
  }

  gearman::ServerConnection connection_;
  std::mutex mutex_;  // guards the rest
  gearman::WorkerRole role_;
};

/// @brief What an agent is made of.
struct GearmanAgentOptions {
  Address server;
  unsigned workers = 0;  ///< At least 1.
  gearman::ServerOptions connection;
  std::stop_token stop;
};

/// @brief An agent, as long as one connection to its server lives.
///
/// Two connections: tasks come by one, by the other what masters say to this agent alone, which
/// must get through when it has all the tasks that it has room for. Each master's pool is a session
/// with workers of its own; the program's code runs only in those. A session whose master has
/// nothing to do for `idle` ends.
/// @threads one, which runs it. Results leave in the threads of the sessions' pools.
class GearmanAgent {
 public:
  /// @throws as gearman::ServerConnection.
  explicit GearmanAgent(const GearmanAgentOptions& options);
  GearmanAgent(const GearmanAgent&) = delete;
  GearmanAgent& operator=(const GearmanAgent&) = delete;
  ~GearmanAgent();

  /// @brief Until a stop is requested, and what it had by then is done.
  /// @throws ConnectionError the server is lost.
  void run();

 private:
  using Clock = std::chrono::steady_clock;
  using Job = gearman::WorkerRole::Job;

  /// A job that a session does.
  struct Held {
    std::uint64_t session = 0;
    Clock::time_point said_at;  // a word about it
    bool is_announced = false;
  };
  struct Session {
    std::shared_ptr<Outbox> outbox;
    std::unordered_map<std::uint64_t, std::string> handles;  // by the master's number
    std::vector<Job> waiting;  // until it is known with what the session opens
    Clock::time_point waits_since;
    Clock::time_point used_at;
    std::string control;                 // the job that asked what is answered now
    std::unique_ptr<AgentSession> pool;  // ends first
  };
  struct Control {
    std::string handle;
    gearman::Packet packet;
  };

  void listen();
  void take(Job job);
  [[nodiscard]] static std::uint64_t task_of(const Job& job);
  void start(Session& session, const Job& job);
  void obey(Control control);
  void open(std::uint64_t number, std::span<const std::byte> rest);
  void end(std::uint64_t number, LeaveFrame::How how);
  void end_unused();
  void give_up_waiting(std::uint64_t number, Session& session);
  void drain(std::uint64_t number) noexcept;
  void deliver(std::uint64_t number, Session& session, std::span<const std::byte> message);
  void tell_all(std::uint64_t number, std::span<const std::byte> message);
  [[nodiscard]] gearman::JobHeader header(gearman::JobHeader::What what,
                                          std::uint64_t session) const noexcept {
    return {.what = what, .session = session, .agent = number_};
  }
  Clock::time_point look_at_clock();

  static constexpr std::chrono::seconds idle{60};
  static constexpr std::chrono::seconds answers_within{5};  // a master, with what it opens
  static constexpr std::size_t room_for_controls = 64;
  static constexpr std::size_t most_bytes = gearman::longest_packet - 4096;

  const GearmanAgentOptions options_;
  const std::string host_ = host_name();
  const std::string place_ = host_ + " (pid " + std::to_string(os::process_id()) + ")";
  const std::uint64_t number_ = gearman::random_number();
  const std::string function_ = gearman::task_function();
  AgentLink tasks_;
  AgentLink controls_;

  std::mutex mutex_;  // guards sessions_ (not what `pool` refers to), held_, obeyed_, why_
  std::map<std::uint64_t, Session> sessions_;
  std::unordered_map<std::string, Held> held_;
  std::vector<Control> obeyed_;
  std::exception_ptr why_;
  std::atomic<bool> ends_{false};
  std::vector<std::uint64_t> unused_;  // sessions to end, if they are so still
  std::vector<std::unique_ptr<AgentSession>> endings_;
  std::thread listener_;
};

}  // namespace multiprocessing::detail

#include <multiprocessing/distributed/gearman/agent.ipp>
