// SPDX-License-Identifier: BSL-1.0
// Batches, moves and the end of a queue; the rest is in tests/queues_test.cpp.
#include <multiprocessing/process.hpp>
#include <multiprocessing/queues/queue.hpp>

#include <support/asleep.hpp>
#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <forward_list>
#include <functional>
#include <memory>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::eventually;

namespace {

struct Picky {  // one of them cannot be encoded
  int number = 0;
  template <class Archive>
  void save(Archive& archive) const {
    if (number < 0) throw mp::SerializationError{"refused"};
    archive(number);
  }
  template <class Archive>
  void load(Archive& archive) {
    archive(number);
  }
};

std::vector<int> numbers(int count) {
  std::vector<int> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

// A thread that is asleep in a call until the queue's end.
class Blocked {
 public:
  explicit Blocked(std::function<void()> call)
      : thread_{[this, call = std::move(call)] {
          id_ = test::thread_id();
          EXPECT_THROW(call(), mp::ShutDown);
        }} {
    eventually([this] { return id_ != 0 && test::sleeps_in_futex(id_); });
  }
  ~Blocked() { thread_.join(); }

 private:
  std::atomic<int> id_{0};
  std::thread thread_;
};

}  // namespace

TEST(QueuePutMany, ItemsComeOutInOrderSinglyAndInBatches) {
  mp::Queue<int> queue;
  queue.put_many(numbers(3000));
  EXPECT_EQ(queue.qsize(), 3000U);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(queue.get(), i);
  const auto some = queue.get_many(1500);
  ASSERT_EQ(some.size(), 1500U);
  EXPECT_EQ(some.front(), 1000);
  EXPECT_EQ(some.back(), 2499);
  EXPECT_EQ(queue.get_many(10'000).size(), 500U);
  EXPECT_TRUE(queue.empty());
}

TEST(QueuePutMany, TakesRangesOfEveryKind) {
  mp::Queue<std::string> strings;
  strings.put_many(std::forward_list<std::string>{"a", "", "c"});
  strings.put_many(std::vector<const char*>{"d"});
  strings.put_many(std::set<std::string>{"0", "1", "2"});
  strings.put_many(std::vector<std::string>{});
  EXPECT_EQ(strings.get_many(100), (std::vector<std::string>{"a", "", "c", "d", "0", "1", "2"}));
  mp::Queue<std::unique_ptr<int>> owners;
  std::vector<std::unique_ptr<int>> made;
  for (int i = 0; i < 3; ++i) made.push_back(std::make_unique<int>(i));
  owners.put_many(made);
  const auto got = owners.get_many(3);
  ASSERT_EQ(got.size(), 3U);
  EXPECT_EQ(*got[2], 2);
}

TEST(QueuePutMany, OfEverySizeGoesRoundAndThroughEveryArea) {
  mp::Queue<std::string> queue;
  for (std::size_t size = 0; size < 100'000; size = size * 5 / 2 + 1) {
    std::vector<std::string> items;
    for (std::size_t i = 0; i < 40; ++i)
      items.emplace_back(size + i, static_cast<char>('a' + i % 26));
    for (int round = 0; round < 5; ++round) {
      queue.put_many(items);
      queue.put_many(items);
      for (std::size_t i = 0; i < 10; ++i) ASSERT_EQ(queue.get(), items[i]);
      std::vector<std::string> got;
      while (got.size() < 70) {
        const auto part = queue.get_many(17);
        ASSERT_FALSE(part.empty());
        got.insert(got.end(), part.begin(), part.end());
      }
      for (std::size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], items[(i + 10) % 40]);
    }
  }
  EXPECT_TRUE(queue.empty());
}

TEST(QueuePutMany, WaitsForRoomAndSaysHowManyFoundIt) {
  mp::Queue<int> queue{10};
  EXPECT_EQ(queue.try_put_many(numbers(25)), 10U);
  EXPECT_EQ(queue.try_put_many(numbers(1)), 0U);
  try {
    queue.get_many(4);
    queue.put_many(numbers(6), 60ms);
    FAIL();
  } catch (const mp::Full& error) {
    EXPECT_NE(std::string{error.what()}.find("4 of the items"), std::string::npos) << error.what();
  }
  std::thread consumer{[queue]() mutable {
    std::vector<int> got;
    while (got.size() < 10 + 1000) {
      for (const int item : queue.get_many(7)) got.push_back(item);
    }
    for (int i = 0; i < 1000; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i) + 10], i);
  }};
  queue.put_many(numbers(1000));
  consumer.join();
}

TEST(QueuePutMany, AtAnItemThatCannotBeEncodedHasPutThoseBefore) {
  mp::Queue<Picky> queue;
  const std::vector<Picky> items{{1}, {2}, {-1}, {4}};
  EXPECT_THROW(queue.put_many(items), mp::SerializationError);
  ASSERT_EQ(queue.qsize(), 2U);
  EXPECT_EQ(queue.get().number, 1);
  EXPECT_EQ(queue.get().number, 2);
}

TEST(QueuePutMany, BatchesOfTwoComeHomeToTheFirstAreaToo) {
  mp::Queue<std::string> queue;
  queue.put("odd");
  queue.put(std::string(1'000'000, 'x'));
  queue.put("odd again");
  queue.get_many(3);
  for (int i = 0; i < 200; ++i) {
    queue.put_many(std::vector<std::string>{"a", "b"});
    ASSERT_EQ(queue.get_many(2).size(), 2U);
  }
  for (int i = 0; i < 20; ++i) queue.put(std::string(100'000, 'y'));
  EXPECT_EQ(queue.get_many(20).size(), 20U);
}

TEST(QueueGetMany, WaitsForTheFirstItemOnly) {
  mp::Queue<int> queue;
  EXPECT_TRUE(queue.get_many(0).empty());
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(queue.get_many(5, 120ms).empty());
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 120ms);
  EXPECT_TRUE(queue.get_many(5, 0s).empty());
  mp::Process process{[](mp::Queue<int> to) { to.put_many(numbers(3)); }, queue};
  process.start();
  std::size_t got = 0;
  while (got < 3) got += queue.get_many(5).size();
  process.join();
}

TEST(QueueGetMany, FromManyProcessesDeliversExactlyOnce) {
  constexpr int producers = 3;
  static constexpr int each = 20'000;
  for (const std::size_t maxsize : {0U, 1U, 3U, 100U}) {
    mp::Queue<int> queue{maxsize};
    std::vector<mp::Process<>> processes;
    for (int p = 0; p < producers; ++p) {
      processes.emplace_back(
          [](int number, mp::Queue<int> to) {
            std::vector<int> items;
            for (int i = 0; i < each; ++i) {
              items.push_back(number * each + i);
              if (items.size() < static_cast<std::size_t>(i % 50)) continue;
              to.put_many(items);
              items.clear();
            }
            to.put_many(items);
          },
          p, queue);
    }
    for (auto& process : processes) process.start();
    std::vector<std::atomic<int>> seen(std::size_t{producers} * each);
    std::atomic<int> left{producers * each};
    const auto consume = [&] {
      std::vector<int> last(producers, -1);
      while (left > 0) {
        for (const int item : queue.get_many(9, 5ms)) {
          ++seen[static_cast<std::size_t>(item)];
          EXPECT_LT(last[static_cast<std::size_t>(item / each)], item);
          last[static_cast<std::size_t>(item / each)] = item;
          --left;
        }
      }
    };
    std::thread other{consume};
    consume();
    other.join();
    for (auto& process : processes) process.join();
    for (const auto& count : seen) ASSERT_EQ(count, 1);
  }
}

TEST(QueuePut, OfAnRvalueReleasesWhatItOwnedWhenItIsStored) {
  mp::Queue<std::vector<int>> queue{1};
  std::vector<int> item(1000, 7);
  queue.put(std::move(item));
  EXPECT_TRUE(item.empty());  // NOLINT(bugprone-use-after-move)
  item.assign(3, 1);
  EXPECT_FALSE(queue.try_put(std::move(item)));
  EXPECT_EQ(item.size(), 3U);  // NOLINT(bugprone-use-after-move): it was not stored
  EXPECT_THROW(queue.put_nowait(std::move(item)), mp::Full);
  EXPECT_EQ(queue.get().size(), 1000U);
  mp::Queue<std::unique_ptr<std::string>> owners;
  owners.emplace(new std::string{"made in place"});
  EXPECT_EQ(*owners.get(), "made in place");
}

TEST(QueueShutdown, LetsWhatIsInsideOutAndNothingIn) {
  mp::Queue<int> queue;
  queue.put_many(numbers(3));
  queue.shutdown();
  queue.shutdown();
  EXPECT_THROW(queue.put(1), mp::ShutDown);
  EXPECT_THROW(queue.put_nowait(1), mp::ShutDown);
  EXPECT_THROW((void)queue.try_put(1), mp::ShutDown);
  EXPECT_THROW(queue.put_many(numbers(2)), mp::ShutDown);
  EXPECT_EQ(queue.get(), 0);
  EXPECT_EQ(queue.try_get(), 1);
  EXPECT_EQ(queue.get_many(9), std::vector<int>{2});
  EXPECT_THROW(queue.get(), mp::ShutDown);
  EXPECT_THROW(queue.get_nowait(), mp::ShutDown);
  EXPECT_THROW((void)queue.try_get(10ms), mp::ShutDown);
  EXPECT_THROW((void)queue.get_many(9), mp::ShutDown);
  EXPECT_TRUE(queue.empty());
}

TEST(QueueShutdown, AtOnceDropsWhatIsInside) {
  mp::Queue<std::string> queue;
  for (int i = 0; i < 50; ++i) queue.put(std::string(static_cast<std::size_t>(i) * 20'000, 'x'));
  queue.shutdown();
  queue.shutdown(true);
  EXPECT_EQ(queue.qsize(), 0U);
  EXPECT_THROW(queue.get(), mp::ShutDown);
  queue.shutdown(false);
  EXPECT_THROW(queue.get(), mp::ShutDown);
}

TEST(QueueShutdown, IsHeardByAllThatWait) {
  mp::Queue<int> empty;
  mp::Queue<int> full{1};
  full.put(0);
  const Blocked first{[empty]() mutable { empty.get(); }};
  const Blocked second{[empty]() mutable { empty.get_many(3); }};
  const Blocked third{[full]() mutable { full.put(1); }};
  const Blocked fourth{[full]() mutable { full.put_many(numbers(3)); }};
  mp::Process process{[](mp::Queue<int> first_queue, mp::Queue<int> second_queue) {
                        first_queue.shutdown();
                        second_queue.shutdown();
                      },
                      empty, full};
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

TEST(QueueShutdown, DoesNotCloseTheQueueHere) {
  mp::Queue<int> queue;
  queue.shutdown();
  EXPECT_EQ(queue.qsize(), 0U);
  queue.close();
  EXPECT_THROW(queue.put(1), std::invalid_argument);
  EXPECT_THROW(queue.shutdown(), std::invalid_argument);
}
