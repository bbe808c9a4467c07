// SPDX-License-Identifier: BSL-1.0
// Batches, tasks and shutdowns: a process dies at every step of each, with the others asleep and
// awake. What the step had committed is there, once; what it had not is not.
// Not on Windows: fork; the steps are in spawned_test.cpp, logs of recoveries are not
#include <multiprocessing.hpp>

#include <support/asleep.hpp>
#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <functional>
#include <mutex>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace mp = multiprocessing;
using test::eventually;

namespace {

using Tasks = mp::JoinableQueue<int>;

struct Form {
  std::string name;
  std::size_t maxsize;
  int inside;                           // items that prepare() puts
  std::function<void(Tasks&)> operate;  // the victim's
  std::string commits_at;               // the last point before it is done
  int put;                              // what it has done then: items more or less inside,
  int in_hand;                          // and with it, so lost
};

std::ostream& operator<<(std::ostream& out, const Form& form) {
  return out << form.name;
}

std::vector<Form> forms() {
  const std::vector<int> five{10, 11, 12, 13, 14};
  return {
      {"put_many", 0, 2, [=](Tasks& q) { q.put_many(five); }, "ring.commit.filled", 5, 0},
      {"put_many_bounded", 9, 2, [=](Tasks& q) { q.put_many(five); }, "ring.commit.filled", 5, 0},
      {"get_of_a_task", 0, 5, [](Tasks& q) { q.get(); }, "ring.commit.filled", -1, 1},
      {"get_many", 0, 5, [](Tasks& q) { q.get_many(3); }, "ring.commit.filled", -3, 3},
      {"get_many_of_all", 5, 5, [](Tasks& q) { q.get_many(9); }, "ring.commit.filled", -5, 5},
      {"shutdown", 0, 3, [](Tasks& q) { q.shutdown(); }, "", 0, 0},
      {"shutdown_at_once", 0, 3, [](Tasks& q) { q.shutdown(true); }, "ring.shutdown.began", -3, 0},
  };
}

bool shuts(const Form& form) {
  return form.name.starts_with("shutdown");
}

void prepare(const Form& form, Tasks& queue) {
  for (int i = 0; i < form.inside; ++i) queue.put(i);
}

std::vector<std::string> points_of(const std::function<void()>& before,
                                   const std::function<void()>& work) {
  auto points = test::stop_points_in([&] {
    test::detail::stop_board().recording = false;
    before();
    mp::Process process{[&] {
      test::detail::stop_board().recording = true;
      work();
      test::detail::stop_board().recording = false;
    }};
    process.start();
    process.join();
    ASSERT_EQ(process.exitcode(), 0);
  });
  std::erase_if(points, [](const auto& point) { return !point.starts_with("ring."); });
  return points;
}

std::vector<std::string> points_of(const Form& form) {
  Tasks queue{form.maxsize};
  return points_of([&] { prepare(form, queue); }, [&] { form.operate(queue); });
}

bool is_done(const Form& form, const std::vector<std::string>& points, const std::string& point) {
  const auto place = [&](std::string_view which) {
    return std::ranges::find(points, which) - points.begin();
  };
  if (form.name == "shutdown") return place(point) >= place("ring.shutdown.stored");
  return place(point) > place(form.commits_at);
}

void die_in(const std::string& point, const std::function<void()>& work) {
  mp::Process victim{[&] {
    test::stop_at(point, test::Stop::die);
    work();
  }};
  victim.start();
  victim.join();
  ASSERT_EQ(victim.exitcode(), -SIGKILL);
}

// Exactly what the victim had done is done, and the queue is as good as new.
void expect_sound(const Form& form, Tasks& queue, bool done) {
  const int inside = form.inside + (done ? form.put : 0);
  const int lost = done ? form.in_hand : 0;
  EXPECT_EQ(queue.lost(), static_cast<std::size_t>(lost));
  if (lost != 0) {
    EXPECT_THROW(queue.join(), mp::LostTasks);
  }
  EXPECT_EQ(queue.qsize(), static_cast<std::size_t>(inside));
  EXPECT_EQ(queue.unfinished(), static_cast<std::size_t>(inside));
  if (shuts(form) && done) {
    EXPECT_THROW(queue.put(0), mp::ShutDown);
  } else if (!queue.full()) {
    queue.put(99);
    EXPECT_EQ(queue.unfinished(), static_cast<std::size_t>(inside) + 1);
  }
  int last = -1;
  while (!queue.empty()) {
    const int item = queue.get();
    EXPECT_GT(item, last);
    last = item;
    queue.task_done();
  }
  EXPECT_TRUE(queue.join());
  EXPECT_THROW(queue.task_done(), std::invalid_argument);
  if (shuts(form) && done) {
    EXPECT_THROW(queue.get(), mp::ShutDown);
    return;
  }
  for (int i = 0; i < 300; ++i) {
    queue.put_many(std::vector<int>{i, i + 1});
    EXPECT_EQ(queue.get_many(2), (std::vector<int>{i, i + 1}));
    queue.task_done();
    queue.task_done();
  }
  EXPECT_TRUE(queue.join());
}

class QueueForm : public testing::TestWithParam<Form> {};
INSTANTIATE_TEST_SUITE_P(Of, QueueForm, testing::ValuesIn(forms()), [](const auto& form) {
  return form.param.name;
});

}  // namespace

TEST_P(QueueForm, KilledAnywhereInItHasDoneAllOrNothing) {
  const Form& form = GetParam();
  const auto points = points_of(form);
  ASSERT_GE(points.size(), 3U);
  for (const std::string& point : points) {
    SCOPED_TRACE(point);
    Tasks queue{form.maxsize};
    prepare(form, queue);
    die_in(point, [&] { form.operate(queue); });
    expect_sound(form, queue, is_done(form, points, point));
  }
}

TEST_P(QueueForm, KilledAnywhereInItLetsSleepersGoOn) {
  const Form& form = GetParam();
  auto points = points_of(form);
  points.emplace_back("bell.ring.counted");  // which only those come by who meet sleepers
  for (const std::string& point : points) {
    SCOPED_TRACE(point);
    const bool takes = form.put < 0 && !shuts(form);
    Tasks queue{takes ? static_cast<std::size_t>(form.inside) : form.maxsize};
    mp::Queue<std::string> heard;
    if (takes) prepare(form, queue);
    mp::Process sleeper{[&] {
      try {
        if (takes) {
          queue.put(100);
        } else {
          queue.get();
        }
        heard.put("went on");
      } catch (const mp::ShutDown&) {
        heard.put("shut down");
      }
    }};
    sleeper.start();
    eventually([&] { return test::sleeps_in_futex(*sleeper.pid()); });
    if (form.name == "shutdown_at_once") queue.put_many(std::vector<int>{});
    mp::Process victim{[&] {
      test::stop_at(point, test::Stop::die);
      form.operate(queue);
    }};
    victim.start();
    victim.join();
    // With somebody asleep there is nothing to drop.
    const bool drops =
        shuts(form) && (point == "ring.shutdown.dropped" || point == "ring.commit.filled");
    // A sleeper that woke by itself may have rung before the victim could.
    const bool rang_first = point == "bell.ring.counted" && victim.exitcode() == 0;
    EXPECT_EQ(victim.exitcode(), drops || rang_first ? 0 : -SIGKILL);
    const bool done = drops || is_done(form, points, point);
    if (!done) {
      if (takes) {
        queue.get();
      } else if (shuts(form)) {
        queue.shutdown();
      } else {
        queue.put(1);
      }
    }
    EXPECT_EQ(heard.get(), shuts(form) ? "shut down" : "went on");
    sleeper.join();
    EXPECT_EQ(sleeper.exitcode(), 0);
  }
}

TEST(QueueTaskDone, KilledAnywhereInItIsDoneOrLostAndLetsJoinersGoOn) {
  const auto work = [](Tasks& queue) {
    queue.get();
    queue.task_done();
  };
  const std::vector<std::string> points{"ring.task_done.stored", "ring.task_done.unlocked",
                                        "ring.get.committed", "ring.get.unlocked"};
  for (const std::string& point : points) {
    SCOPED_TRACE(point);
    Tasks queue;
    queue.put(1);
    const bool done = point.starts_with("ring.task_done");
    mp::Process joiner{[&] {
      try {
        if (!queue.join()) throw mp::SystemExit(3);
      } catch (const mp::LostTasks&) {
        throw mp::SystemExit(2);
      }
    }};
    joiner.start();
    eventually([&] { return test::sleeps_in_futex(*joiner.pid()); });
    die_in(point, [&] { work(queue); });
    joiner.join();
    EXPECT_EQ(joiner.exitcode(), done ? 0 : 2);
    EXPECT_EQ(queue.lost(), done ? 0U : 1U);
    EXPECT_TRUE(queue.join());
  }
}

TEST(QueueJoin, KilledAnywhereInItChangesNothingButWhatItTold) {
  const auto lose_one = [](Tasks& queue) {
    mp::Process process{[&] { queue.get(); }};
    process.start();
    process.join();
  };
  const auto join = [](Tasks& queue, mp::Timeout timeout) {
    try {
      queue.join(timeout);
    } catch (const mp::LostTasks&) {
      queue.join(timeout);
    }
  };
  Tasks one;
  const auto points = points_of(
      [&] {
        one.put_many(std::vector<int>{1, 2});
        lose_one(one);
      },
      [&] {  // the time of a call may be over before it sleeps
        for (int i = 0; i < 10; ++i) join(one, std::chrono::milliseconds{20});
      });
  ASSERT_TRUE(std::ranges::count(points, "ring.tasks.lost"));
  ASSERT_TRUE(std::ranges::count(points, "ring.join.told"));
  ASSERT_TRUE(std::ranges::count(points, "ring.join.woken"));
  for (const std::string& point : points) {
    SCOPED_TRACE(point);
    Tasks queue;
    queue.put_many(std::vector<int>{1, 2});
    lose_one(queue);
    die_in(point, [&] { join(queue, mp::forever); });
    EXPECT_EQ(queue.unfinished(), 1U);
    EXPECT_EQ(queue.lost(), 1U);
    const bool told = point.starts_with("ring.join");
    if (told) {
      EXPECT_FALSE(queue.join(std::chrono::seconds{0}));
    } else {
      EXPECT_THROW(queue.join(), mp::LostTasks);
    }
    queue.get();
    queue.task_done();
    EXPECT_TRUE(queue.join());
  }
}

namespace {

std::atomic<int> warnings{0};

void count_warnings() {
  warnings = 0;
  mp::set_log_sink([](mp::LogLevel level, std::string_view text) {
    if (level == mp::LogLevel::warning && text.find("died inside") != text.npos) ++warnings;
  });
}

}  // namespace

TEST(QueueRecovery, IsLoggedOnceByWhoeverDoesIt) {
  mp::Queue<int> queue;
  queue.put(1);
  die_in("ring.put.written", [&] { queue.put(2); });
  die_in("ring.get.read", [&] { queue.get(); });
  count_warnings();
  queue.put(3);
  EXPECT_EQ(warnings, 1);
  queue.put(4);
  EXPECT_EQ(warnings, 1);
  queue.get();
  EXPECT_EQ(warnings, 2);
  queue.get();
  EXPECT_EQ(warnings, 2);
  mp::set_log_sink({});
  mp::set_log_level(mp::LogLevel::off);
}

TEST(QueueRecovery, MayBeLoggedToTheQueueItself) {
  mp::Queue<std::string> queue;
  die_in("ring.put.written", [&] { queue.put("half"); });
  mp::set_log_sink(
      [queue](mp::LogLevel, std::string_view text) mutable { queue.put(std::string{text}); });
  queue.put("whole");
  mp::set_log_sink({});
  mp::set_log_level(mp::LogLevel::off);
  EXPECT_EQ(queue.get(), "whole");
  EXPECT_NE(queue.get().find("died inside put()"), std::string::npos);
}

// Whoever gets the dead one's lock drops what it had not: it stands in the queue that it is to.
TEST(QueueRecovery, OfAShutdownAtOnceIsNotTakenBackByAGentleOne) {
  mp::Queue<int> queue;
  for (int i = 0; i < 5; ++i) queue.put(i);
  die_in("ring.shutdown.stored", [&] { queue.shutdown(true); });
  queue.shutdown();
  EXPECT_THROW(queue.get(), mp::ShutDown);
  EXPECT_TRUE(queue.empty());
}
