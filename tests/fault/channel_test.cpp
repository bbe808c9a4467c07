// SPDX-License-Identifier: BSL-1.0
// The channels on a kernel that interrupts every call, has less to give, or is older.
// Not on Windows: system calls of POSIX that fail
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <string>
#include <vector>

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace fault {

int interruptions = 0;                // EINTR as often, before every call goes on
int send_error = 0;                   // what the next send or sendmsg fails with, once
std::size_t memory_left = 1U << 30U;  // that memfds may take
bool can_be_quiet = true;             // RWF_NOSIGNAL is known
int quiet_writes = 0;
int loud_writes = 0;

int seen = 0;
bool interrupted() {
  if (seen >= interruptions) {
    seen = 0;
    return false;
  }
  ++seen;
  errno = EINTR;
  return true;
}

using ::close;
using ::dlopen;
using ::dup2;
using ::eventfd;
using ::fallocate;
using ::fcntl;
using ::fstat;
using ::fstatfs;
using ::getcwd;
using ::getpid;
using ::ioctl;
using ::madvise;
using ::memfd_create;
using ::open;
using ::pipe2;
using ::pthread_atfork;
using ::pthread_mutex_init;
using ::pthread_sigmask;
using ::readlink;
using ::sched_yield;
using ::setsockopt;
using ::socketpair;
using ::syscall;

ssize_t read(int from, void* into, std::size_t size) {
  return interrupted() ? -1 : ::read(from, into, size);
}
ssize_t pread(int from, void* into, std::size_t size, off_t at) {
  return interrupted() ? -1 : ::pread(from, into, std::min<std::size_t>(size, 50'000), at);
}
ssize_t pwrite(int to, const void* bytes, std::size_t size, off_t at) {
  return interrupted() ? -1 : ::pwrite(to, bytes, std::min<std::size_t>(size, 50'000), at);
}
ssize_t write(int to, const void* bytes, std::size_t size) {
  if (interrupted()) return -1;
  if (memory_left == 0) {
    errno = ENOSPC;
    return -1;
  }
  const auto written = ::write(to, bytes, std::min<std::size_t>({size, memory_left, 30'000}));
  memory_left -= static_cast<std::size_t>(written);
  return written;
}
ssize_t writev(int to, const iovec* parts, int count) {
  if (interrupted()) return -1;
  ++loud_writes;
  return ::writev(to, parts, count);
}
ssize_t pwritev2(int to, const iovec* parts, int count, off_t at, int flags) {
  if (interrupted()) return -1;
  if (can_be_quiet) {
    const auto written = ::pwritev2(to, parts, count, at, flags);
    if (written >= 0 || errno != EOPNOTSUPP) ++quiet_writes;
    return written;
  }
  errno = EOPNOTSUPP;
  return -1;
}
bool refused() {
  if (interrupted()) return true;
  if (send_error == 0) return false;
  errno = std::exchange(send_error, 0);
  return true;
}
ssize_t send(int to, const void* from, std::size_t size, int flags) {
  return refused() ? -1 : ::send(to, from, size, flags);
}
ssize_t sendmsg(int to, const msghdr* packet, int flags) {
  return refused() ? -1 : ::sendmsg(to, packet, flags);
}
ssize_t recvmsg(int from, msghdr* packet, int flags) {
  return interrupted() ? -1 : ::recvmsg(from, packet, flags);
}
int poll(pollfd* polled, nfds_t count, int limit) {
  return interrupted() ? -1 : ::poll(polled, count, limit);
}
int ppoll(pollfd* polled, nfds_t count, const timespec* limit, const sigset_t* mask) {
  return interrupted() ? -1 : ::ppoll(polled, count, limit, mask);
}

}  // namespace fault

#define MULTIPROCESSING_SYSTEM(call) fault::call
#include <multiprocessing/os/channel.hpp>
#include <multiprocessing/os/one_way_channel.hpp>

namespace os = multiprocessing::os;
using multiprocessing::detail::Deadline;
using namespace std::chrono_literals;

namespace {

const Deadline never{multiprocessing::forever};
const Deadline now{0s};

class ChannelFault : public testing::Test {
 protected:
  void TearDown() override {
    fault::interruptions = 0;
    fault::send_error = 0;
    fault::memory_left = 1U << 30U;
    fault::can_be_quiet = true;
  }

  std::error_code ec_;
  std::vector<std::byte> small_ = std::vector<std::byte>(10, std::byte{1});
  std::vector<std::byte> large_ = std::vector<std::byte>(200'000, std::byte{2});
};

bool sigpipe_is_pending() {
  sigset_t pending;
  sigpending(&pending);
  return sigismember(&pending, SIGPIPE) == 1;
}

}  // namespace

TEST_F(ChannelFault, InterruptionsReachNobody) {
  const auto ends = os::make_channel(ec_);
  const auto [receiving, sending] = os::OneWayEnd::create(ec_);
  ASSERT_FALSE(ec_);
  fault::interruptions = 2;
  os::IncomingMessage message;
  for (const auto* bytes : {&small_, &large_}) {
    ASSERT_EQ(os::send_message(ends.first.get(), {1, *bytes, {}}, {}, never, ec_),
              os::Outcome::done);
    ASSERT_EQ(os::wait_for_message(ends.second.get(), {}, never, ec_), os::Outcome::done);
    ASSERT_EQ(os::receive_message(ends.second.get(), message, {}, never, ec_), os::Outcome::done);
    EXPECT_TRUE(std::ranges::equal(message.bytes(), *bytes));
    ASSERT_EQ(sending.send({1, *bytes, {}}, {}, never, ec_), os::Outcome::done);
    ASSERT_EQ(receiving.wait({}, never, ec_), os::Outcome::done);
    ASSERT_EQ(receiving.receive(message, {}, never, ec_), os::Outcome::done);
    EXPECT_TRUE(std::ranges::equal(message.bytes(), *bytes));
  }
  EXPECT_EQ(sending.send({1, std::vector<std::byte>(1U << 20U), {}}, {}, now, ec_),
            os::Outcome::timed_out);
  EXPECT_EQ(receiving.wait({}, now, ec_), os::Outcome::timed_out);
}

TEST_F(ChannelFault, SendsNothingThatTheSystemHasNoMemoryFor) {
  const auto ends = os::make_channel(ec_);
  for (const std::size_t left : {std::size_t{0}, std::size_t{100'000}}) {
    fault::memory_left = left;
    static_cast<void>(os::send_message(ends.first.get(), {1, large_, {}}, {}, never, ec_));
    EXPECT_EQ(ec_, std::errc::no_space_on_device);
    EXPECT_EQ(os::wait_for_message(ends.second.get(), {}, now, ec_), os::Outcome::timed_out);
  }
}

TEST_F(ChannelFault, SmallBuffersOfTheSystemAreNoLimit) {
  const auto ends = os::make_channel(ec_);
  for (const int error : {EMSGSIZE, EAGAIN, ETOOMANYREFS, ECONNRESET}) {
    fault::send_error = error;
    ASSERT_EQ(os::send_message(ends.first.get(), {1, small_, {}}, {}, never, ec_),
              os::Outcome::done);
    os::IncomingMessage message;
    ASSERT_EQ(os::receive_message(ends.second.get(), message, {}, now, ec_), os::Outcome::done);
    EXPECT_TRUE(std::ranges::equal(message.bytes(), small_));
  }
}

TEST_F(ChannelFault, RaisesNoSigpipeOnAnOlderKernelEither) {
  for (const bool quiet : {true, false}) {
    fault::can_be_quiet = quiet;
    auto ends = os::OneWayEnd::create(ec_);
    fault::quiet_writes = fault::loud_writes = 0;
    ends.first = {};
    for (int i = 0; i < 2; ++i) {
      static_cast<void>(ends.second.send({1, small_, {}}, {}, never, ec_));
      EXPECT_EQ(ec_, std::errc::broken_pipe);  // the signal's default effect would end this program
      EXPECT_FALSE(sigpipe_is_pending());
    }
    if (quiet && fault::loud_writes == 0) continue;
    EXPECT_EQ(fault::quiet_writes, 0);
    EXPECT_EQ(fault::loud_writes, 2);
  }
}

TEST_F(ChannelFault, LeavesASigpipeThatWasPendingBefore) {
  fault::can_be_quiet = false;
  auto ends = os::OneWayEnd::create(ec_);
  ends.first = {};
  sigset_t sigpipe;
  sigset_t before;
  sigemptyset(&sigpipe);
  sigaddset(&sigpipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
  ::pthread_kill(::pthread_self(), SIGPIPE);
  static_cast<void>(ends.second.send({1, small_, {}}, {}, never, ec_));
  EXPECT_EQ(ec_, std::errc::broken_pipe);
  EXPECT_TRUE(sigpipe_is_pending());
  const timespec no_wait{};
  EXPECT_EQ(::sigtimedwait(&sigpipe, nullptr, &no_wait), SIGPIPE);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}
