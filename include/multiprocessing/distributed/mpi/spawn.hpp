// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file spawn.hpp
/// @brief Agents that this process has MPI start on other hosts.
#include <multiprocessing/distributed/mpi/world.hpp>
#include <multiprocessing/os/environment.hpp>
#include <multiprocessing/os/module.hpp>

#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <string_view>

#include <mpi.h>

namespace multiprocessing::detail::mpi {

/// @brief By this argument a process knows that it is such an agent.
inline constexpr std::string_view agent_argument = "--multiprocessing-agent";

/// @brief Whether this process was started by spawn_agent().
[[nodiscard]] inline bool is_spawned_agent() {
  std::ifstream file{"/proc/self/cmdline", std::ios::binary};
  const std::string all{std::istreambuf_iterator<char>{file}, {}};
  const std::string last = std::string(1, '\0').append(agent_argument) + '\0';
  return all.ends_with(last);
}

/// @brief What Open MPI has to know before it is begun, so that a master outlives its agents, and
/// notices a host that is cut off. What the user has set stays.
inline void prepare_for_spawning() {
  const auto set = [](const char* name, const char* value) {
    if (!os::environment(name)) os::set_environment(name, value);
  };
  set("OMPI_MCA_orte_enable_recovery", "1");
  set("OMPI_MCA_mpi_yield_when_idle", "1");
  set("OMPI_MCA_oob_tcp_keepalive_time", "2");
  set("OMPI_MCA_oob_tcp_keepalive_intvl", "1");
  set("OMPI_MCA_oob_tcp_keepalive_probes", "3");
  set("OMPI_MCA_rtc_hwloc_vmhole", "none");
}

/// @brief Starts an agent. The world's mutex is held.
/// @param problem gets a line where that fails.
/// @returns the way to it, of which it is rank 0; MPI_COMM_NULL: it failed.
[[nodiscard]] inline MPI_Comm spawn_agent(const std::string& host, std::string& problem) {
  static std::set<std::string> known;  // a host is added when it is used first
  const std::string program = os::executable_path();
  std::string argument{agent_argument};
  char* arguments[] = {argument.data(), nullptr};
  constexpr int tries = 2;
  for (int i = 0; i < tries; ++i) {
    MPI_Info info = MPI_INFO_NULL;
    MPI_Info_create(&info);
    MPI_Info_set(info, "host", host.c_str());
    MPI_Info_set(info, "bind_to", "none");  // else each worker gets the one processor of its agent
    if (!known.contains(host)) MPI_Info_set(info, "add-host", host.c_str());
    MPI_Comm comm = MPI_COMM_NULL;
    int error = MPI_SUCCESS;
    const int code =
        MPI_Comm_spawn(program.c_str(), arguments, 1, info, 0, MPI_COMM_SELF, &comm, &error);
    MPI_Info_free(&info);
    if (code == MPI_SUCCESS && error == MPI_SUCCESS && comm != MPI_COMM_NULL) {
      known.insert(host);
      MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
      return comm;
    }
    char text[MPI_MAX_ERROR_STRING] = {};
    int length = 0;
    MPI_Error_string(code != MPI_SUCCESS ? code : error, text, &length);
    problem = "MPI cannot start an agent on host " + host + ": " + text +
              " (spawning needs Open MPI; with others, start the program by mpirun or srun)";
  }
  return MPI_COMM_NULL;
}

}  // namespace multiprocessing::detail::mpi
