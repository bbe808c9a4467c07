// SPDX-License-Identifier: BSL-1.0
// Producers and consumers are killed at every step of every operation, with the others asleep in
// the queue and with the others at work. What must hold: nobody hangs (the
// watchdog), what put() returned from arrives exactly once, nothing arrives twice, half-written
// items vanish, and only what a killed consumer had in its hands may be lost.
// Not on Windows: fork; see spawned_test.cpp
#include <multiprocessing.hpp>

#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <new>
#include <ostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <sys/mman.h>
#include <sys/syscall.h>

namespace mp = multiprocessing;
using test::eventually;

namespace {

using Bytes = std::vector<std::byte>;

struct Item {
  std::uint32_t producer = 0;
  std::uint64_t number = 0;
  Bytes payload;
};

Item make_item(std::uint32_t producer, std::uint64_t number, std::size_t size) {
  return {producer, number, Bytes(size, static_cast<std::byte>(number * 31 + producer))};
}
void expect_whole(const Item& item) {
  const auto expected = static_cast<std::byte>(item.number * 31 + item.producer);
  const Bytes& payload = item.payload;
  const bool whole =
      payload.empty() || (payload.front() == expected &&
                          std::memcmp(payload.data(), payload.data() + 1, payload.size() - 1) == 0);
  EXPECT_TRUE(whole) << "a torn item";
}

// Plain memory that all forked processes share, for what the test itself writes down.
template <class T>
class Shared {
 public:
  Shared()
      : object_{new (::mmap(
            nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) T{}} {}
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { ::munmap(object_, sizeof(T)); }
  T* operator->() const { return object_; }

 private:
  T* object_;
};

bool sleeps_in_futex(int pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/syscall"};
  std::string number;
  file >> number;
  return number == std::to_string(SYS_futex);
}

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

constexpr std::size_t area = 256 << 10;

void fill(mp::Queue<Item>& queue, std::uint64_t count, std::size_t size) {
  for (std::uint64_t i = 0; i < count; ++i) queue.put(make_item(9, i, size));
}

// Nothing is inside, and the next item of that size goes round the first area's end.
constexpr std::size_t small = 3000;
void come_to_the_end(mp::Queue<Item>& queue) {
  for (std::size_t i = 0; i < area / (small + 32); ++i) {
    queue.put(make_item(9, i, small));
    (void)queue.get();
  }
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
      {"put_back_in_the_first_area", true, 0, 100,
       [](mp::Queue<Item>& queue) {
         for (std::uint64_t i = 0; i < 64; ++i) {
           queue.put(make_item(9, i, i == 0 ? area : 1));
           (void)queue.get();
         }
       }},
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
      eventually([&] { return sleeps_in_futex(*process.pid()); });
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

// Whether a victim that died at this point had done its operation.
bool is_behind_the_commit(const std::string& point) {
  return point == "ring.put.committed" || point == "ring.put.unlocked" ||
         point == "ring.get.committed" || point == "ring.get.unlocked" ||
         point == "ring.get.gave_back" || point == "bell.ring.counted";
}

class QueueStopPoint : public testing::TestWithParam<Scenario> {};
class QueueStopPointAmongSleepers : public QueueStopPoint {};

// Where the victim itself is the sleeper, nobody else can be asleep on that side.
std::vector<Scenario> scenarios_with_sleepers() {
  auto some = scenarios();
  std::erase_if(some, waits);
  return some;
}

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
      eventually([&] { return !victim.is_alive() || sleeps_in_futex(*victim.pid()); });
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

TEST_P(QueueStopPointAmongSleepers, KilledThereTheyGoOn) {
  const Scenario& scenario = GetParam();
  unsigned killed = 0;
  for (const std::string& point : points_of(scenario)) {
    SCOPED_TRACE(point);
    mp::Queue<Item> queue{scenario.maxsize};
    mp::Queue<Item> results;
    scenario.prepare(queue);
    // The other side sleeps in the queue: a consumer of the empty one, a producer of the full one.
    const bool sleeper_gets = scenario.kills_producer;
    std::uint64_t inside = queue.qsize();
    if (sleeper_gets) {
      for (; inside > 0; --inside) (void)queue.get();
    }
    mp::Process sleeper{[&] {
      if (sleeper_gets) {
        results.put(queue.get());
      } else {
        queue.put(make_item(4, 4, 10));
        results.put(make_item(4, 4, 10));
      }
    }};
    const bool sleeps = sleeper_gets || queue.full();
    sleeper.start();
    if (sleeps) {
      eventually([&] { return sleeps_in_futex(*sleeper.pid()); });
    } else {
      sleeper.join();
      (void)results.get();
    }
    mp::Process victim{[&] {
      test::stop_at(point, test::Stop::die);
      operate(scenario, queue);
    }};
    victim.start();
    victim.join();
    if (victim.exitcode() == -SIGKILL) ++killed;
    if (victim.exitcode() != 0 && !is_behind_the_commit(point)) {
      if (sleeper_gets) {  // nothing happened: another one does it
        queue.put(make_item(1, 1, 10));
      } else if (sleeps) {
        (void)queue.get();
      }
    }
    if (sleeps) {
      const Item result = results.get();  // the sleeper went on
      EXPECT_EQ(result.producer, sleeper_gets ? 1U : 4U);
      sleeper.join();
    }
    EXPECT_EQ(sleeper.exitcode(), 0);
  }
  EXPECT_GE(killed, 4U);
}

TEST_P(QueueStopPoint, KilledThereWithTheOthersAtWorkLosesNothing) {
  const Scenario& scenario = GetParam();
  struct Notes {
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> put{0};
    std::atomic<std::uint64_t> got{0};
  };
  const Shared<Notes> notes;
  mp::Queue<Item> queue{scenario.maxsize};
  mp::Process producer{[&] {
    for (std::uint64_t i = 0; !notes->stop; ++i) {
      while (queue.qsize() > 1000 && !notes->stop) std::this_thread::yield();  // memory is finite
      queue.put(make_item(7, i, i % 100 == 0 ? 3 * area : i % 1000));
      notes->put = i + 1;
    }
  }};
  mp::Process consumer{[&] {
    std::uint64_t next = 0;
    while (!notes->stop || notes->got < notes->put) {
      const auto item = queue.try_get(std::chrono::milliseconds{10});
      if (!item || item->producer != 7) continue;
      if (item->number < next) throw std::runtime_error{"twice, or out of order"};
      if (scenario.kills_producer && item->number != next) throw std::runtime_error{"lost"};
      expect_whole(*item);
      next = item->number + 1;
      notes->got = next;
    }
    if (testing::Test::HasFailure()) throw std::runtime_error{"torn"};
  }};
  producer.start();
  consumer.start();
  for (const std::string& point : points_of(scenario)) {
    SCOPED_TRACE(point);
    for (unsigned pass = 1; pass <= 3; ++pass) {
      mp::Process victim{[&] {
        test::stop_at(point, test::Stop::die, pass);
        for (int i = 0; i < 20; ++i) operate(scenario, queue);
      }};
      victim.start();
      victim.join();
      const std::uint64_t seen = notes->got;
      eventually([&] { return notes->got > seen; });  // they go on
    }
  }
  notes->stop = true;
  if (!scenario.kills_producer) queue.put(make_item(8, 0, 1));
  producer.join();
  // The last items may have gone to victims: the consumer must still come to its end.
  eventually([&] {
    if (consumer.join(std::chrono::milliseconds{20})) return true;
    notes->got = notes->put.load();
    return false;
  });
  EXPECT_EQ(producer.exitcode(), 0);
  EXPECT_EQ(consumer.exitcode(), 0);
}

INSTANTIATE_TEST_SUITE_P(Ways, QueueStopPoint, testing::ValuesIn(scenarios()), [](const auto& way) {
  return way.param.name;
});

INSTANTIATE_TEST_SUITE_P(Ways,
                         QueueStopPointAmongSleepers,
                         testing::ValuesIn(scenarios_with_sleepers()),
                         [](const auto& way) { return way.param.name; });
