// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/os/identity.hpp>

#include <support/imitated.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <thread>

#if MULTIPROCESSING_POSIX
#  include <unistd.h>
#endif

namespace os = multiprocessing::os;

TEST(ProcessIdentity, OfThisProcessLives) {
  const os::ProcessIdentity own = os::own_identity();
  EXPECT_FALSE(os::has_ended(own));
  EXPECT_FALSE(os::has_ended({own.pid, 0}));
}

TEST(ProcessIdentity, OfAnEarlierOwnerOfThisProcessesIdHasEnded) {
  const os::ProcessIdentity own = os::own_identity();
  ASSERT_NE(own.birth, 0U);
  EXPECT_TRUE(os::has_ended({own.pid, own.birth - 1}));
}

TEST(ProcessIdentity, WhoseIdIsNobodysHasEnded) {
  // Skipped there, for a number that nobody has cannot be tried where each opens a process.
  if (test::is_imitated()) GTEST_SKIP() << "Wine finds a process of any number";
  constexpr std::uint64_t larger_than_any = 0x7ffffff0;
  EXPECT_TRUE(os::has_ended({larger_than_any, 1}));
  EXPECT_TRUE(os::has_ended({larger_than_any, 0}));
}

#if MULTIPROCESSING_POSIX  // not on Windows: threads have ids of their own there
TEST(ProcessIdentity, WhoseIdIsAThreadsNowHasEnded) {
  std::atomic<int> id{0};
  std::atomic<bool> done{false};
  std::thread thread{[&] {
    id = ::gettid();
    id.notify_one();
    done.wait(false);
  }};
  id.wait(0);
  EXPECT_TRUE(os::has_ended({static_cast<std::uint64_t>(id.load()), 1}));
  EXPECT_TRUE(os::has_ended({static_cast<std::uint64_t>(id.load()), 0}));
  done = true;
  done.notify_one();
  thread.join();
}
#endif
