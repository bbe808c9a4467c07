// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/process.hpp>
#include <multiprocessing/queues/simple_queue.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>
#include <string>

namespace mp = multiprocessing;
using namespace std::chrono_literals;

TEST(SimpleQueue, GivesWhatWasPutInOrder) {
  mp::SimpleQueue<std::string> queue;
  EXPECT_TRUE(queue.empty());
  queue.put("a");
  const std::string named = "b";
  queue.put(named);
  EXPECT_FALSE(queue.empty());
  EXPECT_EQ(queue.get(), "a");
  EXPECT_EQ(queue.get(), "b");
  EXPECT_THROW(queue.get(1ms), mp::Empty);
}

TEST(SimpleQueue, GoesToAnotherProcess) {
  mp::SimpleQueue<int> there;
  mp::SimpleQueue<int> back;
  mp::Process process{
      {.start_method = mp::StartMethod::spawn},
      [](mp::SimpleQueue<int> in, mp::SimpleQueue<int> out) { out.put(in.get() + 1); },
      there,
      back};
  process.start();
  there.put(1);
  EXPECT_EQ(back.get(), 2);
  process.join();
}

TEST(SimpleQueue, ThatIsClosedRefusesEverything) {
  mp::SimpleQueue<int> queue;
  queue.close();
  queue.close();
  EXPECT_THROW(queue.put(1), std::invalid_argument);
  EXPECT_THROW(queue.get(), std::invalid_argument);
  EXPECT_THROW((void)queue.empty(), std::invalid_argument);
}
