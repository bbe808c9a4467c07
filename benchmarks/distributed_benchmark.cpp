// SPDX-License-Identifier: BSL-1.0
// A distributed pool on MPI beside what it is made of, in one run: bare MPI with the same waiting,
// and a local pool.
//   mpirun --bind-to none -n 2 ./distributed_benchmark
#include <multiprocessing.hpp>
#include <multiprocessing/distributed.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <functional>
#include <iostream>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
namespace mpi = multiprocessing::detail::mpi;
using Clock = std::chrono::steady_clock;

namespace {

constexpr int tag = 32767;

int add(int x) {
  return x + 1;
}
std::vector<char> same(std::vector<char> all) {
  return all;
}

double microseconds_of(const std::function<void()>& work) {
  const auto begun = Clock::now();
  work();
  return std::chrono::duration<double, std::micro>(Clock::now() - begun).count();
}
double middle_of(std::vector<double> all) {
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}
double median(int times, const std::function<void()>& work) {
  std::vector<double> all;
  for (int i = 0; i < times; ++i) all.push_back(microseconds_of(work));
  return middle_of(std::move(all));
}

// Bare MPI: whole messages, and the waiting that the pool has.
class Bare {
 public:
  explicit Bare(int peer) : link_{MPI_COMM_WORLD, peer} {}
  void send(std::vector<std::byte> message) {
    const std::lock_guard lock{world_.mutex};
    link_.send(tag, std::move(message));
  }
  std::vector<std::byte> receive() {
    for (;;) {
      for (int look = 0; look < 9; ++look) {
        const std::lock_guard lock{world_.mutex};
        link_.progress();
        if (auto incoming = link_.receive(tag)) {
          nap_.was_busy();
          return std::move(incoming->message);
        }
      }
      nap_.take(std::chrono::hours{1});
    }
  }
  void finish() {
    for (;;) {
      const std::lock_guard lock{world_.mutex};
      if (link_.progress()) return;
    }
  }

 private:
  mpi::World& world_ = mpi::World::get();
  mpi::Link link_;
  mpi::Nap nap_;
};

void echo() {
  Bare bare{0};
  for (;;) {
    auto message = bare.receive();
    const bool was_last = message.empty();
    bare.send(std::move(message));
    if (was_last) return bare.finish();
  }
}

void print(const std::string& what, double value, const std::string& unit) {
  std::cout << what << ": " << value << " " << unit << std::endl;
}

}  // namespace

int main() {
  if (mp::os::is_spawned()) mp::freeze_support();  // the agent's fork server, below MPI's words
  constexpr int many = 2000;
  constexpr int rounds = 10;
  constexpr std::size_t large = std::size_t{64} << 20U;
  const mpi::Job job = mpi::Job::ours();
  if (job.rank < 0 || job.size != 2) {
    std::cout << "mpirun --bind-to none -n 2 ./distributed_benchmark" << std::endl;
    return 1;
  }
  if (job.rank > 0) echo();
  Bare bare{1};
  const auto ping = [&](std::size_t size) {
    bare.send(std::vector<std::byte>(size));
    static_cast<void>(bare.receive());
  };
  const double bare_trip = median(many, [&] { ping(100); });
  const double bare_large = median(5, [&] { ping(large); });
  ping(0);

  mp::freeze_support();
  mp::Pool local{1};
  local.apply(add, 1);
  const std::vector<char> bytes(large, 'x');
  mp::distributed::ProcessPoolExecutor executor{{.max_workers = 1, .launch = {.bootup = true}}};
  executor.submit(add, 1).result();
  std::vector<double> local_trips;  // in turns, for a machine has its moods
  std::vector<double> trips;
  for (int round = 0; round < rounds; ++round) {
    local_trips.push_back(median(many / rounds, [&] { local.apply(add, 1); }));
    trips.push_back(median(many / rounds, [&] { executor.submit(add, 1).result(); }));
  }
  const double local_trip = middle_of(std::move(local_trips));
  const double trip = middle_of(std::move(trips));
  const double local_large = median(5, [&] { local.apply(same, bytes); });
  const double our_large = median(5, [&] { executor.submit(same, bytes).result(); });
  const double flow = median(3, [&] {
    std::vector<mp::Future<int>> all;
    for (int i = 0; i < 20'000; ++i) all.push_back(executor.submit(add, i));
    for (auto& each : all) each.result();
  });
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::seconds{5});  // idle is what is measured
  const double idle = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC / 5;

  print("round trip, bare MPI", bare_trip, "us");
  print("round trip, local pool", local_trip, "us");
  print("round trip, distributed", trip, "us");
  print("  by the sum of both", trip / (bare_trip + local_trip), "");
  print("a task in a flow of trivial ones", flow / 20'000, "us");
  print("64 MiB there and back, bare MPI", bare_large / 1000, "ms");
  print("64 MiB there and back, local pool", local_large / 1000, "ms");
  print("64 MiB there and back, distributed", our_large / 1000, "ms");
  print("  bare MPI by it", bare_large / our_large, "");
  print("idle master", 100 * idle, "% of a core");
}
