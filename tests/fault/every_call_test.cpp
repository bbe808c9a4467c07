// SPDX-License-Identifier: BSL-1.0
// Operations of os/, a queue and locks, with every system call that they make failing in turn, once
// with each errno of its rows: of those that the call's manual names, the ones that the code tells
// apart or has a way around, and some that stand for the rest. What starts need, and sockets of
// strangers, fail in the tests beside this one.
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
#include <type_traits>
#include <utility>
#include <vector>

#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
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
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
extern "C" {
#include <sys/pidfd.h>
}

namespace fault {

// Those that cannot fail, or do not return; and the loader's, which module_test.cpp makes fail.
using ::_exit, ::setitimer, ::dlopen, ::exit, ::getcwd, ::getpid, ::raise, ::readlink,
    ::sched_yield;
using ::chdir, ::getauxval, ::getgroups, ::getresgid, ::getresuid, ::select;
// And those that network_test.cpp makes fail.
using ::accept4, ::bind, ::connect, ::epoll_create1, ::epoll_ctl, ::fchmod, ::getaddrinfo,
    ::getsockname, ::getsockopt, ::listen, ::socket;

// How often each was called. Made when first asked for: a tracker makes calls before main().
std::map<std::string, int>& calls() {
  static std::map<std::string, int> all;
  return all;
}
std::string failing;      // which call fails,
int failing_turn = 0;     // at which of its turns,
int failing_with = 0;     // and how
std::size_t at_most = 0;  // bytes that one call moves; 0: as many as it likes

bool fails(const char* call) {
  if (++calls()[call] != failing_turn || failing != call) return false;
  errno = failing_with;
  return true;
}
std::size_t shortened(std::size_t size) {
  return at_most == 0 ? size : std::min(size, at_most);
}

// The arguments' types get lost on the way: an int arrives where the call takes an unsigned.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
// A call that answers -1 and sets errno, and is passed on as it is.
#define FAULT_ERRNO(name)                             \
  template <class... Argument>                        \
  auto name(Argument... arguments) {                  \
    using Result = decltype(::name(arguments...));    \
    if (fails(#name)) return static_cast<Result>(-1); \
    return ::name(arguments...);                      \
  }
// A call that answers the error itself.
#define FAULT_RESULT(name)          \
  template <class... Argument>      \
  int name(Argument... arguments) { \
    if (fails(#name)) return errno; \
    return ::name(arguments...);    \
  }
FAULT_ERRNO(dup2)
FAULT_ERRNO(eventfd)
FAULT_ERRNO(faccessat)
FAULT_ERRNO(fallocate)
FAULT_ERRNO(fchdir)
FAULT_ERRNO(fork)
FAULT_ERRNO(fstat)
FAULT_ERRNO(fstatfs)
FAULT_ERRNO(ioctl)
FAULT_ERRNO(kill)
FAULT_ERRNO(linkat)
FAULT_ERRNO(lstat)
FAULT_ERRNO(madvise)
FAULT_ERRNO(memfd_create)
FAULT_ERRNO(pidfd_open)
FAULT_ERRNO(pidfd_send_signal)
FAULT_ERRNO(pipe2)
FAULT_ERRNO(poll)
FAULT_ERRNO(ppoll)
FAULT_ERRNO(prctl)
FAULT_ERRNO(prlimit)
FAULT_ERRNO(read)
FAULT_ERRNO(recv)
FAULT_ERRNO(recvmsg)
FAULT_ERRNO(sched_getaffinity)
FAULT_ERRNO(sendmsg)
FAULT_ERRNO(setenv)
FAULT_ERRNO(setsockopt)
FAULT_ERRNO(sigaltstack)
FAULT_ERRNO(socketpair)
FAULT_ERRNO(syscall)
FAULT_ERRNO(sysconf)
FAULT_ERRNO(unlink)
FAULT_ERRNO(unsetenv)
FAULT_ERRNO(waitid)
FAULT_ERRNO(waitpid)
FAULT_ERRNO(writev)
FAULT_RESULT(posix_spawn)
FAULT_RESULT(pthread_atfork)
FAULT_RESULT(pthread_mutex_init)
#undef FAULT_ERRNO
#undef FAULT_RESULT
#pragma GCC diagnostic pop

int close(int handle) {
  const bool failed = fails("close");
  const int error = errno;
  const int result = ::close(handle);  // Linux closes it all the same
  return failed ? (errno = error, -1) : result;
}
ssize_t write(int to, const void* from, std::size_t size) {
  return fails("write") ? -1 : ::write(to, from, shortened(size));
}
ssize_t pread(int from, void* into, std::size_t size, off_t at) {
  return fails("pread") ? -1 : ::pread(from, into, shortened(size), at);
}
ssize_t pwrite(int to, const void* from, std::size_t size, off_t at) {
  return fails("pwrite") ? -1 : ::pwrite(to, from, shortened(size), at);
}
bool is_old_kernel = false;  // without RWF_NOSIGNAL
ssize_t pwritev2(int to, const iovec* parts, int count, off_t at, int flags) {
  if (fails("pwritev2")) return -1;
  if (is_old_kernel) return errno = EOPNOTSUPP, -1;
  return ::pwritev2(to, parts, count, at, flags);
}
ssize_t getrandom(void* into, std::size_t size, unsigned flags) {
  return fails("getrandom") ? -1 : ::getrandom(into, shortened(size), flags);
}
int sigaction(int signal, const struct ::sigaction* action, struct ::sigaction* before) {
  return fails("sigaction") ? -1 : ::sigaction(signal, action, before);
}
int stat(const char* path, struct ::stat* status) {
  return fails("stat") ? -1 : ::stat(path, status);
}
// Those whose addresses the library keeps.
int fcntl(int handle, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  const long argument = va_arg(arguments, long);
  va_end(arguments);
  return fails("fcntl") ? -1 : ::fcntl(handle, command, argument);
}
int pthread_sigmask(int how, const sigset_t* set, sigset_t* before) {
  return fails("pthread_sigmask") ? errno : ::pthread_sigmask(how, set, before);
}
ssize_t send(int to, const void* from, std::size_t size, int flags) {
  return fails("send") ? -1 : ::send(to, from, size, flags);
}
int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return fails("open") ? -1 : ::open(path, flags, mode);
}
void* mmap(void* where, std::size_t size, int access, int flags, int file, off_t at) {
  return fails("mmap") ? MAP_FAILED : ::mmap(where, size, access, flags, file, at);
}
int on_exit(void (*action)(int, void*), void* argument) {
  return fails("on_exit") ? -1 : ::on_exit(action, argument);
}

}  // namespace fault

#define MULTIPROCESSING_SYSTEM(call) fault::call
#include <multiprocessing.hpp>
#include <multiprocessing/os/environment.hpp>
#include <multiprocessing/os/peer.hpp>

namespace mp = multiprocessing;
namespace os = multiprocessing::os;
using mp::detail::Deadline;
using namespace std::chrono_literals;

namespace {

const Deadline now{0s};
const Deadline never{mp::forever};
const std::vector<std::byte> small_message(10, std::byte{1});
const std::vector<std::byte> large_message(200'000, std::byte{2});

/// An operation ends by an error, which it throws or leaves in a code.
void check(const std::error_code& ec) {
  if (ec) throw std::system_error{ec};
}

template <class Send, class Receive>
void carry(const std::vector<std::byte>& bytes, Send send, Receive receive) {
  std::error_code ec;
  os::IncomingMessage message;
  const os::OutgoingMessage sent{1, bytes, {}};
  const os::Outcome outcome = send(sent, ec);
  check(ec);
  EXPECT_EQ(outcome, os::Outcome::done);
  const os::Outcome received = receive(message, ec);
  check(ec);
  EXPECT_EQ(received, os::Outcome::done);
  const auto arrived = message.bytes();  // compared by a call: there may be megabytes
  EXPECT_TRUE(arrived.size() == bytes.size() &&
              std::memcmp(arrived.data(), bytes.data(), bytes.size()) == 0);
}

void use_channel(const std::vector<std::byte>& bytes) {
  std::error_code ec;
  const auto ends = os::make_channel(ec);
  check(ec);
  carry(
      bytes,
      [&](const auto& sent, auto& code) {
        return os::send_message(ends.first.get(), sent, {}, never, code);
      },
      [&](auto& into, auto& code) {
        const auto waited = os::wait_for_message(ends.second.get(), {}, never, code);
        if (code) return waited;
        return os::receive_message(ends.second.get(), into, {}, never, code);
      });
}

void use_two_way_channel(const std::vector<std::byte>& bytes) {
  std::error_code ec;
  const auto ends = os::TwoWayEnd::create(ec);
  check(ec);
  for (int i = 0; i < 2; ++i) {
    carry(
        bytes, [&](const auto& sent, auto& code) { return ends.first.send(sent, {}, never, code); },
        [&](auto& into, auto& code) { return ends.second.receive(into, {}, never, code); });
  }
}

void use_one_way_channel(const std::vector<std::byte>& bytes) {
  std::error_code ec;
  const auto ends = os::OneWayEnd::create(ec);
  check(ec);
  std::vector<os::UniqueHandle> handles;
  for (const int handle : ends.second.handles()) {
    handles.emplace_back(os::duplicate_handle(handle, ec));
    check(ec);
  }
  const auto sending = os::OneWayEnd::adopt(std::move(handles), ec);
  check(ec);
  carry(
      bytes, [&](const auto& sent, auto& code) { return sending.send(sent, {}, never, code); },
      [&](auto& into, auto& code) {
        const auto waited = ends.first.wait({}, never, code);
        if (code) return waited;
        return ends.first.receive(into, {}, never, code);
      });
}

void use_one_way_channel_of_an_old_kernel() {
  struct OldKernel {
    OldKernel() { fault::is_old_kernel = true; }
    OldKernel(const OldKernel&) = delete;
    OldKernel& operator=(const OldKernel&) = delete;
    ~OldKernel() { fault::is_old_kernel = false; }
  };
  const OldKernel meanwhile;
  use_one_way_channel(small_message);
}

void use_events() {
  std::error_code ec;
  const auto event = os::make_event(ec);
  check(ec);
  const auto ready = os::open_ready(ec);
  check(ec);
  os::set_event(event.get());
  os::reset_event(event.get());
  const std::array handles{event.get(), ready.get()};
  std::array<bool, 2> are_ready{};
  static_cast<void>(os::wait_any(handles, are_ready, {}, now, ec));
  check(ec);
  os::pause_for(1us, {});
}

void use_peer() {
  const os::UniqueHandle socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  std::error_code ec;
  const auto event = os::make_event(ec);
  check(ec);
  os::limit_silence(socket.get(), mp::Family::af_inet, 10s, ec);
  check(ec);
  os::set_event(event.get());
  os::PeerNews news;
  os::wait_for_peer(socket.get(), true, event.get(), mp::detail::Deadline{mp::forever}, news, ec);
  check(ec);
  EXPECT_TRUE(news.woken || news.readable);  // a socket without a peer has ended
}

void use_lifeline() {
  std::error_code ec;
  const auto lifeline = os::make_lifeline(ec);
  check(ec);
  os::report_exit(lifeline.childs.get(), 3);
  const auto code = os::reported_exit(lifeline.parents.get());
  EXPECT_TRUE(!code || code == 3);
}

void tie_to_a_parent() {
  std::error_code ec;
  auto lifeline = os::make_lifeline(ec);
  check(ec);
  os::die_with_parent(lifeline.childs.get(), ec);
  lifeline.childs.reset();  // before the other end: that would be the end
  check(ec);
}

void use_surroundings() {
  std::error_code ec;
  const os::Surroundings here = os::surroundings(ec);
  check(ec);
  // Not `here.output`: where it cannot be asked for, this would close ours.
  os::enter(STDOUT_FILENO, STDERR_FILENO, here.folder.get());
}

void use_memory() {
  std::error_code ec;
  auto region = os::SharedRegion::create(1 << 20, ec);
  check(ec);
  region.commit(0, 1 << 16, ec);
  check(ec);
  region.discard(0, 1 << 15);
  region.data()[0] = std::byte{1};
}

void use_large_pages() {
  std::vector<std::byte> large;
  large.reserve(8U << 20U);
  os::prefer_large_pages(large.data(), large.capacity());
  large.resize(large.capacity());
}

void use_queue() {
  mp::Queue<int> queue;
  queue.put(1);
  EXPECT_EQ(queue.get(), 1);
  EXPECT_FALSE(queue.try_get(1ms));
}

// A holder that is gone, and one that lives.
void use_joinable_queue() {
  mp::JoinableQueue<int> queue;
  for (int i = 0; i < 3; ++i) queue.put(i);
  const pid_t pid = ::fork();
  if (pid == 0) {
    try {
      queue.get();
    } catch (...) {
    }
    ::_exit(0);
  }
  ::waitpid(pid, nullptr, 0);
  queue.get();
  queue.task_done();
  EXPECT_LE(queue.unfinished(), 2U);
  EXPECT_FALSE(queue.empty());
}

void use_locks() {
  mp::RLock lock;
  mp::Semaphore semaphore;
  mp::Condition condition;
  mp::Barrier barrier{1};
  mp::Value<int> value{1};
  const std::scoped_lock guards{lock, semaphore, condition};
  EXPECT_FALSE(condition.wait(1ms));
  EXPECT_EQ(barrier.wait(), 0U);
  EXPECT_EQ(value.update([](int& x) { ++x; }), 2);
  const mp::Array<char> large(100'000);
  EXPECT_EQ(large[99'999], 0);
}

void use_named_memory() {
  std::error_code ec;
  const std::string name = "mp-fault-" + std::to_string(::getpid());
  {
    const auto made = os::NamedMemory::create(
        name, 5000, [](const auto&) {}, ec);
    check(ec);
    const auto opened = os::NamedMemory::open(name, ec);
    if (!ec) {
      made.data()[4999] = std::byte{1};
      EXPECT_EQ(opened.data()[4999], std::byte{1});
    }
    std::error_code removed;
    os::remove_named_memory(name, made.identity(), removed);
    if (removed) ::unlink(("/dev/shm/" + name).c_str());
    check(ec);
    check(removed);
  }
}

void use_tracker() {
  std::error_code ec;
  const auto tracker = os::start_tracker(ec);
  ::waitpid(-1, nullptr, 0);  // it may be that its maker could not
  check(ec);
  const os::TrackedName name{"mp-fault-none", {1, 2}};
  for (const bool comes : {true, false}) {
    os::tell_tracker(tracker.get(), comes, name, ec);
    check(ec);
  }
}

void use_random_bytes() {
  std::error_code ec;
  std::vector<std::byte> bytes(5000);
  os::random_bytes(bytes, ec);
  check(ec);
  EXPECT_NE(std::ranges::count(std::span{bytes}.last(50), std::byte{}), 50);
}

void count_processors() {
  EXPECT_GE(os::cpu_count(), 1U);
  EXPECT_GE(os::usable_cpu_count(), 1U);
}

void record_crashes() {
  const auto record = std::make_unique<os::CrashRecord>();
  const os::CrashRecorder recorder{*record};
}

void limit_memory() {
  std::error_code ec;
  const os::MemoryLimit limit{std::size_t{1} << 40U, ec};
  check(ec);
}

void spawn() {
  std::error_code ec;
  const int pid = os::spawn_program("/bin/true", {}, large_message, {}, ec).pid;
  check(ec);
  const auto process = os::open_process(pid, ec);
  if (ec) os::discard_process(pid);
  check(ec);
  os::wait_ready(process.get(), never);
  os::signal_process(process.get(), os::Signal::terminate, ec);
  if (!os::collect_process(process.get()).code) ::waitpid(pid, nullptr, 0);
  check(ec);
}

void fork_and_discard() {
  std::error_code ec;
  const int pid = os::fork_process(ec);
  check(ec);
  if (pid == 0) ::_exit(0);  // by itself too: it may be that it cannot be killed
  os::discard_process(pid);
  ::waitpid(pid, nullptr, 0);  // or not be waited for
}

/// Rows that hold for a child of its own: what they do to it cannot be undone.
template <class Work>
void in_a_child(Work work) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    try {
      work();
      ::_exit(0);
    } catch (const std::system_error& error) {
      ::_exit(error.code().value());
    } catch (const std::bad_alloc&) {
      ::_exit(ENOMEM);
    }
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  ASSERT_TRUE(WIFEXITED(status)) << "by signal " << WTERMSIG(status);
  if (WEXITSTATUS(status) != 0) check({WEXITSTATUS(status), std::system_category()});
}

void prepare_child() {
  os::silence_stdin(os::standard_input());
  os::show_as("/some/name");
  os::call_at_exit([](int) noexcept {});
  std::error_code ec;
  const auto state = os::posix::sealed_copy(small_message, ec);
  check(ec);
  ::dup2(state.get(), os::posix::first_handle);
  ::setenv(os::posix::child_variable, "0", 1);
  const os::Spawned spawned = os::take_spawned(ec);
  check(ec);
  if (spawned.state != small_message) throw std::runtime_error{"another state"};
  mp::detail::process_state().fork_handlers_installed = false;
  os::install_fork_handlers();
}

struct Operation {
  const char* name;
  void (*run)();
  std::vector<std::string_view> does_without = {};  ///< Calls that may fail: there is another way.
  int most_turns = 10;  ///< What is repeated more often is repeated in the same way.
};
const std::vector<std::string_view> keeping_memory{"memfd_create", "pthread_mutex_init"};
const std::vector<Operation> operations{
    {"environment", [] { os::set_environment("MULTIPROCESSING_TEST_VARIABLE", "1"); }},
    {"small_message", [] { use_channel(small_message); }},
    {"large_message", [] { use_channel(large_message); }},
    {"small_one_way_message", [] { use_one_way_channel(small_message); }},
    {"several_parts", [] { use_one_way_channel(std::vector<std::byte>(100'000)); }},
    {"huge_message", [] { use_channel(std::vector<std::byte>(2U << 20U)); }},
    {"message_through_kept_memory", [] { use_two_way_channel(large_message); }, keeping_memory},
    {"message_that_outgrows_it", [] { use_two_way_channel(std::vector<std::byte>(3U << 20U)); },
     keeping_memory, 3},  // each waits for a receiver that comes afterwards
    {"events", use_events},
    {"peer", use_peer},
    {"one_way_message_of_an_old_kernel", use_one_way_channel_of_an_old_kernel},
    {"lifeline", use_lifeline},
    {"daemon", tie_to_a_parent},
    {"surroundings", use_surroundings},
    {"memory", use_memory},
    {"large_pages", use_large_pages},
    {"queue", use_queue},
    {"joinable_queue", use_joinable_queue},
    {"locks", use_locks},
    {"named_memory", use_named_memory},
    {"tracker", use_tracker},
    {"random_bytes", use_random_bytes},
    {"processors", count_processors},
    {"limit_memory", limit_memory},
    {"record_crashes", record_crashes},
    {"spawn", spawn},
    {"fork", fork_and_discard},
};

/// What a call may fail with, and what the caller is told then.
constexpr int nothing = 0;
struct Row {
  const char* call;
  int error;
  std::vector<int> told;  ///< Any of these; `nothing`: it works all the same.
};
const std::vector<Row> rows{
    {"close", EINTR, {nothing}},
    {"close", EIO, {nothing}},
    {"dup2", EBUSY, {nothing}},
    {"dup2", EINTR, {nothing}},
    {"dup2", EMFILE, {nothing}},
    {"eventfd", EMFILE, {EMFILE}},
    {"eventfd", ENFILE, {ENFILE}},
    {"eventfd", ENOMEM, {ENOMEM}},
    {"eventfd", ENODEV, {ENODEV}},
    {"faccessat", ENOENT, {nothing}},
    {"faccessat", EACCES, {nothing}},
    {"fallocate", EINTR, {nothing}},
    {"fallocate", ENOSPC, {ENOSPC, nothing}},
    {"fallocate", EFBIG, {EFBIG, nothing}},
    {"fallocate", EIO, {EIO, nothing}},
    {"fallocate", EOPNOTSUPP, {EOPNOTSUPP, nothing}},
    {"fallocate", EPERM, {EPERM, nothing}},
    {"fchdir", EACCES, {nothing}},
    {"fchdir", ENOTDIR, {nothing}},
    {"fcntl", EMFILE, {EMFILE, nothing, EINVAL, EBADMSG}},
    {"fcntl", EPERM, {EPERM, nothing, EINVAL, EBADMSG}},
    {"fcntl", EBUSY, {EBUSY, nothing, EINVAL, EBADMSG}},
    {"fcntl", EINVAL, {EINVAL, nothing, EINVAL, EBADMSG}},
    {"fork", EAGAIN, {EAGAIN}},
    {"fork", ENOMEM, {ENOMEM}},
    {"fork", ENOSYS, {ENOSYS}},
    {"fstat", ENOMEM, {EBADMSG, ENOMEM, nothing}},
    {"fstat", EOVERFLOW, {EBADMSG, EOVERFLOW, nothing}},
    {"fstatfs", EINTR, {nothing}},
    {"fstatfs", EIO, {EBADMSG}},
    {"fstatfs", ENOMEM, {EBADMSG}},
    {"getrandom", EINTR, {nothing}},
    {"getrandom", ENOSYS, {ENOSYS}},
    {"ioctl", EINVAL, {nothing}},
    {"ioctl", ENOTTY, {nothing}},
    {"kill", ESRCH, {nothing}},
    {"kill", EPERM, {nothing}},
    {"linkat", EEXIST, {EEXIST}},
    {"linkat", ENOENT, {nothing}},
    {"linkat", EROFS, {EROFS}},
    {"linkat", ENOSPC, {ENOSPC}},
    {"madvise", EINVAL, {nothing}},
    {"madvise", ENOMEM, {nothing}},
    {"memfd_create", EMFILE, {EMFILE}},
    {"memfd_create", ENFILE, {ENFILE}},
    {"memfd_create", ENOMEM, {ENOMEM, nothing}},
    {"memfd_create", EPERM, {EPERM}},
    {"mmap", ENOMEM, {ENOMEM}},
    {"mmap", ENODEV, {ENODEV}},
    {"open", EINTR, {nothing}},
    {"open", EACCES, {EACCES, nothing}},
    {"open", ELOOP, {ELOOP, nothing}},
    {"open", ENOMEM, {ENOMEM, nothing}},
    {"open", EMFILE, {EMFILE}},
    {"open", ENFILE, {ENFILE}},
    {"open", ENOENT, {ENOENT, nothing}},
    {"open", EOPNOTSUPP, {EOPNOTSUPP, nothing}},
    {"pidfd_open", EMFILE, {EMFILE, nothing}},
    {"pidfd_open", ENFILE, {ENFILE, nothing}},
    {"pidfd_open", ENOMEM, {ENOMEM, nothing}},
    {"pidfd_open", ENODEV, {ENODEV, nothing}},
    {"pidfd_open", ESRCH, {ESRCH, nothing}},
    {"pidfd_send_signal", EPERM, {EPERM}},
    {"pidfd_send_signal", ESRCH, {nothing}},
    {"pidfd_send_signal", ENOSYS, {ENOSYS}},
    {"pipe2", EMFILE, {EMFILE}},
    {"pipe2", ENFILE, {ENFILE}},
    {"poll", EINTR, {nothing}},
    {"poll", ENOMEM, {nothing}},
    {"posix_spawn", EAGAIN, {EAGAIN}},
    {"posix_spawn", ENOMEM, {ENOMEM}},
    {"posix_spawn", ENOENT, {ENOENT, nothing}},
    {"posix_spawn", EACCES, {EACCES}},
    {"posix_spawn", E2BIG, {E2BIG}},
    {"ppoll", EINTR, {nothing}},
    {"ppoll", ENOMEM, {ENOMEM, nothing}},
    {"ppoll", EINVAL, {EINVAL, nothing}},
    {"pread", EINTR, {nothing}},
    {"pread", EIO, {EIO}},
    {"prlimit", EPERM, {EPERM, nothing}},
    {"prlimit", EINVAL, {EINVAL, nothing}},
    {"pthread_mutex_init", EAGAIN, {EAGAIN}},
    {"pthread_mutex_init", ENOMEM, {ENOMEM}},
    {"pthread_mutex_init", EPERM, {EPERM}},
    {"pthread_sigmask", EINVAL, {nothing}},
    {"pwritev2", EINTR, {nothing}},
    {"pwritev2", EOPNOTSUPP, {nothing}},
    {"pwritev2", EIO, {EIO}},
    {"pwritev2", ENOMEM, {ENOMEM}},
    {"pwrite", EINTR, {nothing}},
    {"pwrite", ENOSPC, {ENOSPC}},
    {"pwrite", EFBIG, {EFBIG}},
    {"pwrite", EIO, {EIO}},
    {"read", EINTR, {nothing}},
    {"read", EIO, {EIO, nothing}},
    {"recv", EINTR, {nothing}},
    {"recv", ECONNRESET, {nothing}},
    {"recv", ENOMEM, {nothing}},
    {"recvmsg", EINTR, {nothing}},
    {"recvmsg", ECONNRESET, {nothing}},
    {"recvmsg", EAGAIN, {nothing}},
    {"recvmsg", ENOMEM, {ENOMEM}},
    {"sched_getaffinity", EINVAL, {nothing}},
    {"sched_getaffinity", ESRCH, {nothing}},
    {"send", EINTR, {nothing}},
    {"send", ECONNRESET, {nothing, ECONNRESET}},
    {"send", EAGAIN, {nothing}},
    {"send", EPIPE, {nothing, EPIPE}},
    {"send", ENOBUFS, {nothing, ENOBUFS}},
    {"send", ENOMEM, {nothing, ENOMEM}},
    {"sendmsg", EINTR, {nothing}},
    {"sendmsg", ECONNRESET, {nothing}},
    {"sendmsg", EAGAIN, {nothing}},
    {"sendmsg", ETOOMANYREFS, {nothing}},
    {"sendmsg", ENOBUFS, {ENOBUFS}},
    {"sendmsg", ENOMEM, {ENOMEM}},
    {"sendmsg", EPIPE, {EPIPE}},
    {"setenv", EINVAL, {EINVAL}},
    {"setenv", ENOMEM, {ENOMEM}},
    {"setsockopt", ENOBUFS, {ENOBUFS}},
    {"setsockopt", ENOMEM, {ENOMEM}},
    {"sigaction", EINVAL, {nothing}},
    {"sigaltstack", ENOMEM, {nothing}},
    {"sigaltstack", EPERM, {nothing}},
    {"socketpair", EMFILE, {EMFILE}},
    {"socketpair", ENFILE, {ENFILE}},
    {"socketpair", ENOMEM, {ENOMEM}},
    {"stat", EACCES, {EACCES}},
    {"stat", ENOENT, {ENOENT}},
    {"syscall", EINTR, {nothing}},
    {"syscall", EAGAIN, {nothing}},
    {"sysconf", EINVAL, {nothing}},
    {"unlink", ENOENT, {ENOENT}},
    {"unlink", EACCES, {EACCES}},
    {"waitid", EINTR, {nothing}},
    {"waitid", ECHILD, {nothing}},
    {"waitpid", EINTR, {nothing}},
    {"waitpid", ECHILD, {nothing}},
    {"write", EINTR, {nothing}},
    {"write", EPERM, {EPERM, nothing}},
    {"write", ENOSPC, {ENOSPC, nothing}},
    {"write", EFBIG, {EFBIG, nothing}},
    {"write", EIO, {EIO, nothing}},
    {"writev", EINTR, {nothing}},
    {"writev", EIO, {EIO}},
    {"writev", ENOMEM, {ENOMEM}},
};

/// What an operation answers: 0, or an error.
int outcome_of(const Operation& operation) {
  try {
    operation.run();
    return nothing;
  } catch (const std::system_error& error) {
    return error.code().value();
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
}

struct Held {
  std::ptrdiff_t descriptors = 0;
  int mappings = 0;
  bool children = false;
  bool operator==(const Held&) const = default;
};
Held held() {
  Held all;
  all.descriptors = std::distance(std::filesystem::directory_iterator{"/proc/self/fd"}, {});
  std::ifstream maps{"/proc/self/maps"};
  for (std::string line; std::getline(maps, line);) {
    all.mappings += line.find("memfd:") != std::string::npos ? 1 : 0;
  }
  all.children = ::waitpid(-1, nullptr, WNOHANG) >= 0;
  return all;
}

void forget() {
  fault::calls().clear();
  fault::failing_turn = 0;
  fault::at_most = 0;
}

class EveryCall : public testing::TestWithParam<Operation> {
 protected:
  void SetUp() override {
    ASSERT_EQ(outcome_of(GetParam()), nothing);  // what is made once, is made
    forget();
  }
  void TearDown() override { forget(); }

  // That turn of the row's call fails, once.
  static void fail(const Row& row, int turn) {
    SCOPED_TRACE("turn " + std::to_string(turn) + " of " + row.call + " fails with " +
                 std::strerror(row.error));
    const Held before = held();
    forget();
    fault::failing = row.call;
    fault::failing_turn = turn;
    fault::failing_with = row.error;
    const int told = outcome_of(GetParam());
    const bool is_told = std::ranges::count(GetParam().does_without, row.call) == 0;
    EXPECT_TRUE(std::ranges::count(row.told, told) || (told == nothing && !is_told))
        << "it was told " << std::strerror(told);
    forget();
    EXPECT_EQ(held(), before) << "something was left behind";
    EXPECT_EQ(outcome_of(GetParam()), nothing) << "the next time";
  }
};
INSTANTIATE_TEST_SUITE_P(Of, EveryCall, testing::ValuesIn(operations), [](const auto& operation) {
  return std::string{operation.param.name};
});

TEST_P(EveryCall, ThatFailsIsToldAndLeavesNothing) {
  ASSERT_EQ(outcome_of(GetParam()), nothing);
  const auto calls = fault::calls();
  for (const Row& row : rows) {
    const auto made = calls.find(row.call);
    const int turns = made == calls.end() ? 0 : std::min(made->second, GetParam().most_turns);
    for (int turn = 1; turn <= turns; ++turn) fail(row, turn);
  }
}

TEST_P(EveryCall, MayMoveLessThanItWasGiven) {
  fault::at_most = 999;
  EXPECT_EQ(outcome_of(GetParam()), nothing);
}

TEST(EveryCallOfThese, HasARow) {
  os::install_fork_handlers();  // once in a process; see below
  forget();
  for (const Operation& operation : operations) EXPECT_EQ(outcome_of(operation), nothing);
  for (const auto& [call, times] : fault::calls()) {
    EXPECT_TRUE(std::ranges::count(rows, call, &Row::call)) << call << " has no row";
  }
  for (const Row& row : rows) {
    EXPECT_TRUE(fault::calls().contains(row.call)) << row.call << " is never made";
  }
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they handle the signal
TEST(EveryCallOfACrash, MayFailAndTheProcessEnds) {
  const auto record = std::make_unique<os::CrashRecord>();
  for (const char* const call :
       {"mmap", "pthread_sigmask", "sigaction", "sigaltstack", "syscall"}) {
    for (int turn = 1; turn <= 10; ++turn) {
      SCOPED_TRACE(std::string{call} + ", turn " + std::to_string(turn));
      const pid_t pid = ::fork();
      if (pid == 0) {
        forget();
        fault::failing = call;
        fault::failing_turn = turn;
        fault::failing_with = EPERM;
        os::posix::crashes.is_prepared = false;
        os::posix::crashes.stack = nullptr;
        const os::CrashRecorder recorder{*record};
        std::raise(SIGSEGV);
        ::_exit(0);
      }
      int status = 0;
      EXPECT_EQ(::waitpid(pid, &status, 0), pid);
      EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) << status;
    }
  }
}
#endif

TEST(EveryCallOfAChild, ThatBeginsIsToldOrPassedOver) {
  const std::map<std::string, std::vector<int>> told{
      {"close", {nothing}},
      {"open", {nothing}},
      {"prctl", {nothing}},
      {"unsetenv", {nothing}},
      {"fcntl", {nothing, EINVAL, EIO}},
      {"fstat", {EINVAL}},
      {"pread", {EINVAL}},
      {"on_exit", {ENOMEM}},
      {"pthread_atfork", {ENOMEM}},
  };
  for (const auto& [call, errors] : told) {
    for (int turn = 1; turn <= 6; ++turn) {
      SCOPED_TRACE(call + ", turn " + std::to_string(turn));
      forget();
      fault::failing = call;
      fault::failing_turn = turn;
      fault::failing_with = EIO;
      const int code = outcome_of({"child", [] { in_a_child(prepare_child); }});
      EXPECT_TRUE(code == nothing || std::ranges::count(errors, code)) << std::strerror(code);
      if (turn == 1) {
        EXPECT_TRUE(std::ranges::count(errors, code)) << "the first is made for certain";
      }
    }
  }
  forget();
  EXPECT_EQ(outcome_of({"child", [] { in_a_child(prepare_child); }}), nothing);
}

}  // namespace
