// SPDX-License-Identifier: BSL-1.0
// Workers are killed at every step of their work, and at random under load. What must hold: every
// future is resolved, exactly once; what was not killed has the right result; nobody hangs (the
// watchdog); no process, descriptor or memory is left (the audit).
#include <multiprocessing.hpp>

#include <support/eventually.hpp>
#include <support/imitated.hpp>
#include <support/pool_tasks.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using test::eventually;
using namespace std::chrono_literals;

namespace {

using test::square;

int square_slowly(int x) {
  const auto end = std::chrono::steady_clock::now() + 500us;
  while (std::chrono::steady_clock::now() < end) {
  }
  return x * x;
}
std::string repeat(const std::string& text, std::size_t count) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all += text;
  return all;
}

// ---- at every step ----

void use(mp::Pool& pool) {
  mp::Queue<int> queue;
  for (int i = 0; i < 4; ++i) pool.apply(square, i);
  pool.apply([](mp::Queue<int> to) { return to; }, queue);
}

// What goes beside the rings, once both ends have seen that there is such.
std::string echo(std::string text) {
  return text;
}
std::string large_text(int number) {
  return std::string(100'000, static_cast<char>('a' + number % 26));
}
void use_largely(mp::Pool& pool) {
  for (int i = 0; i < 4; ++i) pool.apply(echo, large_text(i));
}

std::vector<std::string> steps_of_a_worker(void (*work)(mp::Pool&)) {
  mp::Pool pool{{.processes = 1, .initializer = mp::Task{test::record_stop_points}}};
  work(pool);
  std::this_thread::sleep_for(1ms);  // the worker falls asleep, so that it passes those points
  work(pool);
  std::vector<std::string> found = pool.apply(test::recorded_stop_points);
  std::erase_if(found, [](const std::string& name) {
    return !name.starts_with("worker.") && !name.starts_with("ring.") &&
           !name.starts_with("crew.") && !name.starts_with("robust_lock.");
  });
  return found;
}

struct Death {
  unsigned pass;
  bool asleep;  // the others, and the parent, wait; else they work
};
std::ostream& operator<<(std::ostream& out, const Death& death) {
  return out << "at pass " << death.pass << (death.asleep ? ", others asleep" : ", others at work");
}
class PoolChaos : public testing::TestWithParam<Death> {};
void die_at(const std::string& step, unsigned pass) {
  test::stop_at(step, test::Stop::die, pass);
}
// Starting a process takes an emulator long.
constexpr int tasks = MULTIPROCESSING_WINDOWS ? 6 : 20;
INSTANTIATE_TEST_SUITE_P(Each,
                         PoolChaos,
                         testing::Values(Death{2, false}, Death{3, false}, Death{2, true}));

TEST_P(PoolChaos, LosesAtMostTheTaskOfAWorkerThatDiesAtAnyStep) {
  const Death death = GetParam();
  static const auto steps = steps_of_a_worker(use);
  ASSERT_GE(steps.size(), 10U);
  unsigned deaths = 0;
  for (const std::string& step : steps) {
    SCOPED_TRACE(step);
    // Each worker dies when it comes by for the so-manyth time.
    mp::Pool pool{{.processes = 2, .initializer = mp::Task{die_at, step, death.pass}}};
    std::vector<mp::AsyncResult<int>> results;
    unsigned lost = 0;
    const auto collect = [&] {
      for (std::size_t i = 0; i < results.size(); ++i) {
        const int expected = static_cast<int>(i * i);
        try {
          EXPECT_EQ(results[i].get(), expected);
        } catch (const mp::BrokenProcessPool&) {
          ++lost;
        }
      }
    };
    for (int i = 0; i < tasks; ++i) {
      results.push_back(pool.apply_async(square, i));
      if (death.asleep) static_cast<void>(results.back().wait());
    }
    collect();
    pool.terminate();
    const auto stats = pool.stats();
    EXPECT_EQ(stats.done + stats.failed, static_cast<std::size_t>(tasks));
    EXPECT_EQ(stats.failed, lost);
    EXPECT_LE(lost, stats.restarts + 2);
    deaths += static_cast<unsigned>(stats.restarts);
  }
  EXPECT_GT(deaths, 20U);
}

TEST_P(PoolChaos, LosesAtMostTheLargeTaskOfAWorkerThatDiesAtAnyStep) {
  const Death death = GetParam();
  static const auto steps = steps_of_a_worker(use_largely);
  for (const char* const step : {"ring.lend.claimed", "crew.put_message.written",
                                 "ring.put_lent.committing", "ring.get_lent.taken"}) {
    ASSERT_NE(std::ranges::find(steps, step), steps.end()) << step;
  }
  for (const std::string& step : steps) {
    SCOPED_TRACE(step);
    mp::Pool pool{{.processes = 2, .initializer = mp::Task{die_at, step, death.pass}}};
    std::vector<mp::AsyncResult<std::string>> results;
    for (int i = 0; i < tasks; ++i) {
      results.push_back(pool.apply_async(echo, large_text(i)));
      if (death.asleep) static_cast<void>(results.back().wait());
    }
    unsigned lost = 0;
    for (int i = 0; i < tasks; ++i) {
      try {
        EXPECT_EQ(results[static_cast<std::size_t>(i)].get(), large_text(i));
      } catch (const mp::BrokenProcessPool&) {
        ++lost;
      }
    }
    pool.terminate();
    const auto stats = pool.stats();
    EXPECT_EQ(stats.done + stats.failed, static_cast<std::size_t>(tasks));
    EXPECT_EQ(stats.failed, lost);
    EXPECT_LE(lost, stats.restarts + 2);
  }
}

// ---- behind the driver's back ----

#if MULTIPROCESSING_POSIX  // not on Windows: looking at a process that nobody has waited for
// The driver is inside a callback while the worker does two more tasks and dies, and looks after
// the workers before it has read the last result.
TEST(PoolDeath, BehindItsResultsCostsNone) {
  mp::Pool pool{
      {.processes = 1, .initializer = mp::Task{die_at, std::string{"worker.run.committed"}, 4U}}};
  const int pid = pool.apply_async(test::own_pid).get();
  std::error_code ec;
  const auto worker = mp::os::open_process(pid, ec);
  ASSERT_FALSE(ec);
  std::atomic<bool> is_dead = false;
  const mp::AsyncResult<int> second =
      pool.apply_async(mp::Callbacks{[&](int) {
                         mp::os::wait_ready(worker.get(), mp::detail::Deadline{mp::forever});
                         is_dead = true;
                       }},
                       square, 2);
  const auto third = pool.apply_async(
      [](int x) {
        std::this_thread::sleep_for(60ms);  // so long that the driver looks after its workers
        return x;
      },
      3);
  const auto fourth = pool.apply_async(square, 4);
  EXPECT_EQ(fourth.get(), 16);
  EXPECT_TRUE(is_dead);
  EXPECT_EQ(second.get(), 4);
  EXPECT_EQ(third.get(), 3);
}
#endif

// The audit says whether the parent keeps anything of a message that nobody will receive.
TEST(PoolDeath, TakesWhatLiesInItsChannelWithIt) {
  mp::Pool pool{1};
  mp::Queue<int> queue;
  const auto put = [](mp::Queue<int> to, int x) { to.put(x); };
  const auto running = pool.apply_async(test::wait_for_ever);
  eventually([&] { return pool.stats().running == 1; });
  const auto behind = pool.apply_async(put, queue, 3);
  test::kill_process(pool.stats().workers[0].pid.value());
  EXPECT_THROW(running.get(), mp::BrokenProcessPool);
  behind.get();  // by the next one
  EXPECT_EQ(queue.get(), 3);
  const auto last = pool.apply_async(test::wait_for_ever);
  eventually([&] { return pool.stats().running == 1; });
  const auto cancelled = pool.apply_async(put, queue, 4);
  pool.terminate();
  EXPECT_THROW(cancelled.get(), mp::CancelledError);
}

// A worker that has had its tasks ends while the driver is inside a callback.
TEST(PoolWorkerThatEnds, LeavesWhatItReturned) {
  mp::Pool pool{{.processes = 1, .maxtasksperchild = 3}};
  mp::Queue<int> queue;
  std::error_code ec;
  const auto worker = mp::os::open_process(pool.apply(test::own_pid), ec);
  ASSERT_FALSE(ec);
  const auto look_away = [&](int) {
    mp::os::wait_ready(worker.get(), mp::detail::Deadline{300ms});
  };
  const auto second = pool.apply_async(mp::Callbacks{look_away}, square, 2);
  const auto third = pool.apply_async([](mp::Queue<int> to) { return to; }, queue);
  queue.put(3);
  EXPECT_EQ(third.get().get(), 3);
}

// ---- at random ----

unsigned kills() {
  const char* const text = std::getenv("MULTIPROCESSING_TEST_KILLS");
  constexpr unsigned few = MULTIPROCESSING_WINDOWS ? 15 : 60;
  return text == nullptr ? few : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

// Counts how often each future is resolved.
struct Ledger {
  std::atomic<std::size_t> submitted{0};
  std::atomic<std::size_t> resolved{0};
  std::atomic<std::size_t> twice{0};
  std::atomic<std::size_t> wrong{0};
  std::atomic<std::size_t> lost{0};

  template <class Future, class Value>
  void watch(const Future& future, Value expected) {
    ++submitted;
    future.add_done_callback(
        [this, expected, calls = std::make_shared<std::atomic<int>>(0)](const Future& done) {
          ++resolved;
          if (++*calls != 1) ++twice;
          try {
            if (done.result(0s) != expected) ++wrong;
          } catch (const mp::BrokenProcessPool&) {
            ++lost;
          } catch (...) {
            ++wrong;
          }
        });
  }
};

TEST(PoolRandomKill, ResolvesEveryFutureOnceUnderLoad) {
  constexpr unsigned workers = 4;
  Ledger ledger;
  std::size_t restarts = 0;
  unsigned killed = 0;
  {
    mp::ProcessPoolExecutor executor{workers};
    std::mt19937 random{20141207};
    mp::Queue<int> queue;
    std::set<std::pair<std::size_t, std::size_t>> victims;  // ids of processes come again
    std::vector<mp::Future<mp::Queue<int>>> handles;
    const std::string text(300, 'x');
    // Wine never ends the call that takes a handle from a process which is killed meanwhile.
    const bool queues_return = !test::is_imitated();
    while (killed < kills()) {
      const auto batch = std::uniform_int_distribution<int>{1, 60}(random);
      for (int i = 0; i < batch; ++i) {
        switch (random() % 8) {
          case 0:
            ledger.watch(executor.submit(repeat, text, 200U), repeat(text, 200));
            break;
          case 1:
            ledger.watch(executor.submit({.retries = 1}, square, i), i * i);
            break;
          case 2:
            if (queues_return) {
              handles.push_back(executor.submit([](mp::Queue<int> to) { return to; }, queue));
            } else {
              ledger.watch(executor.submit([](mp::Queue<int> to) { return to.empty(); }, queue),
                           true);
            }
            break;
          case 3:
            ledger.watch(executor.submit(square_slowly, i), i * i);
            break;
          default:
            ledger.watch(executor.submit(square, i), i * i);
        }
      }
      std::this_thread::sleep_for(
          std::chrono::microseconds{std::uniform_int_distribution<int>{0, 2000}(random)});
      const auto all = executor.stats().workers;
      const std::size_t place = random() % all.size();
      const auto& victim = all[place];
      if (victim.pid && victims.insert({place, victim.restarts}).second) {
        test::kill_process(*victim.pid);
        ++killed;
      }
      if (handles.size() > 1000) handles.clear();
      while (ledger.submitted - ledger.resolved > 2000) std::this_thread::sleep_for(1ms);
    }
    for (const auto& each : handles) static_cast<void>(each.core()->wait(mp::forever));
    executor.shutdown();
    restarts = executor.stats().restarts;
  }
  EXPECT_EQ(ledger.resolved, ledger.submitted);
  EXPECT_EQ(ledger.twice, 0U);
  EXPECT_EQ(ledger.wrong, 0U);
  EXPECT_LE(ledger.lost, killed);
  std::printf("figure pool_kills=%u tasks=%zu lost=%zu restarts=%zu\n", killed,
              ledger.submitted.load(), ledger.lost.load(), restarts);
}

// How soon a death is told: printed, not judged here.
TEST(PoolRandomKill, IsToldSoon) {
  mp::Pool pool{2};
  std::vector<double> times;
  constexpr int times_told = MULTIPROCESSING_WINDOWS ? 5 : 30;
  for (int i = 0; i < times_told; ++i) {
    const auto result = pool.apply_async(test::wait_for_ever);
    int victim = 0;
    eventually([&] { return pool.stats().running == 1; });
    std::set<int> pids;
    for (const auto& worker : pool.stats().workers) pids.insert(worker.pid.value_or(0));
    pids.erase(pool.apply(test::own_pid));
    victim = *pids.rbegin();
    const auto begin = std::chrono::steady_clock::now();
    test::kill_process(victim);
    EXPECT_THROW(result.get(), mp::BrokenProcessPool);
    times.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
            .count());
    eventually([&] {
      const auto all = pool.stats().workers;
      return std::ranges::all_of(all, [](const auto& each) { return each.pid.has_value(); }) ||
             pool.apply(square, 1) != 1;
    });
  }
  std::sort(times.begin(), times.end());
  std::printf("figure pool_death_told_ms median=%.1f last=%.1f\n", times[times.size() / 2],
              times.back());
}

#if MULTIPROCESSING_POSIX  // not on Windows: signals
// A worker that is stopped holds up nobody but its own tasks; terminate() is not held up at all.
TEST(PoolStopped, HoldsUpOnlyItsOwnTask) {
  mp::Pool pool{2};
  const auto stopped = pool.apply_async([] { ::raise(SIGSTOP); });
  eventually([&] { return pool.stats().running == 1; });
  for (int i = 0; i < 100; ++i) EXPECT_EQ(pool.apply(square, i), i * i);
  EXPECT_EQ(pool.map(square, std::vector<int>(100, 3), 1), std::vector<int>(100, 9));
  EXPECT_FALSE(stopped.ready());
  pool.terminate();
  EXPECT_THROW(stopped.get(), mp::CancelledError);
}
#endif

}  // namespace
