// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/queues.hpp>
#include <multiprocessing/sharedctypes.hpp>
#include <multiprocessing/synchronize.hpp>

#include <support/child.hpp>
#include <support/codes.hpp>
#include <support/eventually.hpp>
#if MULTIPROCESSING_POSIX
#  include <support/forked.hpp>
#endif
#include <support/threads.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <fcntl.h>
#if MULTIPROCESSING_POSIX
#  include <linux/seccomp.h>
#  include <pthread.h>
#  include <sys/mman.h>
#  include <sys/prctl.h>
#  include <sys/resource.h>
#  include <sys/syscall.h>
#endif
#include <unistd.h>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::Child;
using test::eventually;
using test::expect_at_least;
#if MULTIPROCESSING_POSIX
using test::Forked;
#endif
using test::in_a_thread;
using test::Thread;

namespace {

void kill_itself() {
  std::error_code ec;
  const auto self = mp::os::open_process(mp::os::process_id(), ec);
  mp::os::signal_process(self.get(), mp::os::Signal::kill, ec);
}

mp::Lock abandoned_lock() {
  mp::Lock lock;
  in_a_thread([&] { lock.acquire(); });
  return lock;
}

#if MULTIPROCESSING_POSIX
// Runs `work()` in a child that is killed when it makes a system call, or reads the clock of an
// x86 processor.
template <class Work>
int exit_code_without_system(Work work) {
  return Forked{[&] {
           work();  // what is set up by the first call is set up
#  if defined(__x86_64__)
           ::prctl(PR_SET_TSC, PR_TSC_SIGSEGV);
#  endif
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
           work();
           ::syscall(SYS_exit, 0);
         }}
      .join();
}

// While it lives, a signal interrupts every call and does nothing else.
class Interruptions {
 public:
  Interruptions() {
    struct sigaction action {};
    action.sa_handler = [](int) {};  // without SA_RESTART
    ::sigaction(SIGUSR1, &action, &before_);
  }
  Interruptions(const Interruptions&) = delete;
  Interruptions& operator=(const Interruptions&) = delete;
  ~Interruptions() { ::sigaction(SIGUSR1, &before_, nullptr); }
  static void rain_on(Thread& thread) {
    for (int i = 0; i < 100; ++i) {
      thread.signal(SIGUSR1);
      eventually([&] { return thread.sleeps(); });
    }
  }

 private:
  struct sigaction before_ {};
};

int mappings_of_shared_memory() {
  std::ifstream maps{"/proc/self/maps"};
  int count = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("memfd:multiprocessing") != std::string::npos) ++count;
  }
  return count;
}
#endif

}  // namespace

// ---- Lock: taking and giving ----

TEST(LockAcquire, TakesTheLockThatNobodyHolds) {
  mp::Lock lock;
  EXPECT_FALSE(lock.locked());
  EXPECT_TRUE(lock.acquire());
  EXPECT_TRUE(lock.locked());
  EXPECT_FALSE(lock.acquire(0s));
  EXPECT_FALSE(lock.acquire(-1s));
  in_a_thread([&] { EXPECT_FALSE(lock.acquire(0s)); });
  lock.release();
  EXPECT_FALSE(lock.locked());
  EXPECT_TRUE(lock.acquire(0s));
  lock.release();
}

TEST(LockAcquire, WaitsAsLongAsItIsTold) {
  mp::Lock lock;
  lock.acquire();
  in_a_thread([&] {
    expect_at_least(60ms, [&] { EXPECT_FALSE(lock.acquire(60ms)); });
    expect_at_least(1100ms, [&] { EXPECT_FALSE(lock.acquire(1100ms)); });  // more than one sleep
  });
  // What this thread owns already it cannot get.
  expect_at_least(20ms, [&] { EXPECT_FALSE(lock.acquire(20ms)); });
  lock.release();
}

TEST(LockAcquire, GoesOnWhenTheOwnerReleases) {
  mp::Lock lock;
  for (const mp::Timeout timeout : {mp::forever, mp::Timeout{24h}}) {
    lock.acquire();
    Thread waiter{[&] {
      EXPECT_TRUE(lock.acquire(timeout));
      lock.release();
    }};
    ASSERT_TRUE(eventually([&] { return waiter.sleeps(); }));
    lock.release();
    waiter.join();
    EXPECT_FALSE(lock.locked());
  }
}

#if MULTIPROCESSING_POSIX  // not on Windows: signals
TEST(LockAcquire, GoesOnThroughSignals) {
  const Interruptions interruptions;
  mp::Lock lock;
  lock.acquire();
  Thread waiter{[&] {
    EXPECT_TRUE(lock.acquire());
    lock.release();
  }};
  ASSERT_TRUE(eventually([&] { return waiter.sleeps(); }));
  Interruptions::rain_on(waiter);
  lock.release();
  waiter.join();
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: watching system calls; see fault/windows_test.cpp
TEST(LockAcquire, OfAFreeLockNeitherCallsTheSystemNorReadsAClock) {
#  if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer makes system calls of its own";
#  endif
  mp::Lock lock;
  EXPECT_EQ(exit_code_without_system([&] {
              for (const mp::Timeout timeout : {mp::forever, mp::Timeout{1h}, mp::Timeout{0s}}) {
                lock.acquire(timeout);
                static_cast<void>(lock.locked());
                lock.release();
                lock.recover(timeout);
                lock.release();
              }
            }),
            0);
}
#endif

TEST(LockRelease, OfAFreeLockIsRefused) {
  mp::Lock lock;
  EXPECT_THROW(lock.release(), std::logic_error);
  lock.acquire();
  lock.release();
  EXPECT_THROW(lock.release(), std::logic_error);
  EXPECT_TRUE(lock.acquire(0s));
  lock.release();
}

TEST(LockRelease, ByAnotherThreadIsRefused) {
  mp::Lock lock;
  lock.acquire();
  in_a_thread([&] { EXPECT_THROW(lock.release(), std::logic_error); });
  EXPECT_TRUE(lock.locked());
  EXPECT_FALSE(lock.acquire(0s));
  lock.release();
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(LockRelease, ByAForkedChildOfTheOwnerIsRefused) {
  mp::Lock lock;
  lock.acquire();
  EXPECT_EQ(Forked{[&] {
              EXPECT_THROW(lock.release(), std::logic_error);
              EXPECT_FALSE(lock.acquire(0s));
            }}.join(),
            0);
  EXPECT_TRUE(lock.locked());
  lock.release();
  EXPECT_EQ(Forked{[&] {
              lock.acquire();
              lock.release();
            }}.join(),
            0);
  EXPECT_TRUE(lock.acquire(0s));
  lock.release();
}
#endif

TEST(LockCopy, IsTheSameLock) {
  mp::Lock lock;
  mp::Lock copy = lock;
  mp::Lock other;
  lock.acquire();
  EXPECT_FALSE(copy.acquire(0s));
  EXPECT_TRUE(other.acquire(0s));
  copy.release();
  EXPECT_FALSE(lock.locked());
  copy = other;
  EXPECT_TRUE(copy.locked());
  other.release();
}

TEST(LockGuards, OfTheStandardTakeIt) {
  mp::Lock lock;
  mp::Lock second;
  {
    const std::lock_guard guard{lock};
    EXPECT_TRUE(lock.locked());
    in_a_thread([&] {
      EXPECT_FALSE((std::unique_lock{lock, std::try_to_lock}.owns_lock()));
      EXPECT_FALSE((std::unique_lock{lock, 2ms}.owns_lock()));
      const auto ends_at = std::chrono::system_clock::now() + 2ms;
      EXPECT_FALSE((std::unique_lock{lock, ends_at}.owns_lock()));
      EXPECT_GE(std::chrono::system_clock::now(), ends_at);
      EXPECT_FALSE((lock.try_lock_until(std::chrono::steady_clock::time_point::min())));
    });
  }
  EXPECT_FALSE(lock.locked());
  EXPECT_TRUE((std::unique_lock{lock, std::try_to_lock}.owns_lock()));
  EXPECT_TRUE((std::unique_lock{lock, 1h}.owns_lock()));
  EXPECT_TRUE((std::unique_lock{lock, std::chrono::steady_clock::time_point::max()}.owns_lock()));
  EXPECT_FALSE(lock.locked());
  int plain = 0;
  const auto count = [&](mp::Lock& first, mp::Lock& then) {
    for (int i = 0; i < 10'000; ++i) {
      const std::scoped_lock guard{first, then};
      ++plain;
    }
  };
  std::thread there{[&] { count(lock, second); }};
  count(second, lock);
  there.join();
  EXPECT_EQ(plain, 20'000);
}

TEST(Lock, ExcludesThreadsOfSeveralProcesses) {
  const mp::RawValue<std::uint64_t> counter;
  const mp::Lock lock;
  static constexpr std::uint64_t each = MULTIPROCESSING_WINDOWS ? 2000 : 20'000;
  const auto work = [](mp::Lock its, mp::RawValue<std::uint64_t> number) {
    const auto count = [&] {
      for (std::uint64_t i = 0; i < each; ++i) {
        const std::lock_guard guard{its};
        number.value() = number.value() + 1;
      }
    };
    std::thread second{count};
    count();
    second.join();
  };
  {
    Child child{work, lock, counter};
    work(lock, counter);
    EXPECT_EQ(child.join(), 0);
  }
  EXPECT_EQ(counter.value(), 4 * each);
}

// ---- Lock: owners that die ----

TEST(LockAbandoned, ByAThreadThrowsUntilSomebodyRecoversIt) {
  mp::Lock lock = abandoned_lock();
  EXPECT_FALSE(lock.locked());
  for (int i = 0; i < 3; ++i) {
    EXPECT_THROW(lock.acquire(), mp::AbandonedLock);
    EXPECT_THROW(lock.acquire(0s), mp::AbandonedLock);
    EXPECT_THROW(lock.acquire(1h), mp::AbandonedLock);
    EXPECT_THROW((std::lock_guard{lock}), mp::AbandonedLock);
    EXPECT_FALSE(lock.locked());
    EXPECT_THROW(lock.release(), std::logic_error);  // it held nothing
  }
  EXPECT_EQ(
      (Child{[](mp::Lock its) { EXPECT_THROW(its.acquire(), mp::AbandonedLock); }, lock}.join()),
      0);
  EXPECT_TRUE(lock.recover(0s));
  EXPECT_TRUE(lock.locked());
  EXPECT_FALSE(lock.acquire(0s));
  in_a_thread([&] { EXPECT_FALSE(lock.acquire(0s)); });
  lock.release();
  EXPECT_TRUE(lock.acquire(0s));
  lock.release();
}

TEST(LockAbandoned, ByAProcessThatIsKilledOrEnds) {
  mp::Lock lock;
  for (const int code : {0, test::killed_code}) {
    Child owner{[](mp::Lock its, bool is_killed) {
                  its.acquire();
                  if (is_killed) kill_itself();
                },
                lock, code != 0};
    EXPECT_EQ(owner.join(), code);
    EXPECT_FALSE(lock.locked());
    EXPECT_THROW(lock.acquire(), mp::AbandonedLock);
    EXPECT_TRUE(lock.recover());
    lock.release();
  }
}

TEST(LockAbandoned, ThrowsInAllWhoWaitAlready) {
  mp::Lock lock;
  Child owner{[](mp::Lock its) {
                its.acquire();
                test::wait_for_ever();
              },
              lock};
  ASSERT_TRUE(eventually([&] { return lock.locked(); }));
  std::atomic<int> told = 0;
  std::array<std::unique_ptr<Thread>, 6> waiters;
  for (std::size_t i = 0; i < waiters.size(); ++i) {
    waiters[i] = std::make_unique<Thread>([&lock, &told, i] {
      EXPECT_THROW(lock.acquire(i % 2 == 0 ? mp::forever : mp::Timeout{1h}), mp::AbandonedLock);
      ++told;
    });
  }
  for (const auto& waiter : waiters) ASSERT_TRUE(eventually([&] { return waiter->sleeps(); }));
  owner.kill();
  for (const auto& waiter : waiters) waiter->join();
  EXPECT_EQ(told, 6);
  EXPECT_TRUE(lock.recover(0s));
  lock.release();
}

TEST(LockRecover, OfASoundLockAcquiresIt) {
  mp::Lock lock;
  EXPECT_TRUE(lock.recover());
  EXPECT_TRUE(lock.locked());
  in_a_thread([&] {
    EXPECT_FALSE(lock.recover(0s));
    expect_at_least(20ms, [&] { EXPECT_FALSE(lock.recover(20ms)); });
  });
  Thread waiter{[&] {
    EXPECT_TRUE(lock.recover());
    lock.release();
  }};
  ASSERT_TRUE(eventually([&] { return waiter.sleeps(); }));
  lock.release();
  waiter.join();
  EXPECT_TRUE(lock.acquire(0s));
  lock.release();
}

TEST(LockRecover, WaitingForAnOwnerThatDiesTakesTheLock) {
  mp::Lock lock;
  Child owner{[](mp::Lock its) {
                its.acquire();
                test::wait_for_ever();
              },
              lock};
  ASSERT_TRUE(eventually([&] { return lock.locked(); }));
  Thread waiter{[&] {
    EXPECT_TRUE(lock.recover());
    EXPECT_TRUE(lock.locked());
    lock.release();
  }};
  ASSERT_TRUE(eventually([&] { return waiter.sleeps(); }));
  owner.kill();
  waiter.join();
  EXPECT_TRUE(lock.acquire(0s));
  lock.release();
}

TEST(LockRecover, ByOneWhoDiesLeavesItAbandoned) {
  mp::Lock lock = abandoned_lock();
  in_a_thread([&] { EXPECT_TRUE(lock.recover()); });
  EXPECT_THROW(lock.acquire(), mp::AbandonedLock);
  in_a_thread([&] { EXPECT_TRUE(lock.recover()); });
  EXPECT_TRUE(lock.recover());
  lock.release();
  EXPECT_TRUE(lock.acquire());
  lock.release();
}

#if MULTIPROCESSING_POSIX  // not on Windows: a list of locks that the system keeps
TEST(LockAcquire, OfMoreLocksThanTheSystemGivesUpForADeadThreadIsRefused) {
  std::vector<mp::Lock> locks(2001);
  EXPECT_EQ(Forked{[&] {
              for (std::size_t i = 0; i < 2000; ++i) locks[i].acquire();
              EXPECT_THROW(locks[2000].acquire(), std::system_error);
              EXPECT_THROW(locks[2000].recover(), std::system_error);
              in_a_thread([&] {
                EXPECT_TRUE(locks[2000].acquire(0s));
                locks[2000].release();
              });
              locks[0].release();
              EXPECT_TRUE(locks[2000].acquire());
              EXPECT_EQ(Forked{[] {  // holds none of them
                          mp::Lock own;
                          EXPECT_TRUE(own.acquire(0s));
                          own.release();
                        }}
                            .join(),
                        0);
              ::_exit(testing::Test::HasFailure() ? 1 : 0);
            }}.join(),
            0);
  EXPECT_TRUE(locks[0].acquire(0s));
  locks[0].release();
  for (std::size_t i = 1; i < locks.size(); ++i) {  // all are given up
    EXPECT_THROW(locks[i].acquire(0s), mp::AbandonedLock) << i;
  }
}
#endif

// ---- Lock: its memory ----

TEST(LockMemory, StaysMappedWhenTheLastCopyGoesWhileAThreadHoldsIt) {
  std::optional<mp::Lock> held{std::in_place};
  mp::Lock outer;
  mp::Event gone;
  Child other{[](mp::Lock its, mp::Event is_gone) {
                is_gone.wait();
                EXPECT_THROW(its.acquire(), mp::AbandonedLock);  // when the thread has ended
              },
              *held, gone};
  in_a_thread([&] {
    outer.acquire();
    held->acquire();
    held.reset();
    const mp::Lock at_its_place;  // if its memory had gone
    mp::Lock next;
    next.acquire();  // the system's list of this thread's locks leads through all of them
    next.release();
    gone.set();
  });
  EXPECT_EQ(other.join(), 0);
  EXPECT_THROW(outer.acquire(), mp::AbandonedLock);
}

TEST(LockMemory, StaysMappedWhenAnotherThreadDestroysTheLastCopy) {
  std::optional<mp::Lock> held{std::in_place};
  mp::Lock outer;
  mp::Event is_held;
  mp::Event is_gone;
  Thread owner{[&] {
    outer.acquire();
    held->acquire();
    is_held.set();
    is_gone.wait();
    outer.release();
    outer.acquire();
  }};
  is_held.wait();
  held.reset();
  is_gone.set();
  owner.join();
  EXPECT_THROW(outer.acquire(), mp::AbandonedLock);
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(LockMemory, GoesWithTheLastCopyWhenNobodyHereHoldsTheLock) {
  const int before = mappings_of_shared_memory();
  for (int i = 0; i < 3; ++i) {
    mp::Lock used;
    used.acquire();
    used.release();
    mp::Lock dead = abandoned_lock();
    EXPECT_THROW(dead.acquire(), mp::AbandonedLock);
    const mp::Lock dead_unnoticed = abandoned_lock();
  }
  EXPECT_EQ(mappings_of_shared_memory(), before);
  std::optional<mp::Lock> held{std::in_place};
  held->acquire();
  EXPECT_EQ(Forked{[&] {  // the parent holds it
              const int with_it = mappings_of_shared_memory();
              held.reset();
              EXPECT_EQ(mappings_of_shared_memory(), with_it - 1);
            }}
                .join(),
            0);
  held->release();
}

TEST(LockMemory, RefusedByTheSystemIsAnError) {
  EXPECT_EQ(Forked{[] {
              rlimit none{};
              ::setrlimit(RLIMIT_NOFILE, &none);
              EXPECT_THROW(mp::Lock{}, std::system_error);
              EXPECT_THROW(mp::Event{}, std::system_error);
            }}.join(),
            0);
}
#endif

// ---- Event ----

TEST(Event, IsSetFromSetToClear) {
  mp::Event event;
  EXPECT_FALSE(event.is_set());
  EXPECT_FALSE(event.wait(0s));
  EXPECT_FALSE(event.wait(-1s));
  event.clear();
  EXPECT_FALSE(event.is_set());
  for (int i = 0; i < 3; ++i) {
    event.set();
    event.set();
    EXPECT_TRUE(event.is_set());
    EXPECT_TRUE(event.wait());
    EXPECT_TRUE(event.wait(0s));
    EXPECT_TRUE(event.wait(1h));
    event.clear();
    EXPECT_FALSE(event.is_set());
    EXPECT_FALSE(event.wait(0s));
  }
  mp::Event copy = event;
  copy.set();
  EXPECT_TRUE(event.is_set());
}

TEST(EventWait, WaitsAsLongAsItIsTold) {
  mp::Event event;
  expect_at_least(2ms, [&] { EXPECT_FALSE(event.wait(2ms)); });
  expect_at_least(120ms, [&] { EXPECT_FALSE(event.wait(120ms)); });  // more than one sleep
}

TEST(EventWait, EndsForAllWhoWaitedThoughTheEventIsClearedAtOnce) {
  mp::Event event;
  for (int round = 0; round < 5; ++round) {
    std::array<std::unique_ptr<Thread>, 8> waiters;
    for (std::size_t i = 0; i < waiters.size(); ++i) {
      waiters[i] = std::make_unique<Thread>(
          [&event, i] { EXPECT_TRUE(event.wait(i % 2 == 0 ? mp::forever : mp::Timeout{1h})); });
    }
    for (const auto& waiter : waiters) ASSERT_TRUE(eventually([&] { return waiter->sleeps(); }));
    event.set();
    event.clear();
    for (const auto& waiter : waiters) waiter->join();
    EXPECT_FALSE(event.is_set());
  }
}

TEST(EventWait, EndsForThousandsInSeveralProcesses) {
  mp::Event event;
  std::array<mp::Event, 2> all_asleep;
  const auto wait_with_many = [](mp::Event its, mp::Event asleep) {
    constexpr int many = MULTIPROCESSING_WINDOWS ? 60 : 500;  // an emulator is slow
    std::vector<std::unique_ptr<Thread>> waiters;
    for (int i = 0; i < many; ++i) {
      waiters.push_back(std::make_unique<Thread>([&its] { EXPECT_TRUE(its.wait()); }));
    }
    for (const auto& waiter : waiters) eventually([&] { return waiter->sleeps(); });
    asleep.set();
  };
  Child first{wait_with_many, event, all_asleep[0]};
  Child second{wait_with_many, event, all_asleep[1]};
  for (auto& asleep : all_asleep) asleep.wait();
  event.set();
  event.clear();
  EXPECT_EQ(first.join(), 0);
  EXPECT_EQ(second.join(), 0);
}

#if MULTIPROCESSING_POSIX  // not on Windows: signals
TEST(EventWait, GoesOnThroughSignals) {
  const Interruptions interruptions;
  mp::Event event;
  Thread waiter{[&] { EXPECT_TRUE(event.wait()); }};
  ASSERT_TRUE(eventually([&] { return waiter.sleeps(); }));
  Interruptions::rain_on(waiter);
  event.set();
  waiter.join();
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: watching system calls; see fault/windows_test.cpp
TEST(EventSet, WithoutWaitersAndWaitWhenItIsSetDoNotCallTheSystem) {
#  if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer makes system calls of its own";
#  endif
  mp::Event event;
  EXPECT_EQ(exit_code_without_system([&] {
              static_cast<void>(event.wait(0s));
              event.set();
              for (const mp::Timeout timeout : {mp::forever, mp::Timeout{1h}, mp::Timeout{0s}}) {
                event.wait(timeout);
              }
              event.clear();
            }),
            0);
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: signals
namespace {

mp::Event* set_by_signal = nullptr;

}  // namespace

TEST(EventSet, MayBeCalledInASignalHandler) {
  mp::Event event;
  mp::Event ready;
  set_by_signal = &event;
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) { set_by_signal->set(); };
  ::sigaction(SIGUSR1, &action, &before);
  Forked waiter{[&] {
    for (int i = 0; i < 200; ++i) {
      EXPECT_TRUE(event.wait());
      event.clear();
      ready.set();
    }
  }};
  // It comes in the middle of whatever this thread does: of memory's management, and of set() and
  // wait() themselves.
  std::atomic<bool> over{false};
  Thread worker{[&] {
    mp::Event other;
    while (!over) {
      const auto memory = std::make_unique<std::array<char, 1000>>();
      other.set();
      other.wait();
      other.clear();
      other.wait(1us);
      errno = 12345;
      for (int i = 0; i < 100; ++i) EXPECT_EQ(errno, 12345);
    }
  }};
  for (int i = 0; i < 200; ++i) {
    worker.signal(SIGUSR1);
    EXPECT_TRUE(ready.wait());
    ready.clear();
  }
  over = true;
  worker.join();
  EXPECT_EQ(waiter.join(), 0);
  ::sigaction(SIGUSR1, &before, nullptr);
}
#endif

// ---- in transit ----

namespace {

std::vector<mp::os::UniqueHandle> duplicates(std::span<const mp::native_handle_type> handles) {
  return mp::reduction::duplicates(handles);
}

template <class T>
struct Sent {
  explicit Sent(const T& object) {
    mp::Encoder encoder{bytes, &transit};
    mp::detail::encode(encoder, object);
  }
  [[nodiscard]] mp::Transit arrived() const {
    std::vector<mp::Transit::Object> objects;
    for (const auto& object : transit.objects())
      objects.push_back({object.kind, object.handles, nullptr});
    return {std::move(objects), duplicates(transit.departing())};
  }
  std::vector<std::byte> bytes;
  mp::Transit transit;
};

template <class T>
T decoded(std::span<const std::byte> bytes, mp::Transit& transit) {
  mp::Decoder decoder{bytes, &transit};
  return mp::detail::decode<T>(decoder);
}

#if MULTIPROCESSING_POSIX
std::vector<mp::os::UniqueHandle> one(int descriptor) {
  std::vector<mp::os::UniqueHandle> handles;
  handles.emplace_back(descriptor);
  return handles;
}

// Memory as it may arrive: sealed or not, of that size, with these bytes.
std::vector<mp::os::UniqueHandle> memory(bool sealed, off_t size, std::uint64_t first_word) {
  const int file = ::memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  EXPECT_EQ(::pwrite(file, &first_word, sizeof first_word, 0), 8);
  EXPECT_EQ(::ftruncate(file, size), 0);
  EXPECT_EQ(::fcntl(file, F_ADD_SEALS, sealed ? F_SEAL_SHRINK | F_SEAL_GROW : 0), 0);
  return one(file);
}

void expect_refusals(const std::vector<mp::native_handle_type>& others) {
  using State = mp::detail::ArenaHeader;
  const auto refused = [](std::vector<mp::os::UniqueHandle> handles) {
    EXPECT_THROW(static_cast<void>(mp::detail::Arena::adopt(std::move(handles))),
                 mp::SerializationError);
  };
  refused({});
  refused(one(::open("/dev/null", O_RDWR | O_CLOEXEC)));
  refused(one(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)));
  refused(one(-1));
  refused(memory(true, 4096, 0));
  refused(memory(true, 0, State::expected_magic));
  refused(memory(false, 4096, State::expected_magic));
  refused(memory(true, 8, State::expected_magic));
  refused(memory(true, static_cast<off_t>(sizeof(State)) - 1, State::expected_magic));
  for (const auto other : others) refused(duplicates(std::array{other}));
}
#endif

}  // namespace

TEST(LockTransit, KeepsTheLocksIdentity) {
  mp::Lock lock;
  const Sent sent{std::vector{lock, lock, mp::Lock{}}};
  ASSERT_EQ(sent.transit.objects().size(), 1U);  // the memory in which all of them lie
  mp::Transit transit = sent.arrived();
  auto there = decoded<std::vector<mp::Lock>>(sent.bytes, transit);
  lock.acquire();
  EXPECT_TRUE(there[0].locked());
  EXPECT_TRUE(there[1].locked());
  EXPECT_FALSE(there[2].locked());
  there[1].release();
  EXPECT_FALSE(lock.locked());
  in_a_thread([&] { there[0].acquire(); });
  EXPECT_THROW(lock.acquire(), mp::AbandonedLock);
  EXPECT_TRUE(there[1].recover());
  lock.release();
}

#if MULTIPROCESSING_POSIX  // not on Windows: no memory stays mapped
TEST(LockTransit, OfALockThatIsHeldLeavesNothingMappedWhenAllIsGone) {
  constexpr int times = 5;
  const int before = mappings_of_shared_memory();
  std::vector<std::byte> bytes;
  std::vector<mp::Transit> transits;
  {
    const mp::Lock lock;
    const Sent sent{std::vector{lock, lock}};
    bytes = sent.bytes;
    for (int i = 0; i < times; ++i) transits.push_back(sent.arrived());
  }
  for (; !transits.empty(); transits.pop_back()) {
    auto there = decoded<std::vector<mp::Lock>>(bytes, transits.back());
    there[0].acquire();
    there.pop_back();  // not the last copy
    there[0].release();
  }
  EXPECT_EQ(mappings_of_shared_memory(), before);
}
#endif

TEST(EventTransit, KeepsTheEventsIdentity) {
  mp::Event event;
  const Sent sent{std::vector{event, event, mp::Event{}}};
  mp::Transit transit = sent.arrived();
  auto there = decoded<std::vector<mp::Event>>(sent.bytes, transit);
  there[0].set();
  EXPECT_TRUE(event.is_set());
  EXPECT_TRUE(there[1].is_set());
  EXPECT_FALSE(there[2].is_set());
}

// What a program that was built earlier sends: the place in the list of objects, which is the
// shared memory, and the place and size in there.
#if MULTIPROCESSING_POSIX  // not on Windows: descriptors
TEST(LockTransit, HasItsForm) {
  const mp::Lock lock;
  const mp::Event event;
  const Sent sent_lock{lock};
  const Sent sent_event{event};
  EXPECT_EQ(sent_lock.bytes.size(), 4U + 8U + 8U);
  EXPECT_EQ(sent_event.bytes.size(), 4U + 8U + 8U + 1U);
  const auto eight_bytes_at = [](const mp::Transit& transit, std::uint64_t offset) {
    std::string bytes(8, '\0');
    EXPECT_EQ(transit.departing().size(), 1U);
    EXPECT_EQ(::pread(transit.departing()[0], bytes.data(), 8, static_cast<off_t>(offset)), 8);
    return bytes;
  };
  const auto offset_in = [](const std::vector<std::byte>& bytes) {
    std::uint64_t offset = 0;
    std::memcpy(&offset, bytes.data() + 4, sizeof offset);
    return offset;
  };
  EXPECT_EQ(eight_bytes_at(sent_lock.transit, 0), "!mpAren1");
  EXPECT_EQ(eight_bytes_at(sent_lock.transit, offset_in(sent_lock.bytes)), "!mpLock1");
  EXPECT_EQ(eight_bytes_at(sent_event.transit, offset_in(sent_event.bytes)), "!mpEvnt1");
  EXPECT_EQ(offsetof(mp::detail::LockState, abandoned), 8U);
  EXPECT_EQ(offsetof(mp::detail::LockState, mutex), 32U);
  EXPECT_EQ(sizeof(mp::detail::LockState), 96U);
  EXPECT_EQ(offsetof(mp::detail::EventState, word), 8U);
  EXPECT_EQ(offsetof(mp::detail::EventState, bell), 12U);
  EXPECT_EQ(sizeof(mp::detail::EventState), 24U);
}
#endif

TEST(LockTransit, WithoutHandlesIsRefused) {
  EXPECT_THROW((void)mp::dumps(mp::Lock{}), mp::SerializationError);
  EXPECT_THROW((void)mp::dumps(mp::Event{}), mp::SerializationError);
  EXPECT_THROW((void)mp::loads<mp::Lock>(std::vector(4, std::byte{0})), mp::SerializationError);
  static_assert(mp::carries_handles<mp::Lock>);
  static_assert(mp::carries_handles<std::vector<std::optional<mp::Event>>>);
}

TEST(LockTransit, RefusesBytesThatAreNotALocks) {
  const mp::Lock lock;
  const mp::RLock rlock;
  const mp::Event event;
  const Sent sent{lock};
  mp::Transit transit = sent.arrived();
  const auto bytes_of = [](const auto& object) { return Sent{object}.bytes; };
  EXPECT_THROW((void)decoded<mp::Lock>(bytes_of(event), transit), mp::SerializationError);
  EXPECT_THROW((void)decoded<mp::Event>(bytes_of(lock), transit), mp::SerializationError);
  EXPECT_THROW((void)decoded<mp::RLock>(bytes_of(lock), transit), mp::SerializationError);
  EXPECT_THROW((void)decoded<mp::Lock>(bytes_of(rlock), transit), mp::SerializationError);
  EXPECT_THROW((void)decoded<mp::Lock>(std::span{sent.bytes}.first(11), transit),
               mp::SerializationError);
  for (const std::size_t place : {0U, 4U, 5U, 6U, 11U, 12U, 19U}) {  // each number, and each end
    auto elsewhere = sent.bytes;
    elsewhere[place] ^= (place == 12 ? std::byte{0x80} : std::byte{0x7F});
    EXPECT_THROW((void)decoded<mp::Lock>(elsewhere, transit), mp::SerializationError) << place;
  }
}

#if MULTIPROCESSING_POSIX  // not on Windows: descriptors
TEST(LockTransit, RefusesHandlesThatAreNotALocks) {
  const Sent queue{mp::Queue<int>{}};
  const Sent lock{mp::Lock{}};
  expect_refusals({queue.transit.departing()[0]});
  EXPECT_THROW((void)mp::detail::Arena::adopt(duplicates(
                   std::array{lock.transit.departing()[0], lock.transit.departing()[0]})),
               mp::SerializationError);
}
#endif
