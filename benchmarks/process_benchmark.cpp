// SPDX-License-Identifier: BSL-1.0
// start() and join() under every start method, beside a bare fork + _exit + waitpid, a bare
// posix_spawn of this executable, and CPython's. Everything is measured in processes of its own,
// with so much memory touched before.
#include <multiprocessing.hpp>

#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "elsewhere.hpp"
#include "figure.hpp"
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mp = multiprocessing;
using benchmark::Elsewhere;

namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20U;
constexpr std::size_t gibibyte = std::size_t{1} << 30U;

constexpr int few = 5;  // in many short rounds: others use the machine, now and then

void nothing() {}

void ours(mp::StartMethod method) {
  mp::Process process{{.start_method = method}, nothing};
  process.start();
  process.join();
}

void bare_fork() {
  const pid_t child = fork();
  if (child < 0) std::abort();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
}

void bare_spawn() {
  char name[] = "process_benchmark";
  char flag[] = "--exit";
  char* arguments[] = {name, flag, nullptr};
  pid_t child = 0;
  if (posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, arguments, environ) != 0)
    std::abort();
  waitpid(child, nullptr, 0);
}

/// Small pages: copying their table is what a large process pays for.
void touch(std::size_t size) {
  void* const memory =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  madvise(memory, size, MADV_NOHUGEPAGE);
  std::memset(memory, 1, size);
}

/// What runs in a process that has touched so much: microseconds for one of `times`.
std::function<double()> having_touched(std::size_t size, int times, std::function<void()> run) {
  return [=, touched = false]() mutable {
    if (!std::exchange(touched, true)) touch(size);
    return benchmark::seconds_of([&] {
             for (int i = 0; i < times; ++i) run();
           }) /
           times * 1e6;
  };
}

/// How often the children had to be given a page.
double page_faults(const std::function<void()>& run) {
  constexpr int times = 50;
  rusage before{};
  rusage after{};
  getrusage(RUSAGE_CHILDREN, &before);
  for (int i = 0; i < times; ++i) run();
  getrusage(RUSAGE_CHILDREN, &after);
  return static_cast<double>(after.ru_minflt - before.ru_minflt) / times;
}

bool has_memory(std::size_t size) {
  std::ifstream file{"/proc/meminfo"};
  for (std::string word; file >> word;) {
    std::size_t kibibytes = 0;
    if (word == "MemAvailable:" && file >> kibibytes) return kibibytes / 1024 > size / mebibyte;
  }
  return false;
}

const char* name_of(mp::StartMethod method) {
  return method == mp::StartMethod::fork    ? "fork"
         : method == mp::StartMethod::spawn ? "spawn"
                                            : "forkserver";
}

void small_processes(mp::StartMethod method) {
  const bool is_spawn = method == mp::StartMethod::spawn;
  const std::string name = std::string{"process_"} + name_of(method) + "_start_join";
  const Elsewhere our{having_touched(mebibyte, few, [=] { ours(method); })};
  const Elsewhere bare{having_touched(mebibyte, few, is_spawn ? bare_spawn : bare_fork)};
  benchmark::figure(
      name, "us", [&] { return our(); },
      {{is_spawn ? "posix_spawn" : "fork", [&] { return bare(); }}}, is_spawn ? 51 : 201);
  const Elsewhere python{{"python3", BENCHMARKS_FOLDER "/cpython_process.py", name_of(method),
                          method == mp::StartMethod::fork ? "5" : "2"}};
  if (python.ask()) {
    benchmark::figure(
        name, "us", [&] { return our(); }, {{"CPython", [&] { return python(); }}}, 25);
  } else {
    std::printf("left out: CPython by %s, there is no python3 that could\n", name_of(method));
  }
}

/// A process that has touched 1 GiB, beside a bare fork of the same one: two processes differ by up
/// to two thirds in what copying their tables takes. Or, where the child does not come from here,
/// beside our own small one.
void large_process(mp::StartMethod method) {
  const std::string name = std::string{"process_"} + name_of(method) + "_start_join_1GiB";
  if (method == mp::StartMethod::fork) {
    const Elsewhere both{having_touched(gibibyte, 1, [is_our_turn = false]() mutable {
      is_our_turn = !is_our_turn;
      is_our_turn ? ours(mp::StartMethod::fork) : bare_fork();
    })};
    const auto in_turn = [&] { return both() / 1000; };
    benchmark::figure(name, "ms", in_turn, {{"fork", in_turn}}, 25);
  } else {
    const Elsewhere our{having_touched(gibibyte, few, [=] { ours(method); })};
    const Elsewhere small{having_touched(mebibyte, few, [=] { ours(method); })};
    benchmark::figure(
        name, "us", [&] { return our(); }, {{"small", [&] { return small(); }}}, 201);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--exit") == 0) return 0;  // what the bare spawn runs
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
  mp::freeze_support();
  {
    const Elsewhere our{[] { return page_faults([] { ours(mp::StartMethod::fork); }); }};
    const Elsewhere bare{[] { return page_faults(bare_fork); }};
    benchmark::figure("process_fork_page_faults", "of a child", [&] { return our(); },
                      {{"fork", [&] { return bare(); }}});
  }
  for (const mp::StartMethod method : mp::get_all_start_methods()) {
    small_processes(method);
    if (method == mp::StartMethod::spawn) continue;  // costs the same from a process of any size
    if (has_memory(2 * gibibyte + gibibyte / 2)) {
      large_process(method);
    } else {
      std::printf("left out: %s with 1 GiB touched, which needs 2.5 GiB of memory\n",
                  name_of(method));
    }
  }
}
