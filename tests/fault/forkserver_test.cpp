// SPDX-License-Identifier: BSL-1.0
// The system refuses what a start by the fork server needs, here and in the server: start() says
// so, nothing is left, and the next start succeeds.
// Not on Windows: system calls of POSIX that fail
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <map>
#include <string>
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

// The errno that the next calls of a function fail with, 0: that call succeeds.
std::map<std::string, std::vector<int>> errors;

int ordered_by = 0;       // the process that said what fails
bool old_kernel = false;  // without PIDFD_GET_INFO

bool fails(const std::string& call) {
  auto& queue = errors[call];
  if (queue.empty()) return false;
  errno = queue.front();
  queue.erase(queue.begin());
  return errno != 0;
}

using ::_exit, ::fallocate, ::fstatfs, ::pthread_mutex_init, ::pwrite, ::syscall, ::close, ::dlopen,
    ::eventfd, ::exit, ::fcntl, ::fstat, ::getcwd, ::getpid, ::getrandom, ::kill, ::on_exit,
    ::pidfd_send_signal, ::poll, ::prctl, ::pread, ::pthread_atfork, ::pthread_sigmask, ::read,
    ::readlink, ::recv, ::sched_getaffinity, ::sched_yield, ::sysconf, ::unsetenv, ::select,
    ::waitpid;
using ::chdir, ::getauxval, ::getgroups, ::getresgid, ::getresuid, ::madvise, ::setenv;

// Calls whose failure is an answer of -1.
#define FAULT_CALL(name)                                      \
  template <class... A>                                       \
  auto name(A... arguments)->decltype(::name(arguments...)) { \
    if (fails(#name)) return -1;                              \
    return ::name(arguments...);                              \
  }
FAULT_CALL(dup2)
FAULT_CALL(fchdir)
FAULT_CALL(fork)
FAULT_CALL(recvmsg)
FAULT_CALL(socketpair)
FAULT_CALL(write)

template <class Argument>
int ioctl(int fd, unsigned long request, Argument* argument) {
  if constexpr (requires { argument->mask; }) {  // PIDFD_GET_INFO
    if (old_kernel) return errno = ENOTTY, -1;
  }
  return ::ioctl(fd, request, argument);
}
int sigaction(int signal, const struct ::sigaction* action, struct ::sigaction* before) {
  return fails("sigaction") ? -1 : ::sigaction(signal, action, before);
}
int memfd_create(const char* name, unsigned flags) {
  return fails("memfd_create") ? -1 : ::memfd_create(name, flags);
}
int pidfd_open(pid_t pid, unsigned flags) {
  if (pid != ::getpid() && fails("pidfd_open of a child")) {
    siginfo_t end{};
    ::waitid(P_PID, static_cast<id_t>(pid), &end, WEXITED | WNOWAIT);  // it was too late
    errno = EMFILE;
    return -1;
  }
  return fails("pidfd_open") ? -1 : ::pidfd_open(pid, flags);
}
// A message goes by the one or the other.
bool sending_fails() {
  return (::getpid() != ordered_by && fails("sending of a child")) || fails("sending");
}
ssize_t send(int to, const void* from, std::size_t size, int flags) {
  return sending_fails() ? -1 : ::send(to, from, size, flags);
}
ssize_t sendmsg(int to, const msghdr* packet, int flags) {
  return sending_fails() ? -1 : ::sendmsg(to, packet, flags);
}
int waitid(idtype_t type, id_t id, siginfo_t* info, int options) {
  return fails("waitid") ? -1 : ::waitid(type, id, info, options);
}
int open(const char* path, int flags, ...) {
  return fails("open") ? -1 : ::open(path, flags);
}
std::vector<int> others;  // handles that were free
int ppoll(pollfd* handles, nfds_t count, const timespec* time, const sigset_t* mask) {
  if (fails("another takes all handles")) {
    for (int copy = ::dup(0); copy >= 0; copy = ::dup(0)) others.push_back(copy);
  }
  return fails("ppoll") ? -1 : ::ppoll(handles, count, time, mask);
}
int setsockopt(int socket, int level, int name, const void* value, socklen_t size) {
  return fails("setsockopt") ? -1 : ::setsockopt(socket, level, name, value, size);
}
int stat(const char* path, struct ::stat* status) {
  if (fails("stat")) return -1;
  const int result = ::stat(path, status);
  if (fails("a thread less")) ++status->st_nlink;
  return result;
}
int posix_spawn(pid_t* pid,
                const char* path,
                const posix_spawn_file_actions_t* actions,
                const posix_spawnattr_t* attributes,
                char* const* arguments,
                char* const* environment) {
  return fails("posix_spawn")
             ? errno
             : ::posix_spawn(pid, path, actions, attributes, arguments, environment);
}

}  // namespace fault

#define MULTIPROCESSING_SYSTEM(call) fault::call
#include <multiprocessing/process.hpp>

namespace mp = multiprocessing;

void test::start_of_main() {
  mp::freeze_support();
}
void test::end_of_test() {
  const std::lock_guard lock{mp::detail::process_state().mutex};
  mp::detail::end_forkserver();
}

namespace {

void seven() {
  throw mp::SystemExit(7);
}

// In the server, before it forks: what its system calls do then.
void let_fail(const std::string& call, const std::vector<int>& errors) {
  fault::errors[call] = errors;
  fault::ordered_by = ::getpid();
}

class ForkServerFault : public testing::Test {
 protected:
  void TearDown() override {
    fault::errors.clear();
    fault::old_kernel = false;
    mp::set_forkserver_preload({});
  }
  static mp::Process<> process() {
    return mp::Process({.name = "w", .start_method = mp::StartMethod::forkserver}, seven);
  }
  static void expect_seven(mp::Process<>& process) {
    process.start();
    EXPECT_TRUE(process.join());
    EXPECT_EQ(process.exitcode(), 7);
  }
  // A start that fails with that error, leaves nothing, and succeeds when it is tried again.
  static void expect_failed_start(int error) {
    mp::Process<> one = process();
    try {
      one.start();
      ADD_FAILURE() << "started";
    } catch (const std::system_error& thrown) {
      EXPECT_EQ(thrown.code().value(), error) << thrown.what();
    }
    EXPECT_FALSE(one.is_alive());
    EXPECT_TRUE(mp::active_children().empty());
    expect_seven(one);
  }
};

TEST_F(ForkServerFault, RefusedServerFailsTheStart) {
  for (const int error : {EMFILE, ENFILE, ENOMEM}) {
    for (const int before : {0, 1, 2}) {  // the child's lifeline, the server's, its channel
      std::vector<int> errors(static_cast<std::size_t>(before), 0);
      errors.push_back(error);
      fault::errors["socketpair"] = errors;
      expect_failed_start(error);
      test::end_of_test();
    }
    fault::errors["memfd_create"] = {error};
    expect_failed_start(error);
    test::end_of_test();
    fault::errors["pidfd_open"] = {error};
    expect_failed_start(error);
    test::end_of_test();
  }
  for (const int error : {EAGAIN, ENOMEM}) {
    fault::errors["posix_spawn"] = {error};
    expect_failed_start(error);
    test::end_of_test();
  }
}

TEST_F(ForkServerFault, RefusedRequestFailsTheStart) {
  mp::Process<> first = process();
  expect_seven(first);
  for (const int error : {EMFILE, ENFILE, ENOMEM}) {
    fault::errors["socketpair"] = {0, error};  // the lifeline, the channel
    expect_failed_start(error);
    fault::errors["setsockopt"] = {error};
    expect_failed_start(error);
    fault::errors["open"] = {error};  // the folder
    expect_failed_start(error);
  }
  for (const int error : {ENOMEM, ENOBUFS, EMFILE}) {
    fault::errors["sending"] = {error};  // the state
    expect_failed_start(error);
    fault::errors["sending"] = {0, error};  // the request
    expect_failed_start(error);
  }
}

TEST_F(ForkServerFault, RefusalsInTheServerFailTheStart) {
  struct Case {
    const char* call;
    std::vector<int> errors;
    int error;
  };
  const std::vector<Case> cases{
      {"fork", {EAGAIN}, EAGAIN},
      {"fork", {ENOMEM}, ENOMEM},
      {"recvmsg", {0, ENOMEM}, ENOMEM},  // the request, the state
      {"recvmsg", {0, EMFILE}, EMFILE},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(each.call);
    mp::set_forkserver_preload(mp::Task{let_fail, std::string{each.call}, each.errors});
    expect_failed_start(each.error);
    test::end_of_test();
  }
}

TEST_F(ForkServerFault, BusyServerIsAskedAgain) {
  mp::Process<> first = process();
  expect_seven(first);
  fault::errors["sending"] = {0, EAGAIN, EAGAIN};
  mp::Process<> second = process();
  expect_seven(second);
}

struct Counted {  // how often it was encoded
  static inline int times = 0;
  template <class Archive>
  void serialize(Archive&) {
    ++times;
  }
};

TEST_F(ForkServerFault, StateIsMadeOnceHoweverOftenItIsSent) {
  mp::Process<> first = process();
  expect_seven(first);
  for (const std::vector<int>& errors :
       {std::vector{0, EAGAIN, EAGAIN}, {0, EPIPE}, {0, EAGAIN, EPIPE, EAGAIN}}) {
    fault::errors["sending"] = errors;
    Counted::times = 0;
    mp::Process one(
        {.start_method = mp::StartMethod::forkserver},
        [](const Counted&) { throw mp::SystemExit(7); }, Counted{});
    one.start();
    EXPECT_EQ(Counted::times, 1);
    one.join();
    EXPECT_EQ(one.exitcode(), 7);
    EXPECT_TRUE(fault::errors["sending"].empty());
    fault::errors.clear();
  }
}

TEST_F(ForkServerFault, ServerThatIsGoneIsReplaced) {
  mp::Process<> first = process();
  expect_seven(first);
  fault::errors["sending"] = {0, EPIPE};
  mp::Process<> second = process();
  expect_seven(second);
}

TEST_F(ForkServerFault, InterruptionsAreNotSeen) {
  for (const char* call : {"sending", "recvmsg", "ppoll", "waitid", "write"}) {
    SCOPED_TRACE(call);
    fault::errors[call] = {EINTR, EINTR};
    mp::set_forkserver_preload(mp::Task{let_fail, std::string{call}, std::vector{EINTR, EINTR}});
    mp::Process<> one = process();
    expect_seven(one);
    test::end_of_test();
  }
}

TEST_F(ForkServerFault, ChildThatCannotSaySoHasNotStarted) {
  mp::set_forkserver_preload(
      mp::Task{let_fail, std::string{"sending of a child"}, std::vector{ENOBUFS}});
  mp::Process<> one = process();
  try {
    one.start();
    ADD_FAILURE() << "started";
    one.join();
  } catch (const std::system_error& thrown) {
    EXPECT_EQ(thrown.code().value(), ENOBUFS) << thrown.what();
  }
  EXPECT_TRUE(mp::active_children().empty());
}

TEST_F(ForkServerFault, ChildThatTheServerCannotWatchHasItsOwnCode) {
  for (const bool old_kernel : {false, true}) {
    fault::old_kernel = old_kernel;
    mp::set_forkserver_preload(
        mp::Task{let_fail, std::string{"pidfd_open of a child"}, std::vector{EMFILE}});
    mp::Process one({.start_method = mp::StartMethod::forkserver}, [] { ::_exit(3); });
    one.start();
    one.join();
    // The kernel tells since Linux 6.15; before that nobody knows.
    EXPECT_TRUE((one.exitcode() == 3 && !old_kernel) || one.exitcode() == 255) << *one.exitcode();
    test::end_of_test();
  }
}

TEST_F(ForkServerFault, CodeThatNobodyKnowsIs255) {
  fault::old_kernel = true;
  mp::Process one({.start_method = mp::StartMethod::forkserver}, [] {
    for (;;) ::pause();
  });
  one.start();
  test::end_of_test();  // of the server that would have told
  EXPECT_TRUE(one.is_alive());
  one.kill();
  EXPECT_TRUE(one.join());
  EXPECT_EQ(one.exitcode(), 255);
}

TEST_F(ForkServerFault, RefusedWaitForTheAnswerFailsTheStart) {
  mp::Process<> first = process();
  expect_seven(first);
  fault::errors["ppoll"] = {ENOMEM};
  expect_failed_start(ENOMEM);
}

TEST_F(ForkServerFault, HandlesThatAreTakenMeanwhileAreNotMissed) {
  mp::Process<> first = process();
  expect_seven(first);
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const rlimit few{64, before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &few);
  fault::errors["another takes all handles"] = {EMFILE};
  mp::Process<> one = process();
  EXPECT_NO_THROW(one.start());
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_FALSE(fault::others.empty());
  for (const int handle : fault::others) ::close(handle);
  fault::others.clear();
  EXPECT_TRUE(one.join());
  EXPECT_EQ(one.exitcode(), 7);
}

TEST_F(ForkServerFault, ThreadThatIsStillCountedIsWaitedFor) {
  mp::set_forkserver_preload(
      mp::Task{let_fail, std::string{"a thread less"}, std::vector{EBUSY, EBUSY}});
  mp::Process<> one = process();
  expect_seven(one);
}

TEST_F(ForkServerFault, SurroundingsThatCannotBeEnteredStopNoChild) {
  const std::vector<std::pair<std::string, int>> cases{
      {"fchdir", EACCES}, {"dup2", EBUSY}, {"sigaction", EINVAL}};
  for (const auto& [call, error] : cases) {
    SCOPED_TRACE(call);
    mp::set_forkserver_preload(mp::Task{let_fail, call, std::vector(4, error)});
    mp::Process<> one = process();
    expect_seven(one);
    test::end_of_test();
  }
}

TEST_F(ForkServerFault, WithoutProcItsThreadsAreNotCounted) {
  mp::set_forkserver_preload(mp::Task{let_fail, std::string{"stat"}, std::vector{ENOENT}});
  mp::Process<> one = process();
  expect_seven(one);
}

}  // namespace
