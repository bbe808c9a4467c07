// SPDX-License-Identifier: BSL-1.0
// Who sleeps is woken by who has something for him, at once and not when he next looks by himself;
// and while nobody sleeps, nobody pays for waking. Counted are the calls that wake.
// Not on Windows: the system calls of Linux that wake; windows_test.cpp has that system's
#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
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
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
extern "C" {
#include <sys/pidfd.h>
}

namespace fault {

using ::_exit, ::fstatfs, ::pwrite, ::setitimer, ::dlopen, ::exit, ::getcwd, ::getpid, ::lstat,
    ::readlink, ::sched_yield, ::dup2, ::eventfd, ::faccessat, ::fallocate, ::fchdir, ::fork,
    ::fstat, ::ioctl, ::kill, ::linkat, ::memfd_create, ::pidfd_open, ::pidfd_send_signal, ::pipe2,
    ::poll, ::ppoll, ::prctl, ::prlimit, ::pwritev2, ::read, ::recv, ::recvmsg, ::sched_getaffinity,
    ::sendmsg, ::setsockopt, ::socketpair, ::sysconf, ::unlink, ::unsetenv, ::waitid, ::waitpid,
    ::writev, ::posix_spawn, ::pthread_atfork, ::pthread_mutex_init, ::close, ::pread, ::getrandom,
    ::raise, ::sigaction, ::sigaltstack, ::stat, ::fcntl, ::pthread_sigmask, ::send, ::open, ::mmap,
    ::on_exit;
using ::chdir, ::getauxval, ::getgroups, ::getresgid, ::getresuid, ::madvise, ::setenv;
using ::select;

std::atomic<int> sleepers{0};
std::atomic<const void*> slept_on{nullptr};
thread_local const void* woken = nullptr;  // by this thread, at last
thread_local int wakes = 0;                // of this thread: who is woken may wake the next one
thread_local int events_set = 0;           // by this thread
thread_local int futex_calls = 0;

template <class... Argument>
long syscall(long number, Argument... arguments) {
  return ::syscall(number, arguments...);
}
template <class Word, class... Argument>
long syscall(long number, Word* word, int operation, Argument... arguments) {
  const bool sleeps = number == SYS_futex && operation == FUTEX_WAIT;
  if (number == SYS_futex) ++futex_calls;
  if (number == SYS_futex && operation == FUTEX_WAKE) {
    ++wakes;
    woken = word;
  }
  if (sleeps) slept_on = word;
  sleepers += sleeps ? 1 : 0;
  const long result = ::syscall(number, word, operation, arguments...);
  const int error = errno;
  sleepers -= sleeps ? 1 : 0;
  errno = error;
  return result;
}
ssize_t write(int to, const void* from, std::size_t size) {
  if (size == sizeof(std::uint64_t)) ++events_set;
  return ::write(to, from, size);
}

}  // namespace fault

#define MULTIPROCESSING_SYSTEM(call) fault::call
#include <multiprocessing.hpp>

#include <support/asleep.hpp>

namespace mp = multiprocessing;
using namespace std::chrono_literals;

namespace {

// How often `act()` wakes somebody, when somebody sleeps in `sleep()`.
template <class Sleep, class Act>
int wakes_of(Sleep sleep, Act act) {
  std::thread sleeper{sleep};
  test::eventually([] { return fault::sleepers == 1; });
  fault::wakes = 0;
  act();
  const int counted = fault::wakes;
  sleeper.join();
  return counted;
}

}  // namespace

TEST(Wakeup, OfAConsumerIsPuts) {
  mp::Queue<int> queue;
  EXPECT_GE(wakes_of([&] { queue.get(); }, [&] { queue.put(1); }), 1);
  EXPECT_GE(wakes_of([&] { queue.get(); }, [&] { queue.put_many(std::vector{1}); }), 1);
}

TEST(Wakeup, OfAProducerIsGets) {
  mp::Queue<int> queue{1};
  queue.put(1);
  EXPECT_GE(wakes_of([&] { queue.put(2); }, [&] { queue.get(); }), 1);
  EXPECT_GE(wakes_of([&] { queue.put(3); }, [&] { queue.get_many(1); }), 1);
}

TEST(Wakeup, OfWhoWaitsForTasksIsTaskDones) {
  mp::JoinableQueue<int> queue;
  queue.put(1);
  queue.get();
  EXPECT_GE(wakes_of([&] { queue.join(); }, [&] { queue.task_done(); }), 1);
}

TEST(Wakeup, OfAllWhoWaitForAQueueIsShutdowns) {
  mp::Queue<int> queue;
  EXPECT_GE(wakes_of([&] { EXPECT_THROW(queue.get(), mp::ShutDown); }, [&] { queue.shutdown(); }),
            1);
}

TEST(Wakeup, OfWhoWaitsForAQueueAmongOtherThingsIsPuts) {
  mp::Queue<int> queue;
  EXPECT_TRUE(mp::wait({queue}, 0s).empty());  // says that it waits
  fault::events_set = 0;
  queue.put(1);
  EXPECT_EQ(fault::events_set, 1);
  queue.put(2);
  EXPECT_EQ(fault::events_set, 1) << "once is enough";
}

TEST(Wakeup, OfWhoWaitsForAnEventIsSets) {
  mp::Event event;
  EXPECT_GE(wakes_of([&] { event.wait(); }, [&] { event.set(); }), 1);
}

TEST(Wakeup, OfWhoWaitsForAUnitIsReleases) {
  mp::Semaphore semaphore{0};
  EXPECT_GE(wakes_of([&] { semaphore.acquire(); }, [&] { semaphore.release(); }), 1);
}

TEST(Wakeup, OfWhoWaitsAtAConditionIsNotifys) {
  mp::Condition condition;
  const auto wait = [&] {
    const std::lock_guard guard{condition};
    condition.wait();
  };
  const auto notify = [&](auto how) {
    return [&condition, how] {
      const std::lock_guard guard{condition};
      how(condition);
    };
  };
  EXPECT_GE(wakes_of(wait, notify([](mp::Condition& one) { one.notify(); })), 1);
  EXPECT_GE(wakes_of(wait, notify([](mp::Condition& one) { one.notify_all(); })), 1);
}

// Who has waited longest has died meanwhile.
TEST(Wakeup, AtAConditionIsNotSpentOnTheDead) {
  mp::Condition condition;
  const auto wait = [&] {
    const std::lock_guard guard{condition};
    condition.wait();
  };
  const pid_t pid = ::fork();
  if (pid == 0) {
    wait();
    ::_exit(0);
  }
  test::eventually([&] { return test::sleeps_in_futex(pid); });
  EXPECT_GE(wakes_of(wait,
                     [&] {
                       ::kill(pid, SIGKILL);
                       ::waitpid(pid, nullptr, 0);
                       const std::lock_guard guard{condition};
                       condition.notify();
                       EXPECT_EQ(fault::woken, fault::slept_on);
                     }),
            1);
}

TEST(Wakeup, OfWhoWaitsAtABarrierIsTheLastPartys) {
  mp::Barrier barrier{2};
  EXPECT_GE(wakes_of([&] { barrier.wait(); }, [&] { barrier.wait(); }), 1);
}

TEST(Wakeup, CostsNothingWhileNobodySleeps) {
  mp::Queue<int> queue{2};
  mp::Event event;
  mp::Semaphore semaphore;
  mp::Lock lock;
  fault::futex_calls = fault::events_set = 0;
  for (int i = 0; i < 1000; ++i) {
    queue.put(i);
    queue.get();
    event.set();
    event.clear();
    semaphore.acquire();
    semaphore.release();
    const std::lock_guard guard{lock};
  }
  EXPECT_EQ(fault::futex_calls, 0);
  EXPECT_EQ(fault::events_set, 0);
}
