// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file crew.hpp
/// @brief Worker processes, the ways to them, and the table of what is to be done.
///
/// What Pool and ProcessPoolExecutor have in common; docs/design/pool.md says how it works.
#include <multiprocessing/connection/core.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/process.hpp>
#include <multiprocessing/queues/ring.hpp>
#include <multiprocessing/timeout.hpp>
#include <multiprocessing/workers/board.hpp>
#include <multiprocessing/workers/code.hpp>
#include <multiprocessing/workers/crash_text.hpp>
#include <multiprocessing/workers/large_message.hpp>
#include <multiprocessing/workers/message.hpp>
#include <multiprocessing/workers/receiver.hpp>
#include <multiprocessing/workers/stats.hpp>
#include <multiprocessing/workers/table.hpp>
#include <multiprocessing/workers/task_runner.hpp>
#include <multiprocessing/workers/telling.hpp>
#include <multiprocessing/workers/trace.hpp>
#include <multiprocessing/workers/worker.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief What a crew is made of.
struct CrewOptions {
  const char* name = "Pool";  ///< What errors call it.
  unsigned workers = 1;
  unsigned tasks_per_worker = 0;  ///< 0: no limit.
  Task initializer = {};
  StartMethod start_method = StartMethod::fork;
  std::filesystem::path trace = {};
  bool on_demand = false;        ///< A worker is started when there is work and nobody is idle.
  bool breaks_on_death = false;  ///< One death fails everything.
};

/// @brief The parent's side of a pool.
///
/// Lives as long as its Pool or executor, or its background thread. wait(), poll(), join() and
/// terminate() drive its loop. Its virtual functions are declared inline, not only defined so: else
/// every file that includes this makes code of all of it, used or not.
class Crew final : public TaskRunner, public std::enable_shared_from_this<Crew> {
 public:
  /// @brief With all its workers started, unless they come on demand.
  /// @throws what BaseProcess::start() throws; then no worker is left.
  static std::shared_ptr<Crew> create(CrewOptions options);
  inline ~Crew() override;
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  inline std::uint64_t submit(const NewTask& task) override;
  inline void work_in_background() override;
  inline void check_takes_tasks() override;
  inline bool wait(const Receiver* of,
                   const std::function<bool()>& done,
                   const Deadline& deadline,
                   const std::stop_token& stop = {}) override;
  /// @brief Drives for a moment without waiting, unless somebody else does: for a thread that also
  /// has other things to look at, and comes often. @returns whether a result came.
  bool poll();
  inline bool cancel(std::uint64_t task) override;
  [[nodiscard]] inline bool is_running(std::uint64_t task) override;
  inline bool kill(std::uint64_t task) override;
  inline void close() override;
  inline void cancel_waiting() override;
  inline bool join(const Deadline& deadline = Deadline{forever},
                   const std::stop_token& stop = {}) override;
  inline void terminate(os::Signal first = os::Signal::terminate) override;
  inline void retire() override;
  [[nodiscard]] inline PoolStats stats() override;
  [[nodiscard]] unsigned workers() noexcept override {
    return static_cast<unsigned>(places_.size());
  }
  [[nodiscard]] bool is_ours() const noexcept override { return forks_ == process_state().forks; }
  void check_process() const;

 private:
  using Clock = std::chrono::steady_clock;
  enum class State { running, closed, broken, terminated };

  /// One place for a worker; see docs/design/pool.md.
  struct Place {
    enum class State { vacant, starting, alive };
    State state = State::vacant;
    std::uint32_t number = 0;
    std::shared_ptr<Ring> tasks;
    std::shared_ptr<PoolWorker> process;
    std::shared_ptr<DuplexCore> channel;
    struct Sent {
      std::uint64_t id = 0;
      std::size_t size = 0;
    };
    std::deque<Sent> sent;  ///< Handed out, in order, no result yet.
    std::size_t sent_bytes = 0;
    std::uint64_t in_channel = 0;  ///< Messages that went into the channel.
    unsigned assigned = 0;         ///< Tasks handed to this worker.
    bool ends = false;             ///< It was told to end.
    std::uint64_t killed = 0;      ///< The task because of which it is being ended.
    bool killed_for_time = false;
    Clock::time_point kill_at;
    bool has_begun = false;  ///< This worker began a task.
    unsigned failures = 0;   ///< Workers in a row that began none, or could not be started.
    Clock::time_point restart_at;
    WorkerStats stats;
  };

  /// A thread that waits while another one drives.
  struct Follower {
    const Receiver* of = nullptr;
    bool is_called = false;
    std::condition_variable bell;
  };

  /// Holds the mutex. What is logged meanwhile comes when it is free again: a sink may use the
  /// crew.
  class Locked {
   public:
    explicit Locked(std::mutex& mutex) : lock_{mutex} {}

   private:
    LogLater later_;
    std::lock_guard<std::mutex> lock_;
  };

  explicit Crew(CrewOptions options);

  // ---- tasks to workers (crew_dispatch.ipp); the mutex is held ----
  std::uint64_t submit(const NewTask& task, const std::vector<std::byte>* definition);  // likewise
  std::optional<std::uint32_t> number_of(const Code& code,
                                         const std::vector<std::byte>* definition);
  void check_running() const;
  [[nodiscard]] Place* place_for_one();
  [[nodiscard]] bool accepts(const Place& place) const;
  [[nodiscard]] bool is_ready(const Place& place) const;
  bool hand_out(Place& place, TaskTable::Entry& entry, std::span<const std::byte> arguments);
  void put(Place& place, const TaskHeader& header, std::span<const std::byte> arguments);
  void tell_to_end(Place& place);
  void end_if_used_up(Place& place) noexcept;
  void refill(Place& place, std::size_t most = no_limit);
  void refill_idle();
  void refill_all() noexcept;
  void balance(Place& idle, std::size_t least = 2);
  void balance_idle() noexcept;
  std::size_t take_back(Place& place, std::size_t most);
  void put_back(Place& place,
                std::uint64_t task,
                std::span<const std::byte> arguments,
                std::size_t position);
  void fail_later(std::uint64_t task, std::exception_ptr error, bool is_cancelled);
  [[nodiscard]] std::vector<Place*> places_to_start();
  void cancel_later(std::uint64_t task, const std::string& why);
  void fail_all_later(const std::function<std::exception_ptr()>& make_error, bool is_cancelled);
  [[nodiscard]] std::exception_ptr why_ended() const noexcept;

  // ---- tasks that are taken back (crew_cancel.ipp); the mutex is held ----
  struct Failed {
    TaskTable::Entry entry;
    std::exception_ptr error;
    bool is_cancelled = false;
  };
  Failed take_waiting(std::uint64_t task, const std::string& why);
  enum class Withdrawn { yes, begun, unknown };
  Withdrawn withdraw(std::uint64_t task);
  [[nodiscard]] bool has_begun(const TaskTable::Entry& entry) const;

  // ---- the loop (crew_loop.ipp); by its driver, without the mutex ----
  bool step(const Deadline& deadline);
  bool take_result(ResultHeader& header, std::vector<std::byte>& buffer, const Deadline& deadline);
  void take_next_from_block(std::uint32_t place);
  void handle(const ResultHeader& header,
              std::span<const std::byte> value,
              const std::exception_ptr& no_value);
  bool take_handles(const ResultHeader& header, Transit& transit);
  void deliver(TaskTable::Entry entry,
               const ResultHeader& header,
               std::span<const std::byte> value,
               Transit& transit);
  void fail(TaskTable::Entry entry, std::exception_ptr error);
  void finish(TaskTable::Entry& entry, bool returned);
  bool resolve(Failed one);
  void resolve_failed();
  void call_followers(const Receiver* of);
  void leave_loop();
  void run_in_background();
  static void log_current_exception() noexcept;

  // ---- workers (crew_workers.ipp); without the mutex ----
  void start(Place& place) noexcept;
  void start_process(Place& place);
  void look_after_workers();
  void find_dead(std::span<const native_handle_type> sentinels, std::span<bool> is_dead);
  void bury(Place& place, PoolWorker& worker);
  [[nodiscard]] bool works_somewhere() const;  // the mutex is held
  [[nodiscard]] std::string describe(std::uint64_t task);
  void lose(Place& place,
            std::uint64_t task,
            const std::string& death,
            const std::function<std::string()>& crash);
  void watch_limits();
  bool condemn(Place& place, std::uint64_t task, bool for_time);  // the mutex is held
  void break_down(const std::string& why,
                  const std::exception_ptr& because,
                  const std::function<std::string()>& crash = {});
  using Workers = std::vector<std::shared_ptr<PoolWorker>>;
  [[nodiscard]] Workers dismiss(os::Signal first);
  static void await_end(const Workers& workers);
  template <class Act>
  static void with_each(const Workers& workers, const Act& act);
  bool join_workers(const Deadline& deadline = Deadline{forever}, const std::stop_token& stop = {});
  bool stop_background(const Deadline& deadline = Deadline{forever});
  static void register_living(const std::shared_ptr<Crew>& crew);
  static void finish_living() noexcept;

  static constexpr std::size_t no_limit = static_cast<std::size_t>(-1);
  static constexpr std::size_t ahead = 32;
  static constexpr std::size_t ahead_bytes = std::size_t{4} << 20U;
  static constexpr std::chrono::milliseconds tick{20};
  static constexpr std::chrono::milliseconds grace{100};
  /// With a worker that is just taking something; it may have lost its processor there.
  static constexpr std::chrono::milliseconds patience{20};
  static constexpr std::chrono::milliseconds first_pause{10};  // doubled each time
  static constexpr std::chrono::milliseconds asked{500};  // how long a worker has to end before it
  static constexpr std::chrono::seconds forced{2};        // is killed, and then
  static constexpr unsigned most_failures = 5;            // of one place, while no other one works
  static constexpr unsigned most_starts = 3;  // the same, when no process could be started

  const CrewOptions options_;
  const std::uint32_t forks_;  // that lie between the first process and the one that made it
  std::shared_ptr<Ring> results_;
  std::shared_ptr<Board> board_;
  Trace trace_;

  std::mutex mutex_;  // guards all that follows
  State state_ = State::running;
  BrokenProcessPool why_broken_{""};
  std::vector<std::unique_ptr<Place>> places_;
  TaskTable table_;
  struct Waiting {
    std::uint64_t id = 0;
    std::vector<std::byte> arguments;
  };
  std::deque<Waiting> waiting_;          // not handed out
  std::size_t stale_ = 0;                // those of them that were cancelled, about
  std::vector<Failed> failed_;           // out of the table, their receivers are not told yet
  std::atomic<bool> has_failed_{false};  // resolve_failed() has something to do
  std::unordered_map<Code, std::uint32_t, Code::Hash> numbers_;
  std::vector<Code> codes_;
  std::vector<std::uint64_t> pages_;  // of the board's book, for each code
  bool watches_ = false;              // some task had a time limit, or was killed
  std::size_t done_ = 0;
  std::size_t failures_ = 0;
  std::size_t restarts_ = 0;

  // who drives
  std::thread::id driver_;
  std::list<Follower*> followers_;
  Clock::time_point left_at_;       // when a driver left last
  std::int64_t looked_ = 0;         // the driver's: when it looked after the workers last
  std::vector<std::byte> message_;  // the driver's
  bool is_blind_ = false;           // the driver's: it has said so
  bool has_background_ = false;
  bool background_sleeps_ = false;
  bool background_ends_ = false;
  bool is_retired_ = false;
  std::thread background_;
  std::condition_variable background_bell_;
  std::condition_variable background_gone_;
  std::atomic<std::size_t> open_{0};  // tasks whose receivers have not been told; any thread
  std::atomic<std::size_t> held_by_joins_{0};  // those of them whose callbacks wait in join()
};

}  // namespace multiprocessing::detail

#if MULTIPROCESSING_DEFINES
#  include <multiprocessing/workers/crew_cancel.ipp>
#  include <multiprocessing/workers/crew_dispatch.ipp>
#  include <multiprocessing/workers/crew_ends.ipp>
#  include <multiprocessing/workers/crew_loop.ipp>
#  include <multiprocessing/workers/crew_workers.ipp>
#endif
