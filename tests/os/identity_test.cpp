// SPDX-License-Identifier: BSL-1.0
// Not on Windows: threads have ids of their own there
#include <multiprocessing/os/identity.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <thread>

#include <unistd.h>

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
