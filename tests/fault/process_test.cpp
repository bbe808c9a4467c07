// SPDX-License-Identifier: BSL-1.0
// Starting and reaping processes on a system that refuses, interrupts, or is older.
// Not on Windows: system calls of POSIX that fail
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
extern "C" {
#include <sys/pidfd.h>
}

#include <support/main.hpp>

namespace fault {

using ::_exit, ::close, ::dlopen, ::dup2, ::eventfd, ::exit, ::fallocate, ::fchdir, ::fstatfs,
    ::pthread_mutex_init, ::pwrite, ::syscall, ::fcntl, ::fstat, ::getcwd, ::getpid, ::kill,
    ::prctl, ::pread, ::pthread_atfork, ::pthread_sigmask, ::read, ::readlink, ::recv, ::recvmsg,
    ::sched_getaffinity, ::sched_yield, ::send, ::sendmsg, ::setsockopt, ::sigaction, ::stat,
    ::setenv, ::sysconf, ::unsetenv;
using ::chdir, ::getgroups, ::getresgid, ::getresuid, ::madvise;

// What the next calls of a function do: fail with an errno, one after the other.
std::map<std::string, std::vector<int>> errors;
bool old_kernel = false;    // without PIDFD_GET_INFO
bool too_early = false;     // it does not know the code yet
bool reaps_slowly = false;  // it is long before who reaps goes on
std::atomic<int> reapings_asked{0};
bool memory_is_born_sealed = false;  // as where vm.memfd_noexec is set
bool has_foreign_rights = false;     // as a set-user-ID program

std::mutex guard;  // of the above: threads ask at the same time

bool fails(const std::string& call) {
  const std::lock_guard lock{guard};
  auto& queue = errors[call];
  if (queue.empty()) return false;
  errno = queue.front();
  queue.erase(queue.begin());
  return true;
}

int on_exit(void (*handler)(int, void*), void* argument) {
  return fails("on_exit") ? -1 : ::on_exit(handler, argument);
}
pid_t fork() {
  return fails("fork") ? -1 : ::fork();
}
int pidfd_open(pid_t pid, unsigned flags) {
  return fails("pidfd_open") ? -1 : ::pidfd_open(pid, flags);
}
int pidfd_send_signal(int process, int signal, siginfo_t* info, unsigned flags) {
  return fails("pidfd_send_signal") ? -1 : ::pidfd_send_signal(process, signal, info, flags);
}
template <class Argument>
int ioctl(int fd, unsigned long request, Argument* argument) {
  if constexpr (requires { argument->mask; }) {  // PIDFD_GET_INFO
    if (old_kernel) return errno = ENOTTY, -1;
    if (std::exchange(too_early, false)) {
      argument->mask = 0;
      return 0;
    }
  }
  return ::ioctl(fd, request, argument);
}
int memfd_create(const char* name, unsigned flags) {
  constexpr unsigned no_exec_seal = 8;
  if (memory_is_born_sealed) flags |= no_exec_seal;
  return fails("memfd_create") ? -1 : ::memfd_create(name, flags);
}
unsigned long getauxval(unsigned long what) {
  return what == AT_SECURE && has_foreign_rights ? 1 : ::getauxval(what);
}
int open(const char* path, int flags, ...) {
  return fails(std::string{"open "} + path) ? -1 : ::open(path, flags);
}
int socketpair(int domain, int type, int protocol, int* ends) {
  return fails("socketpair") ? -1 : ::socketpair(domain, type, protocol, ends);
}
int posix_spawn(pid_t* pid,
                const char* path,
                const posix_spawn_file_actions_t* actions,
                const posix_spawnattr_t* attributes,
                char* const* arguments,
                char* const* environment) {
  if (fails(std::string{"posix_spawn "} + path) || fails("posix_spawn")) return errno;
  return ::posix_spawn(pid, path, actions, attributes, arguments, environment);
}
int waitid(idtype_t type, id_t id, siginfo_t* info, int options) {
  if (fails("waitid")) return -1;
  const int asked_before = ++reapings_asked;
  const int result = ::waitid(type, id, info, options);
  if (result == 0 && info->si_pid != 0 && reaps_slowly) {  // who may come in between, does
    for (int i = 0; i < 1000 && reapings_asked == asked_before; ++i) ::sched_yield();
  }
  return result;
}
pid_t waitpid(pid_t pid, int* status, int options) {
  return fails("waitpid") ? -1 : ::waitpid(pid, status, options);
}
int ppoll(pollfd* handles, nfds_t count, const timespec* time, const sigset_t* mask) {
  return fails("ppoll") ? -1 : ::ppoll(handles, count, time, mask);
}
int select(int count, fd_set* in, fd_set* out, fd_set* other, timeval* limit) {
  return fails("select") ? -1 : ::select(count, in, out, other, limit);
}
int poll(pollfd* handles, nfds_t count, int milliseconds) {
  return fails("poll") ? -1 : ::poll(handles, count, milliseconds);
}
ssize_t write(int fd, const void* from, std::size_t size) {
  if (fails("write")) return -1;
  return ::write(fd, from, std::min<std::size_t>(size, 100));  // never all at once
}
ssize_t getrandom(void* into, std::size_t size, unsigned flags) {
  if (fails("getrandom")) return -1;
  return ::getrandom(into, std::min<std::size_t>(size, 7), flags);
}

}  // namespace fault

#define MULTIPROCESSING_SYSTEM(call) fault::call
#include <multiprocessing/os/environment.hpp>
#include <multiprocessing/process.hpp>

namespace mp = multiprocessing;
namespace os = multiprocessing::os;
using namespace std::chrono_literals;

void test::start_of_main() {
  mp::freeze_support();
}

namespace {

void seven() {
  throw mp::SystemExit(7);
}

class ProcessFault : public testing::TestWithParam<mp::StartMethod> {
 protected:
  void TearDown() override {
    fault::errors.clear();
    fault::old_kernel = false;
    fault::too_early = false;
    fault::reaps_slowly = false;
    fault::memory_is_born_sealed = false;
    fault::has_foreign_rights = false;
  }
  // A start that fails with that error, leaves nothing, and succeeds when it is tried again.
  static void expect_failed_start(int error) {
    mp::Process process({.name = "w", .start_method = GetParam()}, seven);
    try {
      process.start();
      ADD_FAILURE() << "started";
    } catch (const std::system_error& thrown) {
      EXPECT_EQ(thrown.code().value(), error);
      EXPECT_NE(std::string{thrown.what()}.find("process w"), std::string::npos) << thrown.what();
    }
    EXPECT_FALSE(process.is_alive());
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child was left";
    EXPECT_TRUE(mp::active_children().empty());
    process.start();
    EXPECT_TRUE(process.join());
    EXPECT_EQ(process.exitcode(), 7);
  }
};
INSTANTIATE_TEST_SUITE_P(By,
                         ProcessFault,
                         testing::Values(mp::StartMethod::fork, mp::StartMethod::spawn),
                         [](const auto& method) {
                           return method.param == mp::StartMethod::fork ? "fork" : "spawn";
                         });

TEST_P(ProcessFault, RefusedLifelineFailsTheStart) {
  for (const int error : {EMFILE, ENFILE, ENOMEM}) {
    fault::errors["socketpair"] = {error};
    expect_failed_start(error);
  }
}

TEST_P(ProcessFault, RefusedProcessFailsTheStart) {
  for (const int error : {EAGAIN, ENOMEM}) {
    fault::errors[GetParam() == mp::StartMethod::fork ? "fork" : "posix_spawn"] = {error};
    expect_failed_start(error);
  }
}

TEST_P(ProcessFault, RefusedSentinelFailsTheStartAndKillsTheChild) {
  for (const int error : {EMFILE, ENFILE, ENOMEM, ENOSYS}) {
    fault::errors["pidfd_open"] = {error};
    fault::errors["waitpid"] = {EINTR};
    expect_failed_start(error);
  }
}

TEST_P(ProcessFault, RefusedStateFailsTheStart) {
  if (GetParam() == mp::StartMethod::fork) return;
  fault::errors["memfd_create"] = {EMFILE};
  expect_failed_start(EMFILE);
  fault::errors["write"] = {ENOSPC};
  expect_failed_start(ENOSPC);
}

int maker_of_handlers = 0;

TEST_P(ProcessFault, ChildThatCannotRegisterItsEndRunsNoHandlersOfItsParent) {
  if (GetParam() != mp::StartMethod::fork) return;
  maker_of_handlers = ::getpid();
  ASSERT_EQ(std::atexit([] {
              if (::getpid() != maker_of_handlers) ::_exit(50);
            }),
            0);
  fault::errors["on_exit"] = {ENOMEM};
  mp::Process process({.start_method = GetParam()}, seven);
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 1);
}

TEST_P(ProcessFault, InterruptionsAreNotSeen) {
  fault::errors["write"] = {EINTR, EINTR};
  fault::errors["ppoll"] = {EINTR, EINTR};
  fault::errors["waitid"] = {EINTR, EINTR};
  mp::Process process({.start_method = GetParam()}, seven);
  process.start();
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 7);
}

TEST_P(ProcessFault, ErrorOfAWaitIsNoEnd) {
  fault::errors["ppoll"] = {ENOMEM, ENOMEM, EINVAL};
  fault::errors["select"] = {EINTR, ENOMEM};
  mp::Process process({.start_method = GetParam()}, [] {
    fault::errors["ppoll"] = {ENOMEM, EINVAL};
    const bool lives = mp::parent_process()->is_alive() && !mp::parent_process()->join(1ms);
    throw mp::SystemExit(lives ? 7 : 1);
  });
  process.start();
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 7);
}

// As a process does that shuts itself in: ppoll is refused then. It ends without exit handlers: a
// sanitizer's would open files.
void open_nothing_more() {
  const rlimit none{};
  if (::setrlimit(RLIMIT_NOFILE, &none) != 0) throw mp::SystemExit(2);
}

TEST_P(ProcessFault, WhoMayOpenNothingKnowsWhoLives) {
  mp::Process process(
      {.start_method = GetParam()},
      [](mp::StartMethod method) {
        mp::Process child({.start_method = method}, [] {
          open_nothing_more();
          const bool lives = mp::parent_process()->is_alive() && !mp::parent_process()->join(1ms);
          mp::os::exit_now(lives ? 7 : 1);
        });
        child.start();
        open_nothing_more();
        mp::os::exit_now(child.join() ? child.exitcode().value() : 4);
      },
      GetParam());
  process.start();
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 7);
}

TEST_P(ProcessFault, CodeThatOnlyTheChildKnowsIsReportedByIt) {
  fault::old_kernel = true;
  mp::Process process({.start_method = GetParam()}, seven);
  process.start();
  ASSERT_EQ(::waitpid(*process.pid(), nullptr, 0), process.pid());
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 7);
}

TEST_P(ProcessFault, CodeIsThatOfTheChildNotOfABareForkOfIt) {
  fault::old_kernel = true;
  mp::Process process({.start_method = GetParam()}, [] {
    const pid_t pid = ::fork();
    if (pid == 0) std::exit(9);  // the child's exit handlers run here too
    int status = 0;
    ::waitpid(pid, &status, 0);
    throw mp::SystemExit(WIFEXITED(status) && WEXITSTATUS(status) == 9 ? 4 : 5);
  });
  process.start();
  ASSERT_EQ(::waitpid(*process.pid(), nullptr, 0), process.pid());
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 4);
}

TEST_P(ProcessFault, CodeThatTheKernelDoesNotKnowYetIsAskedForAgain) {
  // A signal: nobody but the kernel can tell, and it does since Linux 6.15.
  std::vector<std::optional<int>> codes;
  for (const bool too_early : {false, true}) {
    fault::too_early = too_early;
    mp::Process process({.start_method = GetParam()}, [] { ::raise(SIGUSR1); });
    process.start();
    ASSERT_EQ(::waitpid(*process.pid(), nullptr, 0), process.pid());
    EXPECT_TRUE(process.join());
    EXPECT_FALSE(fault::too_early);
    codes.push_back(process.exitcode());
  }
  EXPECT_TRUE(codes[0] == -SIGUSR1 || codes[0] == 255) << *codes[0];
  EXPECT_EQ(codes[1], codes[0]);
}

TEST_P(ProcessFault, CodeThatNobodyKnowsIs255) {
  fault::old_kernel = true;
  mp::Process process({.start_method = GetParam()}, [] { ::raise(SIGKILL); });
  process.start();
  ASSERT_EQ(::waitpid(*process.pid(), nullptr, 0), process.pid());
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 255);
  EXPECT_FALSE(process.is_alive());
}

TEST_P(ProcessFault, IsReapedOnceWhicheverThreadsAsk) {
  // By a signal, and the kernel does not remember: the second to reap would find that nobody knows.
  fault::old_kernel = true;
  fault::reaps_slowly = true;
  for (int round = 0; round < 10; ++round) {
    mp::Process process({.start_method = GetParam()}, [] { ::pause(); });
    process.start();
    std::atomic<int> at_work{0};
    std::array<std::optional<int>, 8> codes;
    std::vector<std::thread> threads;
    for (auto& code : codes) {
      threads.emplace_back([&] {
        ++at_work;
        if (process.join() && !process.is_alive()) code = process.exitcode();
      });
    }
    while (at_work != static_cast<int>(codes.size())) std::this_thread::yield();
    process.kill();
    for (auto& thread : threads) thread.join();
    for (const auto& code : codes) EXPECT_EQ(code, -SIGKILL);
    EXPECT_EQ(process.exitcode(), -SIGKILL);
  }
}

TEST_P(ProcessFault, ChildThatEndedBeforeItsSentinelIsKnownAllTheSame) {
  // As when SIGCHLD is ignored and the child is faster.
  fault::errors["pidfd_open"] = {ESRCH};
  mp::Process process({.start_method = GetParam()}, seven);
  process.start();
  EXPECT_TRUE(process.join());
  EXPECT_FALSE(process.is_alive());
  EXPECT_TRUE(process.exitcode().has_value());
  process.terminate();
  pollfd sentinel{process.sentinel(), POLLIN, 0};
  EXPECT_EQ(::poll(&sentinel, 1, 0), 1);
  EXPECT_TRUE(mp::active_children().empty());
  EXPECT_EQ(::waitpid(*process.pid(), nullptr, 0), process.pid());  // the pretence ends
}

TEST_P(ProcessFault, SignalThatMayNotBeSentIsAnError) {
  mp::Process process({.name = "w", .start_method = GetParam()}, [] {
    for (;;) ::pause();
  });
  process.start();
  fault::errors["pidfd_send_signal"] = {EPERM};
  EXPECT_THROW(process.terminate(), std::system_error);
  process.kill();
  process.join();
}

TEST_P(ProcessFault, WithoutProcTheProgramIsFoundByItsPath) {
  if (GetParam() == mp::StartMethod::fork) return;
  fault::errors["posix_spawn /proc/self/exe"] = {ENOENT};
  mp::Process process({.start_method = mp::StartMethod::spawn}, seven);
  process.start();
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 7);
}

TEST_P(ProcessFault, MemoryMayHaveMoreSealsThanWereAskedFor) {
  constexpr unsigned no_exec_seal = 8;
  const os::UniqueHandle probe{::memfd_create("probe", no_exec_seal)};
  if (!probe) GTEST_SKIP() << "this kernel has no such seal (before 6.3)";
  fault::memory_is_born_sealed = true;
  mp::Process process({.start_method = GetParam()}, seven);
  process.start();
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 7);
}

TEST_P(ProcessFault, WithoutDevTheInputIsEmptyAllTheSame) {
  fault::errors["open /dev/null"] = {ENOENT};
  mp::Process process({.start_method = GetParam()}, [] {
    char byte = 0;
    const auto got = ::read(STDIN_FILENO, &byte, 1);
    throw mp::SystemExit(got == 0 ? 7 : 1);
  });
  process.start();
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 7);
}

TEST_P(ProcessFault, DaemonThatMayNotBeSignalledEndsWithItsParent) {
  mp::Process parent({.start_method = mp::StartMethod::fork}, [method = GetParam()] {
    mp::Process daemon({.daemon = true, .start_method = method}, [] {
      for (;;) ::pause();
    });
    daemon.start();
    fault::errors["pidfd_send_signal"] = {EPERM};
    throw mp::SystemExit(7);  // waits for it
  });
  parent.start();
  EXPECT_TRUE(parent.join());
  EXPECT_EQ(parent.exitcode(), 7);
}

TEST(ForeignRights, ForbidFreshRunsOfTheProgram) {
  fault::has_foreign_rights = true;
  for (const auto method : {mp::StartMethod::spawn, mp::StartMethod::forkserver}) {
    mp::Process process({.name = "w", .start_method = method}, seven);
    try {
      process.start();
      ADD_FAILURE() << "started";
      process.join();
    } catch (const std::system_error& thrown) {
      EXPECT_EQ(thrown.code(), std::errc::operation_not_permitted);
      EXPECT_NE(std::string{thrown.what()}.find("set-user-ID"), std::string::npos) << thrown.what();
    }
  }
  std::error_code ec;
  EXPECT_EQ(os::spawn_program("/bin/true", {}, {}, {}, ec).pid, 0);
  EXPECT_EQ(ec, std::errc::operation_not_permitted);
  mp::Process copy({.start_method = mp::StartMethod::fork}, seven);
  copy.start();
  copy.join();
  EXPECT_EQ(copy.exitcode(), 7);
  fault::has_foreign_rights = false;
}

TEST(ForeignRights, LetNothingOfTheEnvironmentBeTrusted) {
  ::setenv("MULTIPROCESSING_CHILD", "0", 1);
  EXPECT_TRUE(os::is_spawned());
  EXPECT_TRUE(os::environment("MULTIPROCESSING_CHILD"));
  fault::has_foreign_rights = true;
  EXPECT_FALSE(os::is_spawned());
  EXPECT_FALSE(os::environment("MULTIPROCESSING_CHILD"));
  fault::has_foreign_rights = false;
  ::unsetenv("MULTIPROCESSING_CHILD");
}

TEST(RandomBytesFault, ComeInPiecesAndAreInterrupted) {
  fault::errors["getrandom"] = {EINTR, EINTR};
  std::vector<std::byte> bytes(100);
  std::error_code ec;
  mp::os::random_bytes(bytes, ec);
  EXPECT_FALSE(ec);
  EXPECT_NE(std::vector(bytes.end() - 20, bytes.end()), std::vector<std::byte>(20));
  fault::errors["getrandom"] = {ENOSYS};
  mp::os::random_bytes(bytes, ec);
  EXPECT_EQ(ec, std::errc::function_not_supported);
}

}  // namespace
