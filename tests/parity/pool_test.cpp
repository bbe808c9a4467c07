// SPDX-License-Identifier: BSL-1.0
// What CPython's tests pin of its Pool (_TestPool, _TestPoolWorkerErrors, _TestPoolWorkerLifetime,
// TestPoolNotLeakOnFailure, test_large_pool), under every start method.
#include <multiprocessing.hpp>

#include <support/eventually.hpp>
#include <support/pool_tasks.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <list>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <fcntl.h>
#if MULTIPROCESSING_POSIX
#  include <sys/resource.h>
#endif

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::square;

namespace {

std::vector<int> numbers(int count) {
  std::vector<int> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}
std::vector<int> squares(int count) {
  std::vector<int> all = numbers(count);
  for (int& x : all) x *= x;
  return all;
}
template <class Results>
auto all_of(Results&& results) {
  std::vector<int> all;
  for (const int x : results) all.push_back(x);
  return all;
}

class Pool : public test::EveryStartMethod {
 protected:
  mp::Pool pool{3};
};
TEST_EVERY_START_METHOD(Pool);
class PoolMaking : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(PoolMaking);

TEST_P(Pool, AppliesAFunction) {
  EXPECT_EQ(pool.apply(square, 5), 25);
  EXPECT_EQ(pool.apply(test::product, 5, 6), 30);
  EXPECT_EQ(pool.apply([](const std::string& text) { return text + "!"; }, "hello"), "hello!");
}

TEST_P(Pool, MapsInOrderWhateverTheChunks) {
  EXPECT_EQ(pool.map(square, numbers(10)), squares(10));
  EXPECT_EQ(pool.map(square, numbers(100), 20), squares(100));
  EXPECT_EQ(pool.map(square, std::list<int>{3, 2, 1}), (std::vector<int>{9, 4, 1}));
}

TEST_P(Pool, StarmapsTuples) {
  std::vector<std::pair<int, int>> pairs;
  for (int i = 0; i < 10; ++i) pairs.emplace_back(i, 9 - i);
  std::vector<int> expected;
  for (const auto& [x, y] : pairs) expected.push_back(x * y);
  EXPECT_EQ(pool.starmap(test::product, pairs), expected);
  EXPECT_EQ(pool.starmap_async(test::product, pairs).get(), expected);
  std::vector<std::tuple<int, int>> tuples{{2, 3}};
  EXPECT_EQ(pool.starmap(test::product, tuples), (std::vector<int>{6}));
}

TEST_P(Pool, MapsWithoutWaiting) {
  EXPECT_EQ(pool.map_async(square, numbers(1000)).get(), squares(1000));
}

TEST_P(Pool, CallsBackOnceBeforeTheResultIsReady) {
  std::vector<std::vector<int>> called;
  const auto result =
      pool.map_async(mp::Callbacks{[&](const std::vector<int>& all) { called.push_back(all); }},
                     square, numbers(10));
  result.wait();
  ASSERT_EQ(called.size(), 1U);
  EXPECT_EQ(called[0], squares(10));

  std::vector<std::string> errors;
  const auto failing =
      pool.map_async(mp::Callbacks{[&](const std::vector<int>&) { called.clear(); },
                                   [&](const std::exception_ptr& error) {
                                     try {
                                       std::rethrow_exception(error);
                                     } catch (const std::range_error& what) {
                                       errors.emplace_back(what.what());
                                     }
                                   }},
                     test::throw_range_error, numbers(1));
  failing.wait();
  EXPECT_EQ(errors, (std::vector<std::string>{"bad 0"}));
  EXPECT_EQ(called.size(), 1U);
}

TEST_P(Pool, CallsBackWithTheErrorOfATask) {
  std::vector<std::string> errors;
  const auto result = pool.apply_async(mp::Callbacks{[&](int) { errors.emplace_back("a result"); },
                                                     [&](const std::exception_ptr& error) {
                                                       try {
                                                         std::rethrow_exception(error);
                                                       } catch (const std::range_error& what) {
                                                         errors.emplace_back(what.what());
                                                       }
                                                     }},
                                       test::throw_range_error, 7);
  EXPECT_THROW(result.get(), std::range_error);
  EXPECT_EQ(errors, std::vector<std::string>{"bad 7"});
  EXPECT_FALSE(result.successful());
}

TEST_P(Pool, ThrowsAnArgumentThatCannotBeEncoded) {
  using Bad = test::Mined<test::Throws, false>;
  const auto value = [](const Bad& bad) { return bad.value; };
  EXPECT_THROW(pool.map(value, std::vector<Bad>(3)), std::length_error);
  std::optional<mp::AsyncResult<int>> result;
  EXPECT_NO_THROW(result = pool.apply_async(value, Bad{}));
  EXPECT_THROW(result->get(), std::length_error);
  std::optional<mp::AsyncResult<std::vector<int>>> results;
  EXPECT_NO_THROW(results = pool.map_async(value, std::vector<Bad>(3)));
  EXPECT_THROW(results->get(), std::length_error);
  auto one_by_one = pool.imap(test::picked, std::vector<test::Picky>{{1}, {-1}, {3}});
  EXPECT_EQ(one_by_one.next(), 1);
  EXPECT_THROW(one_by_one.next(), std::length_error);
  EXPECT_EQ(one_by_one.next(), 3);
  EXPECT_EQ(one_by_one.next(), std::nullopt);
  EXPECT_EQ(pool.map(square, numbers(3)), squares(3));
}

TEST_P(Pool, HasAnEmptyMapReadyAtOnce) {
  EXPECT_TRUE(pool.map_async(square, std::vector<int>{}, 1).ready());
  EXPECT_TRUE(pool.map(square, std::vector<int>{}).empty());
  EXPECT_TRUE(all_of(pool.imap(square, std::vector<int>{})).empty());
  EXPECT_TRUE(all_of(pool.imap_unordered(square, std::vector<int>{})).empty());
}

TEST_P(Pool, ThrowsWhatItsInputThrows) {
  EXPECT_THROW(pool.map(square, test::Faulty{0}), std::domain_error);
  EXPECT_THROW(pool.map(square, test::Faulty{5}), std::domain_error);
  EXPECT_THROW(pool.map(square, test::SizedFaulty{0}, 1), std::domain_error);
  EXPECT_THROW(pool.map(square, test::SizedFaulty{5}, 1), std::domain_error);
  EXPECT_EQ(pool.map(square, numbers(3)), squares(3));
}

TEST_P(Pool, AppliesWithoutWaiting) {
  const auto result = pool.apply_async(square, 7);
  EXPECT_EQ(result.get(), 49);
  EXPECT_EQ(result.get(), 49);
  EXPECT_TRUE(result.ready());
  EXPECT_TRUE(result.successful());
}

TEST_P(Pool, GivesNoResultInTime) {
  const auto result = pool.apply_async(test::wait_for_ever);
  EXPECT_THROW(result.get(10ms), mp::TimeoutError);
  EXPECT_FALSE(result.wait(0ms));
  EXPECT_FALSE(result.ready());
  EXPECT_THROW(static_cast<void>(result.successful()), std::invalid_argument);
  pool.terminate();
  pool.join();
  EXPECT_THROW(result.get(), mp::CancelledError);
}

TEST_P(Pool, IteratesInOrder) {
  EXPECT_EQ(all_of(pool.imap(square, numbers(10))), squares(10));
  EXPECT_EQ(all_of(pool.imap(square, numbers(1000), 100)), squares(1000));
  const auto input = numbers(3);
  auto results = pool.imap(square, input);
  EXPECT_EQ(results.next(), 0);
  EXPECT_EQ(results.next(), 1);
  EXPECT_EQ(results.next(), 4);
  EXPECT_EQ(results.next(), std::nullopt);
  EXPECT_EQ(results.next(), std::nullopt);
}

TEST_P(Pool, ReadsOnlyAsMuchOfAnInputAsItsBufferHolds) {
  int read = 0;
  auto results = pool.imap(square, test::Endless{&read}, 1, 3);
  EXPECT_EQ(read, 2);  // the third stands ready, the fourth was not asked for
  EXPECT_EQ(results.next(), 0);
  EXPECT_EQ(read, 3);
  EXPECT_EQ(results.next(), 1);
  EXPECT_EQ(read, 4);
  results.close();
  int begun = 0;
  auto chunks = pool.imap_unordered(square, test::Endless{&begun}, 5, 2);
  EXPECT_EQ(begun, 9);
  EXPECT_TRUE(chunks.next());
  EXPECT_EQ(begun, 14);
  chunks.close();
}

TEST_P(Pool, GivesNoNextResultInTimeAndMayBeAskedAgain) {
  mp::Event go;
  const auto wait = [](const mp::Event& event) {
    test::wait_for(event);
    return 1;
  };
  auto in_order = pool.imap(wait, std::vector{go});
  auto in_any_order = pool.imap_unordered(wait, std::vector{go});
  for (const auto timeout : {0ms, 10ms}) {
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_THROW(in_order.next(timeout), mp::TimeoutError);
    EXPECT_THROW(in_any_order.next(timeout), mp::TimeoutError);
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 2 * timeout);
  }
  go.set();
  EXPECT_EQ(in_order.next(100s), 1);
  EXPECT_EQ(in_any_order.next(100s), 1);
  EXPECT_EQ(in_order.next(0s), std::nullopt);
  EXPECT_EQ(in_any_order.next(0s), std::nullopt);
}

TEST_P(Pool, GivesTheResultsBeforeItsInputFailed) {
  auto first = pool.imap(square, test::Faulty{0}, 1);
  EXPECT_THROW(first.next(), std::domain_error);
  auto later = pool.imap(square, test::Faulty{3}, 1);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(later.next(), i * i);
  EXPECT_THROW(later.next(), std::domain_error);
  EXPECT_EQ(later.next(), std::nullopt);
  auto chunks = pool.imap(square, test::Faulty{7}, 2);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(chunks.next(), i * i);
  EXPECT_THROW(chunks.next(), std::domain_error);  // the whole chunk that it failed in is lost
}

TEST_P(Pool, IteratesInAnyOrder) {
  auto all = all_of(pool.imap_unordered(square, numbers(10)));
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, squares(10));
  all = all_of(pool.imap_unordered(square, numbers(1000), 100));
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, squares(1000));

  auto failing = pool.imap_unordered(square, test::Faulty{3});
  std::set<int> got;
  for (int i = 0; i < 3; ++i) got.insert(failing.next().value());
  EXPECT_EQ(got, (std::set<int>{0, 1, 4}));
  EXPECT_THROW(failing.next(), std::domain_error);
}

TEST_P(Pool, TerminatesWithTenThousandTasksWaiting) {
  const auto result =
      pool.map_async([](int) { test::wait_for_ever(); }, std::vector<int>(10'000), 1);
  pool.terminate();
  pool.join();
  EXPECT_THROW(result.get(), mp::CancelledError);
}

TEST_P(Pool, KeepsTypeAndTextOfAnExceptionAndTellsWhereItCameFrom) {
  try {
    pool.apply(test::throw_range_error, 123);
    FAIL();
  } catch (const std::range_error& error) {
    EXPECT_STREQ(error.what(), "bad 123");
    try {
      std::rethrow_if_nested(error);
      FAIL();
    } catch (const mp::RemoteError& remote) {
      EXPECT_EQ(remote.type, "std::range_error");
      EXPECT_NE(remote.traceback.find("PoolWorker-"), std::string::npos) << remote.traceback;
      EXPECT_NE(remote.traceback.find("bad 123"), std::string::npos) << remote.traceback;
    }
  }
  try {  // what the input throws is not from elsewhere
    pool.map(square, test::Faulty{1});
    FAIL();
  } catch (const std::domain_error& error) {
    EXPECT_EQ(dynamic_cast<const std::nested_exception*>(&error), nullptr);
  }
}

TEST_P(Pool, WaitsForAllTasksOfAMapThatFails) {
  mp::Queue<int> ran;
  const auto task = [](const mp::Queue<int>& queue, int number) {
    mp::Queue<int>{queue}.put(number);
    if (number % 4 == 0) throw std::runtime_error{std::string(1 << 20, 'x')};
  };
  std::vector<std::pair<mp::Queue<int>, int>> calls;
  for (int i = 0; i < 20; ++i) calls.emplace_back(ran, i);
  EXPECT_THROW(pool.starmap(task, calls, 1), std::runtime_error);
  EXPECT_EQ(ran.qsize(), 20U);
  const auto unread = pool.starmap_async(task, calls, 1);
  pool.close();
  pool.join();
  EXPECT_EQ(ran.qsize(), 40U);
  EXPECT_THROW(unread.get(0s), std::runtime_error);
}

TEST_P(Pool, ReleasesArgumentsAndResults) {
  struct Counted {
    static int alive() { return count().load(); }
    static std::atomic<int>& count() {
      static std::atomic<int> one{0};
      return one;
    }
    explicit Counted(int x = 0) : value{x} { ++count(); }
    Counted(const Counted& other) : value{other.value} { ++count(); }
    Counted& operator=(const Counted&) = default;
    ~Counted() { --count(); }
    [[nodiscard]] auto reduce() const { return mp::arguments(value); }
    int value;
  };
  const int before = Counted::alive();
  {
    const auto results =
        pool.map([](const Counted& one) { return one; }, std::vector<Counted>(10, Counted{1}));
    EXPECT_EQ(results.size(), 10U);
    EXPECT_EQ(pool.apply([](const Counted&) { return Counted::alive(); }, Counted{1}), 1);
  }
  EXPECT_EQ(Counted::alive(), before);
  pool.close();
  pool.join();
}

TEST_P(Pool, RefusesWorkWhenItIsClosedOrTerminated) {
  EXPECT_THROW(pool.join(), std::invalid_argument);
  pool.close();
  EXPECT_THROW(pool.apply(square, 1), std::invalid_argument);
  EXPECT_THROW(pool.map_async(square, numbers(3)), std::invalid_argument);
  EXPECT_THROW(all_of(pool.imap(square, numbers(3))), std::invalid_argument);
  pool.join();
  pool.terminate();
  EXPECT_THROW(pool.map_async(square, numbers(3)), std::invalid_argument);
}

TEST_P(Pool, SaysWhenAResultCannotBeEncoded) {
  using Bad = test::Mined<test::Throws, false>;
  for (int i = 0; i < 20; ++i) {
    EXPECT_THROW(pool.apply([] { return Bad{}; }), std::length_error);
  }
  EXPECT_EQ(pool.stats().restarts, 0U);
}

TEST_P(PoolMaking, NeedsAProcessAndStartsThemAll) {
  EXPECT_THROW(mp::Pool{0U}, std::invalid_argument);
  EXPECT_THROW(mp::Pool{static_cast<unsigned>(-1)}, std::invalid_argument);
  const mp::Pool pool{3};
  EXPECT_EQ(pool.stats().workers.size(), 3U);
  EXPECT_EQ(mp::active_children().size(), 3U);
  for (const auto& worker : pool.stats().workers) EXPECT_TRUE(worker.pid);
}

TEST_P(PoolMaking, IsTerminatedAtTheEndOfItsScope) {
  std::optional<mp::AsyncResult<void>> running;
  {
    mp::Pool pool{2};
    EXPECT_EQ(pool.apply(square, 3), 9);
    running = pool.apply_async(test::wait_for_ever);
  }
  EXPECT_THROW(running->get(), mp::CancelledError);
  EXPECT_TRUE(test::eventually([] { return mp::active_children().empty(); }));
}

TEST_P(PoolMaking, ReplacesWorkersAfterSomeTasks) {
  mp::Pool pool{{.processes = 3, .maxtasksperchild = 10}};
  std::set<int> before;
  for (const auto& worker : pool.stats().workers) before.insert(worker.pid.value());
  EXPECT_EQ(before.size(), 3U);
  const auto task = [](int x) { return std::pair{test::own_pid(), x * x}; };
  std::vector<mp::AsyncResult<std::pair<int, int>>> results;
  for (int i = 0; i < 100; ++i) results.push_back(pool.apply_async(task, i));
  std::map<int, int> tasks;
  for (int i = 0; i < 100; ++i) {
    const auto [pid, result] = results[static_cast<std::size_t>(i)].get();
    EXPECT_EQ(result, i * i);
    ++tasks[pid];
  }
  for (const auto& [pid, count] : tasks) EXPECT_LE(count, 10) << pid;
  // All but those that gave some of theirs to one that had nothing to do end with their tenth.
  EXPECT_LE(tasks.size(), 20U);
  test::eventually([&] {
    pool.map(square, numbers(30), 1);
    const auto now = pool.stats().workers;
    return std::ranges::none_of(
        now, [&](const auto& worker) { return !worker.pid || before.contains(*worker.pid); });
  });
}

TEST_P(PoolMaking, KeepsItsWorkersWithoutALimitOfTasks) {
  mp::Pool pool{{.processes = 1, .maxtasksperchild = 0}};
  const int pid = pool.stats().workers[0].pid.value();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(pool.apply(test::own_pid), pid);
}

TEST_P(PoolMaking, FinishesWhenItIsClosedEarly) {
  mp::Pool pool{{.processes = 3, .maxtasksperchild = 1}};
  std::vector<mp::AsyncResult<int>> results;
  for (int i = 0; i < 6; ++i) {
    results.push_back(pool.apply_async(
        [](int x) {
          std::this_thread::sleep_for(30ms);
          return x * x;
        },
        i));
  }
  pool.close();
  pool.join();
  for (int i = 0; i < 6; ++i) EXPECT_EQ(results[static_cast<std::size_t>(i)].get(0s), i * i);
}

TEST_P(PoolMaking, RunsTheInitializerAlsoWithoutATask) {
  mp::Queue<int> queue;
  const mp::Pool pool{
      {.processes = 2,
       .initializer = mp::Task{[](mp::Queue<int> to, int number) { to.put(number); }, queue, 9}}};
  EXPECT_EQ(queue.get(), 9);
  EXPECT_EQ(queue.get(), 9);
}

TEST_P(PoolMaking, BreaksWhenTheInitializerThrows) {
  mp::Pool pool{{.processes = 2, .initializer = mp::Task{[] { throw std::range_error{"no"}; }}}};
  try {
    pool.apply(square, 1);
    FAIL();
  } catch (const mp::BrokenProcessPool& error) {
    EXPECT_NE(std::string{error.what()}.find("no"), std::string::npos) << error.what();
  }
  EXPECT_THROW(pool.apply(square, 1), mp::BrokenProcessPool);
}

TEST_P(PoolMaking, WorksInAProcessAlsoInADaemonAndInAPool) {
  for (const bool daemon : {false, true}) {
    mp::Queue<int> queue;
    mp::Process process(
        {.daemon = daemon},
        [](mp::Queue<int> to) {
          mp::Pool inner{2};
          to.put(inner.apply(square, 4));
        },
        queue);
    process.start();
    EXPECT_EQ(queue.get(), 16);
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
  }
  mp::Pool outer{2};
  EXPECT_EQ(outer.apply([] {
    mp::Pool inner{2};
    return inner.apply(square, 5);
  }),
            25);
}

TEST_P(PoolMaking, HasManyWorkers) {
  const unsigned many = forks() ? 200 : 70;  // Windows waits for 64 handles at once
  mp::Pool pool{many};
  EXPECT_EQ(pool.map(square, numbers(1000)), squares(1000));
  EXPECT_EQ(mp::active_children().size(), many);
  std::vector<mp::AsyncResult<void>> results;
  for (unsigned i = 0; i < many; ++i) results.push_back(pool.apply_async(test::wait_for_ever));
  test::eventually([&] { return pool.stats().running == many; });
  test::kill_process(*pool.stats().workers.back().pid);
  const auto has_failed = [](const auto& result) { return result.ready(); };
  test::eventually([&] { return std::ranges::any_of(results, has_failed); });
  EXPECT_THROW(std::ranges::find_if(results, has_failed)->get(), mp::BrokenProcessPool);
  EXPECT_EQ(std::ranges::count_if(results, has_failed), 1);
}

#if MULTIPROCESSING_POSIX  // not on Windows: limits of resources
TEST_P(PoolMaking, LeavesNoWorkerWhenOneCannotBeStarted) {
  if (GetParam() == mp::StartMethod::forkserver) {  // the server itself is there
    mp::Process process{[] {}};
    process.start();
    process.join();
  }
  static int started;
  mp::set_log_sink([](mp::LogLevel, std::string_view text) {
    if (text.starts_with("started process ")) ++started;
  });
  mp::set_log_level(mp::LogLevel::debug);
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  int used = 0;
  for (int fd = 0; fd < 1024; ++fd) used += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  // Each worker takes some descriptors: a pool fails before its first one, or after some of them.
  std::set<int> numbers_started;
  for (int spare = 3;; spare += 3) {
    started = 0;
    rlimit limit = before;
    limit.rlim_cur = static_cast<rlim_t>(used + spare);
    ::setrlimit(RLIMIT_NOFILE, &limit);
    bool is_made = true;
    try {
      const mp::Pool pool{8};
    } catch (const std::system_error&) {
      is_made = false;
    }
    ::setrlimit(RLIMIT_NOFILE, &before);
    EXPECT_TRUE(test::eventually([] { return mp::active_children().empty(); }));
    numbers_started.insert(started);
    if (is_made) break;
  }
  mp::set_log_sink({});
  mp::set_log_level(mp::LogLevel::off);
  EXPECT_TRUE(std::ranges::any_of(numbers_started, [](int each) { return each > 0 && each < 8; }));
}
#endif

}  // namespace
