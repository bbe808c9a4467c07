// SPDX-License-Identifier: BSL-1.0
// What a queue is to processes, whichever way they were started.
#include <multiprocessing/process.hpp>
#include <multiprocessing/queues.hpp>

#include <support/line.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::Line;

namespace {

class QueueBetween : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(QueueBetween);

struct Item {
  int producer = 0;
  int number = 0;
  std::string text;
  bool operator==(const Item&) const = default;
};

void produce(mp::Queue<Item> queue, int producer, int count) {
  for (int i = 0; i < count; ++i) {
    queue.put({producer, i, std::string(static_cast<std::size_t>(i) % 300, 'x')});
  }
}
void consume(mp::Queue<Item> queue, mp::Queue<std::pair<int, int>> seen) {
  for (Item item = queue.get(); item.producer >= 0; item = queue.get()) {
    seen.put({item.producer, item.number});
  }
}

TEST_P(QueueBetween, ProcessesDeliversEachItemOnceInEachProducersOrder) {
  constexpr int producers = 3;
  constexpr int count = 2000;
  mp::Queue<Item> queue;
  std::vector<mp::Process<>> processes;
  for (int i = 0; i < producers; ++i) processes.emplace_back(produce, queue, i, count);
  for (auto& process : processes) process.start();
  std::map<int, int> next;
  for (int i = 0; i < producers * count; ++i) {
    const Item item = queue.get();
    EXPECT_EQ(item.number, next[item.producer]++);
    EXPECT_EQ(item.text.size(), static_cast<std::size_t>(item.number) % 300);
  }
  for (auto& process : processes) EXPECT_TRUE(process.join());
  EXPECT_TRUE(queue.empty());
}

TEST_P(QueueBetween, ManyProducersAndConsumersLosesAndDoublesNothing) {
  constexpr int each = 3;
  constexpr int count = 700;
  mp::Queue<Item> queue{10};
  mp::Queue<std::pair<int, int>> seen;
  std::vector<mp::Process<>> producers;
  std::vector<mp::Process<>> consumers;
  for (int i = 0; i < each; ++i) producers.emplace_back(produce, queue, i, count);
  for (int i = 0; i < each; ++i) consumers.emplace_back(consume, queue, seen);
  for (auto& process : producers) process.start();
  for (auto& process : consumers) process.start();
  for (auto& process : producers) process.join();
  for (int i = 0; i < each; ++i) queue.put({-1, 0, {}});
  for (auto& process : consumers) process.join();
  std::map<std::pair<int, int>, int> times;
  while (const auto item = seen.try_get()) ++times[*item];
  EXPECT_EQ(times.size(), std::size_t{each * count});
  EXPECT_TRUE(std::ranges::all_of(times, [](const auto& entry) { return entry.second == 1; }));
}

TEST_P(QueueBetween, PutOfUnreadItemsHoldsUpNoEnd) {
  mp::Queue<std::string> queue;
  mp::Process process(
      [](mp::Queue<std::string> to) {
        for (int i = 0; i < 64; ++i) to.put(std::string(1U << 16U, 'x'));
      },
      queue);
  process.start();
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 0);
  EXPECT_EQ(queue.qsize(), 64U);
  EXPECT_EQ(queue.get().size(), 1U << 16U);
}

TEST_P(QueueBetween, FullOneHoldsItsProducerUpUntilThereIsRoom) {
  mp::Queue<int> queue{2};
  const Line line;
  mp::Process process(
      [](mp::Queue<int> to, const Line& says) {
        to.put(1);
        to.put(2);
        says.say(to.try_put(3) ? "room" : "full");
        to.put(3);
        says.say("put");
      },
      queue, line);
  process.start();
  EXPECT_EQ(line.hear(), "full");
  EXPECT_TRUE(queue.full());
  EXPECT_EQ(queue.get(), 1);
  EXPECT_EQ(line.hear(), "put");
  EXPECT_EQ(queue.get(), 2);
  EXPECT_EQ(queue.get(), 3);
  process.join();
}

TEST_P(QueueBetween, OneThatIsClosedInTheChildLivesOn) {
  mp::Queue<int> queue;
  mp::Process process(
      [](mp::Queue<int> to) {
        to.put(1);
        to.close();
        try {
          to.put(2);
        } catch (const std::invalid_argument&) {
          throw mp::SystemExit(7);
        }
      },
      queue);
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 7);
  queue.put(3);
  EXPECT_EQ(queue.get(), 1);
  EXPECT_EQ(queue.get(), 3);
}

TEST_P(QueueBetween, IsClosedInTheParentBeforeTheChildUsesIt) {
  mp::Queue<int> queue;
  mp::Queue<int> answers;
  const Line go;
  mp::Process process(
      [](mp::Queue<int> from, mp::Queue<int> to, const Line& waits) {
        static_cast<void>(waits.hear());
        from.put(4);
        to.put(from.get() + 1);
      },
      queue, answers, go);
  process.start();
  queue.close();
  go.say("go");
  EXPECT_EQ(answers.get(), 5);
  process.join();
}

class Doubler : public mp::Process<Doubler> {
 public:
  Doubler(mp::Queue<std::int64_t> in, mp::Queue<std::int64_t> out, int count)
      : in_{std::move(in)}, out_{std::move(out)}, count_{count} {}
  void run() override {
    for (int i = 0; i < count_; ++i) out_.put(2 * in_.get());
  }
  auto reduce() const { return mp::arguments(in_, out_, count_); }

 private:
  mp::Queue<std::int64_t> in_;
  mp::Queue<std::int64_t> out_;
  int count_;
};

TEST_P(QueueBetween, MembersOfAProcessClassAreItsQueues) {
  mp::Queue<std::int64_t> in;
  mp::Queue<std::int64_t> out;
  Doubler doubler{in, out, 100};
  doubler.start();
  for (std::int64_t i = 0; i < 100; ++i) in.put(i);
  for (std::int64_t i = 0; i < 100; ++i) EXPECT_EQ(out.get(), 2 * i);
  doubler.join();
  EXPECT_EQ(doubler.exitcode(), 0);
}

void pass_on(mp::Queue<int> queue, int depth) {
  queue.put(depth);
  if (depth == 0) return;
  mp::Process process(pass_on, queue, depth - 1);
  process.start();
  process.join();
}

TEST_P(QueueBetween, GoesDownToAnyDepth) {
  mp::Queue<int> queue;
  pass_on(queue, 4);
  for (int depth = 4; depth >= 0; --depth) EXPECT_EQ(queue.get(), depth);
}

TEST_P(QueueBetween, GoesOnWhenItsProcessesAreKilled) {
  constexpr int rounds = 10;
  mp::Queue<int> queue;
  for (int round = 0; round < rounds; ++round) {
    mp::Queue<int> ready;
    mp::Process producer(
        [](mp::Queue<int> to, mp::Queue<int> says) {
          for (int i = 0;; ++i) {
            to.put(i);
            if (i == 100) says.put(0);
          }
        },
        queue, ready);
    mp::Process consumer(
        [](mp::Queue<int> from) {
          for (;;) from.get();
        },
        queue);
    producer.start();
    consumer.start();
    ready.get();
    producer.kill();
    consumer.kill();
    producer.join();
    consumer.join();
    while (queue.try_get(0s)) {
    }
    queue.put(round);
    EXPECT_EQ(queue.get(), round);
  }
}

}  // namespace
