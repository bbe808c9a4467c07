// SPDX-License-Identifier: BSL-1.0
// Every wait for a pool, an executor or their results ends when a stop is requested, or when its
// time is over; and options that a call has no use for are refused.
#include <multiprocessing.hpp>

#include <support/eventually.hpp>
#include <support/pool_tasks.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <exception>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::eventually;
using test::square;

namespace {

int wait_then_square(const mp::Event& go, int x) {
  test::wait_for(go);
  return square(x);
}
int count_and_wait(const mp::Value<int>& count, const mp::Event& go) {
  const int number = mp::Value<int>{count}.update([](int& all) { ++all; });
  test::wait_for(go);
  return number;
}

int stay(int /*unused*/) {
  test::wait_for_ever();
}

// Requests a stop as soon as a task runs: the wait for it may have begun or not.
class StopWhenItRuns {
 public:
  template <class Pool>
  explicit StopWhenItRuns(Pool& pool)
      : thread_{[this, &pool] {
          eventually([&] { return pool.stats().running != 0; });
          source_.request_stop();
        }} {}
  StopWhenItRuns(const StopWhenItRuns&) = delete;
  StopWhenItRuns& operator=(const StopWhenItRuns&) = delete;
  ~StopWhenItRuns() { thread_.join(); }
  [[nodiscard]] std::stop_token token() const { return source_.get_token(); }

 private:
  std::stop_source source_;
  std::thread thread_;
};

TEST(PoolStop, EndsTheWaitOfACall) {
  mp::Pool pool{1};
  mp::Event go;
  {
    const StopWhenItRuns stop{pool};
    EXPECT_THROW(pool.apply({.stop = stop.token()}, test::wait_for, go), mp::CancelledError);
  }
  go.set();  // what ran goes on to its end
  EXPECT_TRUE(eventually([&] { return pool.stats().done == 1; }));
  std::stop_source never;
  EXPECT_EQ(pool.apply({.stop = never.get_token()}, square, 3), 9);
  EXPECT_EQ(pool.map({.stop = never.get_token()}, square, std::vector{2, 3}), (std::vector{4, 9}));
}

TEST(PoolStop, OfACallTakesBackWhatHasNotBegun) {
  mp::Pool pool{1};
  const mp::Event go;
  const mp::Value<int> count{0};
  const std::vector tasks(5, std::tuple{count, go});
  {
    std::stop_source stop;
    std::thread stopper{[&] {  // the worker has left its ring, which is later than that it runs
      eventually([&] { return count.load() == 1; });
      stop.request_stop();
    }};
    EXPECT_THROW(pool.starmap({.stop = stop.get_token()}, count_and_wait, tasks, 1),
                 mp::CancelledError);
    stopper.join();
  }
  {
    std::stop_source stopped;
    stopped.request_stop();
    EXPECT_THROW(pool.map({.stop = stopped.get_token()}, square, std::vector{1, 2}, 1),
                 mp::CancelledError);
    EXPECT_THROW(pool.apply({.stop = stopped.get_token()}, square, 1), mp::CancelledError);
  }
  mp::Event{go}.set();
  pool.close();
  EXPECT_TRUE(pool.join(mp::forever));
  EXPECT_EQ(count.load(), 1);
}

// A callback of the progress could do anything there, destroy the pool as well.
TEST(PoolStop, OfAMapTellsNoProgressOfWhatItTakesBack) {
  mp::Pool pool{1};
  mp::Event go;
  const std::vector<std::tuple<mp::Event, int>> tasks(4, std::tuple{go, 2});
  std::atomic<int> told{0};
  {
    const StopWhenItRuns stop{pool};
    const mp::TaskOptions options{.progress = [&](std::size_t, std::size_t) { ++told; },
                                  .stop = stop.token()};
    EXPECT_THROW(pool.starmap(options, wait_then_square, tasks, 1), mp::CancelledError);
  }
  EXPECT_EQ(told, 0);
  go.set();
}

TEST(PoolStop, EndsTheWaitForTheNextResult) {
  mp::Pool pool{1};
  mp::Event go;
  const std::vector events{go, go};
  {
    const StopWhenItRuns stop{pool};
    auto results = pool.imap(test::wait_for, events);
    EXPECT_THROW(results.next(mp::forever, stop.token()), mp::CancelledError);
    EXPECT_THROW(results.next(0s), mp::TimeoutError);  // nothing was lost
    go.set();
    EXPECT_TRUE(results.next());
    EXPECT_TRUE(results.next());
    EXPECT_FALSE(results.next());
  }
  go.clear();
  const StopWhenItRuns stop{pool};
  std::size_t taken = 0;
  EXPECT_THROW(
      {
        for (const auto& each :
             pool.imap_unordered({.stop = stop.token()}, test::wait_for, events)) {
          static_cast<void>(each);
          ++taken;
        }
      },
      mp::CancelledError);
  EXPECT_EQ(taken, 0U);
  go.set();
}

TEST(PoolStop, EndsJoin) {
  mp::Pool pool{1};
  mp::Event go;
  const auto result = pool.apply_async(test::wait_for, go);
  EXPECT_THROW(pool.join(0s), std::invalid_argument);
  pool.close();
  EXPECT_FALSE(pool.join(0s));
  EXPECT_FALSE(pool.join(1ms));
  {
    const StopWhenItRuns stop{pool};
    EXPECT_FALSE(pool.join(mp::forever, stop.token()));
  }
  go.set();
  EXPECT_TRUE(pool.join());
  EXPECT_TRUE(result.ready());
  EXPECT_TRUE(pool.join(0s));
}

#if MULTIPROCESSING_POSIX  // not on Windows: nobody can stop a process there
TEST(PoolStop, EndsJoinAlsoWhenAllIsDoneAndAWorkerDoesNotEnd) {
  mp::Pool pool{1};
  const int pid = pool.apply(test::own_pid);
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  pool.close();
  EXPECT_FALSE(pool.join(1ms));
  std::stop_source stopped;
  stopped.request_stop();
  EXPECT_FALSE(pool.join(mp::forever, stopped.get_token()));
  ASSERT_EQ(::kill(pid, SIGCONT), 0);
  EXPECT_TRUE(pool.join());
}
#endif

TEST(ExecutorStop, EndsShutdown) {
  mp::Event go;
  mp::ProcessPoolExecutor executor{1};
  const auto running = executor.submit(test::wait_for, go);
  ASSERT_TRUE(eventually([&] { return running.running(); }));
  EXPECT_FALSE(executor.shutdown(0s));
  EXPECT_THROW(executor.submit(square, 1), std::invalid_argument);
  {
    const StopWhenItRuns stop{executor};
    EXPECT_FALSE(executor.shutdown(mp::forever, true, stop.token()));
  }
  go.set();
  EXPECT_TRUE(executor.shutdown(mp::forever));
  EXPECT_TRUE(running.done());
}

TEST(ExecutorStop, EndsTheWaitForFutures) {
  mp::Event go;
  mp::ProcessPoolExecutor executor{1};
  const std::vector futures{executor.submit(wait_then_square, go, 2)};
  {
    const StopWhenItRuns stop{executor};
    EXPECT_THROW(static_cast<void>(futures[0].exception(mp::forever, stop.token())),
                 mp::CancelledError);
    EXPECT_THROW(futures[0].result(mp::forever, stop.token()), mp::CancelledError);
    EXPECT_EQ(mp::wait(futures, mp::forever, mp::ALL_COMPLETED, stop.token()).not_done.size(), 1U);
    auto all = mp::as_completed(futures);
    EXPECT_THROW(all.next(stop.token()), mp::CancelledError);
    EXPECT_THROW(
        {
          for (const auto& each : mp::as_completed(futures, mp::forever, stop.token())) {
            static_cast<void>(each);
          }
        },
        mp::CancelledError);
    EXPECT_THROW(
        executor.map(mp::MapOptions{.task = {.stop = stop.token()}}, square, std::vector{1}).next(),
        mp::CancelledError);
    go.set();
    EXPECT_EQ(all.next().value().result(), 4);  // nothing was lost
  }
  EXPECT_EQ(futures[0].result(), 4);
}

TEST(ExecutorMap, CancelsWhatHasNotBegunWhenItsResultsAreDropped) {
  const mp::Event go;
  const mp::Value<int> count{0};
  mp::ProcessPoolExecutor executor{1};
  {
    const auto results = executor.map(count_and_wait, std::vector(5, count), std::vector(5, go));
    EXPECT_TRUE(eventually([&] { return count.load() == 1; }));
  }
  mp::Event{go}.set();
  executor.shutdown();
  EXPECT_EQ(count.load(), 1);
}

TEST(PoolImap, HasAllDoneAlsoWhenItsResultsAreDropped) {
  const mp::Event go;
  const mp::Value<int> count{0};
  mp::Pool pool{1};
  {
    const auto results = pool.imap(
        [](std::pair<mp::Value<int>, mp::Event> both) {
          return count_and_wait(both.first, both.second);
        },
        std::vector(5, std::pair{count, go}));
    EXPECT_TRUE(eventually([&] { return count.load() == 1; }));
  }
  mp::Event{go}.set();
  pool.close();
  pool.join();
  EXPECT_EQ(count.load(), 5);
}

// ---- options ----

TEST(TaskOptions, AreRefusedWhereTheyWouldDoNothing) {
  mp::Pool pool{1};
  mp::ProcessPoolExecutor executor{1};
  const std::vector numbers{1, 2};
  const std::vector tuples{std::tuple{1, 2}};
  std::stop_source source;
  const mp::TaskOptions stop{.stop = source.get_token()};
  EXPECT_THROW(pool.apply_async(stop, square, 1), std::invalid_argument);
  EXPECT_THROW(pool.map_async(stop, square, numbers), std::invalid_argument);
  EXPECT_THROW(pool.starmap_async(stop, test::product, tuples), std::invalid_argument);
  EXPECT_THROW(executor.submit(stop, square, 1), std::invalid_argument);
  const mp::TaskOptions progress{.progress = [](std::size_t, std::size_t) {}};
  EXPECT_THROW(pool.apply(progress, square, 1), std::invalid_argument);
  EXPECT_THROW(pool.apply_async(progress, square, 1), std::invalid_argument);
  EXPECT_THROW(pool.imap(progress, square, numbers), std::invalid_argument);
  EXPECT_THROW(pool.imap_unordered(progress, square, numbers), std::invalid_argument);
  EXPECT_THROW(executor.submit(progress, square, 1), std::invalid_argument);
  EXPECT_THROW(executor.map(mp::MapOptions{.task = progress}, square, numbers),
               std::invalid_argument);
  EXPECT_EQ(pool.stats().done + pool.stats().queued + pool.stats().running, 0U);
}

TEST(PoolMapAsync, TakesOptionsAndCallbacksTogether) {
  mp::Pool pool{1};
  std::atomic<int> sum{0};
  std::atomic<std::size_t> told{0};
  std::atomic<int> errors{0};
  const mp::Callbacks add{[&](const std::vector<int>& all) {
                            for (const int x : all) sum += x;
                          },
                          [&](const std::exception_ptr&) { ++errors; }};
  const mp::TaskOptions options{.progress = [&](std::size_t done, std::size_t) { told = done; }};
  pool.map_async(options, add, square, std::vector{1, 2, 3}, 1).wait();
  EXPECT_EQ(sum, 14);
  EXPECT_EQ(told, 3U);
  pool.starmap_async(options, add, test::product, std::vector{std::tuple{2, 3}}).wait();
  EXPECT_EQ(sum, 20);
  const auto late = pool.map_async({.timeout = 1ms}, add, stay, std::vector{1});
  EXPECT_THROW(late.get(), mp::TimeoutError);
  EXPECT_EQ(errors, 1);
}

TEST(PoolInAThread, IsMadeAndDestroyedThere) {
  int sum = 0;
  std::thread{[&] {
    mp::Pool pool{2};
    for (const int x : pool.map(square, std::vector{1, 2, 3})) sum += x;
    sum += pool.apply_async(square, 4).get();
  }}.join();
  EXPECT_EQ(sum, 30);
  // Its thread ends while the pool works on.
  std::unique_ptr<mp::ProcessPoolExecutor> executor;
  mp::Future<int> future;
  std::thread{[&] {
    executor = std::make_unique<mp::ProcessPoolExecutor>(1U);
    future = executor->submit(square, 5);
  }}.join();
  EXPECT_EQ(future.result(), 25);
  std::thread{[&] { executor.reset(); }}.join();
}

}  // namespace
