// SPDX-License-Identifier: BSL-1.0
// A producer, or a consumer, is killed at every step of every operation, with nobody else there:
// exactly what it had committed is done. With the others there: queue_peers_test.cpp.
// Not on Windows: fork; see spawned_test.cpp
#include <multiprocessing.hpp>

#include <support/asleep.hpp>
#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "chaos/queue_items.hpp"

namespace mp = multiprocessing;
using namespace queue_items;
using test::eventually;

namespace {

// One way through put() or get() that passes its own stop points.
struct Scenario {
  std::string name;
  bool kills_producer;
  std::size_t maxsize;
  std::size_t size;  // of the victim's item
  std::function<void(mp::Queue<Item>&)>
      prepare;  // leaves the queue so that the victim goes that way
};

std::ostream& operator<<(std::ostream& out, const Scenario& scenario) {
  return out << scenario.name;
}

std::vector<Scenario> scenarios() {
  const auto nothing = [](mp::Queue<Item>&) {};
  return {
      {"put", true, 0, 100, nothing},
      {"put_around_the_end", true, 0, small, come_to_the_end},
      {"put_of_a_large_one_at_the_end", true, 0, area / 3,
       [](mp::Queue<Item>& queue) {
         for (int i = 0; i < 2; ++i) {
           queue.put(make_item(9, 0, area / 3));
           (void)queue.get();
         }
       }},
      {"put_far_ahead", true, 0, 4 * area,
       [](mp::Queue<Item>& queue) {
         fill(queue, 3, 4 * area);
         (void)queue.get();
       }},
      {"put_into_a_larger_area", true, 0, area,
       [](mp::Queue<Item>& queue) { fill(queue, 3, 1000); }},
      {"put_back_in_the_first_area", true, 0, 100, come_back_from_a_larger_area},
      {"put_when_full", true, 2, 100, [](mp::Queue<Item>& queue) { fill(queue, 2, 10); }},
      {"get", false, 0, 100, [](mp::Queue<Item>& queue) { fill(queue, 1, 100); }},
      {"get_around_the_end", false, 0, 100,
       [](mp::Queue<Item>& queue) {
         come_to_the_end(queue);
         fill(queue, 1, small);
       }},
      {"get_from_the_next_area", false, 0, 100,
       [](mp::Queue<Item>& queue) {
         queue.put(make_item(9, 0, 10 * area));
         queue.put(make_item(9, 0, 40 * area));  // leaves the area of the first
         (void)queue.get();
       }},
      {"get_when_empty", false, 0, 100, nothing},
      {"get_that_gives_memory_back", false, 0, 100,
       [](mp::Queue<Item>& queue) {
         for (int i = 0; i < 3; ++i) queue.put(make_item(9, 0, std::size_t{33} << 20U));
         (void)queue.get();
       }},
      {"get_from_a_full_queue", false, 2, 100, [](mp::Queue<Item>& queue) { fill(queue, 2, 10); }},
  };
}

bool waits(const Scenario& scenario) {
  return scenario.name == "put_when_full" || scenario.name == "get_when_empty";
}

// The operation that the victim dies in. Where it has to wait, the parent makes it go on.
void operate(const Scenario& scenario, mp::Queue<Item> queue) {
  if (scenario.kills_producer) {
    queue.put(make_item(1, 1, scenario.size));
  } else {
    (void)queue.get();
  }
}
void release(const Scenario& scenario, mp::Queue<Item> queue) {
  if (scenario.name == "put_when_full") (void)queue.get();
  if (scenario.name == "get_when_empty") queue.put(make_item(9, 0, 10));
}

// All points that the operation comes by, in a process of its own that nobody kills.
std::vector<std::string> points_of(const Scenario& scenario) {
  auto points = test::stop_points_in([&] {
    mp::Queue<Item> queue{scenario.maxsize};
    test::detail::stop_board().recording = false;
    scenario.prepare(queue);
    test::detail::stop_board().recording = true;
    mp::Process process{[&] { operate(scenario, queue); }};
    process.start();
    if (waits(scenario)) {
      eventually([&] { return test::sleeps_in_futex(*process.pid()); });
      release(scenario, queue);
    }
    process.join();
    ASSERT_EQ(process.exitcode(), 0);
  });
  // Starting a process has its own points, and so has the parent that lets a waiting one go on.
  const std::string other = scenario.kills_producer ? "ring.get." : "ring.put.";
  std::erase_if(points, [&](const std::string& point) {
    return point.starts_with(other) ||
           !(point.starts_with("ring.") || (point.starts_with("bell.") && !waits(scenario)));
  });
  return points;
}

class QueueStopPoint : public testing::TestWithParam<Scenario> {};

// The queue after the victim's death: exactly its committed operations happened, and it goes on.
void expect_sound(const Scenario& scenario,
                  const std::string& point,
                  mp::Queue<Item>& queue,
                  std::uint64_t before) {
  std::uint64_t expected = before;
  if (is_behind_the_commit(point)) expected += scenario.kills_producer ? 1U : ~std::uint64_t{0};
  EXPECT_EQ(queue.qsize(), expected);
  if (queue.full()) {
    expect_whole(queue.get());
    --expected;
  }
  queue.put(make_item(2, 2, 10));
  for (std::uint64_t i = 0; i < expected; ++i) {
    const Item item = queue.get();
    EXPECT_NE(item.producer, 2U);
    expect_whole(item);
  }
  EXPECT_EQ(queue.get().number, 2U);
  EXPECT_TRUE(queue.empty());
  for (std::uint64_t i = 0; i < 200; ++i) {  // more than once around, and home again
    queue.put(make_item(3, i, 5000));
    EXPECT_EQ(queue.get().number, i);
  }
}

}  // namespace

TEST_P(QueueStopPoint, KilledThereLeavesASoundQueue) {
  const Scenario& scenario = GetParam();
  const auto points = points_of(scenario);
  ASSERT_GE(points.size(), 5U);
  for (const std::string& point : points) {
    SCOPED_TRACE(point);
    mp::Queue<Item> queue{scenario.maxsize};
    scenario.prepare(queue);
    std::uint64_t before = queue.qsize();
    mp::Process victim{[&] {
      test::stop_at(point, test::Stop::die);
      operate(scenario, queue);
    }};
    victim.start();
    if (waits(scenario)) {
      eventually([&] { return !victim.is_alive() || test::sleeps_in_futex(*victim.pid()); });
      if (victim.is_alive()) {
        release(scenario, queue);
        before += scenario.kills_producer ? ~std::uint64_t{0} : 1U;
      }
    }
    victim.join();
    ASSERT_EQ(victim.exitcode(), -SIGKILL);
    expect_sound(scenario, point, queue, before);
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, QueueStopPoint, testing::ValuesIn(scenarios()), [](const auto& way) {
  return way.param.name;
});
