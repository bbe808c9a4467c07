// SPDX-License-Identifier: BSL-1.0
// What CPython's tests pin of its Future (FutureTests), wait (WaitTests) and as_completed
// (AsCompletedTests).
#include <multiprocessing.hpp>

#include <support/eventually.hpp>
#include <support/pool_tasks.hpp>
#include <support/start_methods.hpp>
#include <support/threads.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <coroutine>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using Future = mp::Future<int>;

namespace {

Future pending() {
  return {};
}
Future running() {
  Future future;
  future.set_running_or_notify_cancel();
  return future;
}
Future cancelled() {
  Future future;
  future.cancel();
  return future;
}
Future failed() {
  Future future;
  future.set_exception(std::make_exception_ptr(std::out_of_range{"failed"}));
  return future;
}
Future successful(int value = 42) {
  Future future;
  future.set_result(value);
  return future;
}

// ---- FutureTests ----

TEST(FutureAddDoneCallback, SeesAResultAnErrorAndACancellation) {
  std::vector<std::string> seen;
  const auto look = [&](const Future& future) {
    if (future.cancelled()) {
      seen.emplace_back("cancelled");
    } else {
      seen.emplace_back(future.exception() ? "threw" : std::to_string(future.result()));
    }
  };
  Future one;
  one.add_done_callback(look);
  EXPECT_TRUE(seen.empty());
  one.set_result(5);
  Future two;
  two.add_done_callback(look);
  two.set_exception(std::make_exception_ptr(std::runtime_error{"x"}));
  Future three;
  three.add_done_callback(look);
  EXPECT_TRUE(three.cancel());
  EXPECT_EQ(seen, (std::vector<std::string>{"5", "threw", "cancelled"}));
}

TEST(FutureAddDoneCallback, IsCalledAtOnceWhenItIsDoneAlready) {
  int calls = 0;
  for (const Future& future : {successful(), failed(), cancelled()}) {
    future.add_done_callback([&](const Future&) { ++calls; });
  }
  EXPECT_EQ(calls, 3);
}

TEST(FutureAddDoneCallback, ThatThrowsIsLoggedAndTheNextIsCalled) {
  std::string logged;
  mp::set_log_sink([&](mp::LogLevel, std::string_view text) { logged += text; });
  int calls = 0;
  Future future;
  future.add_done_callback([&](const Future&) { throw std::runtime_error{"doh!"}; });
  future.add_done_callback([&](const Future&) { ++calls; });
  future.set_result(1);
  EXPECT_EQ(calls, 1);
  EXPECT_NE(logged.find("doh!"), std::string::npos);
  logged.clear();
  future.add_done_callback([&](const Future&) { throw std::runtime_error{"late"}; });
  EXPECT_NE(logged.find("late"), std::string::npos);
  mp::set_log_sink({});
  mp::set_log_level(mp::LogLevel::off);
}

TEST(FutureCancel, WorksWhileItIsPendingOnly) {
  EXPECT_TRUE(pending().cancel());
  EXPECT_TRUE(cancelled().cancel());
  EXPECT_FALSE(running().cancel());
  EXPECT_FALSE(failed().cancel());
  EXPECT_FALSE(successful().cancel());
}

TEST(FutureState, IsToldByItsQuestions) {
  EXPECT_FALSE(pending().cancelled());
  EXPECT_FALSE(running().cancelled());
  EXPECT_TRUE(cancelled().cancelled());
  EXPECT_FALSE(failed().cancelled());
  EXPECT_FALSE(successful().cancelled());

  EXPECT_FALSE(pending().done());
  EXPECT_FALSE(running().done());
  EXPECT_TRUE(cancelled().done());
  EXPECT_TRUE(failed().done());
  EXPECT_TRUE(successful().done());

  EXPECT_FALSE(pending().running());
  EXPECT_TRUE(running().running());
  EXPECT_FALSE(cancelled().running());
  EXPECT_FALSE(failed().running());
  EXPECT_FALSE(successful().running());
}

TEST(FutureResult, IsWhatTheStateSays) {
  EXPECT_THROW(pending().result(0s), mp::TimeoutError);
  EXPECT_THROW(running().result(0s), mp::TimeoutError);
  EXPECT_THROW(cancelled().result(0s), mp::CancelledError);
  EXPECT_THROW(failed().result(0s), std::out_of_range);
  EXPECT_EQ(successful().result(0s), 42);
}

TEST(FutureException, IsWhatTheStateSays) {
  EXPECT_THROW(static_cast<void>(pending().exception(0s)), mp::TimeoutError);
  EXPECT_THROW(static_cast<void>(running().exception(0s)), mp::TimeoutError);
  EXPECT_THROW(static_cast<void>(cancelled().exception(0s)), mp::CancelledError);
  EXPECT_TRUE(failed().exception(0s));
  EXPECT_FALSE(successful().exception(0s));
}

TEST(FutureResult, WakesWhenAnotherThreadSetsIt) {
  const Future future;
  std::thread thread{[&] { future.set_result(42); }};
  EXPECT_EQ(future.result(), 42);
  thread.join();
  const Future other;
  std::thread canceller{[&] { other.cancel(); }};
  EXPECT_THROW(other.result(), mp::CancelledError);
  canceller.join();
  const Future third;
  std::thread thrower{
      [&] { third.set_exception(std::make_exception_ptr(std::out_of_range{"x"})); }};
  EXPECT_TRUE(third.exception());
  thrower.join();
}

TEST(FutureResult, EndsItsWaitWhenAStopIsRequested) {
  const Future future;
  std::stop_source source;
  std::thread thread{[&] { source.request_stop(); }};
  EXPECT_THROW(future.result(mp::forever, source.get_token()), mp::CancelledError);
  thread.join();
}

TEST(FutureException, EndsItsWaitWhenAStopIsRequested) {
  const Future future;
  std::stop_source source;
  std::thread thread{[&] { source.request_stop(); }};
  EXPECT_THROW(static_cast<void>(future.exception(mp::forever, source.get_token())),
               mp::CancelledError);
  thread.join();
}

TEST(FutureSet, RefusesASecondResult) {
  const Future future = successful();
  EXPECT_THROW(future.set_result(1), mp::InvalidStateError);
  EXPECT_THROW(future.set_exception(std::make_exception_ptr(1)), mp::InvalidStateError);
  EXPECT_EQ(future.result(), 42);
  const Future other = failed();
  EXPECT_THROW(other.set_exception(std::make_exception_ptr(1)), mp::InvalidStateError);
  EXPECT_THROW(other.result(), std::out_of_range);
  EXPECT_THROW(static_cast<void>(running().set_running_or_notify_cancel() &&
                                 successful().set_running_or_notify_cancel()),
               mp::InvalidStateError);
  EXPECT_FALSE(cancelled().set_running_or_notify_cancel());
}

TEST(FutureResult, OfMoveOnlyTypesComesOnce) {
  const mp::Future<std::unique_ptr<int>> future;
  future.set_result(std::make_unique<int>(3));
  EXPECT_EQ(*future.result(), 3);
  EXPECT_THROW(future.result(), std::logic_error);
}

// ---- co_await ----

struct Detached {
  struct promise_type {
    static Detached get_return_object() { return {}; }
    static std::suspend_never initial_suspend() noexcept { return {}; }
    static std::suspend_never final_suspend() noexcept { return {}; }
    static void return_void() {}
    static void unhandled_exception() { std::terminate(); }
  };
};
Detached add(Future one, Future two, int& sum, bool& threw) {
  sum = co_await one;
  try {
    sum += co_await two;
  } catch (const std::out_of_range&) {
    threw = true;
  }
}

TEST(FutureCoAwait, ResumesWithTheResultOrTheError) {
  int sum = 0;
  bool threw = false;
  const Future one;
  const Future two;
  add(one, two, sum, threw);
  EXPECT_EQ(sum, 0);
  one.set_result(3);
  EXPECT_EQ(sum, 3);
  two.set_result(4);
  EXPECT_EQ(sum, 7);
  add(successful(1), failed(), sum, threw);
  EXPECT_EQ(sum, 1);
  EXPECT_TRUE(threw);
}

// ---- WaitTests and AsCompletedTests, of futures that threads set ----

using Futures = std::vector<Future>;

/// Which they are, not only how many.
bool same(const Futures& some, const Futures& others) {
  return std::ranges::equal(some, others, {}, &Future::core, &Future::core);
}

TEST(WaitForFutures, ReturnsEachOnceAlsoWhenItIsGivenTwice) {
  const Future future = successful();
  const auto result = mp::wait(Futures{future, future}, mp::forever, mp::ALL_COMPLETED);
  EXPECT_TRUE(same(result.done, {future}));
  EXPECT_TRUE(same(result.not_done, {}));
}

TEST(WaitForFutures, ReturnsWhenTheFirstIsDone) {
  const Future one;
  const Future two;
  std::thread thread{[&] { two.set_result(1); }};
  const auto result = mp::wait(std::list{one, two}, mp::forever, mp::FIRST_COMPLETED);
  thread.join();
  EXPECT_TRUE(same(result.done, {two}));
  EXPECT_TRUE(same(result.not_done, {one}));
  const Futures mixed{cancelled(), pending(), successful()};
  const auto at_once = mp::wait(mixed, mp::forever, mp::FIRST_COMPLETED);
  EXPECT_TRUE(same(at_once.done, {mixed[0], mixed[2]}));
  EXPECT_TRUE(same(at_once.not_done, {mixed[1]}));
}

TEST(WaitForFutures, ReturnsAtTheFirstException) {
  const Future one;
  const Future two;
  const Future three;
  std::thread thread{[&] {
    one.set_result(1);
    two.set_exception(std::make_exception_ptr(std::runtime_error{"x"}));
  }};
  const auto result = mp::wait(Futures{one, three, two}, mp::forever, mp::FIRST_EXCEPTION);
  thread.join();
  EXPECT_TRUE(same(result.done, {one, two}));
  EXPECT_TRUE(same(result.not_done, {three}));
  const Futures mixed{pending(), failed()};
  const auto at_once = mp::wait(mixed, mp::forever, mp::FIRST_EXCEPTION);
  EXPECT_TRUE(same(at_once.done, {mixed[1]}));
  EXPECT_TRUE(same(at_once.not_done, {mixed[0]}));
}

TEST(WaitForFutures, TakesNeitherASuccessNorACancellationForAnException) {
  const Futures mixed{cancelled(), successful(), pending()};
  test::expect_at_least(30ms, [&] {
    const auto result = mp::wait(mixed, 30ms, mp::FIRST_EXCEPTION);
    EXPECT_TRUE(same(result.done, {mixed[0], mixed[1]}));
    EXPECT_TRUE(same(result.not_done, {mixed[2]}));
  });
}

TEST(WaitForFutures, ReturnsWhenAllAreDoneOrTheTimeIsOver) {
  const Future one;
  std::thread thread{[&] { one.set_result(1); }};
  const Futures four{successful(), cancelled(), failed(), one};
  const auto all = mp::wait(four);
  thread.join();
  EXPECT_TRUE(same(all.done, four));
  EXPECT_TRUE(same(all.not_done, {}));
  const Futures two{pending(), successful()};
  const auto late = mp::wait(two, 10ms);
  EXPECT_TRUE(same(late.done, {two[1]}));
  EXPECT_TRUE(same(late.not_done, {two[0]}));
}

TEST(AsCompleted, GivesTheDoneOnesFirst) {
  const Future one;
  std::vector<int> order;
  std::thread thread;
  for (const Future& future : mp::as_completed(std::vector{one, successful(7)})) {
    order.push_back(future.result());
    if (!thread.joinable()) thread = std::thread{[&] { one.set_result(8); }};
  }
  thread.join();
  EXPECT_EQ(order, (std::vector{7, 8}));
}

TEST(AsCompleted, ThrowsWhenTheTimeIsOver) {
  for (const auto timeout : {0ms, 10ms}) {
    auto all = mp::as_completed(std::vector{pending(), successful(), pending(), failed()}, timeout);
    EXPECT_TRUE(all.next());
    EXPECT_TRUE(all.next());
    try {
      all.next();
      FAIL();
    } catch (const mp::TimeoutError& error) {
      EXPECT_STREQ(error.what(), "2 (of 4) futures unfinished");
    }
  }
}

TEST(AsCompleted, GivesEachOnceAndKeepsNoReference) {
  auto core = successful().core();
  const std::weak_ptr watched{core};
  auto all = mp::as_completed(std::vector{Future{core}, Future{core}});
  core.reset();
  {
    const auto future = all.next();
    EXPECT_TRUE(future);
    EXPECT_EQ(all.next(), std::nullopt);
  }
  EXPECT_TRUE(watched.expired());
}

// ---- the same of an executor's futures, whose loop the waiting thread drives ----

int square_when(const mp::Event& event, int x) {
  test::wait_for(event);
  return x * x;
}
int throw_when(const mp::Event& event) {
  test::wait_for(event);
  return test::throw_range_error(1);
}

class ExecutorFutures : public test::EveryStartMethod {
 protected:
  void TearDown() override {
    never.set();
    executor.shutdown();
    EveryStartMethod::TearDown();
  }
  /// One that is not done before the end of the test.
  Future waiting() { return executor.submit(square_when, never, 0); }

  mp::ProcessPoolExecutor executor{3U};
  mp::Event go;
  mp::Event never;
};
TEST_EVERY_START_METHOD(ExecutorFutures);

TEST_P(ExecutorFutures, AreEachReturnedOnceAlsoWhenTheyAreGivenTwice) {
  const Future future = executor.submit(test::square, 3);
  const auto result = mp::wait(std::list{future, future, future});
  EXPECT_TRUE(same(result.done, {future}));
  EXPECT_TRUE(same(result.not_done, {}));
  EXPECT_EQ(future.result(0s), 9);
}

Detached add_when_done(Future one, Future two, std::atomic<int>& sum) {
  const int first = co_await one;
  try {
    sum = first + co_await two;
  } catch (const std::range_error&) {
    sum = -first;
  }
}

TEST_P(ExecutorFutures, AreAwaitedByCoroutines) {
  std::atomic<int> sum{0};
  std::atomic<int> other{0};
  add_when_done(executor.submit(square_when, go, 3), executor.submit(test::square, 4), sum);
  add_when_done(executor.submit(test::square, 5), executor.submit(throw_when, go), other);
  EXPECT_EQ(sum, 0);
  EXPECT_EQ(other, 0);
  go.set();
  EXPECT_TRUE(
      test::eventually([&] { return sum != 0 && other != 0; }));  // nobody asks for the results
  EXPECT_EQ(sum, 25);
  EXPECT_EQ(other, -25);
}

TEST_P(ExecutorFutures, EndAWaitWhenTheFirstIsDone) {
  const Futures three{waiting(), executor.submit(square_when, go, 3), waiting()};
  std::thread thread{[&] { go.set(); }};
  const auto result = mp::wait(three, mp::forever, mp::FIRST_COMPLETED);
  thread.join();
  EXPECT_TRUE(same(result.done, {three[1]}));
  EXPECT_TRUE(same(result.not_done, {three[0], three[2]}));
  const Futures mixed{waiting(), cancelled(), successful()};
  const auto at_once = mp::wait(mixed, mp::forever, mp::FIRST_COMPLETED);
  EXPECT_TRUE(same(at_once.done, {mixed[1], mixed[2]}));
  EXPECT_TRUE(same(at_once.not_done, {mixed[0]}));
}

TEST_P(ExecutorFutures, EndAWaitAtTheFirstException) {
  const Futures three{executor.submit(test::square, 2), executor.submit(throw_when, go), waiting()};
  std::thread thread{[&] {
    three[0].result();
    go.set();
  }};
  const auto result = mp::wait(three, mp::forever, mp::FIRST_EXCEPTION);
  thread.join();
  EXPECT_TRUE(same(result.done, {three[0], three[1]}));
  EXPECT_TRUE(same(result.not_done, {three[2]}));
  EXPECT_THROW(three[1].result(0s), std::range_error);
}

TEST_P(ExecutorFutures, EndAWaitForAnExceptionNotBeforeThereIsOne) {
  const Futures five{successful(), cancelled(), executor.submit(test::square, 2),
                     executor.submit(throw_when, go), waiting()};
  five[2].result();
  test::expect_at_least(30ms, [&] {
    const auto result = mp::wait(five, 30ms, mp::FIRST_EXCEPTION);
    EXPECT_TRUE(same(result.done, {five[0], five[1], five[2]}));
    EXPECT_TRUE(same(result.not_done, {five[3], five[4]}));
  });
  go.set();
  const auto result = mp::wait(five, mp::forever, mp::FIRST_EXCEPTION);
  EXPECT_TRUE(same(result.done, {five[0], five[1], five[2], five[3]}));
  EXPECT_TRUE(same(result.not_done, {five[4]}));
}

TEST_P(ExecutorFutures, EndAWaitAtOnceWhenOneHasFailedAlready) {
  const Futures two{waiting(), executor.submit(test::throw_range_error, 1)};
  EXPECT_THROW(two[1].result(), std::range_error);
  const auto result = mp::wait(two, mp::forever, mp::FIRST_EXCEPTION);
  EXPECT_TRUE(same(result.done, {two[1]}));
  EXPECT_TRUE(same(result.not_done, {two[0]}));
}

TEST_P(ExecutorFutures, EndAWaitWhenAllAreDone) {
  const Futures all{cancelled(), executor.submit(test::throw_range_error, 1), successful(),
                    executor.submit(test::square, 2), failed()};
  const auto result = mp::wait(all, mp::forever, mp::ALL_COMPLETED);
  EXPECT_TRUE(same(result.done, all));
  EXPECT_TRUE(same(result.not_done, {}));
}

TEST_P(ExecutorFutures, EndAWaitWhenTheTimeIsOver) {
  const Futures all{waiting(), failed(), executor.submit(test::square, 2), cancelled()};
  all[2].result();
  const auto result = mp::wait(all, 10ms, mp::ALL_COMPLETED);
  EXPECT_TRUE(same(result.done, {all[1], all[2], all[3]}));
  EXPECT_TRUE(same(result.not_done, {all[0]}));
}

TEST_P(ExecutorFutures, ComeAsTheyAreCompletedThoseThatAreDoneFirst) {
  const Futures all{executor.submit(square_when, go, 2), cancelled(), failed(),
                    executor.submit(square_when, go, 3), successful()};
  Futures came;
  for (const Future& future : mp::as_completed(all)) {
    came.push_back(future);
    if (came.size() == 3) {
      EXPECT_TRUE(same(came, {all[1], all[2], all[4]}));
      go.set();
    }
  }
  ASSERT_EQ(came.size(), 5U);
  EXPECT_TRUE(same({came[3], came[4]}, {all[0], all[3]}) ||
              same({came[3], came[4]}, {all[3], all[0]}));
}

TEST_P(ExecutorFutures, ThatAreNotCompletedInTimeAreCounted) {
  for (const auto timeout : {0ms, 10ms}) {
    const Futures four{waiting(), cancelled(), executor.submit(test::square, 2), waiting()};
    four[2].result();
    auto all = mp::as_completed(four, timeout);
    EXPECT_TRUE(same({all.next().value(), all.next().value()}, {four[1], four[2]}));
    try {
      all.next();
      FAIL();
    } catch (const mp::TimeoutError& error) {
      EXPECT_STREQ(error.what(), "2 (of 4) futures unfinished");
    }
    never.set();
    mp::wait(four);
    never.clear();
  }
}

TEST_P(ExecutorFutures, ComeOnceAndAreNotKept) {
  std::optional<Future> future = executor.submit(square_when, go, 3);
  auto all = mp::as_completed(std::list{*future, *future});
  const std::weak_ptr watched{future->core()};
  future.reset();
  go.set();
  future = all.next();
  EXPECT_EQ(future.value().result(), 9);
  EXPECT_EQ(all.next(), std::nullopt);
  future.reset();
  EXPECT_TRUE(test::eventually([&] { return watched.expired(); }));  // the loop lets go of it
}

}  // namespace
