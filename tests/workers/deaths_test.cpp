// SPDX-License-Identifier: BSL-1.0
// When a worker's death is told, and what becomes of one that dies again and again.
#include <multiprocessing.hpp>

#include <support/eventually.hpp>
#include <support/pool_tasks.hpp>
#include <support/threads.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#if MULTIPROCESSING_POSIX
#  include <sys/resource.h>
#  include <unistd.h>
#endif

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::eventually;
using test::square;

namespace {

// What is logged, for as long as it lives.
class LogTo {
 public:
  template <class Sink>
  explicit LogTo(Sink sink) {
    mp::set_log_level(mp::LogLevel::debug);
    mp::set_log_sink(sink);
  }
  LogTo(const LogTo&) = delete;
  LogTo& operator=(const LogTo&) = delete;
  ~LogTo() {
    mp::set_log_sink({});
    mp::set_log_level(mp::LogLevel::off);
  }
};

TEST(WorkersDeath, IsToldBeforeItsReplacementIsStarted) {
  std::atomic<bool> told{false};
  std::atomic<int> replacements{0};
  std::atomic<int> early{0};
  mp::Pool pool{1};
  {
    const LogTo log{[&](mp::LogLevel, std::string_view text) {
      if (!text.starts_with("started process")) return;
      ++replacements;
      if (!told) ++early;
    }};
    const auto died =
        pool.apply_async(mp::Callbacks{nullptr, [&](const std::exception_ptr&) { told = true; }},
                         test::kill_itself, 1);
    EXPECT_EQ(pool.apply(square, 3), 9);
    EXPECT_THROW(died.get(), mp::BrokenProcessPool);
  }
  EXPECT_EQ(replacements, 1);
  EXPECT_EQ(early, 0);
}

bool has_ended(mp::native_handle_type process, mp::Timeout within = 0s) {
  bool ready = false;
  std::error_code ec;
  static_cast<void>(
      mp::os::wait_any({&process, 1}, {&ready, 1}, {}, mp::detail::Deadline{within}, ec));
  return ready;
}

int count_up(const mp::Value<int>& count) {
  return mp::Value<int>{count}.update([](int& all) { ++all; }), 0;
}
void say_pid_and_stay(const mp::Value<int>& pid) {
  mp::Value<int>{pid}.store(test::own_pid());
  test::wait_for_ever();
}

// Behind slow callbacks the results that wait were made long ago, all at nearly the same time.
TEST(WorkersTime, IsLookedAtBetweenResultsWhoseCallbacksAreSlow) {
  constexpr int results = 3;
  constexpr auto slow = 25ms;  // longer than the pool leaves its workers alone
  mp::Pool pool{2};
  const mp::Value<int> count{0};
  const mp::Value<int> pid{0};
  mp::os::UniqueHandle process;
  std::atomic<int> told{0};
  std::atomic<bool> ended{false};
  const auto tell = [&](int) {
    std::error_code ec;
    if (told == 0) {
      eventually([&] { return count.load() == results; });
      static_cast<void>(pool.apply_async({.timeout = 1ms}, say_pid_and_stay, pid));
      eventually([&] { return pid.load() != 0; });
      process = mp::os::open_process(pid.load(), ec);
    } else if (told == 1) {
      const auto end = std::chrono::steady_clock::now() + slow;
      eventually([&] { return std::chrono::steady_clock::now() > end; });
    } else {
      ended = eventually([&] { return has_ended(process.get()); });
    }
    ++told;
  };
  for (int i = 0; i < results; ++i) pool.apply_async(mp::Callbacks{tell}, count_up, count);
  EXPECT_TRUE(eventually([&] { return told == results; }));
  EXPECT_TRUE(ended);
}

// It is no replacement's turn again and again while another worker is at work.
TEST(WorkersDeath, OfOneThatHasBegunNothingPutsItsReplacementOff) {
  constexpr int deaths = 7;
  constexpr auto last_pause = 640ms;  // twice as long each time
  mp::Event go;
  mp::Pool pool{2};
  const auto busy = pool.apply_async(test::wait_for, go);
  ASSERT_TRUE(eventually([&] { return pool.stats().running == 1; }));
  const int other = pool.apply(test::own_pid);
  const auto place = [&] {
    const auto workers = pool.stats().workers;
    return static_cast<std::size_t>(std::find_if(workers.begin(), workers.end(),
                                                 [&](auto& each) { return each.pid == other; }) -
                                    workers.begin());
  }();
  int last = other;
  test::kill_process(last);  // it did work: no pause
  const auto next = [&] {
    eventually([&] {
      const auto pid = pool.stats().workers[place].pid;
      return pid && *pid != last;
    });
    last = *pool.stats().workers[place].pid;
  };
  next();
  for (int i = 1; i < deaths; ++i) {
    test::kill_process(last);
    next();
  }
  test::expect_at_least(last_pause, [&] {
    test::kill_process(last);
    next();
  });
  EXPECT_EQ(pool.apply(square, 3), 9);
  go.set();
  busy.get();
}

#if MULTIPROCESSING_POSIX  // not on Windows: there every worker ends as soon as it is told to, and
                           // nothing limits the descriptors of a process
int ignore_to_be_terminated(const mp::Event& event) {
  std::signal(SIGTERM, SIG_IGN);
  mp::Event{event}.set();
  test::wait_for_ever();
}

TEST(WorkersDeath, ThatBreaksAnExecutorIsToldBeforeTheOthersHaveEnded) {
  mp::Event begun;
  mp::ProcessPoolExecutor executor{{.max_workers = 2, .breaks_when_worker_dies = true}};
  const auto stubborn = executor.submit(ignore_to_be_terminated, begun);
  begun.wait();
  int pid = 0;
  for (const auto& worker : executor.stats().workers) pid = worker.pid.value_or(pid);
  std::error_code ec;
  const mp::os::UniqueHandle process = mp::os::open_process(pid, ec);
  ASSERT_FALSE(ec);
  std::atomic<int> ended{-1};
  mp::Event go;
  const auto died = executor.submit(
      [](const mp::Event& event) {
        test::wait_for(event);
        return test::kill_itself(1);
      },
      go);
  died.add_done_callback([&](const auto&) { ended = has_ended(process.get()) ? 1 : 0; });
  go.set();
  EXPECT_THROW(died.result(), mp::BrokenProcessPool);
  EXPECT_THROW(stubborn.result(), mp::BrokenProcessPool);
  EXPECT_TRUE(eventually([&] { return ended >= 0; }));
  EXPECT_EQ(ended, 0);
  EXPECT_TRUE(eventually([&] { return has_ended(process.get()); }));
}

TEST(WorkersDeath, IsSeenAlsoWhenNotAllCanBeAskedAtOnce) {
  constexpr unsigned workers = 8;
  constexpr rlim_t fewer = 4;
  mp::Pool pool{workers};
  mp::Event go;
  std::vector<mp::AsyncResult<void>> results;
  for (unsigned i = 0; i < workers; ++i) results.push_back(pool.apply_async(test::wait_for, go));
  ASSERT_TRUE(eventually([&] { return pool.stats().running == workers; }));
  const int victim = *pool.stats().workers.front().pid;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit low = before;
  low.rlim_cur = fewer;  // poll() is told of more than that, and refuses
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  ::kill(victim, SIGKILL);
  EXPECT_TRUE(eventually([&] {
    return std::any_of(results.begin(), results.end(), [](auto& each) { return each.ready(); });
  }));
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  go.set();
  int failed = 0;
  for (const auto& result : results) {
    try {
      result.get();
    } catch (const mp::BrokenProcessPool&) {
      ++failed;
    }
  }
  EXPECT_EQ(failed, 1);
}

// The last of the starts that fail may be submit()'s own, and breaks the executor there.
TEST(WorkersDeath, ACallbackMayDestroyTheExecutorThatSubmitBreaks) {
  auto executor = std::make_unique<mp::ProcessPoolExecutor>(
      mp::ExecutorOptions{.max_workers = 1, .max_tasks_per_child = 1});
  mp::Event begin;
  std::atomic<bool> is_held{false};
  std::atomic<bool> go{false};
  // It holds the executor's own thread up, with no worker left.
  const auto first = executor->submit(test::wait_for, begin);
  first.add_done_callback([&](const mp::Future<void>& future) {
    const std::vector unending{future, mp::Future<void>{}};
    while (executor->stats().workers[0].pid) mp::wait(unending, 20ms);
    is_held = true;
    eventually([&] { return go.load(); });
  });
  begin.set();
  eventually([&] { return is_held.load(); });
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next = ::dup(0);
  ::close(next);
  rlimit low = before;
  low.rlim_cur = static_cast<rlim_t>(next);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  const auto second = executor->submit(square, 1);
  bool is_kept = false;
  second.add_done_callback([&](const auto& future) {
    const std::weak_ptr runner{future.core()->runner()};
    go = true;
    executor.reset();
    is_kept = !runner.expired();  // submit() goes on behind this
  });
  while (executor) executor->submit(square, 2);
  EXPECT_TRUE(is_kept);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THROW(second.result(), mp::BrokenProcessPool);
}
#endif

}  // namespace
