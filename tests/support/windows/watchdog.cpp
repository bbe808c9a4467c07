// SPDX-License-Identifier: BSL-1.0
#include <support/processes.hpp>
#include <support/watchdog.hpp>
#include <support/windows/system.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include <io.h>

namespace test {
namespace {

double seconds_per_test = 100;
std::function<void()> last_wish;
HANDLE wakes = nullptr;  // the thread that waits for a test's end
int errors = -1;         // where stderr was at the beginning: a test may have it elsewhere

// Where a thread stands, as an offset in the program where it is there.
void print_place(int id) {
  const HANDLE thread =
      OpenThread(THREAD_SUSPEND_RESUME | THREAD_GET_CONTEXT, FALSE, static_cast<DWORD>(id));
  if (thread == nullptr) return;
  CONTEXT context{};
  context.ContextFlags = CONTEXT_CONTROL;
  SuspendThread(thread);
  const bool known = GetThreadContext(thread, &context) != 0;
  const auto program = reinterpret_cast<std::uintptr_t>(GetModuleHandleW(nullptr));
  if (known) {
    std::fprintf(stderr, "--- thread %d at program+0x%llx", id,
                 static_cast<unsigned long long>(context.Rip - program));
    const auto* const stack = reinterpret_cast<const std::uintptr_t*>(context.Rsp);
    for (int i = 0, printed = 0; i < 512 && printed < 24; ++i) {
      const std::uintptr_t offset = stack[i] - program;
      if (offset < 0x10000000) {
        std::fprintf(stderr, " 0x%llx", static_cast<unsigned long long>(offset));
        ++printed;
      }
    }
    std::fputc('\n', stderr);
  }
  ResumeThread(thread);
  CloseHandle(thread);
}

[[noreturn]] void bite(const std::string& running) {
  _dup2(errors, 2);
  std::fprintf(
      stderr,
      "\nwatchdog: %s has not ended after %d s. (addr2line -Cfe <program> turns addresses, "
      "with the image base added, into lines.)\n",
      running.c_str(), static_cast<int>(seconds_per_test));
  for (const auto& [id, name] : own_threads()) {
    if (id != static_cast<int>(GetCurrentThreadId())) print_place(id);
  }
  for (const auto& process : family()) {
    std::fprintf(stderr, "--- process %d (%s)\n", process.pid, process.command.c_str());
    end_process(process.pid);
  }
  std::fflush(stderr);
  last_wish();
  TerminateProcess(GetCurrentProcess(), 3);
  std::abort();
}

std::thread& watcher() {
  static std::thread one;
  return one;
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
  errors = _dup(2);
  wakes = CreateEventW(nullptr, FALSE, FALSE, nullptr);
  // The C++ runtime keeps some handles from its first thread and its first static object on, and
  // GoogleTest a thread from its first trace on.
  const testing::ScopedTrace first{__FILE__, __LINE__, ""};
  watcher() = std::thread{[] {}};
  watcher().join();
}

void Watchdog::OnTestStart(const testing::TestInfo& info) {
  watcher() = std::thread{[running = std::string{info.test_suite_name()} + "." + info.name()] {
    const auto milliseconds = static_cast<DWORD>(seconds_per_test * 1000);
    if (WaitForSingleObject(wakes, milliseconds) == WAIT_TIMEOUT) bite(running);
  }};
}

void Watchdog::OnTestEnd(const testing::TestInfo&) {
  SetEvent(wakes);
  watcher().join();
}

}  // namespace test
