// SPDX-License-Identifier: BSL-1.0
// Who wakes others does not wait until they run, whichever way they were started. (For an Event:
// event_test.cpp.)
// Not on Windows: signals
#include <multiprocessing/process.hpp>
#include <multiprocessing/synchronize.hpp>

#include <support/asleep.hpp>
#include <support/eventually.hpp>
#include <support/line.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <csignal>
#include <mutex>
#include <string>

namespace mp = multiprocessing;
using test::eventually;
using test::Line;

namespace {

class StoppedWaiter : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(StoppedWaiter);

void wait_at_condition(const Line& line, mp::Condition condition, const std::string& name) {
  {
    const std::lock_guard guard{condition};
    line.say("has the lock");
    condition.wait();
  }
  line.say(name);
}
void wait_at_semaphore(const Line& line, mp::Semaphore semaphore, const std::string& name) {
  semaphore.acquire();
  line.say(name);
}

TEST_P(StoppedWaiter, HoldsUpNeitherNotifyAllNorTheOthers) {
  const Line line;
  mp::Condition condition;
  mp::Process first{wait_at_condition, line, condition, "first"};
  mp::Process second{wait_at_condition, line, condition, "second"};
  for (auto* const waiter : {&first, &second}) {
    waiter->start();
    ASSERT_EQ(line.hear(), "has the lock");
    ASSERT_TRUE(eventually([&] { return test::sleeps_in_futex(*waiter->pid()); }));
    const std::lock_guard given_back{condition};
  }
  ::kill(*first.pid(), SIGSTOP);
  {
    const std::lock_guard guard{condition};
    condition.notify_all();
  }
  EXPECT_EQ(line.hear(), "second");
  ::kill(*first.pid(), SIGCONT);
  EXPECT_EQ(line.hear(), "first");
  first.join();
  second.join();
}

TEST_P(StoppedWaiter, HoldsUpNeitherReleaseNorTheOthers) {
  const Line line;
  mp::Semaphore semaphore{0};
  mp::Process first{wait_at_semaphore, line, semaphore, "first"};
  mp::Process second{wait_at_semaphore, line, semaphore, "second"};
  for (auto* const waiter : {&first, &second}) {
    waiter->start();
    ASSERT_TRUE(eventually([&] { return test::sleeps_in_futex(*waiter->pid()); }));
  }
  ::kill(*first.pid(), SIGSTOP);
  semaphore.release(2);
  EXPECT_EQ(line.hear(), "second");
  ::kill(*first.pid(), SIGCONT);
  EXPECT_EQ(line.hear(), "first");
  first.join();
  second.join();
}

}  // namespace
