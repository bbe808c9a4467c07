// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/process.hpp>
#include <multiprocessing/queues/joinable_queue.hpp>

#include <support/asleep.hpp>
#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::eventually;

TEST(JoinableQueueTaskDone, MoreOftenThanItemsWerePutIsRefused) {
  mp::JoinableQueue<int> queue;
  EXPECT_THROW(queue.task_done(), std::invalid_argument);
  queue.put(1);
  EXPECT_EQ(queue.unfinished(), 1U);
  queue.get();
  EXPECT_EQ(queue.unfinished(), 1U);
  queue.task_done();
  EXPECT_EQ(queue.unfinished(), 0U);
  EXPECT_THROW(queue.task_done(), std::invalid_argument);
}

TEST(JoinableQueueTaskDone, MayComeBeforeTheItemIsTakenAsInPython) {
  mp::JoinableQueue<int> queue;
  queue.put_many(std::vector<int>{1, 2});
  queue.task_done();
  queue.task_done();
  EXPECT_THROW(queue.task_done(), std::invalid_argument);
  EXPECT_TRUE(queue.join());
  EXPECT_EQ(queue.get_many(2).size(), 2U);
  EXPECT_TRUE(queue.join());
  EXPECT_THROW(queue.task_done(), std::invalid_argument);
  queue.put(3);
  EXPECT_FALSE(queue.join(0s));
  queue.task_done();
  EXPECT_TRUE(queue.join(0s));
}

TEST(JoinableQueueTaskDone, InAnotherProcessThanTheOneThatTookItCounts) {
  mp::JoinableQueue<int> queue;
  queue.put(1);
  queue.get();
  mp::Process process{[](mp::JoinableQueue<int> tasks) { tasks.task_done(); }, queue};
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  EXPECT_TRUE(queue.join());
}

TEST(JoinableQueueJoin, WaitsUntilEveryTaskIsDone) {
  mp::JoinableQueue<int> queue;
  EXPECT_TRUE(queue.join());
  std::vector<mp::Process<>> workers;
  for (int i = 0; i < 3; ++i) {
    workers.emplace_back(
        [](mp::JoinableQueue<int> tasks) {
          for (int item = tasks.get(); item >= 0; item = tasks.get()) tasks.task_done();
          tasks.task_done();
        },
        queue);
    workers.back().start();
  }
  for (int i = 0; i < 1000; ++i) queue.put(i);
  EXPECT_TRUE(queue.join());
  EXPECT_EQ(queue.qsize(), 0U);
  queue.put_many(std::vector<int>(3, -1));
  for (auto& worker : workers) worker.join();
  EXPECT_TRUE(queue.join(0s));
  EXPECT_EQ(queue.lost(), 0U);
}

TEST(JoinableQueueJoin, ReturnsFalseWhenTheTimeIsOver) {
  mp::JoinableQueue<int> queue;
  queue.put(1);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(queue.join(120ms));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 120ms);
}

TEST(JoinableQueueJoin, EndsForAllThatWait) {
  mp::JoinableQueue<int> queue;
  queue.put(1);
  std::atomic<int> ended{0};
  std::atomic<int> ids[3]{};
  std::vector<std::thread> threads;
  for (auto& id : ids) {
    threads.emplace_back([&] {
      id = test::thread_id();
      ended += queue.join() ? 1 : 0;
    });
  }
  for (const auto& id : ids) eventually([&] { return id != 0 && test::sleeps_in_futex(id); });
  queue.task_done();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(ended, 3);
}

TEST(JoinableQueueJoin, ThrowsOnceWhatDiedWithItsHolder) {
  mp::JoinableQueue<int> queue;
  queue.put_many(std::vector<int>(10));
  mp::Process victim{[](mp::JoinableQueue<int> tasks) {
                       tasks.get_many(4);
                       tasks.get();
                       tasks.task_done();
                       test::wait_for_ever();
                     },
                     queue};
  victim.start();
  eventually([&] { return queue.unfinished() == 9; });
  victim.kill();
  try {
    queue.join();
    FAIL();
  } catch (const mp::LostTasks& error) {
    EXPECT_EQ(error.count, 4U);
  }
  EXPECT_EQ(queue.lost(), 4U);
  EXPECT_EQ(queue.unfinished(), 5U);
  victim.join();
  EXPECT_FALSE(queue.join(0s));
  for (int i = 0; i < 5; ++i) queue.get();
  for (int i = 0; i < 5; ++i) queue.task_done();
  EXPECT_TRUE(queue.join());
  EXPECT_THROW(queue.task_done(), std::invalid_argument);
}

TEST(JoinableQueueJoin, ThatSleepsHearsOfAHoldersDeath) {
  mp::JoinableQueue<int> queue;
  queue.put(1);
  mp::Process victim{[](mp::JoinableQueue<int> tasks) {
                       tasks.get();
                       test::wait_for_ever();
                     },
                     queue};
  victim.start();
  eventually([&] { return queue.empty(); });
  std::atomic<int> id{0};
  std::thread joiner{[&] {
    id = test::thread_id();
    EXPECT_THROW(queue.join(), mp::LostTasks);
  }};
  eventually([&] { return id != 0 && test::sleeps_in_futex(id); });
  victim.kill();
  joiner.join();
  victim.join();
  EXPECT_TRUE(queue.join());
}

TEST(JoinableQueueJoin, CountsAnEndWithoutTaskDoneAsALoss) {
  mp::JoinableQueue<int> queue;
  queue.put(1);
  mp::Process process{[](mp::JoinableQueue<int> tasks) { tasks.get(); }, queue};
  process.start();
  process.join();
  EXPECT_THROW(queue.join(), mp::LostTasks);
  EXPECT_TRUE(queue.join());
}

TEST(JoinableQueueJoin, DoesNotTakeItsOwnThreadsEndForALoss) {
  mp::JoinableQueue<int> queue;
  queue.put(1);
  std::thread{[queue]() mutable { queue.get(); }}.join();
  EXPECT_FALSE(queue.join(0s));
  queue.task_done();
  EXPECT_TRUE(queue.join());
}

TEST(JoinableQueue, GivesAHoldersPlaceToTheNextWhenItIsGone) {
  mp::JoinableQueue<int> queue;
  const auto have_one_taken = [&] {
    queue.put(1);
    mp::Process process{[](mp::JoinableQueue<int> tasks) {
                          tasks.get();
                          tasks.task_done();
                        },
                        queue};
    process.start();
    process.join();
  };
  for (int i = 0; i < 40; ++i) have_one_taken();
  EXPECT_EQ(queue.unfinished(), 0U);  // looks who has gone
  for (int i = 0; i < 40; ++i) have_one_taken();
  EXPECT_TRUE(queue.join());
  EXPECT_EQ(queue.lost(), 0U);
}

TEST(JoinableQueueShutdown, AtOnceFinishesWhatItDropsAndNotWhatIsInHand) {
  mp::JoinableQueue<int> queue;
  queue.put_many(std::vector<int>(5));
  queue.get();
  queue.shutdown(true);
  EXPECT_EQ(queue.unfinished(), 1U);
  EXPECT_FALSE(queue.join(0s));
  queue.task_done();
  EXPECT_TRUE(queue.join());
  EXPECT_THROW(queue.task_done(), std::invalid_argument);
}

namespace {
void work(mp::JoinableQueue<std::string> tasks, mp::Queue<std::string> results) {
  for (std::string task = tasks.get(); !task.empty(); task = tasks.get()) {
    results.put(task + "!");
    tasks.task_done();
  }
  tasks.task_done();
}
}  // namespace

TEST(JoinableQueueTransit, CountsTasksInProcessesOfEveryStartMethodAndAsAPlainQueueToo) {
  for (const auto method : mp::get_all_start_methods()) {
    mp::JoinableQueue<std::string> tasks;
    mp::Queue<std::string> results;
    mp::Process process{{.start_method = method}, work, tasks, results};
    process.start();
    tasks.put("a");
    EXPECT_TRUE(tasks.join());
    EXPECT_EQ(results.get(), "a!");
    tasks.put("");
    process.join();
    EXPECT_TRUE(tasks.join());
    mp::Queue<std::string> plain = tasks;
    plain.put("b");
    EXPECT_FALSE(tasks.join(0s));
    plain.get();
    EXPECT_EQ(tasks.unfinished(), 1U);
  }
}

TEST(JoinableQueueTransit, OfAQueueThatCountsNothingIsRefused) {
  std::vector<std::byte> bytes;
  mp::Transit transit;
  mp::Encoder encoder{bytes, &transit};
  mp::detail::encode(encoder, mp::Queue<int>{});
  std::vector<mp::os::UniqueHandle> handles;
  std::error_code ec;
  for (const auto handle : transit.departing()) {
    handles.emplace_back(mp::os::duplicate_handle(handle, ec));
  }
  mp::Transit arrived{{{transit.objects()[0].kind, transit.objects()[0].handles, nullptr}},
                      std::move(handles)};
  mp::Decoder decoder{bytes, &arrived};
  EXPECT_THROW((void)mp::detail::decode<mp::JoinableQueue<int>>(decoder), mp::SerializationError);
}
