// SPDX-License-Identifier: BSL-1.0
// Not on Windows: no lock is lost for good
#include <multiprocessing/synchronize/lock_core.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <system_error>

#include <pthread.h>

namespace mp = multiprocessing;
using namespace std::chrono_literals;

TEST(LockTake, OfALockThatNobodyCanEverGetIsAnErrorAndNotAWaitForEver) {
  mp::os::RobustLock lock{};
  std::error_code ec;
  lock.initialise(ec);
  reinterpret_cast<pthread_mutex_t*>(&lock)->__data.__kind = 99;  // which there is not
  ASSERT_THROW(mp::detail::take(lock, 1h), std::system_error);
  EXPECT_THROW(mp::detail::take(lock, mp::forever), std::system_error);
}
