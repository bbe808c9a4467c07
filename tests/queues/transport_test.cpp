// SPDX-License-Identifier: BSL-1.0
// What every transport of a Queue does, and what the one of Boost does besides. Deaths are the
// Ring's alone: tests/chaos.
#include <multiprocessing/logging.hpp>
#include <multiprocessing/process.hpp>
#include <multiprocessing/queues.hpp>
#include <multiprocessing/queues/boost_message_queue.hpp>

#include <support/boost_queue_name.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;

namespace {

template <class Transport>
class QueueOver : public testing::Test {
 protected:
  template <class T>
  using Queue = mp::Queue<T, Transport>;
};
using Transports = testing::Types<mp::Ring, mp::BoostMessageQueue>;
TYPED_TEST_SUITE(QueueOver, Transports);

template <class Transport>
void double_all(mp::Queue<std::string, Transport> in, mp::Queue<std::string, Transport> out) {
  for (std::string item = in.get(); !item.empty(); item = in.get()) out.put(item + item);
}

}  // namespace

TYPED_TEST(QueueOver, ThisReturnsItemsOfEveryKindInOrder) {
  typename TestFixture::template Queue<int> numbers{200};
  for (int i = 0; i < 200; ++i) numbers.put(i);
  for (int i = 0; i < 200; ++i) ASSERT_EQ(numbers.get(), i);
  typename TestFixture::template Queue<std::vector<std::string>> lists;
  lists.put({"a", ""});
  lists.put({});
  EXPECT_EQ(lists.get(), (std::vector<std::string>{"a", ""}));
  EXPECT_TRUE(lists.get().empty());
  typename TestFixture::template Queue<std::unique_ptr<int>> owners;
  owners.emplace(new int{7});
  EXPECT_EQ(*owners.get(), 7);
}

TYPED_TEST(QueueOver, ThisIsFullAtItsBoundAndEmptyAtItsEnd) {
  typename TestFixture::template Queue<int> queue{2};
  EXPECT_THROW(queue.get_nowait(), mp::Empty);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THROW(queue.get(120ms), mp::Empty);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 120ms);
  queue.put(1);
  queue.put(2);
  EXPECT_TRUE(queue.full());
  EXPECT_EQ(queue.qsize(), 2U);
  EXPECT_THROW(queue.put_nowait(3), mp::Full);
  EXPECT_THROW(queue.put(3, 60ms), mp::Full);
  EXPECT_FALSE(queue.try_put(3));
  EXPECT_EQ(queue.try_get(), 1);
  EXPECT_TRUE(queue.try_put(3));
  EXPECT_EQ(queue.get(), 2);
  EXPECT_EQ(queue.get(), 3);
  EXPECT_TRUE(queue.empty());
}

TYPED_TEST(QueueOver, ThisTakesAndGivesMany) {
  typename TestFixture::template Queue<std::string> queue{50};
  std::vector<std::string> items;
  for (int i = 0; i < 60; ++i) items.push_back(std::to_string(i));
  EXPECT_EQ(queue.try_put_many(items), 50U);
  EXPECT_EQ(queue.get_many(20).size(), 20U);
  EXPECT_EQ(queue.get(), "20");
  EXPECT_EQ(queue.get_many(100).size(), 29U);
  EXPECT_TRUE(queue.get_many(5, 0s).empty());
}

TYPED_TEST(QueueOver, ThisTakesNoMessageOfAnotherSizeForAnItem) {
  const auto core = TypeParam::create(10);
  typename TestFixture::template Queue<int> numbers{core};
  typename TestFixture::template Queue<double> others{core};
  numbers.put(1);
  others.put(2.0);
  numbers.put(3);
  std::atomic<int> warnings{0};
  mp::set_log_sink([&](mp::LogLevel level, std::string_view) {
    if (level == mp::LogLevel::warning) ++warnings;
  });
  mp::set_log_level(mp::LogLevel::warning);
  EXPECT_EQ(numbers.get_many(10), (std::vector{1}));
  EXPECT_EQ(numbers.get_many(10), (std::vector{3}));
  EXPECT_EQ(warnings, 1);
  mp::set_log_level(mp::LogLevel::off);
  mp::set_log_sink({});
  EXPECT_TRUE(numbers.empty());
}

TYPED_TEST(QueueOver, ThisIsClosedForAllItsCopiesHereAndWakesWhoWaits) {
  typename TestFixture::template Queue<int> queue{1};
  auto copy = queue;
  std::thread waiting{[copy]() mutable { EXPECT_THROW(copy.get(), std::invalid_argument); }};
  queue.close();
  waiting.join();
  EXPECT_THROW(copy.put(1), std::invalid_argument);
  EXPECT_THROW(queue.get(), std::invalid_argument);
}

TYPED_TEST(QueueOver, ThisGoesToProcessesOfEveryStartMethod) {
  for (const auto method : mp::get_all_start_methods()) {
    typename TestFixture::template Queue<std::string> in;
    typename TestFixture::template Queue<std::string> out;
    mp::Process process{{.start_method = method}, double_all<TypeParam>, in, out};
    process.start();
    in.put("ab");
    EXPECT_EQ(out.get(), "abab");
    in.put("");
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
  }
}

TYPED_TEST(QueueOver, ThisDeliversOnceBetweenManyProcesses) {
  constexpr int producers = 3;
  static constexpr int each = 2000;
  typename TestFixture::template Queue<int> queue{16};
  std::vector<mp::Process<>> processes;
  for (int p = 0; p < producers; ++p) {
    processes.emplace_back(
        [](mp::Queue<int, TypeParam> to, int number) {
          for (int i = 0; i < each; ++i) to.put(number * each + i);
        },
        queue, p);
    processes.back().start();
  }
  std::map<int, int> seen;
  for (int i = 0; i < producers * each; ++i) ++seen[queue.get()];
  for (auto& process : processes) process.join();
  EXPECT_EQ(seen.size(), std::size_t{producers * each});
}

TEST(BoostMessageQueue, GivesTheHighestPriorityFirst) {
  mp::Queue<std::string, mp::BoostMessageQueue> queue{10};
  queue.put("low");
  queue.put("high", mp::Priority{9});
  queue.put("middle", mp::Priority{5}, 1s);
  EXPECT_EQ(queue.get(), "high");
  EXPECT_EQ(queue.get(), "middle");
  EXPECT_EQ(queue.get(), "low");
}

TEST(BoostMessageQueue, TalksToAProgramThatUsesBoost) {
  namespace bi = boost::interprocess;
  const std::string name = "multiprocessing-test-" + std::to_string(mp::os::process_id());
  {
    bi::message_queue theirs{bi::create_only, name.c_str(), 4, sizeof(double)};
    mp::Queue<double, mp::BoostMessageQueue> ours{mp::BoostMessageQueue::open(name)};
    const double sent = 1.5;
    theirs.send(&sent, sizeof sent, 0);
    EXPECT_EQ(ours.get(), 1.5);
    ours.put(2.5);
    double got = 0;
    bi::message_queue::size_type size = 0;
    unsigned priority = 0;
    theirs.receive(&got, sizeof got, size, priority);
    EXPECT_EQ(got, 2.5);
  }
  EXPECT_TRUE(bi::message_queue::remove(name.c_str()));  // it was theirs to remove
  EXPECT_THROW((void)mp::BoostMessageQueue::open(name), std::system_error);
}

TEST(BoostMessageQueue, RefusesAMessageThatIsTooLong) {
  mp::Queue<std::string, mp::BoostMessageQueue> queue{mp::BoostMessageQueue::create(2, 100)};
  EXPECT_THROW(queue.put(std::string(200, 'x')), std::system_error);
  queue.put("short");
  EXPECT_EQ(queue.get(), "short");
}

TEST(BoostMessageQueue, LeavesNoNameWhenItsMakerEnds) {
  test::expect_that_a_boost_queue_leaves_no_name();
}

template <class Queue>
concept CanBeShutDown = requires(Queue queue) {
  queue.shutdown();
};
static_assert(CanBeShutDown<mp::Queue<int>>);
static_assert(!CanBeShutDown<mp::Queue<int, mp::BoostMessageQueue>>);
