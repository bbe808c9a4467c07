// SPDX-License-Identifier: BSL-1.0
// Processes are killed at every step of a Lock's and an Event's operations, with others asleep in
// them and with others at work; then at random. What must hold: nobody hangs (the watchdog), a lock
// that a dead process held is abandoned and no other is, two never hold one at once, and everybody
// who waited for an event goes on.
// Not on Windows: fork; see spawned_test.cpp, and spawned_random_kill_test.cpp for a Lock
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
#include <exception>
#include <functional>
#include <memory>
#include <ostream>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::code_of;
using test::eventually;
using test::Process;
using test::Shared;
using test::sleeps_or_has_ended;
using test::started;

namespace {

// Random kills end then: a sanitizer makes a fork ten times as dear.

// ---- a Lock: one death at each step ----

enum class Before {
  sound,            // free, or held by somebody who lets go
  abandoned,        // an owner died, or dies while the victim waits; nobody has noticed
  known_abandoned,  // somebody got AbandonedLock
};

// What the victim does, and dies in.
struct Way {
  std::string name;
  Before before;
  void (*operate)(mp::Lock&);
};

std::ostream& operator<<(std::ostream& out, const Way& way) {
  return out << way.name;
}

template <class AnyLock>
bool is_told_that_it_is_abandoned(AnyLock& lock) {
  try {
    lock.acquire();
    return false;
  } catch (const mp::AbandonedLock&) {
    return true;
  }
}

void acquire_and_release(mp::Lock& lock) {
  lock.acquire();
  lock.release();
}
void recover_and_release(mp::Lock& lock) {
  lock.recover();
  lock.release();
}
void find_out(mp::Lock& lock) {
  if (!is_told_that_it_is_abandoned(lock)) throw std::runtime_error{"acquired"};
}

std::vector<Way> ways() {
  return {{"acquire", Before::sound, acquire_and_release},
          {"find_out", Before::abandoned, find_out},
          {"recover", Before::abandoned, recover_and_release},
          {"recover_when_known", Before::known_abandoned, recover_and_release},
          {"recover_when_sound", Before::sound, recover_and_release}};
}

void prepare(const Way& way, mp::Lock& lock) {
  if (way.before == Before::sound) return;
  std::thread{[&] { lock.acquire(); }}.join();
  if (way.before == Before::known_abandoned) find_out(lock);
}

// All points that the operation comes by, in a process of its own that nobody kills.
std::vector<std::string> points_of(const Way& way) {
  mp::Lock lock;
  prepare(way, lock);
  auto points = test::stop_points_in([&] {
    const Process process = started([&] { way.operate(lock); });
    ASSERT_EQ(code_of(process), 0);
  });
  std::erase_if(points, [](const std::string& point) {  // starting a process has its own
    return !point.starts_with("lock.") && !point.starts_with("robust_lock.");
  });
  return points;
}

// Whether a victim that died at this point leaves a sound lock: it had given it back, or had not
// got it yet.
bool leaves_it_sound(const Way& way, const std::string& point) {
  if (point == "lock.release.done" || point == "lock.release.unlocked") return true;
  return way.before == Before::sound &&
         (point == "lock.acquire.taken" || point == "lock.recover.taken" ||
          point.starts_with("robust_lock."));
}

// The lock after the victim's death: as was promised, and good for everything again.
void expect_as_promised(mp::Lock& lock, bool sound) {
  EXPECT_FALSE(lock.locked());
  if (!sound) {
    EXPECT_THROW(lock.acquire(), mp::AbandonedLock);
    EXPECT_THROW(lock.acquire(0s), mp::AbandonedLock);
    EXPECT_TRUE(lock.recover(0s));
    EXPECT_TRUE(lock.locked());
    lock.release();
  }
  EXPECT_EQ(code_of(started([&] { acquire_and_release(lock); })), 0);
  EXPECT_TRUE(lock.acquire(0s));
  lock.release();
}

// A process that holds the lock until it lets go or dies.
class Holder {
 public:
  explicit Holder(const mp::Lock& lock)
      : process_{started([its_lock = lock, release = release_]() mutable {
          its_lock.acquire();
          release.wait();
          its_lock.release();
        })} {
    eventually([&] { return lock.locked(); });
  }
  void let_go() {
    release_.set();
    process_->join();
  }
  void die() {
    process_->kill();
    process_->join();
  }

 private:
  mp::Event release_;
  Process process_;
};

class LockStopPoint : public testing::TestWithParam<Way> {};
class LockStopPointAfterASleep : public LockStopPoint {};

// Nobody sleeps in front of a lock that is known to be abandoned.
std::vector<Way> ways_with_a_sleep() {
  auto some = ways();
  std::erase_if(some, [](const Way& way) { return way.before == Before::known_abandoned; });
  return some;
}

std::string name_of(const testing::TestParamInfo<Way>& way) {
  return way.param.name;
}
INSTANTIATE_TEST_SUITE_P(Ways, LockStopPoint, testing::ValuesIn(ways()), name_of);
INSTANTIATE_TEST_SUITE_P(Ways,
                         LockStopPointAfterASleep,
                         testing::ValuesIn(ways_with_a_sleep()),
                         name_of);

}  // namespace

TEST_P(LockStopPoint, KilledThereLeavesTheLockAsPromised) {
  const Way& way = GetParam();
  const auto points = points_of(way);
  ASSERT_GE(points.size(), 3U);
  for (const std::string& point : points) {
    SCOPED_TRACE(point);
    mp::Lock lock;
    prepare(way, lock);
    EXPECT_EQ(code_of(started([&] {
                test::stop_at(point, test::Stop::die);
                way.operate(lock);
              })),
              -SIGKILL);
    expect_as_promised(lock, leaves_it_sound(way, point));
  }
}

TEST_P(LockStopPointAfterASleep, KilledThereLeavesTheLockAsPromised) {
  const Way& way = GetParam();
  for (const std::string& point : points_of(way)) {
    SCOPED_TRACE(point);
    mp::Lock lock;
    Holder holder{lock};
    const Process victim = started([&] {
      test::stop_at(point, test::Stop::die);
      way.operate(lock);
    });
    ASSERT_TRUE(eventually([&] { return sleeps_or_has_ended(victim); }));
    EXPECT_TRUE(victim->is_alive());
    if (way.before == Before::abandoned) {
      holder.die();
    } else {
      holder.let_go();
    }
    EXPECT_EQ(code_of(victim), -SIGKILL);
    expect_as_promised(lock, leaves_it_sound(way, point));
  }
}

TEST_P(LockStopPoint, KilledThereWakesAllWhoSleep) {
  const Way& way = GetParam();
  struct Answers {
    std::atomic<int> abandoned{0};
    std::atomic<int> acquired{0};
  };
  for (const std::string& point : points_of(way)) {
    SCOPED_TRACE(point);
    mp::Lock lock;
    const Shared<Answers> answers;
    prepare(way, lock);
    test::forget_stops();
    const Process victim = started([&] {
      test::stop_at(point, test::Stop::wait);
      way.operate(lock);
    });
    ASSERT_TRUE(eventually([] { return test::stops_reached() == 1; }));
    std::vector<Process> others;
    for (int i = 0; i < 3; ++i) {
      others.push_back(started([&] {
        const auto ask = [&] {
          const bool abandoned = is_told_that_it_is_abandoned(lock);
          ++(abandoned ? answers->abandoned : answers->acquired);
          if (!abandoned) lock.release();
        };
        std::thread second{ask};
        ask();
        second.join();
      }));
    }
    for (const auto& other : others) {
      ASSERT_TRUE(eventually([&] { return sleeps_or_has_ended(other); }));
    }
    victim->kill();
    for (const auto& other : others) EXPECT_EQ(code_of(other), 0);
    const bool sound = leaves_it_sound(way, point);
    EXPECT_EQ(answers->acquired, sound ? 6 : 0);
    EXPECT_EQ(answers->abandoned, sound ? 0 : 6);
    victim->join();
    expect_as_promised(lock, sound);
  }
}

// ---- a Lock: others at work ----

namespace {

constexpr std::size_t most_workers = 8;

// The counter is plain; the notes say what it must be.
struct Ledger {
  std::uint64_t counter = 0;
  std::array<std::uint64_t, most_workers> noted{};
  std::array<std::atomic<std::uint64_t>, most_workers> returned{};
  std::atomic<std::uint64_t> recovered{0};
  std::atomic<bool> stop{false};

  [[nodiscard]] std::uint64_t sum() const {
    std::uint64_t all = 0;
    for (const std::uint64_t one : noted) all += one;
    return all;
  }
  [[nodiscard]] std::uint64_t progress() const {
    std::uint64_t all = 0;
    for (const auto& one : returned) all += one;
    return all;
  }
};

// Takes the lock in one of several ways; who is told that it is abandoned mends the counter.
template <class AnyLock>
void hold(Ledger& ledger, AnyLock& lock, std::uint64_t round) {
  try {
    if (round % 16 == 0) {
      while (!lock.acquire(100us)) {
      }
    } else if (round % 16 == 1) {
      while (!lock.acquire(0s)) std::this_thread::yield();
    } else {
      lock.acquire();
    }
  } catch (const mp::AbandonedLock&) {
    if (!lock.recover()) throw std::runtime_error{"not recovered"};
    ledger.counter = ledger.sum();
    ++ledger.recovered;
  }
}

// One that its owner may take again, it does.
template <class AnyLock>
void work(Ledger& ledger, AnyLock& lock, std::size_t worker) {
  constexpr bool is_recursive = std::is_same_v<AnyLock, mp::RLock>;
  for (std::uint64_t round = 0; !ledger.stop; ++round) {
    hold(ledger, lock, round);
    if (is_recursive) lock.acquire();
    const std::uint64_t before = ledger.counter;
    if (before != ledger.sum()) throw std::runtime_error{"somebody else was inside, or died there"};
    for (std::uint64_t i = 0; i < round % 64; ++i) mp::os::relax();
    ledger.counter = before + 1;
    ++ledger.noted[worker];
    if (is_recursive) lock.release();
    lock.release();
    ++ledger.returned[worker];
  }
}

// A process in which two threads work.
template <class AnyLock>
Process started_workers(Ledger& ledger, AnyLock& lock, std::size_t first) {
  return started([&ledger, lock, first]() mutable {
    std::exception_ptr failure;
    std::thread second{[&] {
      try {
        work(ledger, lock, first + 1);
      } catch (...) {
        failure = std::current_exception();
      }
    }};
    work(ledger, lock, first);
    second.join();
    if (failure) std::rethrow_exception(failure);
  });
}

}  // namespace

TEST_P(LockStopPoint, KilledThereWithTheOthersAtWorkHoldsNobodyUp) {
  const Way& way = GetParam();
  const auto points = points_of(way);
  const Shared<Ledger> ledger;
  mp::Lock lock;
  std::array<Process, 2> workers{started_workers(*ledger, lock, 0),
                                 started_workers(*ledger, lock, 2)};
  const mp::detail::Deadline enough = test::enough_killing();
  for (const std::string& point : points) {
    SCOPED_TRACE(point);
    for (unsigned pass = 1; pass == 1 || (pass <= 10 && !enough.passed()); ++pass) {
      const Process victim = started([&] {
        test::stop_at(point, test::Stop::die, pass);
        for (int i = 0; i < 10; ++i) {
          try {  // the workers may have recovered it, or abandoned it: whatever comes
            way.operate(lock);
          } catch (const std::exception&) {
            try {
              lock.release();
            } catch (const std::logic_error&) {
            }
          }
        }
      });
      victim->join();
      const std::uint64_t seen = ledger->progress();
      ASSERT_TRUE(eventually([&] { return ledger->progress() > seen + 10; }));
    }
  }
  ledger->stop = true;
  for (const auto& worker : workers) EXPECT_EQ(code_of(worker), 0);
  EXPECT_EQ(ledger->sum(), ledger->progress());
}

template <class AnyLock>
class LockRandomKill : public testing::Test {};
using BothLocks = testing::Types<mp::Lock, mp::RLock>;
TYPED_TEST_SUITE(LockRandomKill, BothLocks);

TYPED_TEST(LockRandomKill, NeverLetsTwoInNorHoldsAnybodyUp) {
  const int kills = test::kills(1500);
  constexpr std::size_t processes = 3;
  const Shared<Ledger> ledger;
  TypeParam lock;
  std::mt19937 random{7};
  std::array<Process, processes> workers;
  std::array<std::uint64_t, most_workers> killed{};
  for (std::size_t i = 0; i < processes; ++i) workers[i] = started_workers(*ledger, lock, 2 * i);
  const mp::detail::Deadline enough = test::enough_killing();
  for (int kill = 0; kill < kills && !enough.passed(); ++kill) {
    std::this_thread::sleep_for(std::chrono::microseconds{random() % 1000});  // any moment
    const std::size_t which = random() % processes;
    workers[which]->kill();
    ASSERT_EQ(code_of(workers[which]), -SIGKILL);
    for (const std::size_t thread : {2 * which, 2 * which + 1}) ++killed[thread];
    workers[which] = started_workers(*ledger, lock, 2 * which);
    if (kill % 50 == 0) {
      const std::uint64_t seen = ledger->progress();
      ASSERT_TRUE(eventually([&] { return ledger->progress() > seen + 100; }));
    }
  }
  ledger->stop = true;
  for (const auto& worker : workers) EXPECT_EQ(code_of(worker), 0);
  if (is_told_that_it_is_abandoned(lock)) {
    lock.recover();
    ledger->counter = ledger->sum();
  }
  lock.release();
  EXPECT_EQ(ledger->counter, ledger->sum());
  EXPECT_GT(ledger->recovered, 0U);
  for (std::size_t i = 0; i < most_workers; ++i) {
    EXPECT_GE(ledger->noted[i], ledger->returned[i]);
    EXPECT_LE(ledger->noted[i], ledger->returned[i] + killed[i]);
  }
}

// ---- an Event: one death at each step ----

namespace {

// Waiters of an event, each a process with two threads that wait.
class Waiters {
 public:
  explicit Waiters(mp::Event& event) {
    for (auto& process : processes_) {
      process = started([event]() mutable {
        bool there = false;
        std::thread second{[&] { there = event.wait(); }};
        const bool here = event.wait();
        second.join();
        if (!here || !there) throw std::runtime_error{"not set"};
      });
    }
    for (const auto& process : processes_) {
      eventually([&] { return sleeps_or_has_ended(process); });
    }
  }
  void expect_all_back() {
    for (const auto& process : processes_) EXPECT_EQ(code_of(process), 0);
  }

 private:
  std::array<Process, 3> processes_;
};

std::vector<std::string> event_points_in(const std::function<void()>& work) {
  auto points = test::stop_points_in(work);
  std::erase_if(points, [](const std::string& point) {
    return !point.starts_with("event.") && !point.starts_with("bell.");
  });
  return points;
}

class EventStopPoint : public testing::TestWithParam<test::Stop> {};
INSTANTIATE_TEST_SUITE_P(,
                         EventStopPoint,
                         testing::Values(test::Stop::die, test::Stop::wait),
                         [](const auto& what) {
                           return what.param == test::Stop::die ? "killed" : "stopped";
                         });

}  // namespace

TEST_P(EventStopPoint, OfSetLetsAllGoWhoSleep) {
  const std::vector<std::string> points{"event.set.stored", "bell.ring.counted", "event.set.rung"};
  EXPECT_EQ(event_points_in([] {
              mp::Event event;
              event.wait(1ns);  // leaves word that somebody may sleep
              event.set();
            }),
            (std::vector<std::string>{"event.wait.announced", "event.set.stored",
                                      "bell.ring.counted", "event.set.rung"}));
  for (const std::string& point : points) {
    SCOPED_TRACE(point);
    mp::Event event;
    Waiters waiters{event};
    test::forget_stops();
    const Process victim = started([&] {
      test::stop_at(point, GetParam());
      event.set();
    });
    ASSERT_TRUE(eventually([&] { return test::stops_reached() == 1 || !victim->is_alive(); }));
    // A waiter that woke by itself may have rung before the victim could.
    EXPECT_TRUE(test::stops_reached() == 1 || point == "bell.ring.counted");
    waiters.expect_all_back();
    EXPECT_TRUE(event.is_set());
    event.clear();
    event.set();
    EXPECT_TRUE(event.wait(0s));
    victim->kill();
    victim->join();
  }
}

TEST_P(EventStopPoint, OfClearHasCleared) {
  EXPECT_EQ(event_points_in([] { mp::Event{}.clear(); }),
            (std::vector<std::string>{"event.clear.stored"}));
  mp::Event event;
  event.set();
  test::forget_stops();
  const Process victim = started([&] {
    test::stop_at("event.clear.stored", GetParam());
    event.clear();
  });
  ASSERT_TRUE(eventually([] { return test::stops_reached() == 1; }));
  EXPECT_FALSE(event.wait(0s));
  Waiters waiters{event};
  event.set();
  waiters.expect_all_back();
  victim->kill();
  victim->join();
}

TEST_P(EventStopPoint, OfWaitLetsTheOthersGo) {
  const std::vector<std::string> points{"event.wait.announced", "event.wait.woken",
                                        "bell.ring.counted", "event.wait.rung"};
  for (const std::string& point : points) {
    SCOPED_TRACE(point);
    mp::Event event;
    test::forget_stops();
    const Process victim = started([&] {  // it sleeps first, so it is woken first
      test::stop_at(point, GetParam());
      event.wait();
    });
    ASSERT_TRUE(eventually(
        [&] { return test::stops_reached() == 1 || test::sleeps_in_futex(*victim->pid()); }));
    Waiters waiters{event};
    event.set();
    event.clear();
    waiters.expect_all_back();
    EXPECT_FALSE(event.is_set());
    ASSERT_TRUE(eventually([&] { return test::stops_reached() == 1 || !victim->is_alive(); }));
    victim->kill();
    // One who slept no longer than it may have rung before the victim could.
    const bool was_left_out = point == "bell.ring.counted" && test::stops_reached() == 0;
    EXPECT_EQ(code_of(victim), was_left_out ? 0 : -SIGKILL);
  }
}

// ---- an Event: others at work ----

TEST(EventAtWork, GoesOnWhoeverIsKilledAtAnyStep) {
  struct Notes {
    std::atomic<bool> stop{false};
    std::array<std::atomic<std::uint64_t>, 2> rounds{};
  };
  const Shared<Notes> notes;
  std::array<mp::Event, 2> turns;
  std::array<Process, 2> players;
  for (std::size_t i = 0; i < 2; ++i) {
    players[i] = started([&, i] {
      while (!notes->stop) {  // each waits for its turn, and says whose is next
        turns[i].wait();
        turns[i].clear();
        ++notes->rounds[i];
        turns[1 - i].set();
      }
    });
  }
  turns[0].set();
  for (const char* const point :
       {"event.set.stored", "bell.ring.counted", "event.set.rung", "event.clear.stored",
        "event.wait.announced", "event.wait.woken", "event.wait.rung"}) {
    SCOPED_TRACE(point);
    for (unsigned pass = 1; pass <= 10; ++pass) {
      const Process victim = started([&] {  // meddles, and dies; it clears nothing that was not its
        test::stop_at(point, test::Stop::die, pass);
        mp::Event& event = turns[pass % 2];
        for (int i = 0; i < 20; ++i) {
          event.wait(100us);
          mp::Event{}.clear();
          event.set();
        }
      });
      victim->join();
      for (const auto& rounds : notes->rounds) {
        const std::uint64_t seen = rounds;
        ASSERT_TRUE(eventually([&] { return rounds > seen + 2; }));
      }
    }
  }
  notes->stop = true;
  for (auto& turn : turns) turn.set();
  for (const auto& player : players) EXPECT_EQ(code_of(player), 0);
}

namespace {

constexpr std::size_t event_waiters = 4;

struct Rounds {
  std::atomic<unsigned> open{0};   // waiters may come
  std::atomic<unsigned> order{0};  // the setter is to set
  std::atomic<unsigned> done{0};   // it has set and cleared
  std::array<std::atomic<unsigned>, event_waiters> returned{};
};

void wait_in_rounds(Rounds& rounds, mp::Event& event, std::size_t waiter, unsigned round) {
  for (;;) {
    while (rounds.open == round) std::this_thread::yield();
    ++round;
    if (!event.wait()) throw std::runtime_error{"not set"};
    rounds.returned[waiter] = round;
  }
}
void set_in_rounds(Rounds& rounds, mp::Event& event, unsigned round) {
  for (;;) {
    while (rounds.order == round) std::this_thread::yield();
    ++round;
    event.set();
    event.clear();
    rounds.done = round;
  }
}

}  // namespace

TEST(EventRandomKill, LetsAllGoWhoWaitedAndLive) {
  const auto most_rounds = static_cast<unsigned>(test::kills(500));
  const Shared<Rounds> rounds;
  mp::Event event;
  std::mt19937 random{11};
  std::array<Process, event_waiters> waiters;
  const auto new_waiter = [&](std::size_t i, unsigned round) {
    return started([&, i, round] { wait_in_rounds(*rounds, event, i, round); });
  };
  const auto new_setter = [&](unsigned round) {
    return started([&, round] { set_in_rounds(*rounds, event, round); });
  };
  for (std::size_t i = 0; i < event_waiters; ++i) waiters[i] = new_waiter(i, 0);
  Process setter = new_setter(0);
  const mp::detail::Deadline enough = test::enough_killing();
  for (unsigned round = 1; round <= most_rounds && !enough.passed(); ++round) {
    rounds->open = round;
    for (const auto& waiter : waiters) {
      ASSERT_TRUE(eventually([&] { return sleeps_or_has_ended(waiter); }));
    }
    rounds->order = round;
    std::this_thread::sleep_for(std::chrono::microseconds{random() % 200});  // any moment
    const std::size_t which = random() % (event_waiters + 1);
    auto& victim = which == event_waiters ? setter : waiters[which];
    victim->kill();
    ASSERT_EQ(code_of(victim), -SIGKILL);
    if (which == event_waiters) {  // it may have done all, half, or nothing
      event.set();
      event.clear();
      setter = new_setter(round);
    } else {
      ASSERT_TRUE(eventually([&] { return rounds->done == round; }));
      waiters[which] = new_waiter(which, round);
    }
    for (std::size_t i = 0; i < event_waiters; ++i) {
      if (i == which) continue;
      ASSERT_TRUE(
          eventually([&] { return rounds->returned[i] == round || !waiters[i]->is_alive(); }));
      ASSERT_TRUE(waiters[i]->is_alive());
    }
  }
  for (auto* const process : {&setter, &waiters[0], &waiters[1], &waiters[2], &waiters[3]}) {
    (*process)->kill();
    (*process)->join();
  }
}
