// SPDX-License-Identifier: BSL-1.0
// Every allocation of the parent fails once. What must hold: a call that throws has done nothing,
// and every task is resolved.
#include <multiprocessing.hpp>

#include <support/eventually.hpp>
#include <support/failing_new.hpp>
#include <support/pool_tasks.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <limits>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using test::eventually;
using test::left;
using test::square;
using test::too_large;

namespace {

/// @returns whether it was done: no allocation has failed.
template <class Work>
bool with_failure_at(int number, const Work& work) {
  left = number;
  try {
    work();
  } catch (const std::bad_alloc&) {
    left = -1;
    return false;
  }
  return std::exchange(left, -1) >= 0;
}

template <class Work>
void expect_all_resolved(const Work& work) {
  bool is_done = false;
  for (int number = 0; !is_done; ++number) {
    mp::Event go;
    mp::ProcessPoolExecutor executor{1};
    const auto blocking = executor.submit(test::wait_for, go);
    ASSERT_TRUE(eventually([&] { return blocking.running(); }));
    std::vector<mp::Future<int>> results;
    for (int i = 0; i < 20; ++i) results.push_back(executor.submit(square, i));
    is_done = with_failure_at(number, [&] { work(executor, results); });
    go.set();
    blocking.result();
    for (std::size_t i = 0; i < results.size(); ++i) {
      try {
        const auto root = static_cast<int>(i);
        EXPECT_EQ(results[i].result(), root * root) << number;
      } catch (const mp::CancelledError&) {
      } catch (const std::bad_alloc&) {
      }
    }
  }
}

TEST(NoMemory, LosesNoTaskOnItsWayBackFromAWorker) {
  expect_all_resolved([](auto&, auto& results) { results[7].cancel(); });
}

TEST(NoMemory, LosesNoTaskOnItsWayToAWorker) {
  expect_all_resolved([](auto& executor, auto& results) {
    results.reserve(results.size() + 20);
    for (int i = 20; i < 40; ++i) results.push_back(executor.submit(square, i));
  });
}

std::size_t length(const std::string& text) {
  return text.size();
}

TEST(NoMemory, IsLoggedWithNoLockHeld) {
  constexpr std::size_t size = 3000;
  mp::Pool pool{2};
  mp::Event one;
  mp::Event other;
  auto first = pool.apply_async(test::wait_for, one);
  auto second = pool.apply_async(test::wait_for, other);
  ASSERT_TRUE(eventually([&] { return pool.stats().running == 2; }));
  std::vector<mp::AsyncResult<std::size_t>> results;
  for (int i = 0; i < 10; ++i) {
    results.push_back(pool.apply_async(length, std::string(size, 'x')));
  }
  std::atomic<int> seen{0};
  mp::set_log_sink([&](mp::LogLevel level, std::string_view) {
    if (level != mp::LogLevel::error) return;
    static_cast<void>(pool.stats());
    ++seen;
  });
  // One worker has nothing left to do, and what the other has cannot be taken back.
  too_large = size;
  other.set();
  EXPECT_TRUE(eventually([&] { return seen > 0; }));
  too_large = std::numeric_limits<std::size_t>::max();
  one.set();
  first.get();
  second.get();
  for (auto& result : results) EXPECT_EQ(result.get(), size);
  mp::set_log_sink({});
}

TEST(NoMemory, LosesNoTaskOfAWorkerThatDies) {
  constexpr std::size_t size = 3000;
  mp::Pool pool{1};
  mp::Event never;
  const int pid = pool.apply(test::own_pid);
  auto blocking = pool.apply_async(test::wait_for, never);
  ASSERT_TRUE(eventually([&] { return pool.stats().running == 1; }));
  std::vector<mp::AsyncResult<std::size_t>> results;
  for (int i = 0; i < 10; ++i) {
    results.push_back(pool.apply_async(length, std::string(size, 'x')));
  }
  std::atomic<int> seen{0};
  mp::set_log_sink([&](mp::LogLevel level, std::string_view) {
    if (level == mp::LogLevel::error) ++seen;
  });
  too_large = size;
  test::kill_process(pid);
  EXPECT_TRUE(eventually([&] { return seen > 0; }));
  too_large = std::numeric_limits<std::size_t>::max();
  EXPECT_THROW(blocking.get(), mp::BrokenProcessPool);
  for (auto& result : results) EXPECT_EQ(result.get(), size);
  mp::set_log_sink({});
}

// All tasks of a pool that breaks are failed, also where no list of them can be made.
TEST(NoMemory, LosesNoTaskOfAnExecutorThatBreaks) {
  constexpr int many = 10'000;
  constexpr std::size_t size = std::size_t{256} << 10U;
  mp::Event never;
  mp::ProcessPoolExecutor executor{{.max_workers = 1, .breaks_when_worker_dies = true}};
  const int pid = executor.submit(test::own_pid).result();
  const auto blocking = executor.submit(test::wait_for, never);
  ASSERT_TRUE(eventually([&] { return blocking.running(); }));
  std::vector<mp::Future<int>> results;
  results.reserve(many);
  for (int i = 0; i < many; ++i) results.push_back(executor.submit(square, i));
  too_large = size;
  test::kill_process(pid);
  EXPECT_THROW(blocking.result(), mp::BrokenProcessPool);
  EXPECT_TRUE(eventually([&] { return results.front().done() && results.back().done(); }));
  too_large = std::numeric_limits<std::size_t>::max();
  for (const auto& result : results) EXPECT_THROW(result.result(), mp::BrokenProcessPool);
}

TEST(NoMemory, LosesNoTaskOfAPoolThatIsTerminated) {
  constexpr int many = 10'000;
  constexpr std::size_t size = std::size_t{256} << 10U;
  std::vector<mp::AsyncResult<int>> results;
  {
    mp::Event never;
    mp::Pool pool{1};
    const auto blocking = pool.apply_async(test::wait_for, never);
    results.reserve(many);
    for (int i = 0; i < many; ++i) results.push_back(pool.apply_async(square, i));
    too_large = size;
  }
  too_large = std::numeric_limits<std::size_t>::max();
  for (const auto& result : results) EXPECT_THROW(result.get(), mp::CancelledError);
}

TEST(NoMemory, IsNotNeededToSeeThatAFutureIsDone) {
  constexpr int many = 1000;
  const std::vector<mp::Future<int>> futures(many);
  auto all = mp::as_completed(futures, std::chrono::seconds{0});
  left = 0;
  for (const auto& future : futures) future.set_result(7);
  const bool needed_some = std::exchange(left, -1) != 0;
  EXPECT_FALSE(needed_some);
  for (int i = 0; i < many; ++i) EXPECT_EQ(all.next().value().result(), 7);
  EXPECT_FALSE(all.next());
}

TEST(NoMemory, IsNotNeededByTheSquareToCancelMany) {
  constexpr int many = 20'000;
  constexpr std::size_t enough = std::size_t{64} << 20U;
  mp::Event go;
  mp::ProcessPoolExecutor executor{1};
  mp::Event here;
  const auto busy = executor.submit(test::say_and_wait, here, go);
  here.wait();
  std::vector<mp::Future<int>> futures;
  for (int i = 0; i < many; ++i) futures.push_back(executor.submit(square, i));
  const std::size_t before = test::asked_for;
  executor.shutdown(false, true);
  EXPECT_LT(test::asked_for - before, enough);
  // The pool's own thread may be at one of them.
  for (const auto& future : futures) EXPECT_TRUE(eventually([&] { return future.cancelled(); }));
  go.set();
}

}  // namespace
