// SPDX-License-Identifier: BSL-1.0
// What a pool is and does beyond Python's: deaths, limits, what a task may be, how exceptions come
// home, whichever way its workers were started.
#include <multiprocessing.hpp>

#include <support/codes.hpp>
#include <support/eventually.hpp>
#if MULTIPROCESSING_POSIX
#  include <support/forked.hpp>
#  include <support/line.hpp>
#endif
#include <support/pool_tasks.hpp>
#include <support/start_methods.hpp>
#include <support/threads.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <new>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if MULTIPROCESSING_POSIX
#  include <fcntl.h>
#  include <pthread.h>
#  include <unistd.h>
#endif

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::eventually;
using test::square;

namespace {

int left_by_parent = 0;  // what only a forked worker finds

class PoolOf : public test::EveryStartMethod {
 protected:
  const int mark_ = left_by_parent = 7;
  mp::Pool pool{2};
};
TEST_EVERY_START_METHOD(PoolOf);

TEST_P(PoolOf, HasWorkersOfTheStartMethodThatWasSet) {
  EXPECT_EQ(pool.apply([] { return left_by_parent; }), forks() ? mark_ : 0);
}

std::string text_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& what) {
    return what.what();
  } catch (...) {
    return {};
  }
}
template <class Work>
std::string text_thrown_by(const Work& work) {
  try {
    work();
  } catch (...) {
    return text_of(std::current_exception());
  }
  return {};
}

// As a debugger would, where there is such a thing.
void stop_itself() {
#if MULTIPROCESSING_POSIX
  ::raise(SIGSTOP);
#else
  test::wait_for_ever();
#endif
}

// ---- what a task may be ----

struct Point {
  int x = 0;
  int y = 0;
  [[nodiscard]] int scaled(int by) const { return by * (x + y); }
};
struct Adder {
  std::vector<int> to;
  int operator()(int x) const { return std::accumulate(to.begin(), to.end(), x); }
};

TEST_P(PoolOf, RunsFunctionsMembersLambdasAndFunctionObjects) {
  EXPECT_EQ(pool.apply(square, 3), 9);
  EXPECT_EQ(pool.apply(&square, 4), 16);
  EXPECT_EQ(pool.apply(&Point::scaled, Point{1, 2}, 10), 30);
  EXPECT_EQ(pool.apply([](int x) { return x + 1; }, 3), 4);
  EXPECT_EQ(pool.apply(Adder{{1, 2, 3}}, 4), 10);
  EXPECT_EQ(pool.map(Adder{{1}}, std::vector{1, 2}), (std::vector{2, 3}));
  const double factor = 2.5;
  EXPECT_EQ(
      pool.map(mp::by_value([factor](double x) { return factor * x; }), std::vector{2.0, 4.0}),
      (std::vector{5.0, 10.0}));
  int sum = 0;
  for (const int x : {1, 2}) sum += pool.apply(mp::by_value([x](int y) { return x * y; }), 10);
  EXPECT_EQ(sum, 30);
  EXPECT_THROW(pool.apply(static_cast<int (*)(int)>(nullptr), 1), std::invalid_argument);
}

TEST_P(PoolOf, TellsFunctionsOfOneTypeApart) {
  const auto twice = static_cast<int (*)(int)>([](int x) { return 2 * x; });
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(pool.apply(square, 5), 25);
    EXPECT_EQ(pool.apply(twice, 5), 10);
  }
}

TEST_P(PoolOf, TakesAndGivesWhateverCanTravel) {
  using Table = std::map<std::string, std::optional<std::vector<double>>>;
  const Table table{{"a", {{1.5}}}, {"b", {}}};
  EXPECT_EQ(pool.apply([](Table given) { return given; }, table), table);
  EXPECT_EQ(*pool.apply([](std::unique_ptr<int> x) { return x; }, std::make_unique<int>(5)), 5);
  const std::vector<bool> bits{true, false, true};
  EXPECT_EQ(pool.map([](bool bit) { return !bit; }, bits), (std::vector<bool>{false, true, false}));
  EXPECT_EQ(pool.apply([](const std::string& text) { return text; }, "literal"), "literal");
  const std::vector<char> large(5U << 20U, 'x');
  EXPECT_EQ(pool.apply([](std::vector<char> all) { return all; }, large), large);
  pool.apply([] {});
  pool.map([](int) {}, std::vector{1, 2, 3});
  EXPECT_EQ(pool.apply([] { return std::vector<int>{}; }).size(), 0U);
}

TEST_P(PoolOf, CarriesQueuesAndConnectionsBothWays) {
  mp::Queue<int> queue;
  auto [here, there] = mp::Pipe();
  std::vector<mp::AsyncResult<mp::Queue<int>>> results;
  for (int i = 0; i < 20; ++i) {
    results.push_back(pool.apply_async(
        [](mp::Queue<int> to, mp::Connection end, int number) {
          to.put(number);
          end.send(number);
          return to;
        },
        queue, there, i));
  }
  int sum = 0;
  for (auto& result : results) sum += result.get().get();
  EXPECT_EQ(sum, 190);
  for (int i = 0; i < 20; ++i) sum -= here.recv<int>();
  EXPECT_EQ(sum, 0);
  auto fresh = pool.apply([] {
    mp::Queue<std::string> made;
    made.put("from a worker");
    return made;
  });
  EXPECT_EQ(fresh.get(), "from a worker");
}

// ---- exceptions ----

struct OwnError : mp::SendableError<OwnError> {
  OwnError(const std::string& text, int at) : SendableError{text}, line{at} {}
  [[nodiscard]] auto reduce() const { return mp::arguments(std::string{what()}, line); }
  int line;
};
struct UnknownError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class Error, class... A>
bool comes_home(mp::Pool& pool, const std::string& text, A... arguments) {
  try {
    pool.apply([](A... each) { throw Error(each...); }, arguments...);
  } catch (const Error& error) {
    EXPECT_EQ(error.what(), text);
    return true;
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
  return false;
}

TEST_P(PoolOf, BringsStandardExceptionsHomeAsThemselves) {
  const std::string text = "text";
  EXPECT_TRUE(comes_home<std::runtime_error>(pool, text, text));
  EXPECT_TRUE(comes_home<std::invalid_argument>(pool, text, text));
  EXPECT_TRUE(comes_home<std::underflow_error>(pool, text, text));
  EXPECT_TRUE(comes_home<mp::EOFError>(pool, text, text));
  EXPECT_TRUE(comes_home<mp::Empty>(pool, text, text));
  EXPECT_TRUE(comes_home<std::bad_alloc>(pool, std::bad_alloc{}.what()));
  EXPECT_TRUE(comes_home<std::bad_optional_access>(pool, std::bad_optional_access{}.what()));
  try {
    pool.apply([] { throw std::system_error{ENOENT, std::generic_category(), "opening"}; });
    ADD_FAILURE();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
    EXPECT_STREQ(error.what(), "opening: No such file or directory");
  }
  const auto fail_to_copy = [] { std::filesystem::copy("/no/such/file", "/no/such/folder"); };
  try {
    pool.apply(fail_to_copy);
    ADD_FAILURE();
  } catch (const std::filesystem::filesystem_error& error) {
    EXPECT_EQ(error.what(), text_thrown_by(fail_to_copy));
    EXPECT_EQ(error.path1(), "/no/such/file");
  }
  try {
    pool.apply([] { throw mp::BufferTooShort{std::vector<std::byte>(3)}; });
    ADD_FAILURE();
  } catch (const mp::BufferTooShort& error) {
    EXPECT_EQ(error.message.size(), 3U);
  }
  try {
    pool.apply([] { throw mp::SystemExit{"goodbye"}; });
    ADD_FAILURE();
  } catch (const mp::SystemExit& end) {
    EXPECT_EQ(end.text(), "goodbye");
  }
}

TEST_P(PoolOf, BringsAProgramsOwnExceptionHomeAsItself) {
  try {
    pool.apply([] { throw OwnError{"syntax", 7}; });
    ADD_FAILURE();
  } catch (const OwnError& error) {
    EXPECT_STREQ(error.what(), "syntax");
    EXPECT_EQ(error.line, 7);
  }
}

TEST_P(PoolOf, BringsAnythingElseHomeInWords) {
  const auto words = [&](auto thrower) {
    try {
      pool.apply(thrower);
    } catch (const mp::RemoteError& error) {
      return error.type + ": " + error.what();
    }
    return std::string{"nothing"};
  };
  EXPECT_EQ(words([] { throw 42; }), "int: 42");
  EXPECT_EQ(words([] { throw "text"; }), "char const*: text");
  EXPECT_NE(words([] { throw UnknownError{"known text"}; }).find("UnknownError: known text"),
            std::string::npos);
  EXPECT_NE(words([] { throw Point{}; }).find("Point"), std::string::npos);
}

TEST_P(PoolOf, BringsNestedExceptionsHome) {
  try {
    pool.apply([] {
      try {
        try {
          throw OwnError{"innermost", 1};
        } catch (...) {
          std::throw_with_nested(std::out_of_range{"inner"});
        }
      } catch (...) {
        std::throw_with_nested(std::runtime_error{"outer"});
      }
    });
    FAIL();
  } catch (const std::runtime_error& outer) {
    EXPECT_STREQ(outer.what(), "outer");
    try {
      std::rethrow_if_nested(outer);
      FAIL();
    } catch (const std::out_of_range& inner) {
      EXPECT_STREQ(inner.what(), "inner");
      try {
        std::rethrow_if_nested(inner);
        FAIL();
      } catch (const OwnError& innermost) {
        EXPECT_EQ(innermost.line, 1);
        try {
          std::rethrow_if_nested(innermost);
          FAIL();
        } catch (const mp::RemoteError& remote) {
          EXPECT_NE(remote.traceback.find("because of"), std::string::npos) << remote.traceback;
        }
      }
    }
  }
}

// ---- deaths ----

TEST_P(PoolOf, FailsExactlyTheTaskWhoseWorkerDied) {
  std::vector<mp::AsyncResult<int>> results;
  for (int i = 0; i < 60; ++i) {
    results.push_back(i % 20 == 7 ? pool.apply_async(test::kill_itself, i)
                                  : pool.apply_async(square, i));
  }
  for (int i = 0; i < 60; ++i) {
    const auto& result = results[static_cast<std::size_t>(i)];
    if (i % 20 == 7) {
      EXPECT_THROW(result.get(), mp::BrokenProcessPool);
    } else {
      EXPECT_EQ(result.get(), i * i);
    }
  }
  EXPECT_TRUE(eventually([&] { return pool.stats().failed + pool.stats().done == 60; }));
  EXPECT_EQ(pool.stats().failed, 3U);
}

TEST_P(PoolOf, NamesProcessSignalAndTask) {
  const auto result = pool.apply_async(test::wait_for_ever);
  eventually([&] { return pool.stats().running == 1; });
  // Whichever does not answer is the one.
  std::set<int> pids;
  for (const auto& worker : pool.stats().workers) pids.insert(*worker.pid);
  pids.erase(pool.apply(test::own_pid));
  const int victim = *pids.begin();
  test::kill_process(victim);
  const std::string text = text_thrown_by([&] { result.get(); });
  EXPECT_NE(text.find("pid " + std::to_string(victim)), std::string::npos) << text;
  EXPECT_NE(text.find(test::killed_name), std::string::npos) << text;
  EXPECT_NE(text.find("void (*)()"), std::string::npos) << text;
}

TEST_P(PoolOf, SurvivesTheDeathOfIdleWorkers) {
  for (int round = 0; round < 5; ++round) {
    for (const auto& worker : pool.stats().workers) {
      if (worker.pid) test::kill_process(*worker.pid);
    }
    EXPECT_EQ(pool.map(square, std::vector{1, 2, 3}), (std::vector{1, 4, 9}));
  }
}

TEST_P(PoolOf, TriesATaskAgainIfItIsToldTo) {
  mp::Queue<int> tries;
  const auto die_twice = [](mp::Queue<int> queue) {
    queue.put(test::own_pid());
    if (queue.qsize() < 3) test::kill_itself(0);
    return queue.qsize();
  };
  EXPECT_EQ(pool.apply({.retries = 2}, die_twice, tries), 3U);
  EXPECT_EQ(pool.apply({.retries = 1}, square, 3), 9);
  EXPECT_THROW(pool.apply({.retries = 2}, test::kill_itself, 1), mp::BrokenProcessPool);
}

#if MULTIPROCESSING_POSIX  // not on Windows: the end of a main thread is no exception there
TEST_P(PoolOf, ReportsAThreadExitAsADeath) {
  EXPECT_THROW(pool.apply([] { ::pthread_exit(nullptr); }), mp::BrokenProcessPool);
  EXPECT_EQ(pool.apply(square, 3), 9);
}
#endif

// ---- limits ----

TEST_P(PoolOf, EndsATaskThatRunsTooLong) {
  const auto slow = pool.apply_async({.timeout = 50ms}, test::wait_for_ever);
  const auto others = pool.map_async(square, std::vector<int>(100, 2));
  EXPECT_THROW(slow.get(), mp::TimeoutError);
  EXPECT_EQ(others.get(), std::vector<int>(100, 4));
  EXPECT_EQ(pool.apply({.timeout = 1h}, square, 3), 9);
}

TEST_P(PoolOf, EndsATaskThatIgnoresToBeTerminated) {
  EXPECT_THROW(pool.apply({.timeout = 1ms},
                          [] {
                            std::signal(SIGTERM, SIG_IGN);
                            test::wait_for_ever();
                          }),
               mp::TimeoutError);
}

#if MULTIPROCESSING_POSIX  // not on Windows: tasks' memory cannot be limited, as the next test says
#  if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they end the process then
TEST_P(PoolOf, RefusesATaskMoreMemoryThanItMayHave) {
  const auto allocate = [](std::size_t size) {
    const std::vector<char> all(size, 'x');
    return all.size();
  };
  const std::size_t large = 64U << 20U;
  EXPECT_THROW(pool.apply({.max_memory = 16U << 20U}, allocate, large), std::bad_alloc);
  EXPECT_EQ(pool.apply({.max_memory = 128U << 20U}, allocate, large), large);
  EXPECT_EQ(pool.apply(allocate, large), large);
}
#  endif
#endif

#if MULTIPROCESSING_WINDOWS
TEST_P(PoolOf, SaysThatItCannotLimitTheMemoryOfATask) {
  const mp::TaskOptions limited{.max_memory = 16U << 20U};
  const auto twice = [](int x) { return 2 * x; };
  EXPECT_THROW(pool.apply(limited, twice, 1), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(pool.apply_async(limited, twice, 1)), std::invalid_argument);
  EXPECT_THROW(pool.map(limited, twice, std::vector{1, 2}), std::invalid_argument);
  EXPECT_EQ(pool.map(twice, std::vector{1, 2}), (std::vector{2, 4}));
}
#endif

TEST_P(PoolOf, TerminatesWhateverItsWorkersDo) {
  for (int i = 0; i < 2; ++i) {
    pool.apply_async([] {
      std::signal(SIGTERM, SIG_IGN);
      stop_itself();
    });
  }
  eventually([&] { return pool.stats().running == 2; });
  pool.terminate();
  EXPECT_TRUE(eventually([] { return mp::active_children().empty(); }));
}

// ---- less usual ways ----

TEST_P(PoolOf, GoesOnWhenAWorkerThatWasToEndIsKilled) {
  mp::ProcessPoolExecutor executor{{.max_workers = 1, .max_tasks_per_child = 1}};
  const auto killed = executor.submit(test::wait_for_ever);
  eventually([&] { return killed.running(); });
  EXPECT_TRUE(killed.kill());
  EXPECT_THROW(killed.result(), mp::CancelledError);
  EXPECT_TRUE(killed.cancelled());
  EXPECT_EQ(executor.submit(square, 3).result(), 9);
}

TEST_P(PoolOf, TakesTasksWithHandlesBackAnyNumberOfTimes) {
  mp::ProcessPoolExecutor executor{1U};
  mp::Event go;
  mp::Event here;
  mp::Queue<int> queue;
  const auto put = [](mp::Queue<int> to, int x, const std::string&) {
    to.put(x);
    return x;
  };
  const auto first = executor.submit(test::say_and_wait, here, go);
  here.wait();
  const std::string text(2000, 'x');
  int cancelled = 0;
  for (int i = 0; i < 1000; ++i) {
    if (executor.submit(put, queue, i, text).cancel()) ++cancelled;
  }
  EXPECT_GT(cancelled, 990);
  std::vector<mp::Future<int>> futures;
  for (int i = 0; i < 100; ++i) futures.push_back(executor.submit(put, queue, i, text));
  for (std::size_t i = 0; i < futures.size(); i += 2) {
    if (futures[i].cancel()) ++cancelled;
  }
  go.set();
  for (std::size_t i = 1; i < futures.size(); i += 2) {
    EXPECT_EQ(futures[i].result(), static_cast<int>(i));
  }
  executor.shutdown();
  EXPECT_EQ(queue.qsize(), static_cast<std::size_t>(1100 - cancelled));  // each ran or did not
}

TEST_P(PoolOf, TakesTasksWithHandlesAlsoWhenItsWorkersHaveJustDied) {
  mp::Queue<int> queue;
  for (int round = 0; round < 3; ++round) {
    for (const auto& worker : pool.stats().workers) {
      if (worker.pid) test::kill_process(*worker.pid);
    }
    eventually([] {
      const auto active = mp::active_children();
      return std::ranges::all_of(active,
                                 [](const auto& child) { return child.name() == "fork server"; });
    });
    EXPECT_EQ(pool.apply([](const mp::Queue<int>&) { return 7; }, queue), 7);
  }
}

TEST_P(PoolOf, RefusesToIterateWhenItIsTerminated) {
  pool.terminate();
  for (int i = 0; i < 3; ++i) {
    EXPECT_THROW(pool.imap(square, std::vector{1, 2}), std::invalid_argument);
    EXPECT_THROW(pool.apply_async(square, 1), std::invalid_argument);
  }
}

TEST_P(PoolOf, TerminatesAlsoWhenCallbacksWaitForEachOther) {
  std::vector<mp::AsyncResult<void>> results;
  std::atomic<int> called{0};
  for (int i = 0; i < 10; ++i) {
    results.push_back(pool.apply_async(mp::Callbacks{[] {},
                                                     [&](const std::exception_ptr&) {
                                                       ++called;
                                                       for (const auto& each : results) {
                                                         if (&each != &results.front())
                                                           each.wait(1ms);
                                                       }
                                                     }},
                                       test::wait_for_ever));
  }
  pool.terminate();
  EXPECT_TRUE(eventually([&] { return called == 10; }));
}

TEST_P(PoolOf, ReportsNoProgressOfAMapWhoseInputThrew) {
  for (int round = 0; round < 5; ++round) {
    bool has_gone = false;
    EXPECT_THROW(pool.map({.progress = [&](std::size_t, std::size_t) { EXPECT_FALSE(has_gone); }},
                          square, test::Faulty{50}, 1),
                 std::domain_error);
    has_gone = true;
    EXPECT_EQ(pool.apply(square, 2), 4);
  }
}

TEST_P(PoolOf, SaysWhenAResultHasTooManyHandles) {
  const auto make = [](int count) {
    std::vector<mp::Queue<int>> queues;
    for (int i = 0; i < count; ++i) queues.emplace_back();
    return queues;
  };
  EXPECT_ANY_THROW(pool.apply(make, 300));
  EXPECT_EQ(pool.apply(make, 3).size(), 3U);
  EXPECT_EQ(pool.stats().restarts, 0U);
}

// ---- use ----

TEST_P(PoolOf, LetsCallbacksUseIt) {
  std::vector<int> got;
  mp::AsyncResult<int> second = pool.apply_async(square, 0);
  const auto first = pool.apply_async(mp::Callbacks{[&](int result) {
                                        got.push_back(result);
                                        got.push_back(pool.apply(square, result));
                                        second = pool.apply_async(square, 9);
                                      }},
                                      square, 2);
  EXPECT_EQ(first.get(), 4);
  EXPECT_EQ(got, (std::vector{4, 16}));
  EXPECT_EQ(second.get(), 81);
}

TEST_P(PoolOf, MakesWhatACallbackThrowsTheError) {
  const auto result =
      pool.apply_async(mp::Callbacks{[](int) { throw std::domain_error{"callback"}; }}, square, 2);
  EXPECT_THROW(result.get(), std::domain_error);
  EXPECT_EQ(pool.apply(square, 2), 4);
}

TEST_P(PoolOf, TellsAProgressThatEndsWithAll) {
  std::vector<std::pair<std::size_t, std::size_t>> told;
  pool.map(
      {.progress = [&](std::size_t done, std::size_t total) { told.emplace_back(done, total); }},
      square, std::vector<int>(20), 3);
  ASSERT_EQ(told.size(), 7U);
  EXPECT_EQ(told.back(), (std::pair<std::size_t, std::size_t>{20, 20}));
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
}

TEST_P(PoolOf, ServesManyThreads) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 30; ++i) {
        if (pool.apply(square, i + t) != (i + t) * (i + t)) ++wrong;
        if (pool.apply_async(square, i).get() != i * i) ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_P(PoolOf, WakesAThreadWhoseResultAnotherOneHasReceived) {
  const mp::Event end;
  test::Thread driver{[&] { pool.apply(test::wait_for, end); }};  // which waits, and drives
  eventually([&] { return driver.sleeps() && pool.stats().running == 1; });
  EXPECT_EQ(pool.apply(square, 3), 9);
  mp::Event{end}.set();
  driver.join();
}

TEST_P(PoolOf, ResolvesWhatNobodyWaitsFor) {
  for (int i = 0; i < 30; ++i) {  // in some of them its own thread has gone to sleep
    const auto result = pool.apply_async(square, i);
    eventually([&] { return result.ready(); });
    EXPECT_EQ(result.get(), i * i);
  }
}

TEST_P(PoolOf, HoldsResultsThatNobodyReads) {
  for (int i = 0; i < 1000; ++i) pool.apply_async([] { return std::string(1000, 'x'); });
  eventually([&] { return pool.stats().done == 1000; });
  EXPECT_EQ(pool.apply(square, 3), 9);
}

TEST_P(PoolOf, EndsAWaitWhenAStopIsRequested) {
  const auto result = pool.apply_async(test::wait_for_ever);
  std::stop_source source;
  std::thread thread{[&] { source.request_stop(); }};
  EXPECT_THROW(result.get(mp::forever, source.get_token()), mp::CancelledError);
  EXPECT_FALSE(result.wait(mp::forever, source.get_token()));
  thread.join();
}

TEST_P(PoolOf, ResultsOutliveIt) {
  std::optional<mp::Pool> other{std::in_place, 1U};
  const auto done = other->apply_async(square, 2);
  done.wait();
  const auto open = other->apply_async(test::wait_for_ever);
  other.reset();
  EXPECT_EQ(done.get(), 4);
  EXPECT_THROW(open.get(), mp::CancelledError);
}

TEST_P(PoolOf, WritesATimelineThatIsWhole) {
  {
    mp::Pool traced{{.processes = 2, .trace = "run.json"}};
    traced.map(square, std::vector<int>(10), 2);
    EXPECT_THROW(traced.apply(test::throw_range_error, 1), std::range_error);
    traced.close();
    traced.join();
  }
  const std::string text = [] {
    std::ifstream file{"run.json"};
    return std::string{std::istreambuf_iterator<char>{file}, {}};
  }();
#if MULTIPROCESSING_POSIX  // not on Windows: there is no Python
  const char* const parse = R"(python3 -c '
import json
events = json.load(open("run.json"))
tasks = [each for each in events if each["ph"] == "X"]
names = [each for each in events if each["ph"] == "M"]
assert len(tasks) == 6 and len(names) == 2 and len(events) == 8, events
assert all(each["ts"] > 0 and each["dur"] >= 0 and each["name"] for each in tasks), tasks
assert {each["pid"] for each in tasks} <= {each["pid"] for each in names}, events
')";
  EXPECT_EQ(std::system(parse), 0) << text;
#endif
  std::filesystem::remove("run.json");
  EXPECT_EQ(text.front(), '[');
  EXPECT_EQ(text.substr(text.size() - 2), "]\n");
  const auto count = [&](std::string_view what) {
    int found = 0;
    for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
    return found;
  };
  EXPECT_EQ(count("\"ph\":\"X\""), 6);
  EXPECT_EQ(count("\"outcome\":\"threw\""), 1);
  EXPECT_EQ(count("process_name"), 2);
}

TEST_P(PoolOf, CountsWhatItDid) {
  pool.map(square, std::vector<int>(8), 1);
  const auto stats = pool.stats();
  EXPECT_EQ(stats.done, 8U);
  EXPECT_EQ(stats.queued + stats.running, 0U);
  std::size_t done = 0;
  for (const auto& worker : stats.workers) done += worker.done;
  EXPECT_EQ(done, 8U);
}

TEST_P(PoolOf, BreaksWhenWorkersDieBeforeTheyBegin) {
  mp::Pool other{{.processes = 2, .initializer = mp::Task{[] { test::kill_itself(0); }}}};
  EXPECT_THROW(other.apply(square, 1), mp::BrokenProcessPool);
}

#if MULTIPROCESSING_POSIX  // not on Windows: signals
TEST_P(PoolOf, LeavesCtrlCToItsParent) {
  const auto result = pool.apply_async([] {
    ::kill(::getpid(), SIGINT);
    return 5;
  });
  EXPECT_EQ(result.get(), 5);
}

TEST_P(PoolOf, EndsWithItsParentAtCtrlCAndNobodyPrintsOrStays) {
  std::array<int, 2> output{};
  ASSERT_EQ(::pipe2(output.data(), O_CLOEXEC), 0);
  const test::Line line;
  test::Forked session{[&] {
    ::setsid();
    for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) ::dup2(output[1], stream);
    for (const int end : output) ::close(end);
    std::signal(SIGINT, SIG_DFL);
    mp::Pool waiting{2};
    waiting.map(
        [](const test::Line& to) {
          to.say("ready");
          test::wait_for_ever();
        },
        std::vector{line, line}, 1);
  }};
  ::close(output[1]);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(line.hear(), "ready");
  ASSERT_EQ(::kill(-session.pid(), SIGINT), 0);  // as the terminal does
  EXPECT_EQ(session.join(), -SIGINT);
  char byte = 0;
  EXPECT_EQ(::read(output[0], &byte, 1), 0);  // the end comes with the last who has it
  ::close(output[0]);
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(PoolInACopy, ThrowsAndLeavesTheParentsAlone) {
  mp::Pool pool{2};
  const auto pending = pool.apply_async(test::wait_for_ever);
  test::Forked child{[&] {
    EXPECT_THROW(pool.apply(square, 1), std::logic_error);
    EXPECT_THROW(pool.close(), std::logic_error);
    EXPECT_THROW(static_cast<void>(pool.stats()), std::logic_error);
    const mp::Pool moved{std::move(pool)};
  }};
  EXPECT_EQ(child.join(), 0);
  EXPECT_EQ(pool.apply(square, 3), 9);
}
#endif

// A worker is replaced while the program has threads, ours among them.
TEST(PoolByFork, ReplacesWorkersWhileOtherThreadsAllocateAndSubmit) {
  mp::Pool pool{{.processes = 2, .maxtasksperchild = 2}};
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      while (!stop) {
        const auto text = std::make_unique<std::string>(1000, 'x');
        if (pool.apply([](const std::string& given) { return given.size(); }, *text) != 1000U) {
          std::abort();
        }
      }
    });
  }
  constexpr std::size_t many = MULTIPROCESSING_WINDOWS ? 8 : 40;  // an emulator is slow
  eventually([&] { return pool.stats().restarts > many; });
  stop = true;
  for (auto& thread : threads) thread.join();
}

}  // namespace
