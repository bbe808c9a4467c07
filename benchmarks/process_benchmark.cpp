// SPDX-License-Identifier: BSL-1.0
// start() and join() beside a bare fork + _exit + waitpid, and a bare posix_spawn of this
// executable.
#include <multiprocessing.hpp>

#include <cstdlib>
#include <cstring>

#include "figure.hpp"
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mp = multiprocessing;

namespace {

constexpr int forks = 200;
constexpr int spawns = 50;

void nothing() {}

double ours(mp::StartMethod method, int times) {  // microseconds a process
  return benchmark::seconds_of([&] {
           for (int i = 0; i < times; ++i) {
             mp::Process process{{.start_method = method}, nothing};
             process.start();
             process.join();
           }
         }) /
         times * 1e6;
}

double bare_fork() {
  return benchmark::seconds_of([] {
           for (int i = 0; i < forks; ++i) {
             const pid_t child = fork();
             if (child == 0) _exit(0);
             waitpid(child, nullptr, 0);
           }
         }) /
         forks * 1e6;
}

double bare_spawn() {
  char name[] = "process_benchmark";
  char flag[] = "--exit";
  char* arguments[] = {name, flag, nullptr};
  return benchmark::seconds_of([&] {
           for (int i = 0; i < spawns; ++i) {
             pid_t child = 0;
             if (posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, arguments, environ) != 0) {
               std::abort();
             }
             waitpid(child, nullptr, 0);
           }
         }) /
         spawns * 1e6;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--exit") == 0) return 0;  // what the bare spawn runs
  mp::freeze_support();
  benchmark::figure("process_fork_start_join", "us",
                    [] { return ours(mp::StartMethod::fork, forks); }, {{"fork", bare_fork}});
  benchmark::figure("process_spawn_start_join", "us",
                    [] { return ours(mp::StartMethod::spawn, spawns); },
                    {{"posix_spawn", bare_spawn}});
}
