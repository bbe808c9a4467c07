// SPDX-License-Identifier: BSL-1.0
// Processes are killed at every step of a semaphore's, a condition's, a barrier's and a value's
// operations, with others asleep and at work; then at random. What must hold: nobody hangs (the
// watchdog), units are neither lost nor made but those that the dead took, a notification reaches
// somebody who lives, a barrier never lets a part of its parties through, and a value is as before
// or after an update.
// Not on Windows: fork; the steps are in spawned_test.cpp, random kills are not
#include <multiprocessing.hpp>

#include <support/asleep.hpp>
#include <support/chaos.hpp>
#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::code_of;
using test::eventually;
using test::Process;
using test::Shared;
using test::sleeps_or_has_ended;
using test::started;

namespace {

// The points that some work comes by, of these kinds.
std::vector<std::string> points_in(const std::vector<std::string>& kinds,
                                   const std::function<void()>& work) {
  auto points = test::stop_points_in([&] { ASSERT_EQ(code_of(started(work)), 0); });
  std::erase_if(points, [&](const std::string& point) {
    return std::ranges::none_of(kinds,
                                [&](const auto& kind) { return point.starts_with(kind + "."); });
  });
  return points;
}

template <class Work>
Process asleep(Work work) {
  Process process = started(work);
  eventually([&] { return sleeps_or_has_ended(process); });
  return process;
}

Process victim_at(const std::string& point, const std::function<void()>& work, unsigned pass = 1) {
  return started([=] {
    test::stop_at(point, test::Stop::die, pass);
    work();
  });
}

void take_whatever(mp::Condition& condition) {
  try {
    condition.acquire();
  } catch (const mp::AbandonedLock&) {
    condition.recover();
  }
}

}  // namespace

// ---- RLock ----

TEST(RLockStopPoint, KilledThereLeavesItAbandonedUnlessItWasGivenBack) {
  const auto twice = [](mp::RLock lock) {
    lock.acquire();
    lock.acquire();
    lock.release();
    lock.release();
  };
  const auto points = points_in({"lock", "robust_lock"}, [&] { twice({}); });
  ASSERT_GE(points.size(), 3U);
  for (const std::string& point : points) {
    for (const unsigned pass : {1U, 2U}) {
      SCOPED_TRACE(point + " " + std::to_string(pass));
      mp::RLock lock;
      if (code_of(victim_at(
              point, [&] { twice(lock); }, pass)) == 0)
        continue;
      EXPECT_FALSE(lock.locked());
      if (point == "lock.acquire.held" || point == "lock.release.begun") {
        EXPECT_THROW(lock.acquire(), mp::AbandonedLock);
        lock.recover();
        lock.release();
      }
      EXPECT_EQ(code_of(started([&] { twice(lock); })), 0);
    }
  }
}

// ---- Semaphore ----

TEST(SemaphoreStopPoint, OfReleaseLetsAsManyGoAsItGave) {
  for (const std::string point :
       {"semaphore.release.stored", "bell.ring.counted", "semaphore.release.rung"}) {
    SCOPED_TRACE(point);
    mp::Semaphore units{0};
    std::vector<Process> waiters;
    for (int i = 0; i < 3; ++i) waiters.push_back(asleep([&] { units.acquire(); }));
    const int code = code_of(victim_at(point, [&] { units.release(3); }));
    // One that woke by itself may have rung before the victim could.
    EXPECT_TRUE(code == -SIGKILL || (code == 0 && point == "bell.ring.counted")) << code;
    for (const auto& waiter : waiters) EXPECT_EQ(code_of(waiter), 0);
    EXPECT_EQ(units.get_value(), 0U);
  }
}

TEST(SemaphoreStopPoint, OfAcquireCostsTheUnitThatWasTakenAtMost) {
  for (const std::string point : {"semaphore.acquire.announced", "semaphore.acquire.woken",
                                  "semaphore.acquire.taken", "bell.ring.counted"}) {
    SCOPED_TRACE(point);
    mp::Semaphore units{0};
    const Process victim = victim_at(point, [&] {
      units.acquire();
      for (;;) ::pause();
    });
    ASSERT_TRUE(eventually([&] { return sleeps_or_has_ended(victim); }));
    std::vector<Process> waiters;
    for (int i = 0; i < 3; ++i) waiters.push_back(asleep([&] { units.acquire(); }));
    const unsigned given = point == "semaphore.acquire.announced" ? 3 : 4;
    units.release(given);
    for (const auto& waiter : waiters) EXPECT_EQ(code_of(waiter), 0);
    if (point == "bell.ring.counted") {  // who slept first may have found nothing left to ring for
      ASSERT_TRUE(eventually([&] { return units.get_value() == 0; }));
      victim->kill();
    }
    EXPECT_EQ(code_of(victim), -SIGKILL);
    EXPECT_EQ(units.get_value(), point == "semaphore.acquire.woken" ? 1U : 0U);
  }
}

// Of a semaphore nobody owns a unit, so what the dead had is missing, and nothing else: at most as
// many as they were, and none at all when those who live rest, for what was missing is given back.
TEST(SemaphoreRandomKill, NeitherLosesNorMakesUnits) {
  constexpr std::size_t most = 4;
  struct Notes {
    std::array<std::atomic<std::uint64_t>, most> rounds{};
    std::array<std::atomic<unsigned>, most>
        may_have_one{};  // from before acquire() to after release()
    std::atomic<bool> rest{false};
  };
  const int kills = test::kills(60) / 2;
  std::mt19937 random{5};
  for (const std::size_t count : {most, std::size_t{2}}) {
    const unsigned all = count == most ? 2 : 3;
    SCOPED_TRACE(std::to_string(count) + " workers");
    const Shared<Notes> notes;
    mp::Semaphore units{all};
    std::vector<Process> workers(count);
    const auto start_all = [&] {
      for (std::size_t i = 0; i < count; ++i) {
        notes->may_have_one[i] = 0;
        workers[i] = started([&, i]() mutable {
          for (;;) {
            for (int pause = 0; pause < 200; ++pause) mp::os::relax();
            notes->may_have_one[i] = 1;
            if (notes->rest) {
              notes->may_have_one[i] = 0;
              while (notes->rest) std::this_thread::yield();
              continue;
            }
            units.acquire();
            ++notes->rounds[i];
            units.release();
            notes->may_have_one[i] = 0;
          }
        });
      }
    };
    const auto expect_all_there = [&] {
      const std::uint64_t seen = notes->rounds[0];
      ASSERT_TRUE(eventually([&] { return notes->rounds[0] > seen; })) << units.get_value();
      notes->rest = true;
      ASSERT_TRUE(eventually([&] {
        return std::ranges::all_of(notes->may_have_one, [](const auto& it) { return it == 0; });
      })) << units.get_value();
      ASSERT_EQ(units.get_value(), all);
      notes->rest = false;
    };
    start_all();
    const mp::detail::Deadline enough = test::enough_killing();
    for (int kill = 0; kill < kills && !enough.passed(); ++kill) {
      if (kill % 4 == 0) expect_all_there();
      if (testing::Test::HasFatalFailure()) break;  // the others are still to be killed
      // Orders nothing: they are to die at any moment.
      std::this_thread::sleep_for(std::chrono::microseconds{random() % 500});
      const std::size_t first = random() % count;
      for (std::size_t i = 0; i < count; ++i) {
        auto& victim = workers[(first + i) % count];
        victim->kill();
        victim->join();
      }
      const unsigned left = units.get_value();
      ASSERT_LE(left, all);
      const auto dead = std::accumulate(notes->may_have_one.begin(), notes->may_have_one.end(), 0U);
      ASSERT_LE(all - left, dead);
      if (left < all) units.release(all - left);
      const std::uint64_t seen = notes->rounds[first];
      start_all();
      ASSERT_TRUE(eventually([&] { return notes->rounds[first] > seen; }));
    }
    for (auto& worker : workers) worker->kill();
    for (auto& worker : workers) worker->join();
  }
}

// ---- Condition ----

namespace {

// Three processes wait for a word. Whoever is told of a death passes the word on.
struct Word {
  std::atomic<bool> said{false};
  std::atomic<int> woken{0};
  std::atomic<int> told{0};
};

void wait_for_word(const Shared<Word>& word, mp::Condition& condition) {
  take_whatever(condition);
  try {
    condition.wait_for([&] {
      if (word->said) return true;
      return false;
    });
  } catch (const mp::AbandonedLock&) {
    ++word->told;
  }
  ++word->woken;
  condition.release();
}

}  // namespace

TEST(ConditionStopPoint, OfNotifyWakesAllTheSame) {
  const auto points = points_in({"room", "wakeup", "lock"}, [] {
    mp::Condition condition;
    bool is_there = false;  // guarded by the condition
    std::thread waiter{[&] {
      const std::lock_guard guard{condition};
      is_there = true;
      condition.wait();
    }};
    eventually([&] {
      const std::lock_guard guard{condition};
      if (is_there) condition.notify();
      return is_there;
    });
    for (int i = 0; i < 100; ++i) {
      const std::lock_guard guard{condition};
      condition.notify_all();
    }
    waiter.join();
  });
  ASSERT_TRUE(std::ranges::count(points, "room.call.stored"));
  for (const std::string& point : points) {
    SCOPED_TRACE(point);
    mp::Condition condition;
    const Shared<Word> word;
    std::vector<Process> waiters;
    for (int i = 0; i < 3; ++i) {
      waiters.push_back(asleep([&] { wait_for_word(word, condition); }));
    }
    const Process victim = victim_at(point, [&] {
      const std::lock_guard guard{condition};
      word->said = true;
      condition.notify_all();
      condition.notify();
    });
    victim->join();
    take_whatever(condition);  // the word may be said, and not by all heard
    word->said = true;
    condition.notify_all();
    condition.release();
    for (const auto& waiter : waiters) EXPECT_EQ(code_of(waiter), 0);
    EXPECT_EQ(word->woken, 3);
    EXPECT_LE(word->told, 3);
  }
}

TEST(ConditionStopPoint, OfWaitTakesNobodysWordAway) {
  const std::vector<std::string> points{"condition.wait.seat_taken", "condition.wait.seated",
                                        "condition.wait.released",   "condition.wait.woken",
                                        "lock.take_back.taken",      "condition.wait.taken_back",
                                        "condition.wait.stood_up",   "robust_lock.lock.inherited"};
  for (const std::string& point : points) {
    SCOPED_TRACE(point);
    mp::Condition condition;
    const Shared<Word> word;
    const Process victim = victim_at(point, [&] { wait_for_word(word, condition); });
    ASSERT_TRUE(eventually([&] { return sleeps_or_has_ended(victim); }));
    if (!victim->is_alive()) {
      take_whatever(condition);
      condition.release();
    }
    std::vector<Process> waiters;
    for (int i = 0; i < 2; ++i) {
      waiters.push_back(asleep([&] { wait_for_word(word, condition); }));
    }
    take_whatever(condition);
    word->said = true;
    condition.notify();  // the victim, if it waits
    condition.release();
    // It goes to somebody who lives, be it through the victim's death.
    ASSERT_TRUE(eventually([&] { return word->woken >= 1; }));
    ASSERT_TRUE(eventually([&] {  // who was told holds nothing any more
      try {
        if (!condition.acquire(0s)) return false;
      } catch (const mp::AbandonedLock&) {
        condition.recover();
      }
      condition.notify_all();
      condition.release();
      return word->woken >= 2;
    }));
    for (const auto& waiter : waiters) EXPECT_EQ(code_of(waiter), 0);
    victim->join();
    take_whatever(condition);
    EXPECT_FALSE(condition.wait(1ms));
    condition.release();
  }
}

namespace {

// A shelf with room for one item between makers and takers, one condition for each side.
struct Shelf {
  std::uint64_t item = 0;  // 0: none
  std::uint64_t next = 1;
  std::atomic<std::uint64_t> taken{0};
  std::atomic<std::uint64_t> told{0};
};

template <class Change>
void hold(const Shared<Shelf>& shelf, mp::Condition& mine, Change change) {
  try {
    mine.acquire();
    change();
  } catch (const mp::AbandonedLock&) {  // out of acquire(): nothing is held; out of wait(): it is
    ++shelf->told;
    mine.recover();  // once more, if it is
    mine.release();
    try {
      mine.release();
    } catch (const std::logic_error&) {
    }
    return;
  }
  mine.release();
}

void make(const Shared<Shelf>& shelf, mp::Condition& empty, mp::Condition& full) {
  for (;;) {
    hold(shelf, empty, [&] {
      empty.wait_for([&] { return shelf->item == 0; });
      shelf->item = shelf->next++;
      full.notify();
    });
  }
}
void take(const Shared<Shelf>& shelf, mp::Condition& empty, mp::Condition& full) {
  for (;;) {
    hold(shelf, full, [&] {
      full.wait_for([&] { return shelf->item != 0; });
      shelf->item = 0;
      ++shelf->taken;
      empty.notify();
    });
  }
}

}  // namespace

// What one who dies between its change and its word owes, whoever is told of it pays: it wakes all.
TEST(ConditionRandomKill, HoldsNobodyUp) {
  const int kills = test::kills(400);
  const Shared<Shelf> shelf;
  mp::RLock lock;
  mp::Condition empty{lock};
  mp::Condition full{lock};
  const auto new_worker = [&](std::size_t i) {
    return started([&, i]() mutable {
      if (i % 2 == 0) make(shelf, empty, full);
      take(shelf, empty, full);
    });
  };
  std::array<Process, 4> workers;
  for (std::size_t i = 0; i < workers.size(); ++i) workers[i] = new_worker(i);
  std::mt19937 random{9};
  const mp::detail::Deadline enough = test::enough_killing();
  for (int kill = 0; kill < kills && !enough.passed(); ++kill) {
    std::this_thread::sleep_for(std::chrono::microseconds{random() % 1000});  // any moment
    const std::size_t which = random() % workers.size();
    workers[which]->kill();
    workers[which]->join();
    take_whatever(empty);  // whoever mends what it guards says that something may have changed
    empty.notify_all();
    full.notify_all();
    empty.release();
    workers[which] = new_worker(which);
    const std::uint64_t seen = shelf->taken;
    ASSERT_TRUE(eventually([&] { return shelf->taken > seen; }));
  }
  for (auto& worker : workers) worker->kill();
  for (auto& worker : workers) worker->join();
}

// ---- Barrier ----

TEST(BarrierStopPoint, KilledThereBreaksItOrLetsAllGo) {
  auto points = points_in({"barrier", "wakeup", "robust_lock"}, [] {
    mp::Barrier barrier{2, mp::Task{[] {}}};
    std::thread other{[&] { barrier.wait(); }};
    barrier.wait();
    other.join();
  });
  if (!std::ranges::count(points, "barrier.wait.woken")) points.emplace_back("barrier.wait.woken");
  ASSERT_GE(points.size(), 5U);
  for (const bool sleeps_first : {false, true}) {
    for (const std::string& point : points) {
      SCOPED_TRACE(point + (sleeps_first ? ", asleep before" : ""));
      mp::Barrier barrier{3, mp::Task{[] {}}};
      struct Answers {
        std::atomic<int> passed{0};
        std::atomic<int> broken{0};
      };
      const Shared<Answers> answers;
      const auto party = [&] {
        try {
          barrier.wait();
          ++answers->passed;
        } catch (const mp::BrokenBarrierError&) {
          ++answers->broken;
        }
      };
      Process victim;
      if (sleeps_first) {
        victim = victim_at(point, party);
        ASSERT_TRUE(eventually([&] { return sleeps_or_has_ended(victim); }));
      }
      std::vector<Process> others;
      for (int i = 0; i < 2; ++i) others.push_back(asleep(party));
      if (!sleeps_first) victim = victim_at(point, party);
      victim->join();
      if (victim->exitcode() != 0 && answers->passed == 0) {  // it may never have been counted
        std::vector<Process> more;
        if (barrier.n_waiting() == 2 && !barrier.broken()) more.push_back(started(party));
        for (const auto& one : more) EXPECT_EQ(code_of(one), 0);
      }
      for (const auto& other : others) EXPECT_EQ(code_of(other), 0);
      EXPECT_TRUE(answers->passed == 0 || answers->broken == 0)
          << answers->passed << " passed, " << answers->broken << " did not";
      barrier.reset();
      EXPECT_FALSE(barrier.broken());
      EXPECT_EQ(barrier.n_waiting(), 0U);
      std::vector<Process> again;
      answers->passed = 0;
      for (int i = 0; i < 3; ++i) again.push_back(started(party));
      for (const auto& one : again) EXPECT_EQ(code_of(one), 0);
      EXPECT_EQ(answers->passed, 3);
    }
  }
}

// Whoever is killed on the way to the seat of a party that died, hides that death from nobody.
TEST(BarrierStopPoint, KilledThereTakingADeadPartysSeatLeavesItBroken) {
  for (const std::string point :
       {"room.death.noted", "robust_lock.lock.inherited", "robust_lock.lock.made_consistent",
        "condition.wait.seat_taken", "condition.wait.seated"}) {
    for (const bool looks_again : {false, true}) {
      SCOPED_TRACE(point + (looks_again ? ", and somebody takes it after that" : ""));
      mp::Condition first;
      mp::Condition second;
      mp::Barrier barrier{3};
      const Process party = asleep([&] { barrier.wait(); });
      ASSERT_TRUE(eventually([&] { return barrier.n_waiting() == 1; }));
      party->kill();
      EXPECT_EQ(code_of(party), -SIGKILL);
      EXPECT_EQ(code_of(victim_at(point,
                                  [&] {
                                    const std::lock_guard guard{first};
                                    first.wait(1ms);
                                  })),
                -SIGKILL);
      if (looks_again) {
        const std::lock_guard guard{second};
        EXPECT_FALSE(second.wait(1ms));
      }
      EXPECT_TRUE(barrier.broken());
      EXPECT_THROW(barrier.wait(), mp::BrokenBarrierError);
      barrier.reset();
      EXPECT_FALSE(barrier.broken());
      EXPECT_EQ(barrier.n_waiting(), 0U);
    }
  }
}

TEST(BarrierRandomKill, NeverLetsAPartThrough) {
  constexpr std::size_t parties = 3;
  const int kills = test::kills(300);
  struct Rounds {
    std::array<std::atomic<std::uint64_t>, parties> came{};
    std::array<std::atomic<std::uint64_t>, parties> went{};
    std::atomic<int> wrong{0};
  };
  std::mt19937 random{13};
  const mp::detail::Deadline enough = test::enough_killing();
  for (int kill = 0; kill < kills && !enough.passed(); ++kill) {
    const Shared<Rounds> rounds;
    mp::Barrier barrier{parties};
    std::array<Process, parties> processes;
    for (std::size_t i = 0; i < parties; ++i) {
      processes[i] = started([&, i] {
        try {
          for (;;) {
            const std::uint64_t mine = ++rounds->came[i];
            barrier.wait();
            ++rounds->went[i];
            for (const auto& other : rounds->came) {
              if (other < mine) ++rounds->wrong;
            }
          }
        } catch (const mp::BrokenBarrierError&) {
        }
      });
    }
    ASSERT_TRUE(eventually([&] { return rounds->went[0] > 2; }));
    std::this_thread::sleep_for(std::chrono::microseconds{random() % 300});  // any moment
    const std::size_t which = random() % parties;
    processes[which]->kill();
    processes[which]->join();
    ASSERT_TRUE(eventually([&] {  // killed while it did not wait, it breaks nothing by itself
      if (barrier.n_waiting() == parties - 1) barrier.abort();
      return std::ranges::all_of(processes, [](const auto& one) { return !one->is_alive(); });
    }));
    for (std::size_t i = 0; i < parties; ++i) {
      EXPECT_EQ(code_of(processes[i]), i == which ? -SIGKILL : 0);
    }
    EXPECT_EQ(rounds->wrong, 0);
  }
}

// ---- Value ----

namespace {

struct Many {
  std::array<std::uint64_t, 40> numbers;
  [[nodiscard]] bool is_whole() const {
    return std::ranges::all_of(numbers, [&](auto number) { return number == numbers[0]; });
  }
};
void increment(Many& many) {
  for (auto& number : many.numbers) ++number;
}

}  // namespace

TEST(ValueStopPoint, KilledThereLeavesItAsBeforeOrAfter) {
  const auto points = points_in({"value", "lock", "robust_lock"}, [] {
    mp::Value<Many> many;
    many.update(increment);
  });
  ASSERT_GE(points.size(), 6U);
  for (const std::string& point : points) {
    SCOPED_TRACE(point);
    mp::Value<Many> many;
    mp::Value<int> one{0};
    mp::Value<int> two{many.get_lock(), 0};
    many.update(increment);
    code_of(victim_at(point, [&] { many.update(increment); }));
    code_of(victim_at(point, [&] { one.update([](int& x) { ++x; }); }));
    code_of(victim_at(point, [&] { two.update([](int& x) { ++x; }); }));
    EXPECT_LE(one.load(), 1);  // none is abandoned
    EXPECT_LE(two.load(), 1);
    {
      const std::lock_guard guard{many.get_lock()};
      EXPECT_TRUE(many.value().is_whole());
    }
    const bool committed = point == "value.change.committed" || point == "value.change.stored" ||
                           point.starts_with("lock.release");
    EXPECT_EQ(many.load().numbers[39], committed ? 2U : 1U);
    EXPECT_TRUE(many.update(increment).is_whole());
  }
}

TEST(ValueRandomKill, LosesNoUpdateAndTearsNone) {
  const int kills = test::kills(800);
  struct Notes {
    std::array<std::atomic<std::uint64_t>, 3> returned{};
    std::atomic<int> torn{0};
  };
  const Shared<Notes> notes;
  mp::Value<Many> many;
  const auto new_worker = [&](std::size_t i) {
    return started([&, i] {
      for (;;) {
        if (!many.update(increment).is_whole()) ++notes->torn;
        ++notes->returned[i];
        if (!many.load().is_whole()) ++notes->torn;
      }
    });
  };
  std::array<Process, 3> workers;
  for (std::size_t i = 0; i < workers.size(); ++i) workers[i] = new_worker(i);
  std::mt19937 random{17};
  const mp::detail::Deadline enough = test::enough_killing();
  for (int kill = 0; kill < kills && !enough.passed(); ++kill) {
    std::this_thread::sleep_for(std::chrono::microseconds{random() % 500});  // any moment
    const std::size_t which = random() % workers.size();
    workers[which]->kill();
    ASSERT_EQ(code_of(workers[which]), -SIGKILL);
    workers[which] = new_worker(which);
  }
  for (auto& worker : workers) worker->kill();
  for (auto& worker : workers) worker->join();
  std::uint64_t returned = 0;
  for (const auto& one : notes->returned) returned += one;
  const auto now = many.load();
  EXPECT_TRUE(now.is_whole());
  EXPECT_EQ(notes->torn, 0);
  EXPECT_GE(now.numbers[0], returned);
  EXPECT_LE(now.numbers[0], returned + static_cast<std::uint64_t>(kills) + workers.size());
}

// ---- names ----

TEST(SharedMemoryStopPoint, KilledThereLeavesNoName) {
  const std::string name = "mp-chaos-" + std::to_string(::getpid());
  for (const std::string point : {"named_memory.create.announced", "named_memory.create.named"}) {
    SCOPED_TRACE(point);
    const Process victim = victim_at(
        point, [&] { const mp::SharedMemory memory{{.name = name, .create = true, .size = 100}}; });
    EXPECT_EQ(code_of(victim), -SIGKILL);
    ASSERT_TRUE(eventually([&] { return !std::filesystem::exists("/dev/shm/" + name); }));
    const mp::SharedMemory again{{.name = name, .create = true, .size = 100}};
  }
}
