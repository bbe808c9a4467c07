// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file local_engine.hpp
/// @brief Agents on this host, as processes behind pipes: for a program that no launcher started.
#include <multiprocessing/connection.hpp>
#include <multiprocessing/connection/wait.hpp>
#include <multiprocessing/distributed/agent_session.hpp>
#include <multiprocessing/distributed/engine.hpp>
#include <multiprocessing/distributed/host_name.hpp>
#include <multiprocessing/os/message.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/process.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief Ends a wait on handles, from any thread.
class Wakeup {
 public:
  void wake() noexcept {
    if (is_due_.exchange(true)) return;
    try {
      pipe_.second.send_bytes(std::string_view{});
    } catch (const std::exception&) {  // closed
    }
  }
  /// @brief After a wait.
  void clear() {
    if (!pipe_.first.poll(std::chrono::seconds{0})) return;
    is_due_.store(false);  // first: who wakes from now on sends anew
    static_cast<void>(pipe_.first.recv_bytes());
  }
  [[nodiscard]] const Connection& source() const noexcept { return pipe_.first; }

 private:
  Pipe pipe_{false};
  std::atomic<bool> is_due_{false};
};

/// @brief Sends whole messages without ever waiting: what the pipe has no room for waits here.
class PatientSender {
 public:
  explicit PatientSender(Connection connection) : connection_{std::move(connection)} {}
  void send(std::vector<std::byte> message) {
    waiting_.push_back(std::move(message));
    flush();
  }
  /// @returns false: the peer has gone. What else stands in the way (no descriptor, no memory) may
  /// pass: it is tried again.
  bool flush() {
    try {
      while (!waiting_.empty()) {
        if (!connection_.try_send_bytes(waiting_.front(), std::chrono::seconds{0})) return true;
        waiting_.pop_front();
      }
    } catch (const ConnectionError&) {
      return false;
    } catch (const std::system_error& error) {
      return error.code() != std::errc::broken_pipe && error.code() != std::errc::connection_reset;
    }
    return true;
  }
  [[nodiscard]] bool is_waiting() const noexcept { return !waiting_.empty(); }
  [[nodiscard]] const Connection& connection() const noexcept { return connection_; }
  void close() noexcept { connection_.close(); }

 private:
  Connection connection_;
  std::deque<std::vector<std::byte>> waiting_;
};

/// @brief An agent behind a pipe, until its master says that it is to leave, or dies.
inline void run_local_agent(Connection connection) {
  os::leave_signals_to_others();
  {
    const std::lock_guard lock{process_state().mutex};
    process_state().daemon = false;
  }
  constexpr std::chrono::milliseconds soon{1};
  Wakeup wakeup;
  const auto outbox = std::make_shared<Outbox>([&wakeup] { wakeup.wake(); });
  AgentSession session{outbox, *get_start_method(), host_name()};
  Connection from = connection;
  PatientSender sender{std::move(connection)};
  const auto parent = parent_process();
  try {
    for (;;) {
      const bool has_ended = session.has_ended();
      for (auto& message : outbox->take()) sender.send(std::move(message.bytes));
      if (!sender.flush()) break;
      if (has_ended && !sender.is_waiting()) return;
      wait({sender.connection(), wakeup.source(), parent->sentinel()},
           sender.is_waiting() ? Timeout{soon} : forever);
      wakeup.clear();
      if (!parent->is_alive()) return session.abandon();
      while (!session.has_ended() && from.poll(std::chrono::seconds{0})) {
        session.handle(from.recv_bytes());
      }
    }
  } catch (const ProcessError&) {  // the master has gone, or says what makes no sense
  } catch (const std::system_error&) {
  }
  session.abandon();
}

/// @brief Agents in child processes of this one.
class LocalEngine final : public Engine {
 public:
  explicit LocalEngine(std::uint32_t agents = 1) : count_{agents} {}
  ~LocalEngine() override { close(); }

  inline std::uint32_t connect() override;
  inline void send(std::uint32_t peer, std::vector<std::byte> message) override;
  inline EngineEvent poll(Timeout timeout) override;
  void wake() noexcept override { wakeup_.wake(); }
  inline void drop(std::uint32_t peer) noexcept override;
  inline void close() noexcept override;
  inline void abandon() noexcept override;

 private:
  struct Peer {
    explicit Peer(Connection connection) : sender{std::move(connection)} {}
    PatientSender sender;
    std::unique_ptr<Process<>> process;
    bool is_lost = false;
    bool is_told = false;  ///< That it has joined.
  };
  [[nodiscard]] std::optional<EngineEvent> event_of(std::uint32_t number, Peer& peer);
  [[nodiscard]] EngineEvent loss_of(std::uint32_t number, Peer& peer);

  const std::uint32_t count_;
  Wakeup wakeup_;
  std::mutex ending_;  // between close() and abandon()
  std::vector<std::unique_ptr<Peer>> peers_;
  std::size_t next_ = 0;  // whose turn it is
};

inline std::uint32_t LocalEngine::connect() {
  for (std::uint32_t i = 0; i < count_; ++i) {
    Pipe pipe;
    peers_.push_back(std::make_unique<Peer>(pipe.first));
    Peer& peer = *peers_.back();
    // Ends with us, however that comes; it has children all the same.
    peer.process = std::make_unique<Process<>>(
        ProcessOptions{.name = "Agent-" + std::to_string(i + 1), .daemon = true}, &run_local_agent,
        pipe.second);
    peer.process->start();
    pipe.second.close();
  }
  return count_;
}

inline void LocalEngine::send(std::uint32_t peer, std::vector<std::byte> message) {
  Peer& to = *peers_.at(peer);
  if (to.is_lost) return;
  to.sender.send(std::move(message));  // poll() sees it where that fails
}

inline EngineEvent LocalEngine::loss_of(std::uint32_t number, Peer& peer) {
  constexpr std::chrono::seconds soon{1};
  peer.is_lost = true;
  peer.sender.close();
  EngineEvent event{EngineEvent::Kind::lost, number, {}, "its process has gone"};
  if (peer.process->join(soon)) {
    event.text = "its process exited with code " + std::to_string(*peer.process->exitcode());
  }
  return event;
}

inline std::optional<EngineEvent> LocalEngine::event_of(std::uint32_t number, Peer& peer) {
  if (peer.is_lost) return std::nullopt;
  if (!std::exchange(peer.is_told, true)) {
    return EngineEvent{EngineEvent::Kind::joined, number, {}, host_name()};
  }
  try {
    peer.sender.flush();
    const bool is_alive = peer.process->is_alive();  // asked first: what it has said comes before
    Connection connection = peer.sender.connection();
    if (auto message = connection.try_recv_bytes()) {
      return EngineEvent{EngineEvent::Kind::message, number, *std::move(message), {}};
    }
    if (is_alive) return std::nullopt;
  } catch (const EOFError&) {
  } catch (const std::system_error& error) {
    if (error.code() == std::errc::not_enough_memory) throw std::bad_alloc{};
  } catch (const ConnectionError&) {
  }
  return loss_of(number, peer);
}

inline EngineEvent LocalEngine::poll(Timeout timeout) {
  constexpr std::chrono::milliseconds soon{1};
  const Deadline deadline{timeout};
  for (bool has_waited = false;; has_waited = true) {
    bool is_waiting = false;
    for (std::size_t i = 0; i < peers_.size(); ++i) {
      const std::size_t at = next_++ % peers_.size();
      Peer& peer = *peers_[at];
      if (auto event = event_of(static_cast<std::uint32_t>(at), peer)) return *std::move(event);
      is_waiting = is_waiting || (!peer.is_lost && peer.sender.is_waiting());
    }
    if (has_waited) return {};
    std::vector<Waitable> all{wakeup_.source()};
    for (const auto& peer : peers_) {
      if (peer->is_lost) continue;
      all.emplace_back(peer->sender.connection());
      all.emplace_back(*peer->process);
    }
    const auto limit =
        deadline.left(is_waiting ? std::chrono::nanoseconds{soon} : std::chrono::hours{1});
    wait(all, Timeout{limit});
    wakeup_.clear();
  }
}

inline void LocalEngine::drop(std::uint32_t peer) noexcept {
  Peer& to = *peers_.at(peer);
  to.is_lost = true;
  to.sender.close();
  try {
    to.process->kill();
  } catch (const std::system_error& error) {
    log(LogLevel::error, error.what());
  }
}

inline void LocalEngine::close() noexcept {
  constexpr std::chrono::milliseconds soon{500};
  for (const auto& peer : peers_) peer->sender.close();
  const Deadline deadline{soon};
  for (const auto& peer : peers_) {
    try {
      if (!peer->process || !peer->process->pid()) continue;
      if (!peer->process->join(deadline.left(soon))) {
        peer->process->kill();
        peer->process->join();
      }
    } catch (const std::exception& error) {
      log(LogLevel::error, error.what());
    }
  }
  const std::lock_guard lock{ending_};
  peers_.clear();
}

inline void LocalEngine::abandon() noexcept {
  const std::lock_guard lock{ending_};
  for (const auto& peer : peers_) {
    try {
      peer->process->kill();
    } catch (const std::exception& error) {  // it has ended
      log(LogLevel::error, error.what());
    }
  }
}

}  // namespace multiprocessing::detail
