// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file agent_session.hpp
/// @brief An agent's side of a distributed pool: a local pool that does the master's tasks.
#include <multiprocessing/distributed/builds.hpp>
#include <multiprocessing/distributed/host_initializer.hpp>
#include <multiprocessing/distributed/message.hpp>
#include <multiprocessing/distributed/task_memory.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/process.hpp>
#include <multiprocessing/timeout.hpp>
#include <multiprocessing/workers/crew.hpp>
#include <multiprocessing/workers/remote_exception.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief What an agent says that an engine takes away.
///
/// Results come from the pool's own thread, the engine's thread takes them.
class Outbox {
 public:
  /// @param wake Engine::wake() or its like.
  explicit Outbox(std::function<void()> wake) : wake_{std::move(wake)} {}

  void put(std::vector<std::byte> message) { put(Parcel{std::move(message), nullptr, 0}); }
  void put(Parcel message) {
    {
      const std::lock_guard lock{mutex_};
      messages_.push_back(std::move(message));
    }
    wake_();
  }
  /// @brief Of a session that was given no TaskMemory, each is bytes alone.
  [[nodiscard]] std::vector<Parcel> take() {
    const std::lock_guard lock{mutex_};
    return std::exchange(messages_, {});
  }
  void wake() const { wake_(); }

 private:
  const std::function<void()> wake_;
  std::mutex mutex_;
  std::vector<Parcel> messages_;
};

/// @brief One master's pool on this host, from `open` to `left`.
///
/// The pool's workers are the only ones that run the program's code: what they return or throw
/// goes through here as bytes.
/// @threads the engine's.
class AgentSession {
 public:
  /// @brief Who takes the results out of the pool.
  enum class Results {
    come,        ///< A thread of the pool's.
    are_fetched  ///< The engine's, by fetch(): none is handed over from thread to thread.
  };
  /// @param outbox lives as long.
  /// @param method how workers are started. Where this process must not be forked (MPI),
  /// forkserver.
  /// @param host what this machine is called.
  AgentSession(std::shared_ptr<Outbox> outbox,
               StartMethod method,
               std::string host,
               Results results = Results::come)
      : outbox_{std::move(outbox)}, method_{method}, host_{std::move(host)}, results_{results} {}
  AgentSession(const AgentSession&) = delete;
  AgentSession& operator=(const AgentSession&) = delete;
  /// @brief abandon().
  ~AgentSession() { abandon(); }

  /// @brief Does what the master says. @throws SerializationError it says nothing known.
  /// @param message what it says.
  /// @param memory at whose beginning the message lies; none: it is copied where necessary.
  void handle(std::span<const std::byte> message,
              const std::shared_ptr<TaskMemory>& memory = nullptr);
  /// @brief Puts results that are there into the outbox, and looks after the workers: to be called
  /// often. @returns whether there were any.
  bool fetch();
  /// @brief The same; waits for the first.
  bool fetch(const Deadline& deadline);
  /// @brief Whether tasks have no result yet.
  [[nodiscard]] bool has_tasks() const noexcept { return tasks_.load() != 0; }
  /// @brief The master is lost: workers are killed.
  void abandon() noexcept;
  /// @brief `left` or `refused` is in the outbox already: nothing more comes. Ask before the
  /// outbox.
  [[nodiscard]] bool has_ended() const noexcept { return has_ended_.load(); }

 private:
  class OneResult;
  using Clock = std::chrono::steady_clock;

  void open(const OpenMessage& message);
  void run_task(std::span<const std::byte> rest, const std::shared_ptr<TaskMemory>& memory);
  void answer(RequestFrame frame);
  void leave(const LeaveFrame& frame);
  void refuse(const std::string& why);
  void say_if_broken() noexcept;
  void end_with(std::vector<std::byte> message);
  void put_result(std::uint64_t task,
                  ResultFrame::Outcome outcome,
                  std::span<const std::byte> rest,
                  std::shared_ptr<TaskMemory> memory = nullptr,
                  std::size_t in_memory = 0) noexcept;
  [[nodiscard]] std::uint32_t pace();
  struct KnownDefinition;
  const KnownDefinition& known_definition(std::span<const std::byte> definition,
                                          std::string_view name);

  const std::shared_ptr<Outbox> outbox_;
  const StartMethod method_;
  const std::string host_;
  const Results results_;
  std::shared_ptr<Crew> crew_;
  std::atomic<std::size_t> tasks_{0};  // open_'s size
  std::thread leaver_;  // waits for workers that are to end, for the engine's thread may not
  std::atomic<bool> has_ended_{false};

  struct KnownDefinition {
    std::vector<std::byte> bytes;
    std::string name;
    Code code;
    Code code_in_memory;  ///< For arguments in a TaskMemory.
  };
  std::map<std::string, std::unique_ptr<KnownDefinition>, std::less<>> codes_;

  std::mutex mutex_;                                       // guards what follows
  std::unordered_map<std::uint64_t, std::uint64_t> open_;  // the master's number, the crew's
  std::uint32_t pace_ = 0;
  Clock::time_point paced_at_;
};

}  // namespace multiprocessing::detail

#include <multiprocessing/distributed/agent_session.ipp>
