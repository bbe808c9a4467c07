// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/synchronize.hpp>

#include <support/child.hpp>
#include <support/eventually.hpp>
#include <support/threads.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <mutex>
#include <stdexcept>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::Child;
using test::eventually;
using test::in_a_thread;

TEST(RLockAcquire, ByTheOwnerCountsAndIsGivenBackAsOften) {
  mp::RLock lock;
  EXPECT_FALSE(lock.locked());
  EXPECT_TRUE(lock.acquire());
  EXPECT_TRUE(lock.acquire(0s));
  EXPECT_TRUE(lock.acquire(1h));
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(lock.locked());
    in_a_thread([&] { EXPECT_FALSE(lock.acquire(0s)); });
    lock.release();
  }
  EXPECT_FALSE(lock.locked());
  EXPECT_THROW(lock.release(), std::logic_error);
  in_a_thread([&] {
    EXPECT_TRUE(lock.acquire(0s));
    lock.release();
  });
}

TEST(RLockRelease, ByAnotherThreadOrProcessIsRefused) {
  mp::RLock lock;
  EXPECT_THROW(lock.release(), std::logic_error);
  lock.acquire();
  in_a_thread([&] { EXPECT_THROW(lock.release(), std::logic_error); });
  lock.acquire();
  in_a_thread([&] { EXPECT_THROW(lock.release(), std::logic_error); });
  EXPECT_EQ((Child{[](mp::RLock its) {
                     EXPECT_THROW(its.release(), std::logic_error);
                     EXPECT_FALSE(its.acquire(0s));  // a copy of the owner is not the owner
                   },
                   lock}
                 .join()),
            0);
  lock.release();
  lock.release();
  EXPECT_FALSE(lock.locked());
}

TEST(RLockCopy, IsTheSameLockAndKnowsItsOwner) {
  mp::RLock lock;
  mp::RLock copy{lock};
  {
    const std::scoped_lock guards{lock, copy};
    const std::unique_lock<mp::RLock> third{copy, 1s};
    EXPECT_TRUE(third.owns_lock());
    in_a_thread([&] { EXPECT_FALSE(lock.acquire(0s)); });
  }
  EXPECT_FALSE(lock.locked());
  in_a_thread([&] {
    EXPECT_TRUE(copy.acquire(0s));
    copy.release();
  });
}

TEST(RLockAbandoned, HoweverOftenItWasTakenIsRecoveredOnce) {
  mp::RLock lock;
  EXPECT_EQ((Child{[](mp::RLock its) {
                     for (int i = 0; i < 3; ++i) its.acquire();
                     test::end_now();
                   },
                   lock}
                 .join()),
            0);
  EXPECT_FALSE(lock.locked());
  EXPECT_THROW(lock.release(), std::logic_error);
  EXPECT_THROW(lock.acquire(), mp::AbandonedLock);
  EXPECT_THROW(lock.acquire(0s), mp::AbandonedLock);
  EXPECT_TRUE(lock.recover());
  EXPECT_TRUE(lock.recover(0s));  // once more, as acquire()
  EXPECT_TRUE(lock.acquire(0s));
  in_a_thread([&] { EXPECT_FALSE(lock.recover(0s)); });
  for (int i = 0; i < 3; ++i) lock.release();
  EXPECT_FALSE(lock.locked());
  EXPECT_THROW(lock.release(), std::logic_error);
}

TEST(RLockAbandoned, SendsAwayAllWhoWait) {
  mp::RLock lock;
  Child owner{[](mp::RLock its) {
                its.acquire();
                its.acquire();
                test::wait_for_ever();
              },
              lock};
  ASSERT_TRUE(eventually([&] { return lock.locked(); }));
  const auto wait = [&] { EXPECT_THROW(lock.acquire(), mp::AbandonedLock); };
  test::Thread first{wait};
  test::Thread second{wait};
  ASSERT_TRUE(eventually([&] { return first.sleeps() && second.sleeps(); }));
  owner.kill();
}
