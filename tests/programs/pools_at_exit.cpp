// SPDX-License-Identifier: BSL-1.0
// A program that ends with a pool and an executor that nobody closed: the executor's work is done,
// the pool's is not waited for, and nothing is left.
#include <multiprocessing.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mp = multiprocessing;

namespace {

int slow(int x) {
  std::this_thread::sleep_for(std::chrono::milliseconds{20});
  return x;
}
void wait_for_ever() {
  signal(SIGTERM, SIG_IGN);
  for (;;) pause();
}

mp::Pool& global_pool() {
  static mp::Pool pool{2};
  return pool;
}

// The program that forgets.
[[noreturn]] void forget(mp::Queue<int> done, const char* how) {
  if (how[0] == 's') {
    global_pool().apply_async(wait_for_ever);
  } else {
    auto* const leaked = new mp::Pool{2};
    leaked->apply_async(wait_for_ever);
  }
  auto* const executor = new mp::ProcessPoolExecutor{2U};
  for (int i = 0; i < 6; ++i) {
    executor->submit(slow, i).add_done_callback(
        [done](const mp::Future<int>& future) { mp::Queue<int>{done}.put(future.result()); });
  }
  std::exit(0);
}

bool forgets_well(const char* how) {
  mp::Queue<int> done;
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    setpgid(0, 0);
    alarm(40);
    forget(done, how);
  }
  int status = 0;
  waitpid(child, &status, 0);
  const bool nothing_left = kill(-child, 0) != 0;
  std::printf("%s: status %d, done %zu, nothing left %d\n", how, status, done.qsize(),
              nothing_left);
  return status == 0 && done.qsize() == 6 && nothing_left;
}

}  // namespace

int main() {
  mp::freeze_support();
  const bool first = forgets_well("leaked");
  const bool second = forgets_well("static");
  return first && second ? 0 : 1;
}
