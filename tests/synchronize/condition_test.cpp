// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/synchronize.hpp>

#include <support/child.hpp>
#include <support/eventually.hpp>
#include <support/threads.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::Child;
using test::eventually;
using test::in_a_thread;
using test::Thread;

namespace {

// Threads that wait at a condition, one after the other, and what became of them.
class Waiters {
 public:
  Waiters(mp::Condition condition, int count) : condition_{std::move(condition)} {
    for (int i = 0; i < count; ++i) {
      threads_.push_back(std::make_unique<Thread>([this, i] {
        const std::lock_guard guard{condition_};
        ++waiting;
        EXPECT_TRUE(condition_.wait());
        order.push_back(i);
        ++woken;
      }));
      eventually([&] { return waiting == i + 1 && threads_.back()->sleeps(); });
    }
    // Nobody holds it any more, so all have given it back, and wait.
    const std::lock_guard guard{condition_};
  }

  std::atomic<int> waiting{0};
  std::atomic<int> woken{0};
  std::vector<int> order;  // guarded by the condition

 private:
  mp::Condition condition_;
  std::vector<std::unique_ptr<Thread>> threads_;
};

void notify(mp::Condition& condition, std::size_t n) {
  const std::lock_guard guard{condition};
  condition.notify(n);
}

}  // namespace

TEST(ConditionNotify, WakesAsManyAsItIsToldTheLongestWaitingFirst) {
  mp::Condition condition;
  Waiters waiters{condition, 6};
  notify(condition, 1);
  ASSERT_TRUE(eventually([&] { return waiters.woken == 1; }));
  notify(condition, 0);
  notify(condition, 2);
  ASSERT_TRUE(eventually([&] { return waiters.woken == 3; }));
  {
    const std::lock_guard guard{condition};
    EXPECT_EQ(waiters.order.front(), 0);
    EXPECT_LT(waiters.order[1] + waiters.order[2], 4);  // the two take the lock in any order
  }
  notify(condition, 7);
  ASSERT_TRUE(eventually([&] { return waiters.woken == 6; }));
}

TEST(ConditionNotify, ThatNobodyWaitsForIsForgotten) {
  mp::Condition condition;
  notify(condition, 3);
  const std::lock_guard guard{condition};
  condition.notify_all();
  EXPECT_FALSE(condition.wait(0s));
  test::expect_at_least(60ms, [&] { EXPECT_FALSE(condition.wait(60ms)); });
}

TEST(ConditionNotifyAll, WakesAllAndNobodyWhoComesLater) {
  mp::Condition condition;
  Waiters waiters{condition, 40};  // more than the waiting room has at first
  {
    const std::lock_guard guard{condition};
    condition.notify_all();
    EXPECT_FALSE(condition.wait(1ms));
  }
  ASSERT_TRUE(eventually([&] { return waiters.woken == 40; }));
}

TEST(Condition, IsUsedByItsOwnerOnly) {
  mp::Condition condition;
  EXPECT_THROW(condition.wait(0s), std::logic_error);
  EXPECT_THROW(condition.notify(), std::logic_error);
  EXPECT_THROW(condition.notify_all(), std::logic_error);
  EXPECT_THROW(condition.release(), std::logic_error);
  const std::lock_guard guard{condition};
  in_a_thread([&] {
    EXPECT_THROW(condition.wait(0s), std::logic_error);
    EXPECT_THROW(condition.notify(), std::logic_error);
  });
  EXPECT_EQ(
      (Child{[](mp::Condition its) { EXPECT_THROW(its.notify(), std::logic_error); }, condition}
           .join()),
      0);
}

TEST(ConditionWait, GivesBackALockThatWasTakenSeveralTimes) {
  mp::RLock lock;
  mp::Condition condition{lock};
  for (int i = 0; i < 3; ++i) lock.acquire();
  Thread other{[&] {
    const std::lock_guard guard{lock};
    condition.notify();
  }};
  EXPECT_TRUE(condition.wait());
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(lock.locked());
    lock.release();
  }
  EXPECT_FALSE(lock.locked());
}

TEST(ConditionWait, WorksWithALockAndWithTwoConditionsOfOneLock) {
  mp::Lock lock;
  mp::Condition full{lock};
  mp::Condition empty{lock};
  bool has_item = false;
  int sum = 0;
  Thread consumer{[&] {
    for (int i = 0; i < 200; ++i) {
      const std::lock_guard guard{full};
      full.wait_for([&] { return has_item; });
      has_item = false;
      ++sum;
      empty.notify();
    }
  }};
  for (int i = 0; i < 200; ++i) {
    const std::lock_guard guard{lock};
    empty.wait_for([&] { return !has_item; });
    has_item = true;
    full.notify();
  }
  consumer.join();
  EXPECT_EQ(sum, 200);
}

TEST(ConditionWaitFor, KeepsOneClockHoweverOftenItIsNotified) {
  mp::Condition condition;
  std::atomic<bool> over{false};
  Thread noisy{[&] {
    while (!over) notify(condition, 1);
  }};
  {
    const std::lock_guard guard{condition};
    test::expect_at_least(100ms,
                          [&] { EXPECT_FALSE(condition.wait_for([] { return false; }, 100ms)); });
    EXPECT_FALSE(condition.wait_for([] { return false; }, 0s));
    EXPECT_TRUE(condition.wait_for([] { return true; }, 0s));
  }
  over = true;
}

// ---- death ----

TEST(ConditionNotify, PassesOverTheDead) {
  mp::Condition condition;
  std::vector<Child> dead;
  mp::Semaphore holding{0};
  for (int i = 0; i < 3; ++i) {
    dead.emplace_back(
        [](mp::Condition its, mp::Semaphore holds) {
          const std::lock_guard guard{its};
          holds.release();
          its.wait();
        },
        condition, holding);
    holding.acquire();
    ASSERT_TRUE(eventually([&] { return test::sleeps_in_futex(dead.back().pid()); }));
  }
  { const std::lock_guard guard{condition}; }
  Waiters alive{condition, 1};
  for (auto& one : dead) one.kill();
  notify(condition, 1);
  ASSERT_TRUE(eventually([&] { return alive.woken == 1; }));
  const std::lock_guard guard{condition};
  EXPECT_FALSE(condition.wait(1ms));
}

TEST(ConditionWait, IsToldWhenTheOwnerDiesAndHoldsTheLockThen) {
  mp::Condition condition;
  mp::Semaphore holding{0};
  const auto hold = [](mp::Condition its, mp::Semaphore holds) {
    its.acquire();
    holds.release();
    its.wait();
    test::wait_for_ever();  // who waits for its word would wait for ever
  };
  Child owner{hold, condition, holding};
  holding.acquire();
  ASSERT_TRUE(eventually([&] { return test::sleeps_in_futex(owner.pid()); }));
  std::atomic<int> told{0};
  std::atomic<int> waiting{0};
  const auto wait = [&] {
    const std::lock_guard guard{condition};
    ++waiting;
    try {
      while (told == 0) condition.wait();
      return;  // somebody mended it, and said so
    } catch (const mp::AbandonedLock&) {
    }
    ++told;
    condition.notify_all();
  };
  notify(condition, 1);
  ASSERT_TRUE(eventually([&] { return condition.locked(); }));
  owner.kill();  // before the others are there: one is told by acquire()
  EXPECT_THROW(condition.acquire(), mp::AbandonedLock);
  EXPECT_TRUE(condition.recover());
  condition.release();
  Child second{hold, condition, holding};
  holding.acquire();
  ASSERT_TRUE(eventually([&] { return test::sleeps_in_futex(second.pid()); }));
  Thread first_waiter{wait};
  Thread second_waiter{wait};
  ASSERT_TRUE(eventually([&] { return waiting == 2; }));
  notify(condition, 1);  // has the lock, so they have given it back
  ASSERT_TRUE(eventually([&] { return condition.locked(); }));
  second.kill();
  first_waiter.join();
  second_waiter.join();
  EXPECT_EQ(told, 1);
  EXPECT_FALSE(condition.locked());
  EXPECT_TRUE(condition.acquire(0s));
  condition.release();
}

#if MULTIPROCESSING_POSIX  // not on Windows: signals
TEST(ConditionWait, GoesOnThroughSignals) {
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) {};
  ::sigaction(SIGUSR1, &action, &before);
  mp::Condition condition;
  Thread waiter{[&] {
    const std::lock_guard guard{condition};
    EXPECT_TRUE(condition.wait());
  }};
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(eventually([&] { return waiter.sleeps(); }));
    waiter.signal(SIGUSR1);
  }
  notify(condition, 1);
  waiter.join();
  ::sigaction(SIGUSR1, &before, nullptr);
}
#endif
