// SPDX-License-Identifier: BSL-1.0
// What CPython's tests pin of its locks, between processes of every start method: _TestLock,
// _TestSemaphore, _TestCondition, _TestEvent, _TestBarrier.
#include <multiprocessing.hpp>

#include <support/eventually.hpp>
#include <support/start_methods.hpp>
#include <support/threads.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <parity/in_child.hpp>

namespace mp = multiprocessing;
using in_child::expect;
using namespace std::chrono_literals;
using test::eventually;

namespace {

class Parity : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(Parity);

template <class... Arguments>
std::vector<mp::Process<>> started(int count, const Arguments&... arguments) {
  std::vector<mp::Process<>> processes;
  for (int i = 0; i < count; ++i) processes.emplace_back(arguments...);
  for (auto& process : processes) process.start();
  return processes;
}
void expect_success(std::vector<mp::Process<>>& processes) {
  for (auto& process : processes) {
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
  }
}

// ---- Lock, RLock ----

template <class AnyLock>
void hold(AnyLock lock, mp::Event held, mp::Event over) {
  const std::lock_guard guard{lock};
  held.set();
  over.wait();
}

template <class AnyLock>
void expect_seen_as_locked() {
  AnyLock lock;
  mp::Event held;
  mp::Event over;
  auto processes = started(1, hold<AnyLock>, lock, held, over);
  held.wait();
  EXPECT_TRUE(lock.locked());
  EXPECT_FALSE(lock.acquire(0s));
  over.set();
  expect_success(processes);
  EXPECT_FALSE(lock.locked());
}

TEST_P(Parity, LockedIsSeenByAnotherProcess) {
  expect_seen_as_locked<mp::Lock>();
  expect_seen_as_locked<mp::RLock>();
}

void take_three_times(mp::RLock lock) {
  for (int i = 0; i < 3; ++i) expect(lock.acquire());
  for (int i = 0; i < 3; ++i) {
    expect(lock.locked());
    lock.release();
  }
  try {
    lock.release();
    expect(false);
  } catch (const std::logic_error&) {
  }
}

TEST_P(Parity, AnRLockIsTakenThreeTimes) {
  mp::RLock lock;
  auto processes = started(1, take_three_times, lock);
  expect_success(processes);
  EXPECT_FALSE(lock.locked());
}

// ---- Semaphore ----

void take_two_of(mp::Semaphore units, mp::BoundedSemaphore bounded) {
  expect(units.acquire() && units.get_value() == 1);
  expect(units.acquire() && units.get_value() == 0);
  expect(!units.acquire(0s));
  expect(!units.acquire(10ms));
  units.release(2);
  units.release(2);
  expect(bounded.acquire() && bounded.acquire() && !bounded.acquire(0s));
  bounded.release(2);
}

TEST_P(Parity, ASemaphoreCounts) {
  mp::Semaphore units{2};
  mp::BoundedSemaphore bounded{2};
  auto processes = started(1, take_two_of, units, bounded);
  expect_success(processes);
  EXPECT_EQ(units.get_value(), 4U);
  EXPECT_EQ(bounded.get_value(), 2U);
  EXPECT_THROW(bounded.release(), std::invalid_argument);
}

// ---- Condition ----

// CPython's: says that it sleeps, and that it woke up.
void sleep_and_wake(mp::Condition condition,
                    mp::Semaphore sleeping,
                    mp::Semaphore woken,
                    int milliseconds) {
  const std::lock_guard guard{condition};
  sleeping.release();
  const bool notified = milliseconds == 0 ? condition.wait()
                                          : condition.wait(std::chrono::milliseconds{milliseconds});
  expect(notified == (milliseconds == 0));
  woken.release();
}

// All who said that they sleep, do: each has given the condition back.
void expect_asleep(mp::Condition& condition, mp::Semaphore& sleeping, int count) {
  for (int i = 0; i < count; ++i) sleeping.acquire();
  const std::lock_guard guard{condition};
}
bool eventually_woken(const mp::Semaphore& woken, unsigned count) {
  return eventually([&] { return woken.get_value() == count; });
}

TEST_P(Parity, NotifyWakesOneAfterTheOther) {
  mp::Condition condition;
  mp::Semaphore sleeping{0};
  mp::Semaphore woken{0};
  auto processes = started(1, sleep_and_wake, condition, sleeping, woken, 0);
  test::Thread thread{[&] { sleep_and_wake(condition, sleeping, woken, 0); }};
  expect_asleep(condition, sleeping, 2);
  EXPECT_EQ(woken.get_value(), 0U);
  for (const unsigned count : {1U, 2U}) {
    {
      const std::lock_guard guard{condition};
      condition.notify();
    }
    ASSERT_TRUE(eventually_woken(woken, count));
  }
  expect_success(processes);
}

TEST_P(Parity, NotifyAllWakesAllAlsoAfterOthersTimedOut) {
  mp::Condition condition;
  mp::Semaphore sleeping{0};
  mp::Semaphore woken{0};
  auto processes = started(3, sleep_and_wake, condition, sleeping, woken, 20);
  expect_success(processes);
  ASSERT_EQ(woken.get_value(), 3U);
  expect_asleep(condition, sleeping, 3);
  auto more = started(3, sleep_and_wake, condition, sleeping, woken, 0);
  {
    test::Thread first{[&] { sleep_and_wake(condition, sleeping, woken, 0); }};
    test::Thread second{[&] { sleep_and_wake(condition, sleeping, woken, 0); }};
    expect_asleep(condition, sleeping, 5);
    EXPECT_EQ(woken.get_value(), 3U);
    const std::lock_guard guard{condition};
    condition.notify_all();
  }
  expect_success(more);
  EXPECT_EQ(woken.get_value(), 8U);
}

TEST_P(Parity, NotifyOfSeveralWakesAsMany) {
  mp::Condition condition;
  mp::Semaphore sleeping{0};
  mp::Semaphore woken{0};
  auto processes = started(6, sleep_and_wake, condition, sleeping, woken, 0);
  expect_asleep(condition, sleeping, 6);
  for (const unsigned count : {2U, 4U, 3U}) {  // the last meets nobody
    const std::lock_guard guard{condition};
    condition.notify(count);
    if (count == 2) {
      condition.release();
      ASSERT_TRUE(eventually_woken(woken, 2));
      condition.acquire();
      EXPECT_EQ(woken.get_value(), 2U);
    }
  }
  expect_success(processes);
  EXPECT_EQ(woken.get_value(), 6U);
}

void wait_for_four(mp::Condition condition, mp::Value<int> state) {
  const std::lock_guard guard{condition};
  state.store(0);
  condition.notify();
  expect(condition.wait_for([&] { return state.load() == 4; }));
}

TEST_P(Parity, WaitForWaitsForThePredicate) {
  mp::Condition condition;
  mp::Value<int> state{-1};
  auto processes = started(1, wait_for_four, condition, state);
  {
    const std::lock_guard guard{condition};
    EXPECT_TRUE(condition.wait_for([&] { return state.load() == 0; }));
  }
  for (int i = 0; i < 4; ++i) {
    const std::lock_guard guard{condition};
    state.update([](int& x) { ++x; });
    condition.notify();
  }
  expect_success(processes);
}

// ---- Event ----

void set_event(mp::Event event) {
  event.set();
}

TEST_P(Parity, AnEventIsSetByAChild) {
  mp::Event event;
  EXPECT_FALSE(event.wait(0s));
  EXPECT_FALSE(event.wait(10ms));
  auto processes = started(1, set_event, event);
  EXPECT_TRUE(event.wait());
  EXPECT_TRUE(event.is_set());
  expect_success(processes);
}

// ---- Barrier ----

constexpr int parties = 5;

void pass(mp::Barrier barrier, mp::Array<int> came, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    {
      const std::lock_guard guard{came.get_lock()};
      ++came[static_cast<std::size_t>(round)];
    }
    barrier.wait();
    expect(came[static_cast<std::size_t>(round)] == parties, "somebody was left behind");
  }
}

// The last is _TestBarrier.test_thousand. Fewer on Windows: under Wine each wait and each wake-up
// is a request to one server, which all tests have together.
TEST_P(Parity, ABarrierKeepsFiveInLockstep) {
  for (const int rounds : {1, 10, MULTIPROCESSING_WINDOWS ? 200 : 1000}) {
    mp::Barrier barrier{parties};
    mp::Array<int> came(static_cast<std::size_t>(rounds));
    auto processes = started(parties - 1, pass, barrier, came, rounds);
    pass(barrier, came, rounds);
    expect_success(processes);
    EXPECT_EQ(barrier.n_waiting(), 0U);
    EXPECT_FALSE(barrier.broken());
  }
}

void note_index(mp::Barrier barrier, mp::Value<int> indexes) {
  const int bit = 1 << barrier.wait();
  indexes.update([bit](int& bits) { bits += bit; });
}

TEST_P(Parity, ABarrierNumbersItsParties) {
  mp::Barrier barrier{parties};
  mp::Value<int> indexes{0};
  auto processes = started(parties, note_index, barrier, indexes);
  expect_success(processes);
  EXPECT_EQ(indexes.load(), (1 << parties) - 1);
}

void count_up(mp::Value<int> count) {
  count.update([](int& x) { ++x; });
}
void pass_and_check(mp::Barrier barrier, mp::Value<int> count) {
  barrier.wait();
  expect(count.load() == 1, "the action comes first, and once");
}

TEST_P(Parity, ABarriersActionRunsOnce) {
  mp::Value<int> count{0};
  mp::Barrier barrier{parties, mp::Task{count_up, count}};
  auto processes = started(parties, pass_and_check, barrier, count);
  expect_success(processes);
  EXPECT_EQ(count.load(), 1);
}

// The last to come does something else instead.
void abort_or_wait(mp::Barrier barrier, mp::Value<int> number, mp::Value<int> broken, bool resets) {
  const int mine = number.update([](int& x) { ++x; });
  try {
    if (mine == parties) {
      while (barrier.n_waiting() != parties - 1) std::this_thread::yield();
      resets ? barrier.reset() : barrier.abort();
    } else {
      barrier.wait();
    }
  } catch (const mp::BrokenBarrierError&) {
    broken.update([](int& x) { ++x; });
  }
}

TEST_P(Parity, AbortAndResetBreakOffTheRound) {
  mp::Barrier barrier{parties};
  for (const bool resets : {false, true}) {
    mp::Value<int> number{0};
    mp::Value<int> broken{0};
    auto processes = started(parties, abort_or_wait, barrier, number, broken, resets);
    expect_success(processes);
    EXPECT_EQ(broken.load(), parties - 1);
    EXPECT_EQ(barrier.broken(), !resets);
    if (!resets) barrier.reset();
    mp::Value<int> indexes{0};
    auto more = started(parties, note_index, barrier, indexes);
    expect_success(more);
    EXPECT_EQ(indexes.load(), (1 << parties) - 1);
    EXPECT_FALSE(barrier.broken());
  }
}

void wait_briefly(mp::Barrier barrier, mp::Value<int> broken, bool is_late, bool by_default) {
  if (is_late) {
    while (!barrier.broken()) std::this_thread::yield();
  }
  try {
    by_default ? barrier.wait() : barrier.wait(100ms);
  } catch (const mp::BrokenBarrierError&) {
    broken.update([](int& x) { ++x; });
  }
}

TEST_P(Parity, ALatePartyFindsABrokenBarrier) {
  for (const bool by_default : {false, true}) {
    mp::Barrier barrier = by_default ? mp::Barrier{3, {}, 100ms} : mp::Barrier{3};
    mp::Value<int> broken{0};
    auto processes = started(2, wait_briefly, barrier, broken, false, by_default);
    auto late = started(1, wait_briefly, barrier, broken, true, by_default);
    expect_success(processes);
    expect_success(late);
    EXPECT_EQ(broken.load(), 3);
    EXPECT_TRUE(barrier.broken());
  }
}

}  // namespace
