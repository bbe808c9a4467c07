// SPDX-License-Identifier: BSL-1.0
// What an Event is between processes, whichever way they were started.
#include <multiprocessing/connection.hpp>
#include <multiprocessing/process.hpp>
#include <multiprocessing/synchronize.hpp>

#include <support/asleep.hpp>
#include <support/eventually.hpp>
#include <support/line.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::eventually;
using test::Line;

namespace {

class Event : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(Event);

void set(mp::Event event) {
  event.set();
}
void clear_and_say(const Line& line, mp::Event event) {
  line.say(event.is_set() ? "set" : "not set");
  event.clear();
  line.say(event.wait(0s) ? "set" : "not set");
}
void wait_and_say(const Line& line, mp::Event event) {
  line.say(event.wait() ? "set" : "not set");
}

TEST_P(Event, IsSetAndClearedByOtherProcesses) {
  const Line line;
  mp::Event event;
  mp::Process setter{set, event};
  setter.start();
  EXPECT_TRUE(event.wait());
  EXPECT_TRUE(event.is_set());
  setter.join();
  mp::Process clearer{clear_and_say, line, event};
  clearer.start();
  EXPECT_EQ(line.hear(), "set");
  EXPECT_EQ(line.hear(), "not set");
  clearer.join();
  EXPECT_FALSE(event.is_set());
  EXPECT_FALSE(event.wait(2ms));
}

#if MULTIPROCESSING_POSIX  // not on Windows: it does not say who sleeps
TEST_P(Event, SendsOnAllWhoWaitThoughItIsClearedAtOnce) {
  const Line line;
  mp::Event event;
  std::vector<mp::Process<>> waiters;
  for (int i = 0; i < 4; ++i) waiters.emplace_back(wait_and_say, line, event);
  for (auto& waiter : waiters) waiter.start();
  for (auto& waiter : waiters) {
    ASSERT_TRUE(eventually([&] { return test::sleeps_in_futex(*waiter.pid()); }));
  }
  event.set();
  event.clear();
  for (auto& waiter : waiters) {
    EXPECT_EQ(line.hear(), "set");
    waiter.join();
  }
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: signals
TEST_P(Event, SendsOnTheOthersWhenWaitersAreKilled) {
  const Line line;
  mp::Event event;
  std::vector<mp::Process<>> waiters;
  for (int i = 0; i < 4; ++i) waiters.emplace_back(wait_and_say, line, event);
  for (auto& waiter : waiters) waiter.start();
  for (auto& waiter : waiters) {
    ASSERT_TRUE(eventually([&] { return test::sleeps_in_futex(*waiter.pid()); }));
  }
  ::kill(*waiters[0].pid(), SIGSTOP);  // the first in the row is not dead and does not go on
  waiters[1].kill();
  event.set();
  EXPECT_EQ(line.hear(), "set");
  EXPECT_EQ(line.hear(), "set");
  ::kill(*waiters[0].pid(), SIGCONT);
  EXPECT_EQ(line.hear(), "set");
  for (auto& waiter : waiters) waiter.join();
}
#endif

class Waiter : public mp::Process<Waiter> {
 public:
  Waiter(Line line, std::vector<mp::Event> events)
      : line_{std::move(line)}, events_{std::move(events)} {}
  void run() override {
    for (const auto& event : events_) wait_and_say(line_, event);
  }
  auto reduce() const { return mp::arguments(line_, events_); }

 private:
  Line line_;
  std::vector<mp::Event> events_;
};

TEST_P(Event, IsTheSameInTheStateOfAProcess) {
  const Line line;
  std::vector<mp::Event> events(3);
  events[0].set();
  Waiter waiter{line, events};
  waiter.start();
  EXPECT_EQ(line.hear(), "set");
  for (std::size_t i = 1; i < events.size(); ++i) {
    events[i].set();
    EXPECT_EQ(line.hear(), "set");
  }
  waiter.join();
}

void set_what_arrives(mp::Connection connection) {
  connection.recv<mp::Event>().set();
}

TEST_P(Event, IsTheSameBehindADuplexPipe) {
  mp::Pipe pipe;
  mp::Process process{set_what_arrives, pipe.second};
  process.start();
  mp::Event event;
  pipe.first.send(event);
  EXPECT_TRUE(event.wait());
  process.join();
  EXPECT_THROW(mp::Pipe{false}.second.send(event), mp::SerializationError);
}

}  // namespace
