// SPDX-License-Identifier: BSL-1.0
// A program with agents, for hosts_test.py, which starts it in ways that no test inside one process
// can: by mpirun, on several hosts, and with somebody killed.
//
//   farm <what> [<host>...]      what it prints is what the test reads
#include <multiprocessing.hpp>
#include <multiprocessing/distributed.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
// Open MPI keeps memory of its own.
extern "C" const char* __asan_default_options() {
  return "detect_leaks=0";
}
#endif

namespace mp = multiprocessing;
using namespace std::chrono_literals;

namespace {

int work(int x) {
  std::this_thread::sleep_for(50ms);  // the work
  return x;
}
int fragile(int x) {
  if (x % 5 == 3) std::raise(SIGKILL);
  return x;
}
void sleep_long() {
  std::this_thread::sleep_for(1h);  // the work, which is to be killed
}

struct Count {
  std::atomic<int> resolved{0};
  std::atomic<int> twice{0};
};

// Submits, says so, and counts how each future ends.
int run(mp::distributed::ProcessPoolExecutor& executor, int tasks, int (*function)(int)) {
  std::vector<std::atomic<int>> times(static_cast<std::size_t>(tasks));
  std::vector<mp::Future<int>> futures;
  for (int i = 0; i < tasks; ++i) {
    futures.push_back(executor.submit(function, i));
    auto& each = times[static_cast<std::size_t>(i)];
    futures.back().add_done_callback([&each](const auto&) { ++each; });
  }
  static_cast<void>(futures.front().exception());
  std::cout << "running" << std::endl;
  int done = 0;
  int broken = 0;
  std::string words;
  for (int i = 0; i < tasks; ++i) {
    try {
      done += futures[static_cast<std::size_t>(i)].result() == i ? 1 : 0;
    } catch (const mp::BrokenProcessPool& error) {
      ++broken;
      words = error.what();
    }
  }
  executor.shutdown();
  const auto wrong =
      std::count_if(times.begin(), times.end(), [](const auto& t) { return t != 1; });
  std::cout << "done " << done << " broken " << broken << " wrong " << wrong << std::endl;
  if (!words.empty()) std::cout << "said " << words << std::endl;
  return wrong == 0 ? 0 : 1;
}

// There and back, in memory that is used again, that grows, and that a task leaves in other ways.
bool carries_large_messages(mp::distributed::ProcessPoolExecutor& executor) {
  using Bytes = std::vector<char>;
  const Bytes large(std::size_t{96} << 20U, 'x');
  bool is_good = true;
  for (int i = 0; i < 2; ++i) {
    const Bytes other(std::size_t{4 + static_cast<unsigned>(i)} << 20U, 'y');
    auto first = executor.submit([](Bytes all) { return all; }, large);
    auto second = executor.submit([](Bytes all) { return all; }, other);
    is_good = second.result() == other && first.result() == large && is_good;
    const auto thrice = [](Bytes all) {
      all.resize(3 * all.size(), 'z');
      return all;
    };
    const Bytes longer = executor.submit(thrice, other).result();
    is_good = longer.size() == 3 * other.size() && longer.back() == 'z' && is_good;
    is_good =
        executor.submit([](Bytes all) { return all.size(); }, large).result() == large.size() &&
        is_good;
    try {
      executor.submit([](Bytes) -> int { throw std::invalid_argument{"no"}; }, other).result();
      is_good = false;
    } catch (const std::invalid_argument&) {
    }
    try {
      executor.submit([](Bytes) { return std::raise(SIGKILL); }, other).result();
      is_good = false;
    } catch (const mp::BrokenProcessPool&) {
    }
  }
  return is_good;
}

mp::distributed::ExecutorOptions options(const std::vector<std::string>& hosts, unsigned retries) {
  return {.max_workers = 2, .launch = {.hosts = hosts, .retries = retries, .bootup = true}};
}

void print_agents(const mp::distributed::ProcessPoolExecutor& executor) {
  std::cout << "master " << ::getpid() << std::endl;
  for (const auto& agent : executor.agents()) {
    std::cout << "agent " << agent.host << " " << agent.pid << " " << agent.workers << std::endl;
  }
}

int main_of(const std::string& what, const std::vector<std::string>& hosts) {
  if (what == "twice") {  // two pools at once, and one after the other
    for (int i = 0; i < 2; ++i) {
      mp::distributed::ProcessPoolExecutor one{options(hosts, 3)};
      mp::distributed::Pool other{{.processes = 1, .launch = {.hosts = hosts, .retries = 3}}};
      if (one.submit(work, 3).result() + other.apply(work, 4) != 7) return 1;
    }
    std::cout << "done" << std::endl;
    return 0;
  }
  mp::distributed::ProcessPoolExecutor executor{options(hosts, what == "named" ? 0 : 3)};
  print_agents(executor);
  if (what == "fragile") return run(executor, 200, fragile);
  if (what == "large") {
    const bool is_good = carries_large_messages(executor);
    std::cout << (is_good ? "done" : "damaged") << std::endl;
    return is_good ? 0 : 1;
  }
  if (what == "forever") {
    std::vector<mp::Future<void>> all;
    for (int i = 0; i < 4; ++i) all.push_back(executor.submit(sleep_long));
    while (!all[0].running()) std::this_thread::yield();
    std::cout << "running" << std::endl;
    all[0].result();
  }
  return run(executor, 120, work);
}

}  // namespace

int main(int argc, char** argv) {
  mp::freeze_support();
  try {
    return main_of(argc > 1 ? argv[1] : "run", {argv + std::min(argc, 2), argv + argc});
  } catch (const std::exception& error) {
    std::cout << "failed: " << error.what() << std::endl;
    return 1;
  }
}
