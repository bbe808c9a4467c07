// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file engine.hpp
/// @brief The seam between distributed pools and what carries their messages to other machines.
#include <multiprocessing/timeout.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace multiprocessing::detail {

/// @brief What poll() brings.
struct EngineEvent {
  enum class Kind : std::uint8_t { none, joined, message, lost };
  Kind kind = Kind::none;
  std::uint32_t peer = 0;
  std::vector<std::byte> message;  ///< Of a `message`.
  std::string text;                ///< `joined`: where it is, as far as known. `lost`: why.
};

/// @brief Carries messages between a master and its agents, and notices who is lost.
///
/// The master's side has one peer for each agent; the agent's side has one, the master, number 0.
/// A message arrives whole, once, and in order among those of one peer, or its peer is lost. What
/// stands in a message is not the engine's business: see message.hpp, Fleet (the master) and
/// AgentSession (an agent); those hold the table of tasks, retries, cancellation and the windows.
///
/// Who is dead is the engine's to find out, by whatever means it has; nothing that it does waits
/// for a peer. An engine whose server schedules by itself (Gearman) is one peer, "the server", and
/// turns what MessageKind::task says into jobs; MessageKind::open is what each of them needs
/// before.
/// @threads One: connect(), then the one that polls. wake(): any.
class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  /// @brief Launches the agents, or finds those that are there. Each is `joined` by poll() later.
  /// @returns how many are to be expected.
  /// @throws std::system_error, std::runtime_error with what to do about it.
  virtual std::uint32_t connect() = 0;
  /// @brief Whether more may join than connect() said; else a loss of all is the end.
  [[nodiscard]] virtual bool is_elastic() const noexcept { return false; }
  /// @brief Whether a peer that has joined may take any time to answer: a server whose first agent
  /// is still to come.
  [[nodiscard]] virtual bool answers_when_it_likes() const noexcept { return false; }
  /// @brief Never waits for the peer; to one that is lost or dropped: nothing.
  virtual void send(std::uint32_t peer, std::vector<std::byte> message) = 0;
  /// @brief The next event; waits for it, until the time is over or wake() is called.
  virtual EngineEvent poll(Timeout timeout) = 0;
  /// @brief Ends a poll(), the present one or else the next.
  virtual void wake() noexcept = 0;
  /// @brief This peer is not wanted any more: nothing more comes from it.
  virtual void drop(std::uint32_t peer) noexcept = 0;
  /// @brief Lets all peers go, as far as they live. Takes a second at most.
  virtual void close() noexcept = 0;
  /// @brief Ends the agents without the thread that polls, which does not come back from a callback
  /// of the program's. @threads any.
  virtual void abandon() noexcept {}
};

}  // namespace multiprocessing::detail
