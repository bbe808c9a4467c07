// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file distributed.hpp
/// @brief The same Pool and ProcessPoolExecutor, with workers on many machines.
///
/// Not in the umbrella: it needs what the rest does not. The target multiprocessing::mpi has it run
/// on MPI; without that the agent is on this host. docs/distributed.md is the guide.
#include <multiprocessing/detail/config.hpp>
#if !MULTIPROCESSING_HAS_AGENTS
#  error "multiprocessing/distributed.hpp: pools on several machines are not available on Windows"
#endif
#include <multiprocessing/callable.hpp>
#include <multiprocessing/distributed/choice.hpp>
#include <multiprocessing/distributed/fleet.hpp>
#include <multiprocessing/distributed/serve.hpp>
#include <multiprocessing/futures.hpp>
#include <multiprocessing/launch/freeze_support.hpp>
#include <multiprocessing/pool.hpp>
#include <multiprocessing/serialization.hpp>

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace multiprocessing::distributed {

/// @brief Where the agents are, and what their workers find. Python: the arguments of
/// mpi4py.futures.MPIPoolExecutor.
struct Launch {
  /// Agents are spawned on these hosts, one each (Open MPI only; the same path of the program on
  /// each). Empty: the other ranks of the job that mpirun or srun started; without such, one agent
  /// on this host, as a child of this process.
  std::vector<std::string> hosts = {};
  /// The agents are those of a Gearman server: "host", "host:port" or "[address]:port". They are
  /// started by themselves (see serve()), and may come and go at any time.
  std::string server = {};
  /// The Gearman server's machine, and an agent's, counts as lost when it is silent for so long. At
  /// least 3 s.
  std::chrono::seconds silence{10};
  /// What every worker's environment has besides.
  std::map<std::string, std::string> environment = {};
  /// Where every worker runs. Empty: where its agent does.
  std::filesystem::path working_directory = {};
  /// How often a task is done again that was lost with its worker, its agent or its host, unless
  /// its TaskOptions say so themselves. It may then run twice: a host that is cut off goes on for
  /// some seconds.
  unsigned retries = 0;
  /// Waits in the constructor until each agent is ready, or lost.
  bool bootup = false;
};

/// @brief What a Pool is made of.
struct PoolOptions {
  unsigned processes = 0;         ///< On each host. 0: its process_cpu_count().
  unsigned maxtasksperchild = 0;  ///< As of multiprocessing::PoolOptions.
  Task initializer = {};          ///< Every worker does this first. What it throws breaks the pool.
  Launch launch = {};             ///< Where its agents are.
};

/// @brief What a ProcessPoolExecutor is made of.
struct ExecutorOptions {
  unsigned max_workers = 0;  ///< On each host, at most. 0: its process_cpu_count().
  /// Every worker does this first. What it throws breaks the executor.
  Task initializer = {};
  unsigned max_tasks_per_child = 0;      ///< As of multiprocessing::ExecutorOptions.
  bool breaks_when_worker_dies = false;  ///< Likewise; so does the loss of an agent that has tasks.
  Launch launch = {};                    ///< Where its agents are.
};

/// @brief An agent that is there.
using AgentStatus = detail::Fleet::AgentStatus;

namespace detail {

/// @brief What both classes say.
struct Common {
  unsigned workers = 0;           ///< On each host.
  unsigned tasks_per_worker = 0;  ///< 0: no limit.
  Task initializer;               ///< Of each worker.
  bool on_demand = false;         ///< Workers start when there are tasks for them.
};

/// @brief Becomes an agent where this process is one. Else connects to those that there are.
inline std::shared_ptr<multiprocessing::detail::Fleet> make_fleet(
    multiprocessing::detail::FleetOptions options, const Common& common, const Launch& launch) {
  using namespace multiprocessing::detail;
  constexpr unsigned most = 32767;
  if (common.workers > most) {
    throw std::invalid_argument{std::string{options.name} + " has at most " + std::to_string(most) +
                                " workers on a host"};
  }
  divert_if_started_to_serve();
  SessionOptions& session = options.session;
  session.workers = common.workers;
  session.tasks_per_worker = common.tasks_per_worker;
  session.on_demand = common.on_demand;
  session.directory = launch.working_directory.string();
  session.environment.assign(launch.environment.begin(), launch.environment.end());
  if (common.initializer) {
    Transit transit;
    Encoder encoder{session.initializer, &transit};
    codec<Task>::encode(encoder, common.initializer);
    if (!transit.objects().empty()) {
      throw SerializationError{
          "an initializer cannot take a queue, connection or lock to another machine"};
    }
  }
  options.retries = launch.retries;
  auto fleet = Fleet::create(std::move(options),
                             choose_engine({launch.hosts, launch.server, launch.silence}));
  if (launch.bootup) fleet->bootup(Deadline{forever});
  return fleet;
}

}  // namespace detail

/// @brief A Pool whose workers are on many machines. Python: mpi4py.util.pool.Pool
/// @code
/// int main() {
///   mp::freeze_support();               // where the agents of mpirun part from rank 0
///   mp::distributed::Pool pool;
///   std::vector<int> squares = pool.map([](int x) { return x * x; }, numbers);
/// }
/// @endcode
/// All members of multiprocessing::Pool, with the same rules; in these it differs:
/// - Arguments and results are bytes: queues, connections, locks and other shared objects live in
///   one machine's memory and are refused (SerializationError).
/// - Each host has one agent, and the agent a local pool: a worker that dies costs its task alone.
/// - An agent that is lost (killed, its host down or cut off: noticed within 3 s) fails the tasks
///   that it had, with BrokenProcessPool naming the host; with `retries` others do them. When all
///   agents are lost the pool is broken.
/// - stats() has one line for each agent.
///
/// Every host runs the same build of the program; another one is refused, with both builds named.
/// @threads Any number at once; callbacks and a task's progress run in the pool's own thread.
/// @processes The one that made it: elsewhere, every call throws std::logic_error.
class Pool : public BasePool {
 public:
  /// @throws std::invalid_argument more than 32767 processes. SerializationError the initializer
  /// cannot travel. std::runtime_error there are no agents to be had; says why.
  explicit Pool(PoolOptions options = {}) : Pool{fleet_of(std::move(options))} {}
  /// @brief With so many workers on each host. @throws std::invalid_argument 0, or more than 32767
  /// of them.
  explicit Pool(unsigned processes) : Pool{PoolOptions{.processes = checked(processes)}} {}
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  Pool(Pool&&) noexcept = default;
  Pool& operator=(Pool&&) = delete;
  /// @brief Terminates; takes at most some seconds.
  ~Pool() = default;

  /// @brief Waits until each agent is ready, or lost. Hold no lock meanwhile that a done callback
  /// takes: the thread that runs callbacks also hears the agents.
  /// @returns false: not within the time. @throws BrokenProcessPool none is left.
  bool bootup(Timeout timeout = forever) const {
    return fleet_->bootup(multiprocessing::detail::Deadline{timeout});
  }
  /// @brief Workers of all hosts; waits as bootup().
  [[nodiscard]] unsigned num_workers() const { return fleet_->workers(); }
  /// @brief The agents that are ready now.
  [[nodiscard]] std::vector<AgentStatus> agents() const { return fleet_->agents(); }

 private:
  explicit Pool(std::shared_ptr<multiprocessing::detail::Fleet> fleet)
      : BasePool{fleet}, fleet_{std::move(fleet)} {}
  static unsigned checked(unsigned processes) {
    if (processes == 0) throw std::invalid_argument{"a pool has at least one process"};
    return processes;
  }
  static std::shared_ptr<multiprocessing::detail::Fleet> fleet_of(PoolOptions options) {
    multiprocessing::detail::FleetOptions fleet;
    fleet.name = "the distributed pool";
    return detail::make_fleet(
        std::move(fleet),
        {options.processes, options.maxtasksperchild, std::move(options.initializer), false},
        options.launch);
  }

  std::shared_ptr<multiprocessing::detail::Fleet> fleet_;
};

/// @brief A ProcessPoolExecutor whose workers are on many machines. Python:
/// mpi4py.futures.MPIPoolExecutor
/// @code
/// mp::distributed::ProcessPoolExecutor executor{{.launch = {.hosts = {"a", "b"}, .retries = 2}}};
/// mp::Future<int> future = executor.submit(work, 7);
/// @endcode
/// All members of multiprocessing::ProcessPoolExecutor, with the same rules; in what it differs,
/// distributed::Pool says.
/// @threads Any number at once. @processes The one that made it.
class ProcessPoolExecutor : public BaseExecutor {
 public:
  /// @throws as Pool's.
  explicit ProcessPoolExecutor(ExecutorOptions options = {})
      : ProcessPoolExecutor{fleet_of(std::move(options))} {}
  /// @brief With so many workers on each host at most. @throws std::invalid_argument 0, or more
  /// than 32767.
  explicit ProcessPoolExecutor(unsigned max_workers)
      : ProcessPoolExecutor{ExecutorOptions{.max_workers = checked(max_workers)}} {}
  ProcessPoolExecutor(const ProcessPoolExecutor&) = delete;
  ProcessPoolExecutor& operator=(const ProcessPoolExecutor&) = delete;
  /// @brief shutdown().
  ~ProcessPoolExecutor() = default;

  /// @brief As Pool::bootup(). @python{MPIPoolExecutor.bootup}
  bool bootup(Timeout timeout = forever) const {
    return fleet_->bootup(multiprocessing::detail::Deadline{timeout});
  }
  /// @brief As Pool::num_workers(). @python{MPIPoolExecutor.num_workers}
  [[nodiscard]] unsigned num_workers() const { return fleet_->workers(); }
  /// @brief The agents that are ready now.
  [[nodiscard]] std::vector<AgentStatus> agents() const { return fleet_->agents(); }

 private:
  explicit ProcessPoolExecutor(std::shared_ptr<multiprocessing::detail::Fleet> fleet)
      : BaseExecutor{fleet}, fleet_{std::move(fleet)} {}
  static unsigned checked(unsigned workers) {
    if (workers == 0) throw std::invalid_argument{"an executor has at least one worker"};
    return workers;
  }
  static std::shared_ptr<multiprocessing::detail::Fleet> fleet_of(ExecutorOptions options) {
    multiprocessing::detail::FleetOptions fleet;
    fleet.name = "the distributed executor";
    fleet.breaks_on_death = options.breaks_when_worker_dies;
    fleet.finishes_at_exit = true;
    return detail::make_fleet(
        std::move(fleet),
        {options.max_workers, options.max_tasks_per_child, std::move(options.initializer), true},
        options.launch);
  }

  std::shared_ptr<multiprocessing::detail::Fleet> fleet_;
};

/// @brief The name that mpi4py's users look for.
using Executor = ProcessPoolExecutor;

}  // namespace multiprocessing::distributed
