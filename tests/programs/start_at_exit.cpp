// SPDX-License-Identifier: BSL-1.0
// A program that uses the library until its very end: when main() has returned, processes are
// started, and messages sent, by another thread, by an exit handler and by a static object, which
// run after what the first start made is gone.
#include <multiprocessing/connection.hpp>
#include <multiprocessing/process.hpp>
#include <multiprocessing/queues.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

namespace mp = multiprocessing;

namespace {

constexpr int right = 42;

// Two targets: one is started before main() returns, the other only after.
void early(int x) {
  throw mp::SystemExit(x);
}
void late(int x) {
  throw mp::SystemExit(x);
}

bool starts(void (*target)(int), mp::StartMethod method) {
  mp::Process process({.start_method = method}, target, right);
  process.start();
  process.join();
  return process.exitcode() == right;
}

bool sends() {
  const std::string text(1U << 12U, 'x');
  auto [one, other] = mp::Pipe();
  one.send(text);
  if (other.recv<std::string>() != text) return false;
  mp::Queue<std::string> queue;
  queue.put(text);
  return queue.get() == text;
}

void check(const char* when) {
  for (const mp::StartMethod method : mp::get_all_start_methods()) {
    if (starts(early, method) && starts(late, method)) continue;
    std::fprintf(stderr, "no process could be started %s\n", when);
    std::_Exit(1);
  }
  if (sends()) return;
  std::fprintf(stderr, "no message came %s\n", when);
  std::_Exit(2);
}

std::atomic<bool> is_exiting{false};

// Made before the library's first use, so destroyed after all that it made.
struct Last {
  std::thread thread{[] {
    while (!is_exiting) std::this_thread::sleep_for(std::chrono::milliseconds{1});
    check("by a thread");
  }};
  Last() = default;
  Last(const Last&) = delete;
  Last& operator=(const Last&) = delete;
  ~Last() {
    is_exiting = true;
    thread.join();
    check("by a static object");
  }
};

}  // namespace

int main() {
  mp::freeze_support();
  static_cast<void>(std::atexit([] { check("by the last exit handler"); }));
  static const Last last;
  static_cast<void>(std::atexit([] { check("by an exit handler"); }));
  for (const mp::StartMethod method : mp::get_all_start_methods()) {
    if (!starts(early, method)) return std::puts("no process could be started at all"), 1;
  }
  return sends() ? 0 : 2;
}
