// SPDX-License-Identifier: BSL-1.0
#include <support/processes.hpp>
#include <support/watchdog.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <execinfo.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace test {
namespace {

using namespace std::chrono_literals;

std::string running;  // the test's name, for the handler
double seconds_per_test = 100;
std::function<void()> last_wish;
timer_t timer;
// Those of forked children too.
std::atomic<int>& stacks_printed = *new (mmap(
    nullptr, sizeof(std::atomic<int>), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))
                                       std::atomic<int>{0};
// The time is given in parts, so that a machine that stood still takes one of them, not all.
constexpr int parts = 5;
std::atomic<int> parts_left{0};

int bite_signal() {
  return SIGRTMAX - 1;
}
int stack_signal() {
  return SIGRTMAX - 2;
}

void say(const std::string& text) {
  if (write(STDERR_FILENO, text.data(), text.size()) < 0) return;  // nobody left to tell
}

void print_stack(int) {
  std::array<void*, 64> frames{};
  const int depth = backtrace(frames.data(), static_cast<int>(frames.size()));
  std::array<char, 64> title{};
  const int length = std::snprintf(title.data(), title.size(), "--- process %d, thread %ld\n",
                                   getpid(), syscall(SYS_gettid));
  if (length > 0 && write(STDERR_FILENO, title.data(), static_cast<std::size_t>(length)) > 0) {
    backtrace_symbols_fd(frames.data(), depth, STDERR_FILENO);
  }
  ++stacks_printed;
}

// Runs in a handler and calls what no handler may: the process ends here in any case, and alarm()
// ends it should one of those calls hang.
void bite(int) {
  if (--parts_left > 0) return;
  std::signal(SIGALRM, SIG_DFL);
  alarm(30);
  say("\nwatchdog: " + running + " has not ended after " +
      std::to_string(static_cast<int>(seconds_per_test)) +
      " s. (addr2line -Cfe <program> <offset> turns the addresses into lines.)\n");
  for (const std::string& id : names_in("/proc/self/task")) {
    const int before = stacks_printed;
    if (syscall(SYS_tgkill, getpid(), std::stoi(id), stack_signal()) != 0) continue;
    for (int i = 0; i < 50 && stacks_printed == before; ++i) std::this_thread::sleep_for(10ms);
  }
  const auto others = family();
  const int all = stacks_printed + static_cast<int>(others.size());
  for (const auto& process : others) {
    const std::string folder = "/proc/" + std::to_string(process.pid);
    say("--- process " + std::to_string(process.pid) + " (" + process.command + "), state " +
        process.state + ", waits in " + first_line(folder + "/wchan") + "\n");
    kill(process.pid, stack_signal());  // a forked child has our handler; any other ends by it
  }
  // Naps, for a handler of signals can be woken by nobody; 10 s at most, for who was spawned writes
  // none.
  for (int naps = 1000; stacks_printed < all && naps > 0; --naps) std::this_thread::sleep_for(10ms);
  for (const auto& process : others) kill(process.pid, SIGKILL);
  last_wish();
  std::signal(SIGABRT, SIG_DFL);
  std::abort();
}

void set_timer(double seconds) {
  const double part = seconds / parts;
  itimerspec spec{};
  spec.it_value.tv_sec = static_cast<time_t>(part);
  spec.it_value.tv_nsec =
      static_cast<long>((part - static_cast<double>(spec.it_value.tv_sec)) * 1e9);
  spec.it_interval = spec.it_value;
  parts_left = parts;
  timer_settime(timer, 0, &spec, nullptr);
}

void handle(int signal, void (*handler)(int), int flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigaction(signal, &action, nullptr);
}

}  // namespace

Watchdog::Watchdog(std::function<void()> before_abort) {
  last_wish = std::move(before_abort);
  if (const char* scale = std::getenv("MULTIPROCESSING_TEST_TIMEOUT_SCALE")) {
    seconds_per_test *= std::atof(scale);
  }
  if (const char* seconds = std::getenv("MULTIPROCESSING_TEST_WATCHDOG")) {
    seconds_per_test = std::atof(seconds);
  }
  std::array<void*, 1> frame{};
  backtrace(frame.data(), 1);  // loads what it needs now, not in the handler
  handle(bite_signal(), bite, SA_RESTART);
  handle(stack_signal(), print_stack, SA_RESTART);
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = bite_signal();
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) {
    throw std::system_error{errno, std::system_category(), "watchdog: timer_create"};
  }
}

void Watchdog::OnTestStart(const testing::TestInfo& info) {
  running = std::string{info.test_suite_name()} + "." + info.name();
  set_timer(seconds_per_test);
}

void Watchdog::OnTestEnd(const testing::TestInfo&) {
  set_timer(0);
}

}  // namespace test
