// SPDX-License-Identifier: BSL-1.0
// The distributed executor over a Gearman server, beside libgearman's own client and worker at the
// same server. Theirs runs the function in the worker itself; ours in a worker of the agent's pool.
#include <multiprocessing/distributed.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <tuple>

#include "figure.hpp"
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(BENCHMARKS_LIBGEARMAN)
#  include <libgearman/gearman.h>
#endif

namespace mp = multiprocessing;
using benchmark::figure;
using benchmark::seconds_of;

#if defined(BENCHMARKS_LIBGEARMAN)
namespace {

constexpr double microseconds = 1e6;
constexpr std::uint16_t port = 24730;

// A process that ends with this one.
template <class Part>
pid_t start(const Part& part) {
  std::fflush(stdout);
  const pid_t process = fork();
  if (process != 0) return process;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  part();
  _exit(1);
}

std::string echo(const std::string& text) {
  return text;
}

void* echo_back(gearman_job_st* job, void*, std::size_t* size, gearman_return_t* result) {
  *size = gearman_job_workload_size(job);
  void* const copy = std::malloc(*size);
  std::copy_n(static_cast<const char*>(gearman_job_workload(job)), *size, static_cast<char*>(copy));
  *result = GEARMAN_SUCCESS;
  return copy;
}
void work() {
  gearman_worker_st* const worker = gearman_worker_create(nullptr);
  gearman_worker_add_server(worker, "127.0.0.1", port);
  gearman_worker_add_function(worker, "echo", 0, echo_back, nullptr);
  while (gearman_worker_work(worker) == GEARMAN_SUCCESS) {
  }
}

/// libgearman's client.
class Client {
 public:
  Client() : client_{gearman_client_create(nullptr)} {
    gearman_client_add_server(client_, "127.0.0.1", port);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { gearman_client_free(client_); }
  void round_trip(const std::string& payload) {
    std::size_t size = 0;
    gearman_return_t result = GEARMAN_SUCCESS;
    void* const back =
        gearman_client_do(client_, "echo", nullptr, payload.data(), payload.size(), &size, &result);
    if (result != GEARMAN_SUCCESS || size != payload.size()) std::abort();
    std::free(back);
  }

 private:
  gearman_client_st* client_;
};

void measure() {
  Client client;
  mp::distributed::ProcessPoolExecutor executor{
      {.launch = {.server = "127.0.0.1:" + std::to_string(port), .bootup = true}}};
  const auto round_trips = [](int times, const auto& once) {
    return [times, once] {
      return seconds_of([&] {
               for (int i = 0; i < times; ++i) once();
             }) /
             times * microseconds;
    };
  };
  for (const auto& [name, size, times] :
       {std::tuple{"100B", std::size_t{100}, 1000}, std::tuple{"1MiB", std::size_t{1} << 20U, 3}}) {
    const std::string payload(size, 'x');
    figure(std::string{"gearman_round_trip_"} + name, "us",
           round_trips(times,
                       [&] {
                         if (executor.submit(echo, payload).result() != payload) std::abort();
                       }),
           {{"libgearman", round_trips(times, [&] { client.round_trip(payload); })}});
  }
}

}  // namespace
#endif

int main() {
  mp::freeze_support();
#if defined(BENCHMARKS_LIBGEARMAN)
  const std::string path = "/usr/sbin/gearmand";
  if (access(path.c_str(), X_OK) != 0) {
    std::puts("gearman_round_trip: left out: no gearmand (Debian, Ubuntu: gearman-job-server)");
    return 0;
  }
  const pid_t server = start([&] {
    const std::string number = std::to_string(port);
    const int nowhere = open("/dev/null", O_RDWR);
    dup2(nowhere, STDERR_FILENO);
    execl(path.c_str(), "gearmand", "--listen", "127.0.0.1", "--port", number.c_str(), "--threads",
          "1", "--log-file", "none", "--pid-file", "/tmp/gearman_benchmark.pid", "--user",
          geteuid() == 0 ? "root" : "nobody", nullptr);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds{500});  // it says nothing when it is ready
  const pid_t theirs = start(work);
  const pid_t ours = start([] {
    mp::distributed::serve({.server = "127.0.0.1:" + std::to_string(port), .max_workers = 1});
  });
  measure();
  for (const pid_t process : {ours, theirs, server}) {
    kill(process, SIGTERM);
    waitpid(process, nullptr, 0);
  }
#else
  std::puts("gearman_round_trip: left out: no libgearman (Debian, Ubuntu: libgearman-dev)");
#endif
}
