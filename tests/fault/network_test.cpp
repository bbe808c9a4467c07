// SPDX-License-Identifier: BSL-1.0
// Listener, Client and their streams with every system call that they make failing in turn.
// Not on Windows: system calls of POSIX that fail
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdarg>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
extern "C" {
#include <sys/pidfd.h>
}

namespace fault {

// What every_call_test.cpp makes fail.
using ::_exit, ::setitimer, ::close, ::dlopen, ::dup2, ::eventfd, ::exit, ::faccessat, ::fallocate,
    ::fchdir, ::fork, ::fstat, ::fstatfs, ::getcwd, ::getpid, ::getrandom, ::kill, ::linkat,
    ::memfd_create, ::mmap, ::on_exit, ::open, ::pidfd_open, ::pidfd_send_signal, ::pipe2, ::poll,
    ::posix_spawn, ::prctl, ::pread, ::prlimit, ::pthread_atfork, ::pthread_mutex_init,
    ::pthread_sigmask, ::pwrite, ::pwritev2, ::raise, ::read, ::readlink, ::recvmsg,
    ::sched_getaffinity, ::sched_yield, ::sigaction, ::sigaltstack, ::socketpair, ::stat, ::syscall,
    ::sysconf, ::unsetenv, ::waitid, ::waitpid, ::write, ::writev;
using ::chdir, ::getauxval, ::getgroups, ::getresgid, ::getresuid, ::madvise, ::setenv;
using ::select;

std::string failing;                            // which call fails,
int failing_with = 0;                           // and how;
thread_local int failing_turn = 0;              // at which of its turns in this thread: 0 never
thread_local std::map<std::string, int> calls;  // how often each was called
std::size_t at_most = 0;                        // bytes that one call moves; 0: as many as it likes

bool fails(const char* call) {
  const int turn = ++calls[call];
  if (failing_turn == 0 || turn != failing_turn || failing != call) return false;
  errno = failing_with;
  return true;
}
std::size_t shortened(std::size_t size) {
  return at_most == 0 ? size : std::min(size, at_most);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#define FAULT_ERRNO(name)                             \
  template <class... Argument>                        \
  auto name(Argument... arguments) {                  \
    using Result = decltype(::name(arguments...));    \
    if (fails(#name)) return static_cast<Result>(-1); \
    return ::name(arguments...);                      \
  }
FAULT_ERRNO(accept4)
FAULT_ERRNO(bind)
FAULT_ERRNO(connect)
FAULT_ERRNO(epoll_create1)
FAULT_ERRNO(epoll_ctl)
FAULT_ERRNO(fchmod)
FAULT_ERRNO(getsockname)
FAULT_ERRNO(getsockopt)
FAULT_ERRNO(ioctl)
FAULT_ERRNO(listen)
FAULT_ERRNO(ppoll)
FAULT_ERRNO(sendmsg)
FAULT_ERRNO(setsockopt)
FAULT_ERRNO(shutdown)
FAULT_ERRNO(socket)
FAULT_ERRNO(unlink)
#undef FAULT_ERRNO
#pragma GCC diagnostic pop

int getaddrinfo(const char* host, const char* service, const addrinfo* hints, addrinfo** found) {
  return fails("getaddrinfo") ? failing_with : ::getaddrinfo(host, service, hints, found);
}
int lstat(const char* path, struct ::stat* status) {
  return fails("lstat") ? -1 : ::lstat(path, status);
}
ssize_t recv(int from, void* into, std::size_t size, int flags) {
  return fails("recv") ? -1 : ::recv(from, into, shortened(size), flags);
}
ssize_t send(int to, const void* from, std::size_t size, int flags) {
  return fails("send") ? -1 : ::send(to, from, size, flags);
}
int fcntl(int handle, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  const long argument = va_arg(arguments, long);
  va_end(arguments);
  return fails("fcntl") ? -1 : ::fcntl(handle, command, argument);
}

}  // namespace fault

#define MULTIPROCESSING_SYSTEM(call) fault::call
#include <multiprocessing.hpp>
#include <multiprocessing/network.hpp>

namespace mp = multiprocessing;
using namespace std::chrono_literals;

namespace {

// Both ends in this thread, for it is this thread's calls that fail.
void use_streams(mp::ListenerOptions options) {
  options.backlog = 4;
  const auto address = options.address;
  mp::Listener listener{std::move(options)};
  auto client = mp::Client(listener.address());
  auto served = listener.accept(10s);
  const std::string several_parts(2000, 'x');  // sendmsg; what is smaller, send
  client.send(several_parts);
  EXPECT_TRUE(served.poll(10s));
  EXPECT_EQ(served.recv<std::string>(), several_parts);
  EXPECT_TRUE(served.try_send(3));
  EXPECT_EQ(client.recv<int>(), 3);
  EXPECT_TRUE(client.try_send(3));
  EXPECT_TRUE(client.try_send(4));  // looks for room
  EXPECT_FALSE(client.try_recv<int>(1ms));
}
void use_key() {
  mp::Listener listener{{.address = mp::Address{"fault.socket"}, .authkey = "k"}};
  std::exception_ptr failed;
  std::thread other{[&] {
    try {
      auto client = mp::Client(listener.address(), {.authkey = "k"});
      client.send(1);
      static_cast<void>(client.recv_bytes());
    } catch (const std::exception&) {  // it was received, or sent away: then nobody else comes
      listener.close();
    }
  }};
  try {
    EXPECT_EQ(listener.accept().recv<int>(), 1);
  } catch (const std::invalid_argument&) {
    failed = std::make_exception_ptr(mp::EOFError{"the client was sent away"});
  } catch (...) {
    failed = std::current_exception();
  }
  listener.close();
  other.join();
  if (failed) std::rethrow_exception(failed);
}

// A sharer that is gone inside a message, and the one that finds it.
void use_broken_stream() {
  std::error_code ec;
  mp::os::StreamState state{};
  state.initialise(ec);
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const mp::os::UniqueHandle ours{ends[0]};
  const mp::os::UniqueHandle theirs{ends[1]};
  std::thread{[&] {
    state.in.inside = 1;
    static_cast<void>(state.in.lock.lock(mp::detail::Deadline{mp::forever}));
  }}.join();
  mp::os::IncomingMessage message;
  const mp::os::Stream stream{ours.get(), state, [](const void*) noexcept { return true; },
                              nullptr};
  static_cast<void>(stream.receive(1, 10, message, {}, mp::detail::Deadline{mp::forever}, ec));
  EXPECT_EQ(ec, std::errc::connection_aborted);
}

struct Operation {
  const char* name;
  void (*run)();
};
const std::vector<Operation> operations{
    {"af_unix", [] { use_streams({.address = mp::Address{"fault.socket"}}); }},
    {"anywhere", [] { use_streams({}); }},
    {"af_inet",
     [] {
       use_streams({.address = mp::Address{"localhost", 0}});
     }},
    {"key", use_key},
    {"broken", use_broken_stream},
};

constexpr int nothing = 0;
constexpr int other_error = -1;  // none of the system's: a time-out, an end of a stream
struct Row {
  const char* call;
  int error;
  std::vector<int> told;
};
const std::vector<Row> rows{
    {"accept4", EINTR, {nothing}},
    {"accept4", ECONNABORTED, {nothing}},
    {"accept4", EMFILE, {EMFILE, nothing}},  // how often a client's handshake looks is chance
    {"accept4", ENFILE, {ENFILE, nothing}},
    {"accept4", ENOMEM, {ENOMEM, nothing}},
    {"accept4", EPROTO, {nothing}},
    {"accept4", EPERM, {EPERM, nothing}},
    {"accept4", EACCES, {EACCES, nothing}},
    {"accept4", ENOSYS, {ENOSYS, nothing}},
    {"accept4", EFAULT, {EFAULT, nothing}},
    {"accept4", EOPNOTSUPP, {EOPNOTSUPP, nothing}},
    {"bind", EADDRINUSE, {EADDRINUSE}},
    {"bind", EACCES, {EACCES}},
    {"connect", EINTR, {nothing}},
    {"connect", EAGAIN, {nothing, EAGAIN}},
    {"connect", ECONNREFUSED, {ECONNREFUSED}},
    {"connect", ENETUNREACH, {ENETUNREACH}},
    {"epoll_create1", EMFILE, {EMFILE}},
    {"epoll_ctl", ENOMEM, {ENOMEM, nothing}},
    {"epoll_ctl", ENOSPC, {ENOSPC, nothing}},
    {"fchmod", EPERM, {EPERM}},
    {"fcntl", EINVAL, {EINVAL, nothing}},
    {"getaddrinfo", EAI_AGAIN, {EAGAIN}},
    {"getaddrinfo", EAI_MEMORY, {ENOMEM}},
    {"getaddrinfo", EAI_NONAME, {EHOSTUNREACH}},
    {"getsockname", ENOBUFS, {ENOBUFS}},
    {"getsockopt", ENOBUFS, {nothing, ENOBUFS}},
    {"ioctl", EINVAL, {nothing}},
    {"listen", EADDRINUSE, {EADDRINUSE}},
    {"lstat", ENOENT, {ENOENT, nothing}},
    {"lstat", EACCES, {EACCES, nothing}},
    {"ppoll", EINTR, {nothing}},
    {"ppoll", ENOMEM, {ENOMEM, nothing}},
    {"recv", EINTR, {nothing}},
    {"recv", EAGAIN, {nothing}},
    {"recv", ECONNRESET, {nothing, other_error}},
    {"recv", ETIMEDOUT, {ETIMEDOUT, nothing, other_error}},
    {"recv", ENOMEM, {ENOMEM, nothing, other_error}},
    {"send", EINTR, {nothing}},
    {"send", EAGAIN, {nothing, other_error}},
    {"send", ENOBUFS, {nothing, ENOBUFS, other_error}},
    {"sendmsg", EINTR, {nothing}},
    {"sendmsg", EAGAIN, {nothing, other_error}},
    {"sendmsg", ECONNRESET, {nothing}},
    {"sendmsg", ENOBUFS, {ENOBUFS}},
    {"sendmsg", EPIPE, {EPIPE}},
    {"setsockopt", ENOMEM, {nothing, ENOMEM}},
    {"shutdown", ENOTCONN, {nothing}},
    {"socket", EMFILE, {EMFILE}},
    {"socket", ENFILE, {ENFILE}},
    {"socket", EAFNOSUPPORT, {EAFNOSUPPORT}},
    {"unlink", EACCES, {nothing}},
};

int outcome_of(const Operation& operation) {
  try {
    operation.run();
    return nothing;
  } catch (const std::system_error& error) {
    return error.code().value();
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  } catch (const mp::ProcessError&) {
    return other_error;
  }
}

std::ptrdiff_t descriptors() {
  return std::distance(std::filesystem::directory_iterator{"/proc/self/fd"}, {});
}
void remove_socket_files() {
  for (const auto& folder :
       {std::filesystem::current_path(), std::filesystem::temp_directory_path()}) {
    for (const auto& file : std::filesystem::directory_iterator{folder}) {
      if (file.is_socket()) std::filesystem::remove(file);
    }
  }
}
void forget() {
  fault::calls.clear();
  fault::failing_turn = 0;
  fault::at_most = 0;
}

// What a process makes once and keeps (its tracker, its event) is there before the first test.
class Once : public testing::Environment {
 public:
  void SetUp() override {
    for (const Operation& operation : operations) operation.run();
  }
};
const auto* const once = testing::AddGlobalTestEnvironment(new Once);

class EveryCall : public testing::TestWithParam<Operation> {
 protected:
  void SetUp() override { forget(); }
  void TearDown() override { forget(); }

  static void fail(const Row& row, int turn) {
    SCOPED_TRACE("turn " + std::to_string(turn) + " of " + row.call + " fails with " +
                 std::to_string(row.error));
    const auto before = descriptors();
    forget();
    fault::failing = row.call;
    fault::failing_with = row.error;
    fault::failing_turn = turn;
    const int told = outcome_of(GetParam());
    EXPECT_TRUE(std::ranges::count(row.told, told)) << "it was told " << told;
    forget();
    EXPECT_EQ(descriptors(), before) << "something was left behind";
    remove_socket_files();  // where unlink failed
    EXPECT_EQ(outcome_of(GetParam()), nothing) << "the next time";
  }
};
INSTANTIATE_TEST_SUITE_P(Of, EveryCall, testing::ValuesIn(operations), [](const auto& operation) {
  return std::string{operation.param.name};
});

TEST_P(EveryCall, ThatFailsIsToldAndLeavesNothing) {
  constexpr int most_turns = 6;
  ASSERT_EQ(outcome_of(GetParam()), nothing);
  const auto calls = fault::calls;
  for (const Row& row : rows) {
    const auto made = calls.find(row.call);
    const int turns = made == calls.end() ? 0 : std::min(made->second, most_turns);
    for (int turn = 1; turn <= turns; ++turn) fail(row, turn);
  }
}

TEST_P(EveryCall, MayMoveLessThanItWasGiven) {
  fault::at_most = 3;
  EXPECT_EQ(outcome_of(GetParam()), nothing);
}

TEST(AcceptFrom, TellsOfWhatWouldLast) {
  std::error_code ec;
  mp::os::Endpoint bound;
  const auto listener = mp::os::listen_at({mp::Family::af_inet, "127.0.0.1", 0}, 1, bound, ec);
  ASSERT_FALSE(ec);
  for (const int error : {EPERM, EACCES, ENOSYS, EFAULT, EOPNOTSUPP}) {
    forget();
    fault::failing = "accept4";
    fault::failing_with = error;
    fault::failing_turn = 1;
    mp::os::Endpoint peer;
    EXPECT_FALSE(mp::os::accept_from(listener, peer, ec));
    EXPECT_EQ(ec.value(), error);
  }
  forget();
}

TEST(EveryCallOfThese, HasARow) {
  forget();
  for (const Operation& operation : operations) EXPECT_EQ(outcome_of(operation), nothing);
  for (const auto& [call, times] : fault::calls) {
    EXPECT_TRUE(std::ranges::count(rows, call, &Row::call)) << call << " has no row";
  }
  for (const Row& row : rows) {
    EXPECT_TRUE(fault::calls.contains(row.call)) << row.call << " is never made";
  }
  forget();
}

}  // namespace
