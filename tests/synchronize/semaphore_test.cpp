// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/synchronize.hpp>

#include <support/child.hpp>
#include <support/eventually.hpp>
#include <support/threads.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::Child;
using test::eventually;
using test::Thread;

TEST(Semaphore, CountsItsUnits) {
  mp::Semaphore units{2};
  EXPECT_EQ(units.get_value(), 2U);
  EXPECT_TRUE(units.acquire());
  EXPECT_EQ(units.get_value(), 1U);
  EXPECT_FALSE(units.locked());
  EXPECT_TRUE(units.acquire(0s));
  EXPECT_EQ(units.get_value(), 0U);
  EXPECT_TRUE(units.locked());
  EXPECT_FALSE(units.acquire(0s));
  EXPECT_FALSE(units.acquire(-1s));
  test::expect_at_least(60ms, [&] { EXPECT_FALSE(units.acquire(60ms)); });
  units.release();
  EXPECT_EQ(units.get_value(), 1U);
  units.release(3);  // more than there were at first
  EXPECT_EQ(units.get_value(), 4U);
}

TEST(SemaphoreRelease, BeyondWhatThereMayBeIsRefusedAndChangesNothing) {
  mp::Semaphore units{2147483647};
  EXPECT_THROW(units.release(), std::invalid_argument);
  EXPECT_TRUE(units.acquire());
  EXPECT_THROW(units.release(2), std::invalid_argument);
  EXPECT_EQ(units.get_value(), 2147483646U);
  units.release();
  EXPECT_THROW(units.release(0), std::invalid_argument);
  EXPECT_THROW(mp::Semaphore{2147483648U}, std::invalid_argument);
  mp::BoundedSemaphore bounded{2};
  EXPECT_THROW(bounded.release(), std::invalid_argument);
  EXPECT_TRUE(bounded.acquire());
  EXPECT_THROW(bounded.release(2), std::invalid_argument);
  EXPECT_EQ(bounded.get_value(), 1U);
  bounded.release();
  EXPECT_EQ(bounded.get_value(), 2U);
  mp::BoundedSemaphore none{0};
  EXPECT_FALSE(none.acquire(0s));
  EXPECT_THROW(none.release(), std::invalid_argument);
}

TEST(SemaphoreGuards, OfTheStandardTakeIt) {
  mp::Semaphore units;
  {
    const std::lock_guard guard{units};
    EXPECT_TRUE(units.locked());
    const std::unique_lock second{units, std::try_to_lock};
    EXPECT_FALSE(second.owns_lock());
    const std::unique_lock third{units, 1ms};
    EXPECT_FALSE(third.owns_lock());
  }
  EXPECT_FALSE(units.locked());
}

TEST(SemaphoreRelease, LetsExactlySoManyGo) {
  mp::Semaphore units{0};
  std::atomic<int> through{0};
  std::vector<std::unique_ptr<Thread>> waiters;
  for (int i = 0; i < 7; ++i) {
    waiters.push_back(std::make_unique<Thread>([&] {
      units.acquire();
      ++through;
    }));
  }
  for (const auto& waiter : waiters) ASSERT_TRUE(eventually([&] { return waiter->sleeps(); }));
  units.release(3);
  ASSERT_TRUE(eventually([&] { return through == 3; }));
  EXPECT_EQ(units.get_value(), 0U);
  for (int i = 0; i < 4; ++i) units.release();
  for (const auto& waiter : waiters) waiter->join();
  EXPECT_EQ(units.get_value(), 0U);
}

TEST(Semaphore, MayBeGivenBackByAnotherAndKeepsWhatTheDeadTook) {
  mp::Semaphore units{2};
  EXPECT_EQ((Child{[](mp::Semaphore its) {
                     its.acquire();
                     test::end_now();
                   },
                   units}
                 .join()),
            0);
  EXPECT_EQ(units.get_value(), 1U);
  EXPECT_TRUE(units.acquire(0s));
  EXPECT_FALSE(units.acquire(0s));
  EXPECT_EQ((Child{[](mp::Semaphore its) { its.release(2); }, units}.join()), 0);
  EXPECT_EQ(units.get_value(), 2U);
}
