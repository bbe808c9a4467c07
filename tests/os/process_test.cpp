// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/exception.hpp>
#include <multiprocessing/os/lifeline.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/spawn.hpp>

#include <support/codes.hpp>
#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#if MULTIPROCESSING_POSIX
#  include <sys/resource.h>
#  include <sys/socket.h>
#  include <sys/wait.h>
#endif
#include <unistd.h>

namespace os = multiprocessing::os;
namespace detail = multiprocessing::detail;
using namespace std::chrono_literals;

namespace {

const detail::Deadline now{0s};
const detail::Deadline no_limit{multiprocessing::forever};

#if MULTIPROCESSING_POSIX
template <class Work>
int forked(Work work) {
  std::error_code ec;
  const int pid = os::fork_process(ec);
  EXPECT_FALSE(ec);
  if (pid == 0) {
    work();
    ::_exit(99);
  }
  return pid;
}

int code_of(int pid) {
  std::error_code ec;
  const os::UniqueHandle process = os::open_process(pid, ec);
  EXPECT_FALSE(ec);
  EXPECT_TRUE(os::wait_ready(process.get(), no_limit));
  const os::ProcessEnd end = os::collect_process(process.get());
  EXPECT_TRUE(end.ended);
  return end.code.value();
}
#endif

// ---- ends ----

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(CollectProcess, TellsHowItEnded) {
  EXPECT_EQ(code_of(forked([] { ::_exit(7); })), 7);
  EXPECT_EQ(code_of(forked([] { ::raise(SIGKILL); })), test::killed_code);
}

TEST(CollectProcess, TellsNothingWhileItRunsOrIsStopped) {
  std::error_code ec;
  const int pid = forked([] { test::wait_for_ever(); });
  const os::UniqueHandle process = os::open_process(pid, ec);
  EXPECT_FALSE(os::wait_ready(process.get(), now));
  EXPECT_FALSE(os::wait_ready(process.get(), detail::Deadline{5ms}));
  EXPECT_FALSE(os::collect_process(process.get()).ended);
  ::kill(pid, SIGSTOP);
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED | WNOWAIT);
  EXPECT_FALSE(os::collect_process(process.get()).ended);
  os::signal_process(process.get(), os::Signal::kill, ec);
  EXPECT_FALSE(ec);
  EXPECT_TRUE(os::wait_ready(process.get(), no_limit));
  EXPECT_EQ(os::collect_process(process.get()).code, test::killed_code);
  os::signal_process(process.get(), os::Signal::kill, ec);
  EXPECT_FALSE(ec);
}

TEST(CollectProcess, KnowsTheEndThatSomebodyElseWaitedFor) {
  std::error_code ec;
  const int pid = forked([] { ::_exit(7); });
  const os::UniqueHandle process = os::open_process(pid, ec);
  ASSERT_EQ(::waitpid(pid, nullptr, 0), pid);
  const os::ProcessEnd end = os::collect_process(process.get());
  EXPECT_TRUE(end.ended);
  if (end.code) {  // since Linux 6.15
    EXPECT_EQ(end.code, 7);
  }
}

TEST(OpenProcess, SaysThatThereIsNone) {
  const int pid = forked([] { ::_exit(0); });
  ASSERT_EQ(::waitpid(pid, nullptr, 0), pid);
  std::error_code ec;
  EXPECT_FALSE(os::open_process(pid, ec));
  EXPECT_EQ(ec, std::errc::no_such_process);
}

TEST(DiscardProcess, LeavesNothingOfIt) {
  const int pid = forked([] { test::wait_for_ever(); });
  os::discard_process(pid);
  EXPECT_EQ(::waitpid(pid, nullptr, WNOHANG), -1);
}
#endif

TEST(OpenReady, IsReady) {
  std::error_code ec;
  const os::UniqueHandle ready = os::open_ready(ec);
  EXPECT_FALSE(ec);
  EXPECT_TRUE(os::wait_ready(ready.get(), now));
}

// ---- exits ----

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(EndExitWith, RunsWhatWasRegisteredLaterAndNothingElse) {
  EXPECT_EQ(code_of(forked([] {
              static_cast<void>(std::atexit([] { ::_exit(50); }));  // earlier: not run
              os::end_exit_with([](int code) noexcept {
                if (code != 3) ::_exit(51);
              });
              std::exit(3);
            })),
            3);
  EXPECT_EQ(code_of(forked([] {
              os::end_exit_with([](int) noexcept {});
              static_cast<void>(std::atexit([] { ::_exit(52); }));  // later: run
              std::exit(3);
            })),
            52);
}

TEST(CallAtExit, GetsTheCodeAndLetsTheRestGoOn) {
  EXPECT_EQ(code_of(forked([] {
              os::end_exit_with([](int) noexcept { ::_exit(60); });
              os::call_at_exit([](int code) noexcept {
                if (code != 4) ::_exit(61);
              });
              std::exit(4);
            })),
            60);
}
#endif

// ---- signals ----

#if MULTIPROCESSING_POSIX  // not on Windows: signals
TEST(UnblockSignals, LetsEverySignalThrough) {
  std::thread([] {
    sigset_t blocked;
    ::sigfillset(&blocked);
    ::pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
    os::unblock_signals();
    ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
    for (int signal = 1; signal < NSIG; ++signal) EXPECT_NE(::sigismember(&blocked, signal), 1);
  }).join();
}
#endif

// ---- lifelines ----

#if MULTIPROCESSING_POSIX  // not on Windows: a lifeline that is a socket
TEST(Lifeline, ShowsTheParentsEnd) {
  std::error_code ec;
  os::Lifeline lifeline = os::make_lifeline(ec);
  ASSERT_FALSE(ec);
  EXPECT_FALSE(os::wait_ready(lifeline.childs.get(), now));
  lifeline.parents.reset();
  EXPECT_TRUE(os::wait_ready(lifeline.childs.get(), now));
}

TEST(Lifeline, CarriesTheExitCodeAsTheSystemCutsIt) {
  std::error_code ec;
  const os::Lifeline lifeline = os::make_lifeline(ec);
  EXPECT_EQ(os::reported_exit(lifeline.parents.get()), std::nullopt);
  os::report_exit(lifeline.childs.get(), 0x107);
  EXPECT_EQ(os::reported_exit(lifeline.parents.get()), 7);
  os::Lifeline cut = os::make_lifeline(ec);
  cut.childs.reset();
  EXPECT_EQ(os::reported_exit(cut.parents.get()), std::nullopt);
  os::Lifeline orphaned = os::make_lifeline(ec);
  orphaned.parents.reset();
  os::report_exit(orphaned.childs.get(), 1);  // raises no SIGPIPE
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(DieWithParent, KillsWhenTheOtherEndIsClosed) {
  for (const bool closed_before : {false, true}) {
    std::error_code ec;
    os::Lifeline lifeline = os::make_lifeline(ec);
    os::Lifeline ready = os::make_lifeline(ec);
    if (closed_before) lifeline.parents.reset();
    const int pid = forked([&] {
      lifeline.parents.reset();
      ready.parents.reset();
      os::die_with_parent(lifeline.childs.get(), ec);
      if (ec) ::_exit(1);
      ready.childs.reset();
      test::wait_for_ever();
    });
    ready.childs.reset();
    EXPECT_TRUE(os::wait_ready(ready.parents.get(), no_limit));
    lifeline.parents.reset();
    EXPECT_EQ(code_of(pid), test::killed_code);
  }
}

TEST(DieWithParent, LeavesAReporterAlone) {
  std::error_code ec;
  os::Lifeline lifeline = os::make_lifeline(ec);
  const int pid = forked([&] {
    lifeline.parents.reset();
    os::die_with_parent(lifeline.childs.get(), ec);
    os::report_exit(lifeline.childs.get(), 5);
    ::_exit(5);
  });
  EXPECT_EQ(code_of(pid), 5);
  EXPECT_EQ(os::reported_exit(lifeline.parents.get()), 5);
}
#endif

// ---- numbers below 3 ----

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(Handles, StayOutOfTheStandardStreamsPlaces) {
  EXPECT_EQ(code_of(forked([] {
              ::close(0);
              ::close(1);
              ::close(2);
              std::error_code ec;
              const os::Lifeline lifeline = os::make_lifeline(ec);
              const os::UniqueHandle ready = os::open_ready(ec);
              const os::UniqueHandle process = os::open_process(os::process_id(), ec);
              const bool above = lifeline.parents.get() > 2 && lifeline.childs.get() > 2 &&
                                 ready.get() > 2 && process.get() > 2;
              const bool closed =
                  ::fcntl(0, F_GETFD) < 0 && ::fcntl(1, F_GETFD) < 0 && ::fcntl(2, F_GETFD) < 0;
              ::_exit(above && closed && !ec ? 0 : 1);
            })),
            0);
}
#endif

// ---- fork handlers ----

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(ForkHandlers, MakeTheChildForgetItsParentsChildren) {
  os::install_fork_handlers();
  os::install_fork_handlers();
  std::error_code ec;
  auto& state = detail::process_state();
  auto record = detail::ChildReference::make();
  os::Lifeline lifeline = os::make_lifeline(ec);
  record->pid = 1;
  record->sentinel = os::open_ready(ec);
  record->lifeline = std::move(lifeline.parents);
  record->references.fetch_add(1);
  os::UniqueHandle interrupt = os::open_ready(ec);
  {
    const std::lock_guard lock{state.mutex};
    state.children.push_back(record.get());
  }
  state.interrupt = interrupt.get();
  const int interrupt_number = interrupt.get();
  const int lifeline_number = record->lifeline.get();
  const int pid = forked([&] {
    const bool forgotten = state.mutex.try_lock() && state.children.empty() && !record->sentinel &&
                           !record->lifeline && state.interrupt == -1 &&
                           ::fcntl(interrupt_number, F_GETFD) < 0 &&
                           ::fcntl(lifeline_number, F_GETFD) < 0;
    ::_exit(forgotten ? 0 : 1);
  });
  EXPECT_EQ(code_of(pid), 0);
  EXPECT_TRUE(os::wait_ready(interrupt.get(), now));
  state.interrupt = -1;
  const std::lock_guard lock{state.mutex};
  ASSERT_EQ(state.children.size(), 1U);
  state.children.clear();
  record->references.fetch_sub(1);
}

TEST(ForkHandlers, FindTheStateAtRestWhateverThreadsDo) {
  os::install_fork_handlers();
  auto& state = detail::process_state();
  const unsigned made = state.processes_made;
  std::atomic<bool> stop{false};
  const auto hold_for_a_moment = [&](std::mutex& mutex) {
    const std::lock_guard lock{mutex};
    std::this_thread::yield();
  };
  std::vector<std::thread> busy;
  busy.emplace_back([&] {
    while (!stop) {
      const std::lock_guard lock{state.mutex};
      state.processes_made += 1;
      state.processes_made -= 1;
    }
  });
  for (std::mutex* const mutex : {&state.loader_mutex, &state.records_mutex}) {
    busy.emplace_back([&, mutex] {
      while (!stop) hold_for_a_moment(*mutex);
    });
  }
  for (int i = 0; i < 200; ++i) {
    const int pid = forked([&] {
      const bool is_sound = state.loader_mutex.try_lock() && state.mutex.try_lock() &&
                            state.records_mutex.try_lock() && state.processes_made == made;
      ::_exit(is_sound ? 0 : 1);
    });
    EXPECT_EQ(code_of(pid), 0);
  }
  stop = true;
  for (auto& thread : busy) thread.join();
}
#endif

// ---- names ----

template <class Thrown>
std::string name_of(Thrown thrown) {
  try {
    throw thrown;
  } catch (...) {
    return os::current_exception_type();
  }
}

TEST(CurrentExceptionType, IsReadable) {
  EXPECT_EQ(name_of(std::runtime_error{"x"}), "std::runtime_error");
  EXPECT_EQ(name_of(42), "int");
  EXPECT_EQ(os::current_exception_type(), "unknown");
  EXPECT_EQ(os::readable_name(typeid(std::pair<int, char>)), "std::pair<int, char>");
}

// ---- spawn ----

TEST(SpawnProgram, FailsWithTheSystemsReason) {
  std::error_code ec;
  os::spawn_program("/nowhere", {}, {}, {}, ec);
  EXPECT_EQ(ec, std::errc::no_such_file_or_directory);
  os::spawn_program(MULTIPROCESSING_WINDOWS ? "NUL" : "/dev/null", {}, {}, {}, ec);
  EXPECT_TRUE(MULTIPROCESSING_WINDOWS ? bool{ec} : ec == std::errc::permission_denied);
}

#if MULTIPROCESSING_POSIX  // not on Windows: limits of resources
TEST(SpawnProgram, RefusesAStateThatMayNotBeWritten) {
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{1000, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  std::error_code ec;
  const std::vector<std::byte> state(1001);
  os::spawn_program("/bin/true", {}, state, {}, ec);
  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(ec, std::errc::file_too_large);
}
#endif

TEST(SpawnProgram, MadeNotThisProcess) {
  EXPECT_FALSE(os::is_spawned());
}

}  // namespace
