// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/os/lock.hpp>
#include <multiprocessing/os/memory.hpp>

#include <support/asleep.hpp>
#include <support/eventually.hpp>
#include <support/threads.hpp>
#if MULTIPROCESSING_POSIX
#  include <support/forked.hpp>
#endif

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <system_error>
#include <thread>

#if MULTIPROCESSING_POSIX
#  include <linux/futex.h>
#  include <sys/syscall.h>
#endif
#include <unistd.h>

namespace os = multiprocessing::os;
using multiprocessing::detail::Deadline;
using namespace std::chrono_literals;
using test::eventually;
#if MULTIPROCESSING_POSIX
using test::Forked;
#endif

namespace {

const Deadline never{multiprocessing::forever};

class SharedLock {
 public:
  SharedLock() {
    std::error_code ec;
    region_ = os::SharedRegion::create(sizeof(os::RobustLock), ec);
    if (!ec) region_.commit(0, sizeof(os::RobustLock), ec);
    if (!ec) (*this)->initialise(ec);
    if (ec) throw std::system_error{ec};
  }
  os::RobustLock* operator->() const { return reinterpret_cast<os::RobustLock*>(region_.data()); }

 private:
  os::SharedRegion region_;
};

using test::in_a_thread;

// Windows: in another thread, which is as good: an owner is a thread, of whatever process.
template <class Work>
void in_another_process(Work work) {
#if MULTIPROCESSING_POSIX
  EXPECT_EQ(Forked{work}.join(), 0);
#else
  in_a_thread(work);
#endif
}

}  // namespace

TEST(RobustLockUnlock, GivesBackWhatThisThreadHolds) {
  const SharedLock lock;
  EXPECT_EQ(lock->try_lock(), os::Acquired::yes);
  EXPECT_EQ(lock->try_lock(), os::Acquired::no);
  EXPECT_TRUE(lock->unlock());
  EXPECT_EQ(lock->try_lock(), os::Acquired::yes);
  EXPECT_TRUE(lock->unlock());
}

TEST(RobustLockUnlock, IsRefusedToEverybodyElse) {
  const SharedLock lock;
  EXPECT_FALSE(lock->unlock());
  ASSERT_EQ(lock->try_lock(), os::Acquired::yes);
  in_a_thread([&] { EXPECT_FALSE(lock->unlock()); });
  in_another_process([&] { EXPECT_FALSE(lock->unlock()); });
  EXPECT_TRUE(lock->is_held());
  EXPECT_TRUE(lock->unlock());
  EXPECT_FALSE(lock->unlock());
}

TEST(RobustLockIsHeld, FollowsTheOwnerAndDoesNotCountTheDead) {
  const SharedLock lock;
  EXPECT_FALSE(lock->is_held());
  ASSERT_EQ(lock->try_lock(), os::Acquired::yes);
  EXPECT_TRUE(lock->is_held());
  in_another_process([&] { EXPECT_TRUE(lock->is_held()); });
  EXPECT_TRUE(lock->unlock());
  EXPECT_FALSE(lock->is_held());
  in_a_thread([&] { EXPECT_EQ(lock->try_lock(), os::Acquired::yes); });
  EXPECT_FALSE(lock->is_held());
  EXPECT_TRUE(lock->is_abandoned());
  in_another_process([&] {
    EXPECT_EQ(lock->try_lock(), os::Acquired::abandoned);
    EXPECT_TRUE(lock->is_held());
  });
  EXPECT_FALSE(lock->is_held());
  EXPECT_EQ(lock->try_lock(), os::Acquired::abandoned);
  EXPECT_TRUE(lock->is_held());
  EXPECT_TRUE(lock->unlock());
  EXPECT_EQ(lock->try_lock(), os::Acquired::yes);
  EXPECT_TRUE(lock->unlock());
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork, and there it never must
TEST(RobustLockMustStayMapped, IsTrueWhileAThreadOfThisProcessHoldsIt) {
  const SharedLock lock;
  EXPECT_FALSE(lock->must_stay_mapped());
  ASSERT_EQ(lock->try_lock(), os::Acquired::yes);
  EXPECT_TRUE(lock->must_stay_mapped());
  in_a_thread([&] { EXPECT_TRUE(lock->must_stay_mapped()); });
  EXPECT_EQ(Forked{[&] { EXPECT_FALSE(lock->must_stay_mapped()); }}.join(), 0);
  EXPECT_TRUE(lock->unlock());
  EXPECT_FALSE(lock->must_stay_mapped());
  in_a_thread([&] { EXPECT_EQ(lock->try_lock(), os::Acquired::yes); });
  EXPECT_FALSE(lock->must_stay_mapped());
}

#endif

TEST(RobustLockLock, GetsWhatWasHeldByAThreadThatEndsWhileItWaits) {
  for (const Deadline& deadline : {never, Deadline{24h}}) {
    const SharedLock lock;
    std::atomic<bool> may_end{false};
    std::thread owner{[&] {
      EXPECT_EQ(lock->lock(never), os::Acquired::yes);
      eventually([&] { return may_end.load(); });
    }};
    ASSERT_TRUE(eventually([&] { return lock->is_held(); }));
    test::Thread waiting{[&] {
      EXPECT_EQ(lock->lock(deadline), os::Acquired::abandoned);
      EXPECT_TRUE(lock->unlock());
    }};
    ASSERT_TRUE(eventually([&] { return waiting.sleeps(); }));
    may_end = true;
    owner.join();
    waiting.join();
    EXPECT_FALSE(lock->is_held());
  }
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(RobustLockLock, GetsWhatWasHeldByWhoeverDiesWhileItWaits) {
  for (const Deadline& deadline : {never, Deadline{24h}}) {
    const SharedLock lock;
    Forked owner{[&] {
      EXPECT_EQ(lock->lock(never), os::Acquired::yes);
      test::wait_for_ever();
    }};
    ASSERT_TRUE(eventually([&] { return lock->is_held(); }));
    std::atomic<int> waiter = 0;
    std::thread waiting{[&] {
      waiter = static_cast<int>(::syscall(SYS_gettid));
      EXPECT_EQ(lock->lock(deadline), os::Acquired::abandoned);
      EXPECT_TRUE(lock->unlock());
    }};
    ASSERT_TRUE(eventually([&] { return waiter != 0 && test::sleeps_in_futex(waiter); }));
    owner.kill();
    waiting.join();
    EXPECT_FALSE(lock->is_held());
  }
}
#endif

// The kernel looks at what a thread was about to take when the thread ends: by then other memory
// may lie there.
#if MULTIPROCESSING_POSIX  // not on Windows: a list of locks that the system keeps
TEST(RobustLockLock, ThatTimedOutIsForgottenByTheSystem) {
  const SharedLock lock;
  ASSERT_EQ(lock->try_lock(), os::Acquired::yes);
  in_a_thread([&] {
    EXPECT_EQ(lock->lock(Deadline{2ms}), os::Acquired::no);
    robust_list_head* list = nullptr;
    std::size_t size = 0;
    ASSERT_EQ(::syscall(SYS_get_robust_list, 0, &list, &size), 0);
    EXPECT_EQ(list->list_op_pending, nullptr);
  });
  EXPECT_TRUE(lock->unlock());
}
#endif
