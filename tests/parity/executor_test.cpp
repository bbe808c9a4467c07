// SPDX-License-Identifier: BSL-1.0
// What CPython's tests pin of its ProcessPoolExecutor (ExecutorTest, ProcessPoolExecutorTest,
// ExecutorDeadlockTest, ExecutorShutdownTest, ProcessPoolShutdownTest, test_init), under every
// start method.
#include <multiprocessing.hpp>

#include <support/codes.hpp>
#include <support/eventually.hpp>
#include <support/pool_tasks.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if MULTIPROCESSING_POSIX
#  include <sys/resource.h>
#  include <unistd.h>
#endif

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::Endless;
using test::eventually;
using test::square;

namespace {

class Executor : public test::EveryStartMethod {
 protected:
  std::optional<mp::ProcessPoolExecutor> made;
  mp::ProcessPoolExecutor& executor(mp::ExecutorOptions options = {.max_workers = 2}) {
    made.emplace(std::move(options));
    return *made;
  }
  /// One whose workers' deaths break it, as Python's.
  mp::ProcessPoolExecutor& breakable() {
    return executor({.max_workers = 2, .breaks_when_worker_dies = true});
  }
};
TEST_EVERY_START_METHOD(Executor);

template <class Results>
std::vector<int> list_of(Results&& results) {
  std::vector<int> all;
  for (const int x : results) all.push_back(x);
  return all;
}
int nap_and_square(int x) {
  std::this_thread::sleep_for(20ms);
  return x * x;
}

// ---- ExecutorTest ----

TEST_P(Executor, SubmitsAndMaps) {
  auto& all = executor();
  EXPECT_EQ(all.submit(test::product, 2, 8).result(), 16);
  EXPECT_EQ(list_of(all.map(test::product, std::vector{1, 2, 3}, std::vector{4, 5, 6, 7})),
            (std::vector{4, 10, 18}));
  EXPECT_EQ(list_of(all.map(mp::MapOptions{.chunksize = 3}, square, std::vector{1, 2, 3, 4})),
            (std::vector{1, 4, 9, 16}));
  std::vector<int> numbers(40);
  std::iota(numbers.begin(), numbers.end(), 0);
  std::vector<int> squares;
  for (const int x : numbers) squares.push_back(x * x);
  for (const std::size_t chunksize : {6U, 40U, 50U}) {
    EXPECT_EQ(list_of(all.map(mp::MapOptions{.chunksize = chunksize}, square, numbers)), squares);
  }
  EXPECT_THROW(all.map(mp::MapOptions{.chunksize = 0}, square, std::vector{1}),
               std::invalid_argument);
}

TEST_P(Executor, ThrowsAtItsPlaceInAMapAndGoesOn) {
  const auto divide = [](int x, int y) {
    if (y == 0) throw std::domain_error{"by zero"};
    return x / y;
  };
  auto results = executor().map(divide, std::vector{6, 6, 6}, std::vector{1, 0, 2});
  EXPECT_EQ(results.next(), 6);
  EXPECT_THROW(results.next(), std::domain_error);
  EXPECT_EQ(results.next(), 3);
  EXPECT_EQ(results.next(), std::nullopt);
  auto chunks = made->map(mp::MapOptions{.chunksize = 2}, divide, std::vector{6, 6, 6, 6},
                          std::vector{1, 0, 2, 3});
  EXPECT_THROW(chunks.next(), std::domain_error);  // for the whole chunk
  EXPECT_EQ(chunks.next(), 3);
  EXPECT_EQ(chunks.next(), 2);
  EXPECT_EQ(chunks.next(), std::nullopt);
}

TEST_P(Executor, ThrowsAtItsPlaceInAMapWhatCannotBeEncoded) {
  auto results = executor().map(test::picked, std::vector<test::Picky>{{1}, {-1}, {3}});
  EXPECT_EQ(results.next(), 1);
  EXPECT_THROW(results.next(), std::length_error);
  EXPECT_EQ(results.next(), 3);
  EXPECT_EQ(results.next(), std::nullopt);
}

TEST_P(Executor, TellsATasksTimeoutFromTheMaps) {
  auto results =
      executor().map([](int) -> int { throw mp::TimeoutError{"its own"}; }, std::vector{1, 2});
  EXPECT_THROW(results.next(), mp::TimeoutError);
  EXPECT_THROW(results.next(), mp::TimeoutError);
  EXPECT_EQ(results.next(), std::nullopt);
}

TEST_P(Executor, EndsAMapWhoseTimeIsOver) {
  auto& all = executor();
  mp::Queue<int> ran;
  mp::Event go;
  const auto task = [](mp::Queue<int> queue, const mp::Event& event, int number) {
    queue.put(number);
    if (number != 0) mp::Event{event}.wait();
    return number;
  };
  std::vector<int> numbers(20);
  std::iota(numbers.begin(), numbers.end(), 0);
  auto results = all.map(mp::MapOptions{.timeout = 1ms}, task, std::vector(20, ran),
                         std::vector(20, go), numbers);
  eventually([&] { return all.stats().done == 1 && ran.qsize() == 3; });
  EXPECT_EQ(results.next(), 0);  // what is there is given, however late
  EXPECT_THROW(results.next(), mp::TimeoutError);
  EXPECT_EQ(results.next(), std::nullopt);
  go.set();
  all.shutdown();
  EXPECT_LE(ran.qsize(), 7U);  // the rest was cancelled, but what had gone to the workers before
}

TEST_P(Executor, ReadsOnlyAsMuchOfAnInputAsItsBufferHolds) {
  auto& all = executor();
  int read = 0;
  auto results = all.map(mp::MapOptions{.buffersize = 3}, square, Endless{&read});
  EXPECT_EQ(read, 2);  // the third stands ready, the fourth was not asked for
  EXPECT_EQ(results.next(), 0);
  EXPECT_EQ(read, 3);
  results.close();
  EXPECT_EQ(results.next(), std::nullopt);
  for (const std::size_t buffersize : {1U, 2U, 5U, 10U}) {
    EXPECT_EQ(list_of(all.map(mp::MapOptions{.buffersize = buffersize}, test::product,
                              std::vector{1, 2, 3, 4, 5}, std::vector{1, 2, 3, 4, 5})),
              (std::vector{1, 4, 9, 16, 25}));
  }
  EXPECT_TRUE(
      list_of(all.map(mp::MapOptions{.buffersize = 2}, square, std::vector<int>{})).empty());
  read = 0;
  auto unset = all.map(mp::MapOptions{.buffersize = 0}, square, Endless{&read});
  EXPECT_GT(read, 10);  // as many as suit the workers
  EXPECT_EQ(unset.next(), 0);
}

TEST_P(Executor, ShutsDownRightAfterAMap) {
  auto& all = executor();
  auto results = all.map(square, std::vector{1, 2, 3});
  all.shutdown();
  EXPECT_EQ(list_of(results), (std::vector{1, 4, 9}));
}

TEST_P(Executor, CancelsTheRestOfAMapThatIsClosed) {
  auto& all = executor({.max_workers = 1});
  mp::Queue<int> ran;
  mp::Event go;
  const auto task = [](mp::Queue<int> queue, const mp::Event& event, int number) {
    queue.put(number);
    if (number == 1) mp::Event{event}.wait();
    return number;
  };
  std::vector<int> numbers(20);
  std::iota(numbers.begin(), numbers.end(), 0);
  auto results = all.map(task, std::vector(20, ran), std::vector(20, go), numbers);
  EXPECT_EQ(results.next(), 0);
  EXPECT_EQ(ran.get(), 0);
  EXPECT_EQ(ran.get(), 1);  // which is running now
  results.close();
  EXPECT_EQ(results.next(), std::nullopt);
  go.set();
  all.shutdown();
  EXPECT_LE(ran.qsize(), 2U);  // what had gone to the worker before
}

TEST_P(Executor, ReadsSeveralEndlessInputs) {
  auto& all = executor();
  int first = 0;
  int second = 0;
  auto results =
      all.map(mp::MapOptions{.buffersize = 2}, test::product, Endless{&first}, Endless{&second});
  for (int i = 0; i < 10; ++i) EXPECT_EQ(results.next(), i * i);
  EXPECT_LT(first, 20);
  EXPECT_EQ(first, second);
}

// Counts its own, here and in a worker.
struct CountedValue {
  static std::atomic<int>& alive() {
    static std::atomic<int> one{0};
    return one;
  }
  explicit CountedValue(int x = 0) : value{x} { ++alive(); }
  CountedValue(const CountedValue& other) : value{other.value} { ++alive(); }
  CountedValue& operator=(const CountedValue&) = default;
  ~CountedValue() { --alive(); }
  [[nodiscard]] auto reduce() const { return mp::arguments(value); }
  int value;
};

TEST_P(Executor, LetsGoOfArgumentsAndResults) {
  auto& all = executor({.max_workers = 1});
  const auto count = [] { return CountedValue::alive().load(); };
  const auto same = [](const CountedValue& one) { return one; };
  EXPECT_EQ(all.submit(count).result(), 0);  // the worker is there before there are any
  {
    auto results = all.map(same, std::vector<CountedValue>(5));
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(results.next());
    EXPECT_FALSE(results.next());
    eventually([] { return CountedValue::alive() <= 5; });  // the input is the iterator's
    EXPECT_LE(CountedValue::alive(), 5);
  }
  EXPECT_EQ(CountedValue::alive(), 0);
  const auto kept = std::make_shared<int>(1);
  all.submit(same, CountedValue{1}).add_done_callback([kept](const auto&) {
  });  // nobody keeps the future
  EXPECT_TRUE(eventually([&] { return CountedValue::alive() == 0 && kept.use_count() == 1; }));
  EXPECT_EQ(all.submit(count).result(), 0);
}

TEST(ExecutorMaking, NeedsAWorker) {
  EXPECT_THROW(mp::ProcessPoolExecutor{0U}, std::invalid_argument);
  EXPECT_THROW(mp::ProcessPoolExecutor{static_cast<unsigned>(-1)}, std::invalid_argument);
}

// ---- ProcessPoolExecutorTest ----

TEST_P(Executor, BreaksAsAWholeIfItIsToldTo) {
  auto& all = breakable();
  const auto running = all.submit(test::wait_for_ever);
  eventually([&] { return running.running(); });
  const auto waiting = all.submit(square, 2);
  test::kill_process(*all.stats().workers[0].pid);
  try {
    running.result();
    FAIL();
  } catch (const mp::BrokenProcessPool& error) {
    EXPECT_NE(std::string{error.what()}.find(test::killed_name), std::string::npos) << error.what();
  }
  EXPECT_TRUE(waiting.exception() || waiting.result() == 4);
  EXPECT_THROW(all.submit(square, 2), mp::BrokenProcessPool);
  all.terminate_workers();
  all.kill_workers();
}

TEST_P(Executor, GivesEachFutureAnErrorOfItsOwnWhenItBreaks) {
  auto& all = breakable();
  std::vector<mp::Future<void>> futures;
  for (int i = 0; i < 6; ++i) futures.push_back(all.submit(test::wait_for_ever));
  const auto runs = [](const auto& each) { return each.running(); };
  eventually([&] { return std::count_if(futures.begin(), futures.end(), runs) == 2; });
  test::kill_process(*all.stats().workers[1].pid);
  std::vector<std::exception_ptr> errors;
  for (const auto& future : futures) {
    EXPECT_THROW(future.result(), mp::BrokenProcessPool);
    for (const auto& other : errors) EXPECT_NE(future.exception(), other);
    errors.push_back(future.exception());
  }
  EXPECT_TRUE(eventually([] { return mp::active_children().empty(); }));
}

// While it lives, no process can be started.
class NoProcesses {
 public:
#if MULTIPROCESSING_POSIX
  NoProcesses() {  // a process takes descriptors
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit fewer = before_;
    fewer.rlim_cur = 256;
    ::setrlimit(RLIMIT_NOFILE, &fewer);
    for (int file = ::dup(0); file >= 0; file = ::dup(0)) files_.push_back(file);
  }
  ~NoProcesses() {
    for (const int file : files_) ::close(file);
    ::setrlimit(RLIMIT_NOFILE, &before_);
  }
#else
  NoProcesses() {
    mp::set_executable("/nowhere/program");
  }
  ~NoProcesses() {
    mp::set_executable({});
  }
#endif
  NoProcesses(const NoProcesses&) = delete;
  NoProcesses& operator=(const NoProcesses&) = delete;

 private:
#if MULTIPROCESSING_POSIX
  rlimit before_{};
  std::vector<int> files_;
#endif
};

TEST_P(Executor, BreaksWhenAWorkerCannotBeReplaced) {
  auto& all = executor({.max_workers = 1, .max_tasks_per_child = 1});
  EXPECT_EQ(all.submit(square, 2).result(), 4);
  const NoProcesses none;
  const auto first = all.submit(square, 3);
  const auto second = all.submit(square, 4);
  EXPECT_THROW(second.result(), mp::BrokenProcessPool);
  EXPECT_THROW(first.result(), mp::BrokenProcessPool);
  EXPECT_THROW(all.submit(square, 5), mp::BrokenProcessPool);
}

TEST_P(Executor, NamesTheWorkerThatDiedAndItsCode) {
  auto& all = executor();
  try {
    all.submit(test::exit_with, 99).result();
    FAIL();
  } catch (const mp::BrokenProcessPool& error) {
    EXPECT_NE(std::string{error.what()}.find("exited with code 99"), std::string::npos)
        << error.what();
    EXPECT_NE(std::string{error.what()}.find("int (*)(int)"), std::string::npos) << error.what();
  }
  EXPECT_EQ(all.submit(square, 3).result(), 9);
}

TEST_P(Executor, StartsWorkersOnDemandAndNotMoreThanItMay) {
  mp::Event go;
  {
    auto& all = executor({.max_workers = 3});
    EXPECT_TRUE(mp::active_children().empty());
    for (int i = 0; i < 4; ++i) all.submit(square, i).result();
    EXPECT_EQ(mp::active_children().size(), 1U);  // an idle one is used again
    std::vector<mp::Future<void>> blocked;
    for (int i = 0; i < 75; ++i) blocked.push_back(all.submit(test::wait_for, go));
    EXPECT_EQ(mp::active_children().size(), 3U);
    go.set();
    for (auto& each : blocked) each.result();
  }
  made.reset();
  EXPECT_TRUE(eventually([] { return mp::active_children().empty(); }));
}

TEST_P(Executor, NeedsFewWorkersForAMixedLoad) {
  auto& all = executor({.max_workers = 5});
  for (int i = 0; i < 4; ++i) {
    const auto behind = all.submit(square, i);
    EXPECT_EQ(all.submit(square, i + 1).result(), (i + 1) * (i + 1));
    EXPECT_EQ(behind.result(), i * i);
  }
  EXPECT_LE(mp::active_children().size(), 3U);
}

TEST_P(Executor, RunsAllWithOneTaskForEachWorkerWhenItIsShutDownAtOnce) {
  auto& all = executor({.max_workers = 3, .max_tasks_per_child = 1});
  std::vector<mp::Future<int>> futures;
  for (int i = 0; i < 6; ++i) futures.push_back(all.submit(nap_and_square, i));
  all.shutdown();
  for (int i = 0; i < 6; ++i) EXPECT_EQ(futures[static_cast<std::size_t>(i)].result(0s), i * i);
}

TEST_P(Executor, StartsNoWorkerAnyMoreWhenItsWorkersAreTerminatedOrKilled) {
  for (const bool kills : {false, true}) {
    auto& all = executor({.max_workers = 2, .max_tasks_per_child = 1});
    std::vector<mp::Future<int>> futures;
    for (int i = 0; i < 30; ++i) futures.push_back(all.submit(nap_and_square, i));
    const auto last = all.submit(test::wait_for_ever);
    EXPECT_EQ(futures[0].result(), 0);  // workers end and are replaced meanwhile
    kills ? all.kill_workers() : all.terminate_workers();
    for (const auto& future : futures) EXPECT_TRUE(eventually([&] { return future.done(); }));
    EXPECT_THROW(last.result(), mp::CancelledError);
    EXPECT_TRUE(eventually([] { return mp::active_children().empty(); }));
  }
}

TEST_P(Executor, ReplacesWorkersAfterSomeTasks) {
  auto& all = executor({.max_workers = 1, .max_tasks_per_child = 3});
  const auto pid = [&] {
    const int its = all.submit(test::own_pid).result();
    EXPECT_LE(mp::active_children().size(), 1U);
    return its;
  };
  const int first = pid();
  EXPECT_EQ(pid(), first);
  EXPECT_EQ(pid(), first);
  const int second = pid();
  EXPECT_NE(second, first);
  EXPECT_EQ(mp::active_children().size(), 1U);
  std::vector<mp::Future<int>> futures;
  for (int i = 0; i < 20; ++i) futures.push_back(all.submit(square, i));
  all.shutdown(false);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(futures[static_cast<std::size_t>(i)].result(), i * i);
}

TEST_P(Executor, KeepsItsWorkersWithoutALimitOfTasks) {
  auto& all = executor({.max_workers = 1, .max_tasks_per_child = 0});
  const int first = all.submit(test::own_pid).result();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(all.submit(test::own_pid).result(), first);
}

TEST_P(Executor, StopsARunningTaskWhenItsWorkersAreTerminatedOrKilled) {
  for (const bool kills : {false, true}) {
    mp::Queue<std::string> said;
    auto& all = executor();
    const auto future = all.submit(
        [](mp::Queue<std::string> queue) {
          queue.put("started");
          test::wait_for_ever();
        },
        said);
    EXPECT_EQ(said.get(), "started");
    kills ? all.kill_workers() : all.terminate_workers();
    EXPECT_THROW(future.result(), mp::CancelledError);
    EXPECT_TRUE(eventually([] { return mp::active_children().empty(); }));
    EXPECT_THROW(all.submit(square, 1), std::invalid_argument);
  }
}

TEST_P(Executor, HasNoWorkersToEndBeforeItsFirstTask) {
  for (const bool kills : {false, true}) {
    auto& unused = executor();
    kills ? unused.kill_workers() : unused.terminate_workers();
    EXPECT_TRUE(mp::active_children().empty());
    EXPECT_THROW(unused.submit(square, 1), std::invalid_argument);
  }
}

// ---- ExecutorDeadlockTest ----

template <class Argument>
int value_of(const Argument& argument) {
  return argument.value;
}

TEST_P(Executor, FailsOneTaskWhoseArgumentCannotBeEncodedOrDecoded) {
  auto& all = executor();
  using Unsendable = test::Mined<test::Throws, false>;
  using Unreadable = test::Mined<test::Throws, true>;
  using Fatal = test::Mined<test::Crashes, true>;
  using Final = test::Mined<test::Exits, true>;
  mp::Future<int> unsendable;
  EXPECT_NO_THROW(unsendable = all.submit(value_of<Unsendable>, Unsendable{}));
  EXPECT_THROW(unsendable.result(), std::length_error);
  EXPECT_THROW(all.submit(value_of<Unreadable>, Unreadable{}).result(), std::length_error);
  EXPECT_THROW(all.submit(value_of<Fatal>, Fatal{}).result(), mp::BrokenProcessPool);
  EXPECT_THROW(all.submit(value_of<Final>, Final{}).result(), mp::BrokenProcessPool);
  EXPECT_EQ(all.submit(square, 3).result(), 9);
}

TEST_P(Executor, FailsOneTaskWhoseResultCannotBeEncodedOrDecoded) {
  auto& all = executor();
  using Unsendable = test::Mined<test::Throws, false>;
  using Fatal = test::Mined<test::Crashes, false>;
  using Final = test::Mined<test::Exits, false>;
  using Unreadable = test::Mined<test::Throws, true>;
  EXPECT_THROW(all.submit([] { return Unsendable{}; }).result(), std::length_error);
  EXPECT_THROW(all.submit([] { return Fatal{}; }).result(), mp::BrokenProcessPool);
  EXPECT_THROW(all.submit([] { return Final{}; }).result(), mp::BrokenProcessPool);
  EXPECT_THROW(all.submit([] { return Unreadable{}; }).result(), std::length_error);
  EXPECT_EQ(all.submit(square, 3).result(), 9);
}

struct ExitsBySystemExit {
  static void happen() { throw mp::SystemExit{3}; }
};

TEST_P(Executor, FailsOneTaskWhoseResultExitsWhileItIsDecoded) {
  auto& all = executor();
  using Final = test::Mined<ExitsBySystemExit, true>;
  EXPECT_THROW(all.submit([] { return Final{}; }).result(), mp::SystemExit);
  EXPECT_EQ(all.submit(square, 3).result(), 9);
}

TEST_P(Executor, ShutsDownWithoutWaitingBehindATaskThatCannotBeEncoded) {
  auto& all = executor();
  using Unsendable = test::Mined<test::Throws, false>;
  const auto before = all.submit(nap_and_square, 2);
  const auto unsendable = all.submit(value_of<Unsendable>, Unsendable{});
  const auto behind = all.submit(nap_and_square, 3);
  EXPECT_FALSE(mp::active_children().empty());
  all.shutdown(false);
  EXPECT_THROW(unsendable.result(), std::length_error);
  EXPECT_EQ(before.result(), 4);
  EXPECT_EQ(behind.result(), 9);
  eventually([] { return mp::active_children().empty(); });
  // One that takes no tasks any more says so first.
  EXPECT_THROW(all.submit(value_of<Unsendable>, Unsendable{}), std::invalid_argument);
}

TEST_P(Executor, FailsATaskThatCrashesOrExits) {
  auto& all = executor();
  EXPECT_THROW(all.submit([] { std::raise(SIGSEGV); }).result(), mp::BrokenProcessPool);
  EXPECT_THROW(all.submit([] { throw mp::SystemExit{3}; }).result(), mp::SystemExit);
  EXPECT_THROW(all.submit([] { std::exit(3); }).result(), mp::BrokenProcessPool);
  EXPECT_THROW(all.submit([](int x) { throw x; }, 42).result(), mp::RemoteError);
  EXPECT_EQ(all.submit(square, 3).result(), 9);
}

TEST_P(Executor, ShutsDownWhileAWorkerCrashes) {
  auto& all = executor();
  const auto future = all.submit([] { std::raise(SIGSEGV); });
  all.shutdown();
  EXPECT_THROW(future.result(), mp::BrokenProcessPool);
}

TEST_P(Executor, TakesMoreThanAPipeWhenAWorkerDies) {
  auto& all = executor();
  const std::string large(1 << 20, 'x');
  const auto die = [](const std::string& text) {
    test::kill_itself(0);
    return text.size();
  };
  std::vector<mp::Future<std::size_t>> dying;
  std::vector<mp::Future<std::size_t>> living;
  for (int i = 0; i < 10; ++i) {
    dying.push_back(all.submit(die, large));
    living.push_back(all.submit([](const std::string& text) { return text.size(); }, large));
  }
  for (auto& future : dying) EXPECT_THROW(future.result(), mp::BrokenProcessPool);
  for (auto& future : living) EXPECT_EQ(future.result(), large.size());
}

#if MULTIPROCESSING_POSIX  // not on Windows: SIGSTOP
TEST_P(Executor, TakesMoreThanAPipeWhenTheWorkerThatReadsItDies) {
  auto& all = executor({.max_workers = 1});
  const int worker = all.submit(test::own_pid).result();
  ASSERT_EQ(::kill(worker, SIGSTOP), 0);
  const std::string large(1 << 20, 'x');
  std::vector<mp::Future<std::size_t>> futures;
  for (int i = 0; i < 40; ++i) {
    futures.push_back(all.submit([](const std::string& text) { return text.size(); }, large));
  }
  ASSERT_EQ(::kill(worker, SIGKILL), 0);
  int broken = 0;
  for (auto& future : futures) {
    if (future.exception()) {
      EXPECT_THROW(future.result(), mp::BrokenProcessPool);
      ++broken;
    } else {
      EXPECT_EQ(future.result(), large.size());
    }
  }
  EXPECT_LE(broken, 1);  // what it had taken, if that
}
#endif

TEST_P(Executor, TakesManySubmitsWhileItsLoopIsHeldUp) {
  auto& all = executor();
  mp::Event begin;
  mp::Event called;
  mp::Event go_on;
  const auto first = all.submit(test::wait_for, begin);
  first.add_done_callback([&](const auto&) {  // not here, as it would be if it was done already
    called.set();
    go_on.wait();
  });
  begin.set();
  called.wait();
  std::vector<mp::Future<int>> futures;
  for (int i = 0; i < 1000; ++i) futures.push_back(all.submit(square, i));
  go_on.set();
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(futures[static_cast<std::size_t>(i)].result(), i * i);
}

// ---- shutdown ----

TEST_P(Executor, RefusesTasksAfterShutdown) {
  auto& all = executor();
  all.submit(square, 1);
  all.shutdown();
  all.shutdown();
  EXPECT_THROW(all.submit(square, 2), std::invalid_argument);
  EXPECT_TRUE(eventually([] { return mp::active_children().empty(); }));
}

TEST_P(Executor, FinishesWhatWasSubmittedBeforeShutdown) {
  auto& all = executor();
  std::vector<mp::Future<int>> futures;
  for (int i = 0; i < 50; ++i) futures.push_back(all.submit(square, i));
  all.shutdown();
  for (int i = 0; i < 50; ++i) EXPECT_EQ(futures[static_cast<std::size_t>(i)].result(0s), i * i);
}

TEST_P(Executor, CancelsWhatHasNotBegunIfShutdownIsToldTo) {
  auto& all = executor();
  mp::Event go;
  mp::Queue<int> begun;
  const auto task = [](mp::Queue<int> to, const mp::Event& event) {
    to.put(0);
    test::wait_for(event);
  };
  std::vector<mp::Future<void>> running;
  for (int i = 0; i < 2; ++i) running.push_back(all.submit(task, begun, go));
  for (int i = 0; i < 2; ++i) begun.get();
  std::vector<mp::Future<int>> futures;
  for (int i = 0; i < 50; ++i) futures.push_back(all.submit(square, i));
  std::thread other{[&] {
    eventually([&] { return futures.back().cancelled(); });
    go.set();
  }};
  all.shutdown(true, true);
  other.join();
  for (const auto& one : running) EXPECT_NO_THROW(one.result(0s));
  for (const auto& future : futures) EXPECT_TRUE(future.cancelled());
}

TEST_P(Executor, ShutsDownAfterACancel) {
  auto& all = executor({.max_workers = 1});
  const auto first = all.submit(nap_and_square, 1);
  const auto second = all.submit(square, 2);
  const bool cancelled = second.cancel();
  all.shutdown();
  EXPECT_TRUE(second.done());
  EXPECT_EQ(second.cancelled(), cancelled);
}

TEST_P(Executor, FinishesItsWorkAtTheEndOfItsScope) {
  std::vector<mp::Future<int>> futures;
  {
    mp::ProcessPoolExecutor all{2U};
    for (int i = 0; i < 5; ++i) futures.push_back(all.submit(nap_and_square, i));
  }
  for (int i = 0; i < 5; ++i) EXPECT_EQ(futures[static_cast<std::size_t>(i)].result(0s), i * i);
  EXPECT_TRUE(eventually([] { return mp::active_children().empty(); }));
}

TEST_P(Executor, GoesOnInTheBackgroundWhenShutdownDoesNotWait) {
  auto& all = executor();
  std::vector<mp::Future<int>> futures;
  for (int i = 0; i < 10; ++i) futures.push_back(all.submit(nap_and_square, i));
  all.shutdown(false);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(futures[static_cast<std::size_t>(i)].result(), i * i);
  eventually([] { return mp::active_children().empty(); });
}

TEST_P(Executor, ShutsDownWithOneTaskForEachWorkerOfWhichOneFails) {
  for (const unsigned workers : {2U, 4U}) {
    auto& all = executor({.max_workers = workers, .max_tasks_per_child = 1});
    const auto good = all.submit(square, 2);
    const auto bad = all.submit(test::throw_range_error, 1);
    const auto last = all.submit(square, 3);
    all.shutdown(false);
    EXPECT_EQ(good.result(), 4);
    EXPECT_THROW(bad.result(), std::range_error);
    EXPECT_EQ(last.result(), 9);
  }
}

// ---- test_init ----

int& initial() {
  static int one = 0;
  return one;
}

TEST_P(Executor, RunsItsInitializerInEveryWorkerBeforeTasks) {
  auto& all =
      executor({.max_workers = 2, .initializer = mp::Task{[](int x) { initial() = x; }, 123}});
  std::vector<mp::Future<int>> futures;
  for (int i = 0; i < 20; ++i) futures.push_back(all.submit([] { return initial(); }));
  for (auto& future : futures) EXPECT_EQ(future.result(), 123);
}

TEST_P(Executor, IsBrokenByAnInitializerThatThrowsAndLogsIt) {
  std::string logged;
  mp::set_log_sink([&](mp::LogLevel, std::string_view text) { logged += text; });
  {
    auto& all =
        executor({.max_workers = 1,
                  .initializer = mp::Task{[] { throw std::runtime_error{"cannot begin"}; }}});
    EXPECT_THROW(all.submit(square, 1).result(), mp::BrokenProcessPool);
    EXPECT_THROW(all.submit(square, 1), mp::BrokenProcessPool);
    all.shutdown();
  }
  EXPECT_NE(logged.find("cannot begin"), std::string::npos);
  mp::set_log_sink({});
  mp::set_log_level(mp::LogLevel::off);
}

}  // namespace
