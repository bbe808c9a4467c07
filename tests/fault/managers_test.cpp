// SPDX-License-Identifier: BSL-1.0
// A Manager's containers when the system has no memory left: at each time that they ask for some.
// Not on Windows: system calls of POSIX that fail
#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
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
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
extern "C" {
#include <sys/pidfd.h>
}

namespace fault {

using ::_exit, ::setitimer, ::dlopen, ::exit, ::getcwd, ::getpid, ::lstat, ::readlink,
    ::sched_yield, ::dup2, ::eventfd, ::faccessat, ::fchdir, ::fork, ::fstat, ::fstatfs, ::ioctl,
    ::kill, ::linkat, ::memfd_create, ::pidfd_open, ::pidfd_send_signal, ::pipe2, ::poll, ::ppoll,
    ::prctl, ::prlimit, ::pwrite, ::pwritev2, ::read, ::recv, ::recvmsg, ::sched_getaffinity,
    ::sendmsg, ::setsockopt, ::socketpair, ::syscall, ::sysconf, ::unlink, ::unsetenv, ::waitid,
    ::waitpid, ::writev, ::posix_spawn, ::pthread_atfork, ::pthread_mutex_init, ::close, ::write,
    ::pread, ::getrandom, ::raise, ::sigaction, ::sigaltstack, ::stat, ::fcntl, ::pthread_sigmask,
    ::send, ::open, ::mmap, ::on_exit;
using ::chdir, ::getauxval, ::getgroups, ::getresgid, ::getresuid, ::madvise, ::setenv;
using ::select;

int refuses_from = 0;  // the so many-th request for memory, and all after it; 0: none
int requests = 0;

int fallocate(int file, int mode, off_t offset, off_t size) {
  if ((mode & FALLOC_FL_PUNCH_HOLE) == 0 && ++requests >= refuses_from && refuses_from != 0) {
    errno = ENOSPC;
    return -1;
  }
  return ::fallocate(file, mode, offset, size);
}

}  // namespace fault

#define MULTIPROCESSING_SYSTEM(call) fault::call
#include <multiprocessing.hpp>
#include <multiprocessing/managers.hpp>

#include <support/store_check.hpp>

namespace mp = multiprocessing;

namespace {

struct World {
  mp::Manager manager;
  mp::DictProxy<int, std::string> dict = manager.dict<int, std::string>({{1, "one"}, {2, "two"}});
  mp::ListProxy<int> list = manager.list<int>({3, 1, 2});
  mp::SetProxy<std::string> set = manager.set<std::string>({"a"});

  [[nodiscard]] auto image() const { return std::tuple{dict.items(), list.copy(), set.copy()}; }
  void expect_whole() const { test::StoreCheck{}.with(dict).with(list).with(set).expect_whole(); }
};

void grow(const World& world) {
  world.manager.transaction([&] {
    for (int i = 0; i < 3000; ++i) {
      world.dict.set(i, std::string(100, 'x'));
      world.list.append(i);
      world.set.add(std::to_string(i));
    }
    world.dict.set(-1, std::string(std::size_t{4} << 20U, 'L'));
    world.list.sort();
  });
}

}  // namespace

TEST(ManagerWithoutMemory, ThrowsAndIsAsBefore) {
  int times = 0;
  for (int turn = 1;; ++turn) {
    SCOPED_TRACE("request " + std::to_string(turn));
    const World world;
    const auto before = world.image();
    fault::requests = 0;
    fault::refuses_from = turn;
    bool refused = false;
    try {
      grow(world);
    } catch (const std::system_error& error) {
      refused = true;
      EXPECT_EQ(error.code(), std::errc::no_space_on_device);
    }
    fault::refuses_from = 0;
    if (!refused) break;
    ++times;
    ASSERT_EQ(world.image(), before);
    world.expect_whole();
    grow(world);  // now there is memory
    EXPECT_EQ(world.list.size(), 3003U);
    world.expect_whole();
  }
  EXPECT_GT(times, 5);
}

TEST(ManagerWithoutMemory, CanBeReadAndEmptied) {
  const World world;
  world.dict.set(3, std::string(std::size_t{4} << 20U, 'L'));
  fault::requests = 0;
  fault::refuses_from = 1;
  EXPECT_EQ(world.dict.get(1), "one");
  world.dict.erase(3);
  EXPECT_THROW(world.dict.set(3, std::string(std::size_t{4} << 20U, 'L')), std::system_error);
  world.dict.clear();
  world.list.clear();
  world.dict.set(7, "small");
  fault::refuses_from = 0;
  EXPECT_EQ(world.dict.get(7), "small");
  world.expect_whole();
}

// The limit of a file's size holds for shared memory too, and would kill by a signal.
TEST(ManagerWithoutMemory, MeetsTheLimitOfAFilesSize) {
  const World world;
  mp::Process process{[&] {
    const auto begin = mp::detail::ContainerOf::core(world.dict)->store()->state().data_begin;
    const rlimit limit{begin + (1U << 20U), begin + (1U << 20U)};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      for (int i = 0;; ++i) world.dict.set(i, std::string(10'000, 'x'));
    } catch (const std::system_error& error) {
      if (error.code() != std::errc::file_too_large) throw;
    }
    if (world.dict.get(2) != "two" && world.dict.size() < 3) throw std::runtime_error{"lost"};
  }};
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  world.expect_whole();
}

TEST(ManagerWithoutMemory, WithLittleAddressSpaceIsASmallerOne) {
  mp::Process process{[] {
    const rlimit limit{std::uint64_t{1} << 30U, std::uint64_t{1} << 30U};
    ::setrlimit(RLIMIT_AS, &limit);
    const mp::Manager manager;
    const auto list = manager.list<int>({1});
    if (list.get(0) != 1) throw std::runtime_error{"lost"};
    try {
      const auto texts = manager.list<std::string>();
      for (;;) texts.append(std::string(std::size_t{50} << 20U, 'x'));
    } catch (const std::system_error& error) {
      if (error.code() != std::errc::not_enough_memory) throw;
    } catch (const std::bad_alloc&) {
    }
    if (list.get(0) != 1) throw std::runtime_error{"lost"};
  }};
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer's shadow alone is larger than the limit";
#endif
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}
