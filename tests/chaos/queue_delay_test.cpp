// SPDX-License-Identifier: BSL-1.0
// How soon the others go on after a death. Nothing is asserted of a time: it is printed.
// Not on Windows: fork, and figures of times, of which Wine says nothing
#include <multiprocessing.hpp>

#include <support/asleep.hpp>
#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <functional>
#include <vector>

namespace mp = multiprocessing;
using test::eventually;

namespace {

using Clock = std::chrono::steady_clock;  // one for all processes

constexpr int rounds = 25;

double milliseconds_since(Clock::rep begin) {
  const Clock::duration since{Clock::now().time_since_epoch().count() - begin};
  return std::chrono::duration<double, std::milli>{since}.count();
}

void print_figure(const char* name, std::vector<double> times) {
  std::sort(times.begin(), times.end());
  std::printf("figure %s median=%.3g p99=%.3g most=%.3g ms of %zu\n", name, times[times.size() / 2],
              times[times.size() * 99 / 100], times.back(), times.size());
}

// `blocked` sleeps in the queue; the victim, in `operation`, dies at the point.
double time_until_it_goes_on(const char* point,
                             const std::function<void()>& operation,
                             const std::function<void()>& blocked) {
  mp::Queue<Clock::rep> begun;
  mp::Queue<double> ended;
  mp::Process sleeper{[&] {
    blocked();
    ended.put(milliseconds_since(begun.get()));
  }};
  sleeper.start();
  eventually([&] { return test::sleeps_in_futex(*sleeper.pid()); });
  mp::Process victim{[&] {
    begun.put(Clock::now().time_since_epoch().count());
    test::stop_at(point, test::Stop::die);
    operation();
  }};
  victim.start();
  victim.join();
  EXPECT_EQ(victim.exitcode(), -SIGKILL);
  const double time = ended.get();
  sleeper.join();
  return time;
}

}  // namespace

TEST(QueueDelay, OfAConsumerWhoseProducerDiedBeforeItRang) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    mp::Queue<int> queue;
    times.push_back(time_until_it_goes_on(
        "ring.put.unlocked", [&] { queue.put(1); }, [&] { queue.get(); }));
  }
  print_figure("queue_get_goes_on_after_a_death", times);
}

TEST(QueueDelay, OfAProducerWhoseConsumerDiedBeforeItRang) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    mp::Queue<int> queue{1};
    queue.put(1);
    times.push_back(time_until_it_goes_on(
        "ring.get.unlocked", [&] { queue.get(); }, [&] { queue.put(2); }));
  }
  print_figure("queue_put_goes_on_after_a_death", times);
}

TEST(QueueDelay, OfAProducerThatWaitsForTheLockOfOneThatDies) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    test::forget_stops();
    mp::Queue<int> queue;
    mp::Queue<Clock::rep> ended;
    mp::Process victim{[&] {
      test::stop_at("ring.put.written");
      queue.put(1);
    }};
    victim.start();
    eventually([] { return test::stops_reached() == 1; });
    mp::Process sleeper{[&] {
      queue.put(2);
      ended.put(Clock::now().time_since_epoch().count());
    }};
    sleeper.start();
    eventually([&] { return test::sleeps_in_futex(*sleeper.pid()); });
    const auto begin = Clock::now().time_since_epoch().count();
    victim.kill();
    const Clock::duration time{ended.get() - begin};
    times.push_back(std::chrono::duration<double, std::milli>{time}.count());
    victim.join();
    sleeper.join();
    EXPECT_EQ(queue.get(), 2);
  }
  print_figure("queue_lock_goes_on_after_a_death", times);
}

TEST(QueueDelay, OfAJoinWhoseHolderDied) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    mp::JoinableQueue<int> tasks;
    tasks.put(1);
    times.push_back(time_until_it_goes_on(
        "ring.get.unlocked", [&] { tasks.get(); },
        [&] { EXPECT_THROW(tasks.join(), mp::LostTasks); }));
  }
  print_figure("queue_join_goes_on_after_a_death", times);
}
