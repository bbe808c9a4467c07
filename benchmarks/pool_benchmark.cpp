// SPDX-License-Identifier: BSL-1.0
// Pool and executor, by fork, beside CPython's with as many workers; as a bound, a thread pool of
// this process (Boost.Asio's), OpenMP where there is one, and the queue.
#include <multiprocessing.hpp>

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <future>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "elsewhere.hpp"
#include "figure.hpp"
#include <sys/wait.h>
#include <unistd.h>

namespace mp = multiprocessing;
using benchmark::Elsewhere;
using benchmark::figure;
using benchmark::seconds_of;

namespace {

constexpr unsigned workers = 2;
constexpr double microseconds = 1e6;

int square(int x) {
  return x * x;
}

double work(int additions) {
  volatile double sum = 0;
  for (int i = 0; i < additions; ++i) sum = sum + 1;
  return sum;
}
// How many additions take a processor a millisecond: of several tries, the fastest was disturbed
// least.
int additions_of_a_millisecond() {
  constexpr int tries = 20;
  constexpr int some = 1'000'000;
  double fastest = 1;
  for (int i = 0; i < tries; ++i) fastest = std::min(fastest, seconds_of([] { work(some); }));
  return static_cast<int>(some / (fastest * 1e3));
}

#ifdef _OPENMP
template <class F>
void by_openmp(const F& function, const std::vector<int>& items) {
  std::vector<decltype(function(0))> results(items.size());
#  pragma omp parallel for num_threads(workers) schedule(dynamic, 1 + items.size() / 4096)
  for (std::size_t i = 0; i < items.size(); ++i) results[i] = function(items[i]);
}
template <class F>
std::vector<benchmark::Contestant> with_openmp(std::vector<benchmark::Contestant> peers,
                                               const F& function,
                                               const std::vector<int>& items) {
  peers.push_back(
      {"OpenMP", [&] { return seconds_of([&] { by_openmp(function, items); }) * 1e3; }});
  return peers;
}
#else
std::vector<benchmark::Contestant> with_openmp(std::vector<benchmark::Contestant> peers,
                                               const auto&,
                                               const std::vector<int>&) {
  return peers;
}
#endif

// They end when nobody holds their pipes, which workers that are forked later do.
std::vector<std::unique_ptr<Elsewhere>> others;

std::function<double()> cpython(const std::string& what, int times) {
  others.push_back(std::make_unique<Elsewhere>(
      std::vector<std::string>{"python3", BENCHMARKS_FOLDER "/cpython_pool.py", what,
                               std::to_string(workers), std::to_string(times)}));
  return [process = others.back().get()] { return (*process)(); };
}

std::vector<int> numbers(int count) {
  std::vector<int> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

void round_trips() {
  constexpr int times = 2000;
  mp::Pool pool{workers};
  mp::Queue<int> to;
  mp::Queue<int> from;
  mp::Process echo{[](mp::Queue<int> in, mp::Queue<int> out) {
                     for (int x = in.get(); x >= 0; x = in.get()) out.put(x);
                   },
                   to, from};
  echo.start();
  figure("pool_apply_round_trip", "us",
         [&] {
           return seconds_of([&] {
                    for (int i = 0; i < times; ++i) pool.apply(square, i);
                  }) /
                  times * microseconds;
         },
         {{"queue",
           [&] {
             return seconds_of([&] {
                      for (int i = 0; i < times; ++i) {
                        to.put(i);
                        from.get();
                      }
                    }) /
                    times * microseconds;
           }},
          {"CPython", cpython("apply", 200)}});
  to.put(-1);
  echo.join();

  constexpr int few = 50;
  const std::vector<char> large(std::size_t{1} << 20U);
  figure("pool_apply_1MiB_both_ways", "us",
         [&] {
           return seconds_of([&] {
                    for (int i = 0; i < few; ++i) {
                      pool.apply([](std::vector<char> all) { return all; }, large);
                    }
                  }) /
                  few * microseconds;
         },
         {{"CPython", cpython("apply_1MiB", 10)}});
}

void throughput() {
  mp::Pool pool{workers};
  const auto many = numbers(50'000);
  figure("pool_imap_unordered", "us/task",
         [&] {
           return seconds_of([&] {
                    for (const int x : pool.imap_unordered(square, many)) static_cast<void>(x);
                  }) /
                  static_cast<double>(many.size()) * microseconds;
         },
         {{"CPython", cpython("imap_unordered", 5000)}});

  const auto million = numbers(1'000'000);
  figure(
      "pool_map_1e6", "ms", [&] { return seconds_of([&] { pool.map(square, million); }) * 1e3; },
      with_openmp({{"CPython", [ask = cpython("map", 1'000'000)] { return ask() / 1e3; }}}, square,
                  million),
      5);

  mp::ProcessPoolExecutor executor{workers};
  boost::asio::thread_pool threads{workers};
  figure("executor_submit", "us/task",
         [&] {
           return seconds_of([&] {
                    std::vector<mp::Future<int>> all;
                    all.reserve(many.size());
                    for (const int x : many) all.push_back(executor.submit(square, x));
                    for (auto& future : all) future.result();
                  }) /
                  static_cast<double>(many.size()) * microseconds;
         },
         {{"CPython", cpython("submit", 2000)},
          {"thread_pool", [&] {
             return seconds_of([&] {
                      std::vector<std::future<int>> all;
                      all.reserve(many.size());
                      for (const int x : many) {
                        all.push_back(boost::asio::post(
                            threads, boost::asio::use_future([x] { return square(x); })));
                      }
                      for (auto& future : all) future.get();
                    }) /
                    static_cast<double>(many.size()) * microseconds;
           }}});

  constexpr int tasks = 200;
  const int millisecond = additions_of_a_millisecond();
  const std::vector<int> one_each(tasks, millisecond);
  figure(
      "pool_200_tasks_of_1ms", "ms",
      [&] { return seconds_of([&] { pool.map(work, one_each, 1); }) * 1e3; },
      with_openmp({{"thread_pool",
                    [&] {
                      return seconds_of([&] {
                               std::vector<std::future<double>> all;
                               for (int i = 0; i < tasks; ++i) {
                                 all.push_back(boost::asio::post(
                                     threads, boost::asio::use_future(
                                                  [millisecond] { return work(millisecond); })));
                               }
                               for (auto& future : all) future.get();
                             }) *
                             1e3;
                    }}},
                  work, one_each));
}

// How much faster all processors are than one: the ratio is the share of what is possible.
void speed_up() {
  const unsigned processors = mp::process_cpu_count();
  const std::vector<int> tasks(std::size_t{100} * processors, additions_of_a_millisecond());
  mp::Pool one{1};
  mp::Pool all{processors};
  const auto time_of = [&](mp::Pool& pool) {
    return seconds_of([&] { pool.map(work, tasks, 1); });
  };
  figure("pool_speed_up_of_1ms_tasks", "x",
         [&] {
           const double alone = time_of(one);
           return alone / time_of(all);
         },
         {{"processors", [&] { return static_cast<double>(processors); }}});
}

// From the signal to the exception that says so, while somebody waits.
void deaths() {
  constexpr int rounds = 200;
  constexpr double nearly_all = 0.99;
  mp::Pool pool{workers};
  const auto ours = [&] {
    const auto result = pool.apply_async([] { pause(); });
    while (pool.stats().running != 1) {
      // Nobody tells when a task begins, and this is not measured: it is asked for now and then.
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    const int other = pool.apply(getpid);  // the one that answers is not the one
    int victim = 0;
    for (const auto& worker : pool.stats().workers) {
      if (worker.pid && *worker.pid != other) victim = *worker.pid;
    }
    return seconds_of([&] {
             kill(victim, SIGKILL);
             try {
               result.get();
               std::abort();
             } catch (const mp::BrokenProcessPool&) {
             }
           }) *
           1e3;
  };
  const auto bare = [] {
    return seconds_of([] {
             const pid_t child = fork();
             if (child == 0) {
               pause();
               _exit(0);
             }
             kill(child, SIGKILL);
             waitpid(child, nullptr, 0);
           }) *
           1e3;
  };
  std::vector<double> told;
  std::vector<double> waited;
  for (int round = 0; round < rounds; ++round) {
    told.push_back(ours());
    waited.push_back(bare());
  }
  const auto print = [&](const std::string& name, double mine, double theirs) {
    benchmark::print_figure(name, mine, "fork_kill_waitpid", theirs, mine / theirs, "ms");
  };
  print("pool_worker_death_told", benchmark::median(told), benchmark::median(waited));
  print("pool_worker_death_told_99th", benchmark::percentile(told, nearly_all),
        benchmark::percentile(waited, nearly_all));
}

constexpr unsigned crowd = 16;

void starts() {
  figure("pool_start_16", "us",
         [] {
           std::unique_ptr<mp::Pool> pool;
           const double time = seconds_of([&] { pool = std::make_unique<mp::Pool>(crowd); });
           return time * microseconds;
         },
         {{"16_forks", [] {
             std::vector<pid_t> children;
             const double time = seconds_of([&] {
               for (unsigned i = 0; i < crowd; ++i) {
                 const pid_t child = fork();
                 if (child == 0) _exit(0);
                 children.push_back(child);
               }
             });
             for (const pid_t child : children) waitpid(child, nullptr, 0);
             return time * microseconds;
           }}});
}

}  // namespace

int main() {
  mp::freeze_support();
  round_trips();
  throughput();
  speed_up();
  deaths();
  starts();
  while (!others.empty()) others.pop_back();
}
