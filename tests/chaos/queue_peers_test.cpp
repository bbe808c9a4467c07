// SPDX-License-Identifier: BSL-1.0
// A producer, or a consumer, is killed at every step that it can take in a queue, with others
// asleep in the queue and with others at work. What must hold: nobody hangs (the watchdog), what
// put() returned from arrives exactly once, nothing arrives twice, half-written items vanish, and
// only what a killed consumer had in its hands is lost. No death is left to chance: the victim goes
// on until it comes by the point, and each point that the headers name is died at.
// Not on Windows: fork; see spawned_test.cpp
#include <multiprocessing.hpp>

#include <support/asleep.hpp>
#include <support/chaos.hpp>
#include <support/eventually.hpp>
#include <support/named_points.hpp>

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
#include <initializer_list>
#include <ostream>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "chaos/queue_items.hpp"

namespace mp = multiprocessing;
using namespace queue_items;
using test::eventually;
using test::Process;
using test::started;

namespace {

using Points = std::vector<std::string>;
using Counter = std::atomic<std::uint64_t>;

constexpr std::uint32_t the_victim = 50;
constexpr std::uint32_t the_end = 99;

Points operator+(Points some, const Points& others) {
  some.insert(some.end(), others.begin(), others.end());
  return some;
}
const Points waits{"ring.wait.announced", "ring.wait.unlocked", "ring.wait.woken"};
const Points rings{"bell.ring.counted"};
const Points inherits{"robust_lock.lock.inherited", "robust_lock.lock.made_consistent"};
const Points puts{"ring.put.locked", "ring.put.written", "ring.commit.filled", "ring.put.committed",
                  "ring.put.unlocked"};
const Points put_batches{"ring.put_batch.written", "ring.put_batch.committed",
                         "ring.put_batch.unlocked"};
const Points gets{"ring.get.locked", "ring.get.read", "ring.commit.filled", "ring.get.committed",
                  "ring.get.unlocked"};
const Points get_batches{"ring.get_batch.read", "ring.get_batch.committed",
                         "ring.get_batch.unlocked"};

// What a victim does again and again. Returns how many items it has put, or got.
using Operation = std::function<std::size_t(Items&, std::uint32_t who, std::uint64_t number)>;

Operation put_of(std::function<std::size_t(std::uint64_t)> size) {
  return [size = std::move(size)](Items& queue, std::uint32_t who, std::uint64_t number) {
    queue.put(make_item(who, number, size(number)));
    return 1;
  };
}
Operation put_of(std::size_t size) {
  return put_of([size](std::uint64_t) { return size; });
}
std::size_t put_two(Items& queue, std::uint32_t who, std::uint64_t number) {
  queue.put_many(std::vector<Item>{make_item(who, number, 10), make_item(who, number + 1, 20)});
  return 2;
}
std::size_t get_one(Items& queue, std::uint32_t /*who*/, std::uint64_t /*number*/) {
  expect_whole(queue.get());
  return 1;
}
std::size_t get_two(Items& queue, std::uint32_t /*who*/, std::uint64_t /*number*/) {
  return queue.get_many(2).size();
}
void watch(const Items& queue, mp::Timeout timeout) {
  mp::wait(std::initializer_list<mp::Waitable>{queue}, timeout);
}
std::size_t watch_and_get(Items& queue, std::uint32_t /*who*/, std::uint64_t /*number*/) {
  watch(queue, mp::forever);
  return queue.try_get() ? 1 : 0;
}

bool sleeps(const Process& process) {
  return test::is_asleep(process->pid().value());
}

const char* lock_point(bool of_producers) {
  return of_producers ? "ring.put.locked" : "ring.get.locked";
}

void throw_if_torn() {
  if (testing::Test::HasFailure()) throw std::runtime_error{"torn"};
}

// ---- among sleepers ----

// What the victim does while two others sleep: consumers of an empty queue, or producers of a full
// one. There can be no others: in one queue, consumers and producers do not sleep at once.
struct Way {
  std::string name;
  bool kills_producer;
  bool producers_sleep;
  std::size_t maxsize;
  std::size_t size;  // of what sleeping producers put
  std::size_t most_at_once;
  std::function<void(Items&)> prepare;
  Operation operate;
  Points points;
  bool sleepers_watch = false;  // by mp::wait
};

std::ostream& operator<<(std::ostream& out, const Way& way) {
  return out << way.name;
}

std::vector<Way> ways() {
  const auto nothing = [](Items&) {};
  const auto two = [](Items& queue) { fill(queue, 2, 10); };
  return {
      // A producer, with consumers asleep.
      {"put", true, false, 0, 0, 1, nothing, put_of(100),
       puts + rings + inherits + Points{"ring.put.committed_memory"}},
      {"put_around_the_end",
       true,
       false,
       0,
       0,
       1,
       come_to_the_end,
       put_of(small),
       {"ring.put.padded"}},
      {"put_into_a_larger_area",
       true,
       false,
       0,
       0,
       1,
       nothing,
       put_of(area),
       {"ring.put.jumped", "ring.put.committed_memory"}},
      {"put_back_in_the_first_area",
       true,
       false,
       0,
       0,
       1,
       come_back_from_a_larger_area,
       put_of(100),
       {"ring.put.jumped"}},
      {"put_many", true, false, 0, 0, 2, nothing, put_two, put_batches + rings},
      {"put_for_who_watches",
       true,
       false,
       0,
       0,
       1,
       nothing,
       put_of(100),
       {"ring.set_event.told"},
       true},
      // A consumer, with other consumers asleep.
      {"get_when_empty", false, false, 0, 0, 1, nothing, get_one, gets + waits + rings},
      {"get_many_when_empty", false, false, 0, 0, 2, nothing, get_two, get_batches},
      {"watch_when_empty",
       false,
       false,
       0,
       0,
       1,
       nothing,
       watch_and_get,
       {"ring.prepare_wait.announced"}},
      // A consumer, with producers asleep.
      {"get", false, true, 2, 10, 1, two, get_one, gets + rings + inherits},
      {"get_many", false, true, 2, 10, 2, two, get_two, get_batches + rings},
      {"get_from_the_next_area",
       false,
       true,
       2,
       10,
       1,
       [](Items& queue) {
         queue.put(make_item(nobody, 0, 10 * area));
         queue.put(make_item(nobody, 0, 40 * area));  // leaves the area of the first
         (void)queue.get();
         queue.put(make_item(nobody, 0, 10));
       },
       get_one,
       {"ring.get.jumped", "ring.get.discarded"}},
      {"get_that_gives_memory_back",
       false,
       true,
       2,
       10,
       1,
       [](Items& queue) { fill(queue, 2, 33 * mebibyte); },
       get_one,
       {"ring.get.gave_back"}},
      // A producer, with other producers asleep.
      {"put_when_full", true, true, 2, 10, 1, two, put_of(100), puts + waits + rings},
      {"put_far_ahead_when_full",
       true,
       true,
       8,
       mebibyte,
       1,
       [](Items& queue) { fill(queue, 8, mebibyte); },
       put_of(mebibyte),
       {"ring.put.hoping"}},
  };
}

struct Night {
  std::atomic<bool> stop{false};
  std::array<std::atomic<bool>, 2> begun{};
  std::array<Counter, 2> done{};  // by each sleeper, when it was woken
  Counter returned{0};            // items of the victim's operations that came back
  std::array<std::atomic<std::uint8_t>, 4096> seen{};
};

// A queue in which two sleep, and a third one dies.
class Scene {
 public:
  explicit Scene(const Way& way) : way_{way}, queue_{way.maxsize} {
    way.prepare(queue_);
    for (unsigned which = 0; which < 2; ++which) {
      sleepers_.push_back(started([this, which] {
        night_->begun[which] = true;
        if (way_.producers_sleep) {
          produce(which);
        } else {
          consume(which);
        }
        throw_if_torn();
      }));
    }
    eventually([this] { return night_->begun[0] && night_->begun[1] && all_sleep(); });
  }

  void kill_at(const std::string& point) {
    if (std::ranges::count(inherits, point) != 0) die_at(lock_point(way_.kills_producer));
    die_at(point);
  }

  // The sleepers have gone on by themselves, and sleep again.
  void expect_all_went_on(const std::string& point) {
    eventually([this] { return is_settled() && all_sleep(); });
    const std::uint64_t done = night_->done[0] + night_->done[1];
    const std::uint64_t returned = night_->returned;
    const std::uint64_t most = is_behind_the_commit(point) ? way_.most_at_once : 0;
    const std::uint64_t least = most == 0 ? 0 : 1;
    std::uint64_t by_the_dead = 0;  // in the operation that did not return
    if (way_.producers_sleep == way_.kills_producer) {
      by_the_dead = supplied_ - done - returned;
    } else {
      by_the_dead = done - returned;
    }
    EXPECT_GE(by_the_dead, least);
    EXPECT_LE(by_the_dead, most);
    if (way_.producers_sleep) return;
    const std::uint64_t all = way_.kills_producer ? done : supplied_;
    std::uint64_t lost = 0;
    for (std::uint64_t i = 0; i < all; ++i) {
      EXPECT_LE(night_->seen[i], 1U) << "twice";
      if (night_->seen[i] == 0) ++lost;
    }
    EXPECT_EQ(lost, all - done);
  }

  void end() {
    if (way_.producers_sleep) {
      night_->stop = true;
      eventually([this] {
        while (const auto item = queue_.try_get()) expect_whole(*item);
        return std::ranges::none_of(sleepers_, [](const auto& one) { return one->is_alive(); });
      });
      while (const auto item = queue_.try_get()) expect_whole(*item);
    } else {
      for (int i = 0; i < 2; ++i) queue_.put(make_item(the_end, 0, 0));
    }
    for (const auto& sleeper : sleepers_) EXPECT_EQ(test::code_of(sleeper), 0);
    EXPECT_TRUE(queue_.empty());
    for (std::uint64_t i = 0; i < 100; ++i) {  // more than once around, and home again
      queue_.put(make_item(nobody, i, 5000));
      EXPECT_EQ(queue_.get().number, i);
    }
  }

 private:
  void produce(unsigned which) {
    for (std::uint64_t i = 0; !night_->stop; ++i) {
      queue_.put(make_item(which, i, way_.size));
      ++night_->done[which];
    }
  }
  void consume(unsigned which) {
    for (;;) {
      if (way_.sleepers_watch) watch(queue_, mp::forever);
      const auto item = way_.sleepers_watch ? queue_.try_get() : queue_.get();
      if (!item) continue;
      if (item->producer == the_end) return;
      expect_whole(*item);
      ++night_->seen[item->number];
      ++night_->done[which];
    }
  }

  [[nodiscard]] bool all_sleep() const { return std::ranges::all_of(sleepers_, sleeps); }
  // Nobody has anything to do. Asked before all_sleep(): who did something last has counted it.
  [[nodiscard]] bool is_settled() const {
    return way_.producers_sleep ? queue_.full() : queue_.empty();
  }

  void die_at(const std::string& point) {
    test::forget_stops();
    const bool is_among_them = way_.kills_producer == way_.producers_sleep;
    const Process victim = started([&, this] {
      test::stop_at(point, test::Stop::die);
      constexpr std::uint64_t often = 1000;
      for (std::uint64_t i = 0; i < often; ++i) {
        if (!is_among_them) eventually([this] { return is_settled() && all_sleep(); });
        night_->returned += way_.operate(queue_, the_victim, night_->returned);
      }
    });
    if (is_among_them) make_it_go_on(victim);
    ASSERT_EQ(test::code_of(victim), -SIGKILL) << "it has not come by";
    ASSERT_EQ(test::stops_reached(), 1U);
  }
  // One item (or room for one) for the three that sleep; then two for three.
  void make_it_go_on(const Process& victim) {
    for (std::size_t round = 0; round < 1000; ++round) {
      eventually([&] { return !victim->is_alive() || (all_sleep() && sleeps(victim)); });
      if (!victim->is_alive()) return;
      const std::size_t now = 1 + round % 2;
      if (way_.producers_sleep) {
        supplied_ += queue_.get_many(now).size();
      } else {
        std::vector<Item> items;
        for (std::size_t i = 0; i < now; ++i) {
          items.push_back(make_item(nobody, supplied_ + i, 10));
        }
        queue_.put_many(items);
        supplied_ += now;
      }
      eventually([&] { return !victim->is_alive() || is_settled(); });
    }
    victim->kill();
  }

  const Way& way_;
  Items queue_;
  test::Shared<Night> night_;
  std::vector<Process> sleepers_;
  std::uint64_t supplied_ = 0;  // items, or room, for those that slept
};

class QueueDeathAmongSleepers : public testing::TestWithParam<Way> {};
INSTANTIATE_TEST_SUITE_P(Of,
                         QueueDeathAmongSleepers,
                         testing::ValuesIn(ways()),
                         [](const auto& way) { return way.param.name; });

}  // namespace

TEST_P(QueueDeathAmongSleepers, LetsThemGoOn) {
  for (const std::string& point : GetParam().points) {
    SCOPED_TRACE(point);
    Scene scene{GetParam()};
    scene.kill_at(point);
    if (HasFatalFailure()) return;
    scene.expect_all_went_on(point);
    scene.end();
  }
}

namespace {

// ---- among workers ----

// What the victim does while a producer and a consumer are at work.
struct Work {
  std::string name;
  bool kills_producer;
  std::size_t maxsize;
  std::size_t most_inside;                            // memory is finite
  std::function<std::size_t(std::uint64_t)> size_of;  // what the producer at work puts
  Operation operate;
  Points points;
  std::vector<unsigned> passes{1, 5};
  bool consumer_watches = false;
};

std::ostream& operator<<(std::ostream& out, const Work& work) {
  return out << work.name;
}

std::vector<Work> works() {
  const auto small_ones = [](std::uint64_t i) { return static_cast<std::size_t>(i % 1000); };
  const auto now_and_then = [=](std::uint64_t every, std::size_t size) {
    return [=](std::uint64_t i) { return i % every == every - 1 ? size : small_ones(i); };
  };
  return {
      {"put", true, 0, 50, small_ones, put_of(small), puts + inherits + Points{"ring.put.padded"}},
      {"put_in_changing_areas",
       true,
       0,
       50,
       small_ones,
       put_of(now_and_then(8, area)),
       {"ring.put.jumped", "ring.put.committed_memory"}},
      {"put_far_ahead", true, 0, 16, small_ones, put_of(mebibyte), {"ring.put.hoping"}},
      {"put_into_a_full_queue", true, 2, 2, small_ones, put_of(100), waits + rings},
      {"put_many", true, 0, 50, small_ones, put_two, put_batches},
      {"put_for_who_watches",
       true,
       2,
       2,
       small_ones,
       put_of(100),
       {"ring.set_event.told"},
       {1, 5},
       true},
      {"get", false, 0, 50, small_ones, get_one, gets + waits + inherits},
      {"get_from_changing_areas",
       false,
       0,
       50,
       now_and_then(200, 10 * area),
       get_one,
       {"ring.get.jumped", "ring.get.discarded"}},
      {"get_that_gives_memory_back",
       false,
       0,
       6,
       now_and_then(8, 33 * mebibyte),
       get_one,
       {"ring.get.gave_back"},
       {1}},
      {"get_from_a_full_queue", false, 2, 2, small_ones, get_one, rings},
      {"get_many", false, 0, 50, small_ones, get_two, get_batches},
      {"watch", false, 0, 2, small_ones, watch_and_get, {"ring.prepare_wait.announced"}},
  };
}

struct Day {
  std::atomic<bool> stop{false};
  std::atomic<bool> nothing_comes{false};
  std::atomic<bool> give_up{false};
  Counter put{0};
  Counter got{0};
  std::array<Counter, 64> returned{};  // items of each victim's operations that came back
  std::array<Counter, 64> arrived{};   // of each victim
};

class Workshop {
 public:
  explicit Workshop(const Work& work)
      : work_{work},
        queue_{work.maxsize},
        producer_{started([this] { produce(); })},
        consumer_{started([this] { consume(); })} {}

  void kill_at(const std::string& point, unsigned pass) {
    test::forget_stops();
    day_->give_up = false;
    const unsigned which = victims_++;
    const Process victim = started([&, this] {
      test::stop_at(point, test::Stop::die, pass);
      work_for_ever(which);
    });
    if (std::ranges::count(inherits, point) == 0) {
      EXPECT_EQ(test::code_of(victim), -SIGKILL) << "it has not come by";
    } else {
      leave_locks_to(victim);
      EXPECT_EQ(test::code_of(victim), -SIGKILL) << "it has inherited none";
    }
    const std::uint64_t put = day_->put;
    const std::uint64_t got = day_->got;
    eventually([&] { return day_->put > put && day_->got > got; });  // they go on
  }

  void end() {
    day_->stop = true;
    EXPECT_EQ(test::code_of(producer_), 0);
    day_->nothing_comes = true;
    EXPECT_EQ(test::code_of(consumer_), 0);
    EXPECT_TRUE(queue_.empty());
    std::uint64_t returned = 0;
    for (unsigned which = 0; which < victims_; ++which) returned += day_->returned[which];
    if (work_.kills_producer) {
      EXPECT_EQ(day_->got, day_->put);
      for (unsigned which = 0; which < victims_; ++which) {
        EXPECT_GE(day_->arrived[which], day_->returned[which]);
        EXPECT_LE(day_->arrived[which], day_->returned[which] + most_at_once);
      }
    } else {
      EXPECT_GE(day_->put, day_->got + returned);
      EXPECT_LE(day_->put, day_->got + returned + most_at_once * victims_);
    }
  }

 private:
  static constexpr std::uint64_t most_at_once = 2;
  static constexpr std::uint32_t first_victim = 100;
  static constexpr std::uint32_t worker = 7;

  void wait_for_consumers() const {
    while (queue_.qsize() > work_.most_inside && !day_->stop) std::this_thread::yield();
  }
  void produce() {
    for (std::uint64_t i = 0; !day_->stop; ++i) {
      wait_for_consumers();
      queue_.put(make_item(worker, i, work_.size_of(i)));
      ++day_->put;
    }
  }
  void consume() {
    constexpr std::chrono::milliseconds soon{10};
    std::uint64_t next = 0;
    while (!day_->nothing_comes || !queue_.empty()) {
      if (work_.consumer_watches) watch(queue_, soon);
      const auto item = work_.consumer_watches ? queue_.try_get() : queue_.try_get(soon);
      if (!item) continue;
      expect_whole(*item);
      if (item->producer != worker) {
        Counter& arrived = day_->arrived.at(item->producer - first_victim);
        if (item->number != arrived++) throw std::runtime_error{"a victim's: lost, or twice"};
        continue;
      }
      if (item->number < next) throw std::runtime_error{"twice, or out of order"};
      if (work_.kills_producer && item->number != next) throw std::runtime_error{"lost"};
      next = item->number + 1;
      ++day_->got;
    }
    throw_if_torn();
  }
  void work_for_ever(unsigned which) {
    Counter& returned = day_->returned.at(which);
    constexpr std::uint64_t often = 1'000'000;
    for (std::uint64_t i = 0; i < often && !day_->give_up; ++i) {
      if (work_.kills_producer) wait_for_consumers();
      returned += work_.operate(queue_, first_victim + which, returned);
    }
  }
  // Others die with the lock in hand until it is the victim who gets it.
  void leave_locks_to(const Process& victim) {
    for (int i = 0; i < 1000 && victim->is_alive(); ++i) {
      const Process owner = started([this] {
        test::stop_at(lock_point(work_.kills_producer), test::Stop::die);
        work_.operate(queue_, 0, 0);
      });
      EXPECT_EQ(test::code_of(owner), -SIGKILL);
    }
    day_->give_up = true;
  }

  const Work& work_;
  Items queue_;
  test::Shared<Day> day_;
  Process producer_;
  Process consumer_;
  unsigned victims_ = 0;
};

class QueueDeathAmongWorkers : public testing::TestWithParam<Work> {};
INSTANTIATE_TEST_SUITE_P(Of,
                         QueueDeathAmongWorkers,
                         testing::ValuesIn(works()),
                         [](const auto& work) { return work.param.name; });

}  // namespace

TEST_P(QueueDeathAmongWorkers, LosesNothing) {
  Workshop workshop{GetParam()};
  for (const std::string& point : GetParam().points) {
    for (const unsigned pass : GetParam().passes) {
      SCOPED_TRACE(point + ", pass " + std::to_string(pass));
      workshop.kill_at(point, pass);
    }
  }
  workshop.end();
}

namespace {

std::set<std::string> points_of_a_queue() {
  const std::filesystem::path folder{MULTIPROCESSING_TEST_HEADERS};
  auto points = test::stop_points_named_in(
      {folder / "queues", folder / "os/posix/bell.ipp", folder / "os/posix/lock.ipp"});
  // Of operations that have files of their own: queue_forms_test.cpp, queue_loan_test.cpp.
  std::erase_if(points, [](const std::string& name) {
    constexpr std::array elsewhere{"ring.tasks.",    "ring.task_done.", "ring.join.",
                                   "ring.shutdown.", "ring.lend.",      "ring.put_lent.",
                                   "ring.get_lent."};
    return std::ranges::any_of(elsewhere, [&](const char* of) { return name.starts_with(of); });
  });
  return points;
}

template <class Ways>
std::set<std::string> points_in(const Ways& ways) {
  std::set<std::string> points;
  for (const auto& way : ways) points.insert(way.points.begin(), way.points.end());
  return points;
}

}  // namespace

TEST(QueueDeath, IsDiedAtEachPointAmongSleepersAndAmongWorkers) {
  const auto all = points_of_a_queue();
  EXPECT_GE(all.size(), 30U);
  EXPECT_EQ(points_in(ways()), all);
  EXPECT_EQ(points_in(works()), all);
}
