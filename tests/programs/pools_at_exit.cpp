// SPDX-License-Identifier: BSL-1.0
// A program that ends with a pool and an executor that nobody closed: the executor's work is done,
// the pool's is not waited for, and nothing is left.
#include <multiprocessing.hpp>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#if MULTIPROCESSING_POSIX
#  include <signal.h>
#  include <sys/wait.h>
#  include <unistd.h>
#else
#  include <tlhelp32.h>
#endif

namespace mp = multiprocessing;

namespace {

int slow(int x) {
  std::this_thread::sleep_for(std::chrono::milliseconds{20});
  return x;
}
void wait_for_ever() {
  std::signal(SIGTERM, SIG_IGN);
  for (;;) std::this_thread::sleep_for(std::chrono::hours{1});
}

mp::Pool& global_pool() {
  static mp::Pool pool{2};
  return pool;
}

// The program that forgets.
void forget(const mp::Queue<int>& done, bool is_static) {
  if (is_static) {
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

#if MULTIPROCESSING_POSIX
// Who was killed as the program ended may take a moment.
bool is_empty(pid_t group) {
  for (int looks = 60000; looks > 0; --looks) {
    if (::kill(-group, 0) != 0) return true;
    ::usleep(1000);
  }
  return false;
}

bool forgets_well(bool is_static) {
  mp::Queue<int> done;
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    setpgid(0, 0);
    alarm(40);
    forget(done, is_static);
  }
  int status = 0;
  waitpid(child, &status, 0);
  const bool nothing_left = is_empty(child);
  std::printf("static %d: status %d, done %zu, nothing left %d\n", is_static, status, done.qsize(),
              nothing_left);
  return status == 0 && done.qsize() == 6 && nothing_left;
}
#else
// How many processes run that this one started.
int children_of(int pid) {
  const HANDLE all = ::CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
  PROCESSENTRY32W entry{};
  entry.dwSize = sizeof entry;
  int count = 0;
  for (BOOL more = ::Process32FirstW(all, &entry); more != 0;
       more = ::Process32NextW(all, &entry)) {
    if (entry.th32ParentProcessID == static_cast<DWORD>(pid)) ++count;
  }
  ::CloseHandle(all);
  return count;
}
bool forgets_well(bool is_static) {
  const mp::Queue<int> done;
  mp::Process process{forget, done, is_static};
  process.start();
  process.join();
  const int code = process.exitcode().value();
  while (children_of(*process.pid()) != 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  std::printf("static %d: code %d, done %zu\n", is_static, code, done.qsize());
  return code == 0 && done.qsize() == 6;
}
#endif

}  // namespace

int main() {
  mp::freeze_support();
  const bool first = forgets_well(false);
  const bool second = forgets_well(true);
  return first && second ? 0 : 1;
}
