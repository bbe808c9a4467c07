// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file master_engine.hpp
/// @brief The master's side of MPI: agents that a launcher started, or that are spawned.
#include <multiprocessing/distributed/engine.hpp>
#include <multiprocessing/distributed/mpi/link.hpp>
#include <multiprocessing/distributed/mpi/spawn.hpp>
#include <multiprocessing/distributed/mpi/world.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <mpi.h>

namespace multiprocessing::detail::mpi {

/// @brief One pool's agents, behind MPI.
class MasterEngine final : public Engine {
 public:
  /// @param hosts to spawn agents on; none: the other ranks of the job are agents.
  explicit MasterEngine(std::vector<std::string> hosts) : hosts_{std::move(hosts)} {}
  ~MasterEngine() override { close(); }

  std::uint32_t connect() override;
  void send(std::uint32_t peer, std::vector<std::byte> message) override;
  EngineEvent poll(Timeout timeout) override;
  void wake() noexcept override { nap_.wake(); }
  void drop(std::uint32_t peer) noexcept override;
  void close() noexcept override;
  void abandon() noexcept override;

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds dead_after{2500};

  struct Peer {
    Peer(MPI_Comm comm, int rank, std::string place) : link{comm, rank}, where{std::move(place)} {}
    Link link;
    std::string where;
    Silence silence;
    bool is_told = false;  ///< That it has joined.
  };
  [[nodiscard]] std::optional<EngineEvent> look();
  [[nodiscard]] std::optional<EngineEvent> look_at(std::uint32_t number, Peer& peer);
  [[nodiscard]] EngineEvent loss_of(std::uint32_t number, Peer& peer, std::string why);
  void beat() noexcept;

  const std::vector<std::string> hosts_;
  World& world_ = World::get();
  int tag_ = 0;
  std::uint64_t pulse_ = 0;
  std::vector<std::unique_ptr<Peer>> peers_;  // the world's mutex guards them
  std::size_t next_ = 0;                      // whose turn it is
  Nap nap_;
};

inline std::uint32_t MasterEngine::connect() {
  {
    const std::lock_guard lock{world_.mutex};
    tag_ = world_.next_tag();
  }
  pulse_ = world_.add_pulse([this] { beat(); });
  if (hosts_.empty()) {
    const std::lock_guard lock{world_.mutex};
    for (int rank = 1; rank < world_.size(); ++rank) {
      peers_.push_back(
          std::make_unique<Peer>(MPI_COMM_WORLD, rank, "of rank " + std::to_string(rank)));
    }
  } else {
    std::string problem;
    for (const std::string& host : hosts_) {
      const std::lock_guard lock{world_.mutex};
      world_.beat_now();  // the agents that there are hear nothing during a spawn
      const MPI_Comm comm = spawn_agent(host, problem);
      if (comm != MPI_COMM_NULL) peers_.push_back(std::make_unique<Peer>(comm, 0, host));
    }
    if (peers_.empty()) throw std::runtime_error{problem};
    if (!problem.empty()) log(LogLevel::error, problem);
  }
  return static_cast<std::uint32_t>(peers_.size());
}

/// The mutex is held.
inline void MasterEngine::beat() noexcept {
  for (const auto& peer : peers_) {
    try {
      if (!peer->link.is_abandoned()) peer->link.send_sign(tag_, Link::life);
    } catch (const std::exception&) {  // poll() sees it
    }
  }
}

inline void MasterEngine::send(std::uint32_t peer, std::vector<std::byte> message) {
  const std::lock_guard lock{world_.mutex};
  Link& link = peers_.at(peer)->link;
  if (link.is_abandoned()) return;
  nap_.was_busy();  // the answer may come soon
  try {
    link.send(tag_, std::move(message));
  } catch (const std::runtime_error& error) {  // poll() hears of it by the silence
    log(LogLevel::warning, error.what());
  }
}

inline EngineEvent MasterEngine::loss_of(std::uint32_t number, Peer& peer, std::string why) {
  peer.link.abandon();
  world_.is_damaged();
  return {EngineEvent::Kind::lost, number, {}, std::move(why)};
}

inline std::optional<EngineEvent> MasterEngine::look_at(std::uint32_t number, Peer& peer) {
  if (peer.link.is_abandoned()) return std::nullopt;
  if (!std::exchange(peer.is_told, true)) {
    return EngineEvent{EngineEvent::Kind::joined, number, {}, peer.where};
  }
  try {
    const auto silence = peer.silence.look(Clock::now());
    peer.link.progress();
    while (auto incoming = peer.link.receive(tag_)) {
      peer.silence.heard();
      if (incoming->size >= Link::farewell) continue;
      nap_.was_busy();
      return EngineEvent{EngineEvent::Kind::message, number, std::move(incoming->message), {}};
    }
    if (silence < dead_after) return std::nullopt;
    return loss_of(
        number, peer,
        "nothing was heard of it for " +
            std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(silence).count()) +
            " ms: it was killed, or its host is down or cut off");
  } catch (const std::exception& error) {
    return loss_of(number, peer, error.what());
  }
}

/// The mutex is held.
inline std::optional<EngineEvent> MasterEngine::look() {
  // Open MPI looks at its sockets in only every eighth call.
  constexpr std::size_t looks = 9;
  const std::size_t rounds = peers_.empty() ? 0 : (looks + peers_.size() - 1) / peers_.size();
  for (std::size_t i = 0; i < rounds * peers_.size(); ++i) {
    const std::size_t at = next_++ % peers_.size();
    if (auto event = look_at(static_cast<std::uint32_t>(at), *peers_[at])) return event;
  }
  return std::nullopt;
}

inline EngineEvent MasterEngine::poll(Timeout timeout) {
  const Deadline deadline{timeout};
  for (;;) {
    {
      const std::lock_guard lock{world_.mutex};
      if (auto event = look()) return *std::move(event);
    }
    if (deadline.passed()) return {};
    if (nap_.take(deadline.left(std::chrono::hours{1}))) return {};
  }
}

inline void MasterEngine::drop(std::uint32_t peer) noexcept {
  const std::lock_guard lock{world_.mutex};
  Link& link = peers_.at(peer)->link;
  try {
    if (!hosts_.empty() && !link.is_abandoned()) link.send_sign(0, Link::farewell);
  } catch (const std::exception&) {  // it is no more
  }
  link.abandon();
}

inline void MasterEngine::abandon() noexcept {
  world_.remove_pulse(pulse_);  // the silence ends the pools of this one
  const std::lock_guard lock{world_.mutex};
  for (const auto& peer : peers_) {
    try {
      if (!hosts_.empty() && !peer->link.is_abandoned()) peer->link.send_sign(0, Link::farewell);
    } catch (const std::exception&) {  // it is no more
    }
  }
}

/// Those that were spawned end. Those of a launcher wait for the next pool.
inline void MasterEngine::close() noexcept {
  world_.remove_pulse(pulse_);  // also where connect() has thrown
  if (peers_.empty()) return;
  constexpr std::chrono::milliseconds longest{500};
  constexpr std::chrono::milliseconds moment{1};
  const Deadline deadline{longest};
  const auto each_alive = [&](const auto& act) {
    bool all = true;
    const std::lock_guard lock{world_.mutex};
    for (const auto& peer : peers_) {
      try {
        if (!peer->link.is_abandoned()) all = act(peer->link) && all;
      } catch (const std::exception&) {
        peer->link.abandon();
      }
    }
    return all;
  };
  if (!hosts_.empty()) {
    each_alive([](Link& link) {
      link.send_sign(0, Link::farewell);
      return true;
    });
  }
  const auto progress = [](Link& link) { return link.progress(); };
  // Naps, for MPI has nothing to wait on.
  while (!each_alive(progress) && !deadline.passed()) std::this_thread::sleep_for(moment);
  const auto has_answered = [](Link& link) {
    while (const auto incoming = link.receive(MPI_ANY_TAG)) {
      if (incoming->size != Link::farewell) continue;
      MPI_Comm comm = link.comm();
      link.abandon();
      MPI_Comm_free(&comm);
      return true;
    }
    return false;
  };
  if (!hosts_.empty()) {  // likewise
    while (!each_alive(has_answered) && !deadline.passed()) std::this_thread::sleep_for(moment);
  }
  const std::lock_guard lock{world_.mutex};
  for (const auto& peer : peers_) {
    // Whoever does not answer may be dead, and MPI would wait for it at the end.
    if (!hosts_.empty() && !peer->link.is_abandoned()) world_.is_damaged();
    peer->link.abandon();
  }
  peers_.clear();
}

}  // namespace multiprocessing::detail::mpi
