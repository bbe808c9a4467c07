// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file agent.hpp
/// @brief All that an agent of MPI ever does.
#include <multiprocessing/distributed/agent_session.hpp>
#include <multiprocessing/distributed/host_name.hpp>
#include <multiprocessing/distributed/mpi/link.hpp>
#include <multiprocessing/distributed/mpi/world.hpp>
#include <multiprocessing/launch/server.hpp>
#include <multiprocessing/os/environment.hpp>
#include <multiprocessing/os/module.hpp>
#include <multiprocessing/os/process.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <mpi.h>

namespace multiprocessing::detail::mpi {

/// @brief An agent: a pool for each pool of the master, until the master says farewell or is lost.
///
/// None of the program's code runs here, and nothing is forked: workers come from a fork server
/// that was started before MPI was begun.
class Agent {
 public:
  Agent(MPI_Comm comm, int rank) : link_{comm, rank, store_} {}
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  /// @returns the exit code.
  int run();

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds master_lost_after{5};
  static constexpr std::chrono::seconds newborn_waits{60};  // its master may be spawning others

  struct Session {
    std::shared_ptr<Outbox> outbox;
    std::unique_ptr<AgentSession> pool;
    Silence silence;
  };
  void take(Link::Incoming incoming);
  bool look();
  bool fetch();
  void send_results();
  void rest();
  void beat() noexcept;
  void farewell() noexcept;

  World& world_ = World::get();
  const std::shared_ptr<TaskMemoryStore> store_ = std::make_shared<TaskMemoryStore>();
  Link link_;
  Silence silence_;
  Nap nap_;
  bool ends_ = false;
  bool has_heard_ = false;
  std::map<int, Session> sessions_;  // by tag; changed with the world's mutex held
};

/// Something for a pool, or a sign.
inline void Agent::take(Link::Incoming incoming) {
  silence_.heard();
  has_heard_ = true;
  if (incoming.size == Link::farewell) {
    ends_ = true;
    return;
  }
  auto session = sessions_.find(incoming.tag);
  if (incoming.size == Link::life) {
    if (session != sessions_.end()) session->second.silence.heard();
    return;
  }
  if (session == sessions_.end()) {
    Session fresh;
    fresh.outbox = std::make_shared<Outbox>([this] { nap_.wake(); });
    fresh.pool = std::make_unique<AgentSession>(fresh.outbox, StartMethod::forkserver, host_name(),
                                                AgentSession::Results::are_fetched);
    const std::lock_guard lock{world_.mutex};
    session = sessions_.emplace(incoming.tag, std::move(fresh)).first;
  }
  session->second.silence.heard();
  try {
    session->second.pool->handle(incoming.bytes(), incoming.memory);
  } catch (const SerializationError& error) {
    log(LogLevel::error, error.what());
    session->second.pool->abandon();
  }
}

/// @returns whether something came, of the master or of workers.
inline bool Agent::look() {
  constexpr int looks = 9;  // as in MasterEngine::look()
  for (int i = 0; i < looks; ++i) {
    std::optional<Link::Incoming> incoming;
    {
      const std::lock_guard lock{world_.mutex};
      link_.progress();
      incoming = link_.receive(MPI_ANY_TAG);
    }
    const bool is_work = incoming && incoming->size < Link::farewell;
    if (incoming) take(*std::move(incoming));
    if (is_work || fetch()) return true;
  }
  return false;
}

/// @returns whether workers had something.
inline bool Agent::fetch() try {
  bool any = false;
  for (const auto& [tag, session] : sessions_) {
    if (session.pool->has_tasks()) any = session.pool->fetch() || any;
  }
  return any;
} catch (const std::exception& error) {  // no memory: later there may be
  log(LogLevel::error, error.what());
  return false;
}

/// Nothing has come. Where one pool alone has tasks, the first result ends the nap.
inline void Agent::rest() try {
  const auto length = nap_.length();
  AgentSession* at_work = nullptr;
  int working = 0;
  for (const auto& [tag, session] : sessions_) {
    if (!session.pool->has_tasks()) continue;
    at_work = session.pool.get();
    ++working;
  }
  bool is_woken = false;
  if (working == 1 && length != length.zero()) {
    is_woken = at_work->fetch(Deadline{length});
  } else {
    is_woken = nap_.take(std::chrono::hours{1});
  }
  if (is_woken) nap_.was_busy();
} catch (const std::exception& error) {  // no memory: later there may be
  log(LogLevel::error, error.what());
  std::this_thread::sleep_for(std::chrono::milliseconds{20});  // until there is memory
}

inline void Agent::send_results() {
  const auto now = Clock::now();
  store_->tidy(now);
  for (auto at = sessions_.begin(); at != sessions_.end();) {
    Session& session = at->second;
    if (session.silence.look(now) > master_lost_after) session.pool->abandon();
    const bool has_ended = session.pool->has_ended();
    auto messages = session.outbox->take();
    std::unique_ptr<AgentSession> ended;  // which ends without the mutex
    const std::lock_guard lock{world_.mutex};
    for (auto& message : messages) link_.send(at->first, std::move(message));
    if (has_ended) ended = std::move(session.pool);
    at = has_ended ? sessions_.erase(at) : std::next(at);
  }
}

/// The mutex is held.
inline void Agent::beat() noexcept {
  try {
    for (const auto& [tag, session] : sessions_) link_.send_sign(tag, Link::life);
  } catch (const std::exception&) {  // the master is gone: its silence says so
  }
}

/// The master hears that we heard, and with whom MPI may end in peace.
inline void Agent::farewell() noexcept {
  constexpr std::chrono::milliseconds longest{500};
  constexpr std::chrono::milliseconds moment{1};
  const Deadline deadline{longest};
  try {
    {
      const std::lock_guard lock{world_.mutex};
      link_.send_sign(0, Link::farewell);
    }
    for (bool all = false; !all && !deadline.passed();) {
      {
        const std::lock_guard lock{world_.mutex};
        all = link_.progress();
      }
      if (!all) std::this_thread::sleep_for(moment);  // MPI has nothing to wait on
    }
  } catch (const std::exception&) {  // it has gone
  }
}

inline int Agent::run() {
  const std::uint64_t pulse = world_.add_pulse([this] { beat(); });
  bool is_lost = false;
  while (!ends_ && !is_lost) {
    const auto patience = has_heard_ ? master_lost_after : newborn_waits;
    is_lost = silence_.look(Clock::now()) > patience;
    const bool was_busy = look();
    send_results();
    if (was_busy) {
      nap_.was_busy();
    } else {
      rest();
    }
  }
  world_.remove_pulse(pulse);
  for (auto& [tag, session] : sessions_) session.pool->abandon();
  sessions_.clear();
  if (!is_lost) farewell();
  if (is_lost) {
    os::write_error("multiprocessing: the agent on host " + host_name() +
                    " ends: nothing was heard of its master for five seconds\n");
    os::exit_now(1);
  }
  return 0;
}

/// @brief The whole life of an agent's process.
[[noreturn]] inline void run_agent(bool is_spawned) noexcept {
  try {
    os::set_environment(agent_variable, "1");
    {
      const std::lock_guard lock{process_state().mutex};
      process_state().freeze_support_called =
          true;  // whoever diverted us does so in the fork server
      if (process_state().program.empty()) process_state().program = os::executable_path();
    }
    ensure_forkserver(0);
    World& world = World::get();
    MPI_Comm comm = MPI_COMM_WORLD;
    if (is_spawned) {
      MPI_Comm_get_parent(&comm);
      if (comm == MPI_COMM_NULL) throw std::runtime_error{"MPI knows of no parent"};
      MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    }
    {
      Agent agent{comm, 0};
      agent.run();
    }
    if (is_spawned) MPI_Comm_free(&comm);
    world.finalize();
    os::exit_process(0);
  } catch (const std::exception& error) {
    os::write_error("multiprocessing: the agent on host " + host_name() + " ends: " + error.what() +
                    "\n");
  }
  os::exit_now(1);
}

}  // namespace multiprocessing::detail::mpi
