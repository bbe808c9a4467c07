// SPDX-License-Identifier: BSL-1.0
// Pool and executor, by fork, beside CPython's with as many workers; as a bound, a thread pool of
// this process (Boost.Asio's), and the queue.
#include <multiprocessing.hpp>

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>

#include <cstddef>
#include <cstdlib>
#include <functional>
#include <future>
#include <memory>
#include <numeric>
#include <string>
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

// About so many milliseconds of a processor's work.
double work(int milliseconds) {
  volatile double sum = 0;
  for (int i = 0; i < milliseconds * 500'000; ++i) sum = sum + 1;
  return sum;
}

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
      {{"CPython", [ask = cpython("map", 1'000'000)] { return ask() / 1e3; }}}, 5);

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
  const std::vector<int> one_each(tasks, 1);
  figure("pool_200_tasks_of_1ms", "ms",
         [&] { return seconds_of([&] { pool.map(work, one_each, 1); }) * 1e3; },
         {{"thread_pool", [&] {
             return seconds_of([&] {
                      std::vector<std::future<double>> all;
                      for (int i = 0; i < tasks; ++i) {
                        all.push_back(boost::asio::post(
                            threads, boost::asio::use_future([] { return work(1); })));
                      }
                      for (auto& future : all) future.get();
                    }) *
                    1e3;
           }}});
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
  starts();
  while (!others.empty()) others.pop_back();
}
