// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file fleet.hpp
/// @brief The master's side of a distributed pool: the table of tasks, and the agents that do them.
///
/// docs/design/distributed.md says how it works.
#include <multiprocessing/distributed/builds.hpp>
#include <multiprocessing/distributed/engine.hpp>
#include <multiprocessing/distributed/message.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/timeout.hpp>
#include <multiprocessing/workers/remote_exception.hpp>
#include <multiprocessing/workers/table.hpp>
#include <multiprocessing/workers/task_runner.hpp>
#include <multiprocessing/workers/telling.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <list>
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

/// @brief What a fleet is made of.
struct FleetOptions {
  const char* name = "the distributed pool";  ///< What errors call it.
  bool breaks_on_death = false;               ///< One death of a worker or agent fails everything.
  bool finishes_at_exit = false;              ///< Else the program's end terminates it.
  unsigned retries = 0;                       ///< Of each task that does not say itself.
  SessionOptions session;
};

/// @brief Agents on other machines that do tasks.
///
/// Whoever drives polls the engine, hands tasks out and tells receivers: a thread that waits, so
/// that no result has to be handed over to it; while none does, a thread of the fleet's own. Who
/// submits while nobody drives sends the task itself. Who asks an agent something does not drive.
class Fleet final : public TaskRunner, public std::enable_shared_from_this<Fleet> {
 public:
  /// @throws what Engine::connect() throws.
  static std::shared_ptr<Fleet> create(FleetOptions options, std::unique_ptr<Engine> engine);
  inline ~Fleet() override;
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;

  inline std::uint64_t submit(const NewTask& task) override;
  void work_in_background() override {}
  inline void check_takes_tasks() override;
  inline bool wait(const Receiver* of,
                   const std::function<bool()>& done,
                   const Deadline& deadline,
                   const std::stop_token& stop = {}) override;
  inline bool cancel(std::uint64_t task) override;
  [[nodiscard]] inline bool is_running(std::uint64_t task) override;
  inline bool kill(std::uint64_t task) override;
  inline void close() override;
  inline void cancel_waiting() override;
  inline bool join(const Deadline& deadline = Deadline{forever},
                   const std::stop_token& stop = {}) override;
  inline void terminate(os::Signal first) override;
  inline void retire() override;
  [[nodiscard]] inline PoolStats stats() override;
  /// @brief Of all agents. Waits until each of them is ready or lost; at least 1.
  [[nodiscard]] inline unsigned workers() override;
  [[nodiscard]] bool is_ours() const noexcept override { return process_ == os::process_id(); }

  /// @brief Waits until each agent that is expected is ready, or lost.
  /// @returns whether all that could be waited for within the time has been.
  /// @throws BrokenProcessPool none is left.
  bool bootup(const Deadline& deadline);

  /// @brief What is known of an agent.
  struct AgentStatus {
    std::string host;
    int pid = 0;
    unsigned workers = 0;
  };
  /// @brief The agents that are ready.
  [[nodiscard]] std::vector<AgentStatus> agents() const;

  /// @brief Ends the fleets of this process, as its end does.
  static void finish_living() noexcept;

 private:
  using Clock = std::chrono::steady_clock;
  enum class State { running, closed, broken, terminated };

  /// What the master knows of one agent. An agent that is gone stays, for stats().
  struct Agent {
    enum class State { joined, ready, gone };
    State state = State::joined;
    std::uint32_t peer = 0;
    AgentStatus status;
    bool is_server = false;                               ///< Of many agents.
    Clock::time_point answers_until;                      ///< While it is `joined`.
    std::unordered_map<std::uint64_t, std::size_t> sent;  ///< Tasks there, and their sizes.
    std::size_t sent_bytes = 0;
    std::uint32_t pace = 0;  ///< Microseconds that a task takes; 0: not known.
    bool was_told_to_leave = false;
    LeaveFrame::How told = LeaveFrame::finish;  ///< How.
    WorkerStats stats;
  };
  struct Waiting {
    std::uint64_t id = 0;
    std::vector<std::byte> message;
  };
  struct Outgoing {
    std::uint32_t peer = 0;
    std::vector<std::byte> message;
  };
  struct Failed {
    TaskTable::Entry entry;
    std::exception_ptr error;
    bool is_cancelled = false;
  };
  struct Request {
    std::uint32_t peer = 0;
    std::atomic<int> answer{-1};
  };
  struct Follower {
    const Receiver* of = nullptr;
    bool is_called = false;
    std::condition_variable bell;
  };
  struct CodeLine {
    Code code;
    std::vector<std::byte> definition;
  };

  Fleet(FleetOptions options, std::unique_ptr<Engine> engine);

  // ---- tasks to agents (fleet_dispatch.ipp); the mutex is held ----
  std::uint32_t number_of(const Code& code);
  void check_running() const;
  std::vector<std::byte> task_message(const NewTask& task, std::uint64_t id, std::uint32_t code);
  [[nodiscard]] static std::size_t window(const Agent& agent, bool ahead) noexcept;
  void refill(Agent& agent, bool ahead);
  void hand_out();
  void fail_later(std::uint64_t task, std::exception_ptr error, bool is_cancelled);
  void fail_all_later(const std::function<std::exception_ptr()>& make_error, bool is_cancelled);
  bool try_again(std::uint64_t task);
  [[nodiscard]] std::string describe(std::uint64_t task) const;
  [[nodiscard]] std::uint32_t still_expected() const noexcept;
  std::shared_ptr<Request> make_request(RequestFrame::What what, std::uint64_t task);
  bool ask(RequestFrame::What what, std::uint64_t task);  // without it

  // ---- who drives (fleet_driving.ipp) ----
  [[nodiscard]] bool may_drive() const noexcept;  // the mutex is held
  void leave_loop();                              // the mutex is held
  void drive(const Deadline& deadline);
  template <class Done>
  void listen(std::unique_lock<std::mutex>& lock, const Done& done, const Deadline& deadline);
  void send_at_once();
  void call_followers(const Receiver* of);
  void run();
  void close_engine();

  // ---- the loop (fleet_loop.ipp); by its driver, without the mutex ----
  void step(const Deadline& deadline);
  void flush();
  void handle(EngineEvent event);
  void welcome(Agent& agent, bool is_late);
  void handle_message(Agent& agent, std::span<const std::byte> message);
  void handle_ready(Agent& agent, std::span<const std::byte> rest);
  void handle_result(Agent& agent, std::span<const std::byte> rest);
  void deliver(TaskTable::Entry entry,
               const ResultFrame& frame,
               std::span<const std::byte> rest,
               const std::string& host);
  void lose(Agent& agent, const std::string& why);
  void look_at_clock();
  void fail(TaskTable::Entry entry, std::exception_ptr error);
  void finish(TaskTable::Entry& entry, bool returned);
  void resolve(Failed one);
  void resolve_failed();
  void break_down(std::string_view why) noexcept;
  bool try_to_break_down(std::string_view why) noexcept;

  // ---- ends (fleet_ends.ipp) ----
  void tell_all_to_leave(LeaveFrame::How how);  // the mutex is held
  void end(LeaveFrame::How how, std::chrono::milliseconds longest);
  void stop_loop();
  [[nodiscard]] bool all_gone() const;
  void check_process() const;
  static void register_living(const std::shared_ptr<Fleet>& fleet);

  static constexpr std::chrono::milliseconds tick{100};
  static constexpr std::chrono::milliseconds moment{1};  // how long users may leave the loop alone
  static constexpr std::chrono::seconds answers_within{30};
  static constexpr std::chrono::seconds request_within{2};
  static constexpr std::uint32_t most_workers = 32767;
  static constexpr std::size_t most_bytes_ahead = std::size_t{64} << 20U;
  static constexpr std::size_t most_ahead = 32;         // tasks, for each worker
  static constexpr std::uint32_t worth_ahead = 10'000;  // microseconds of work, for each worker

  const FleetOptions options_;
  const int process_;
  const std::unique_ptr<Engine> engine_;
  std::vector<std::byte> open_message_;
  std::thread thread_;

  mutable std::mutex mutex_;  // guards all that follows
  State state_ = State::running;
  std::string why_broken_;
  std::uint32_t expected_ = 0;
  std::map<std::uint32_t, Agent> agents_;
  TaskTable table_;
  std::deque<Waiting> waiting_;
  std::vector<Outgoing> outgoing_;
  std::vector<Failed> failed_;
  std::unordered_map<std::uint64_t, std::shared_ptr<Request>> requests_;
  std::uint64_t last_request_ = 0;
  std::unordered_map<Code, std::uint32_t, Code::Hash> numbers_;
  std::vector<CodeLine> codes_;
  std::list<Follower*> followers_;
  std::size_t listeners_ = 0;  // those who wait for agents, and do not drive
  std::thread::id driver_;
  Clock::time_point left_at_;  // when a thread that waited has left the loop last
  bool thread_sleeps_ = false;
  std::condition_variable thread_bell_;
  std::size_t done_ = 0;
  std::size_t failures_ = 0;
  std::size_t restarts_ = 0;
  bool is_retired_ = false;
  bool is_leaving_ = false;
  bool has_loop_ = false;
  std::condition_variable loop_gone_;
  std::condition_variable agents_bell_;
  std::atomic<bool> ends_{false};
  std::atomic<std::size_t> open_{0};           // tasks whose receivers have not been told
  std::atomic<std::size_t> held_by_joins_{0};  // those of them whose callbacks wait in join()
};

}  // namespace multiprocessing::detail

#include <multiprocessing/distributed/fleet_dispatch.ipp>
#include <multiprocessing/distributed/fleet_driving.ipp>
#include <multiprocessing/distributed/fleet_ends.ipp>
#include <multiprocessing/distributed/fleet_loop.ipp>
