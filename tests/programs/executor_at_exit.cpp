// SPDX-License-Identifier: BSL-1.0
// Not on Windows: fork
// A program that ends right after shutdown(false): the work is done all the same. And one whose
// exit handler submits to an executor that the end of the program has shut down: it is refused.
#include <multiprocessing.hpp>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mp = multiprocessing;

namespace {

int slow(int x) {
  ::usleep(20'000);
  return x;
}

mp::ProcessPoolExecutor* kept = nullptr;  // where a leak's detector finds it

[[noreturn]] void end_with_work(mp::Queue<int> done, bool leaks) {
  auto executor = std::make_unique<mp::ProcessPoolExecutor>(2U);
  for (int i = 0; i < 6; ++i) {
    executor->submit(slow, i).add_done_callback(
        [done](const mp::Future<int>& future) { mp::Queue<int>{done}.put(future.result()); });
  }
  executor->shutdown(false);
  if (leaks) kept = executor.release();
  executor.reset();
  std::exit(0);
}

void submit_late() {
  try {
    kept->submit(slow, 2);
  } catch (const std::invalid_argument&) {
    return;
  }
  std::_Exit(9);
}

[[noreturn]] void submit_at_exit() {
  std::atexit(submit_late);
  kept = new mp::ProcessPoolExecutor{1U};
  std::exit(kept->submit(slow, 1).result() - 1);
}

// Who was killed as the program ended may take a moment.
bool is_empty(pid_t group) {
  for (int looks = 60000; looks > 0; --looks) {
    if (::kill(-group, 0) != 0) return true;
    ::usleep(1000);
  }
  return false;
}

// What a program of its own, in a group of its own, ends with; -1 if it leaves something behind.
template <class Work>
int status_of(Work work) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    setpgid(0, 0);
    alarm(40);
    work();
  }
  int status = 0;
  waitpid(child, &status, 0);
  return is_empty(child) ? status : -1;
}

}  // namespace

int main() {
  mp::freeze_support();
  bool right = true;
  for (const bool leaks : {false, true}) {
    mp::Queue<int> done;
    const int status = status_of([&] { end_with_work(done, leaks); });
    std::printf("shutdown(false), %s: status %d, done %zu\n", leaks ? "leaked" : "destroyed",
                status, done.qsize());
    right = right && status == 0 && done.qsize() == 6;
  }
  const int status = status_of(submit_at_exit);
  std::printf("submit at exit: status %d\n", status);
  return right && status == 0 ? 0 : 1;
}
