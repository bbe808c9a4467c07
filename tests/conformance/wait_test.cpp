// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing.hpp>

#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#if MULTIPROCESSING_POSIX
#  include <sys/resource.h>
#endif

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using Indexes = std::vector<std::size_t>;

namespace {

void put_one(mp::Queue<int> queue) {
  queue.put(1);
}

// Lets this process have so many pipes, where the system lets it.
class RoomFor {
 public:
#if MULTIPROCESSING_POSIX
  explicit RoomFor(std::size_t pipes) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit more{std::min<rlim_t>(before_.rlim_max, 2 * pipes + 200), before_.rlim_max};
    if (before_.rlim_cur < more.rlim_cur) ::setrlimit(RLIMIT_NOFILE, &more);
    ::getrlimit(RLIMIT_NOFILE, &more);
    enough_ = more.rlim_cur >= 2 * pipes + 100;
  }
  ~RoomFor() {
    ::setrlimit(RLIMIT_NOFILE, &before_);
  }

 private:
  rlimit before_{};
#else
  explicit RoomFor(std::size_t /*pipes*/) {}
  ~RoomFor() = default;
#endif

 public:
  RoomFor(const RoomFor&) = delete;
  RoomFor& operator=(const RoomFor&) = delete;
  [[nodiscard]] bool is_there() const {
    return enough_;
  }

 private:
  bool enough_ = true;
};

}  // namespace

TEST(Wait, ReturnsAllThatAreReadyInOrder) {
  auto [first, first_end] = mp::Pipe();
  auto [second, second_end] = mp::Pipe(false);
  mp::Queue<int> empty;
  mp::Queue<int> full;
  mp::SimpleQueue<std::string> simple;
  mp::JoinableQueue<int> tasks;
  mp::Process ended{[] {}};
  mp::Process running{[] { test::wait_for_ever(); }};
  ended.start();
  running.start();
  ended.join();
  std::error_code ec;
  const mp::os::UniqueHandle event = mp::os::open_ready(ec);
  ASSERT_FALSE(ec);
  full.put(1);
  simple.put("x");
  second_end.send(1);
  EXPECT_EQ(mp::wait({simple, first, running, event.get(), empty, second, full, tasks, ended}),
            (Indexes{0, 3, 5, 6, 8}));
  running.kill();
  running.join();
}

TEST(Wait, TakesTheEndOfAStreamForReady) {
  auto [connection, other] = mp::Pipe();
  EXPECT_EQ(mp::wait({connection}, 0s), Indexes{});
  other.close();
  EXPECT_EQ(mp::wait({connection}), Indexes{0});
  EXPECT_THROW((void)connection.recv<int>(), mp::EOFError);
}

TEST(Wait, OfNothingOrOfWhatIsNotReadyLastsForTheTime) {
  const auto lasts = [](const auto& wait) {
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(wait(120ms).empty());
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 120ms);
    EXPECT_TRUE(wait(0ms).empty());
    EXPECT_TRUE(wait(-5ms).empty());
  };
  const auto pipe = mp::Pipe();
  const mp::Queue<int> queue;
  lasts([](auto time) { return mp::wait({}, time); });
  lasts([&](auto time) { return mp::wait({pipe.first}, time); });
  lasts([&](auto time) { return mp::wait({queue}, time); });
  lasts([&](auto time) { return mp::wait({pipe.first, queue}, time); });
}

TEST(Wait, IsWokenByAProcessThatPuts) {
  mp::Queue<int> queue;
  mp::Queue<int> other;
  for (int i = 0; i < 20; ++i) {
    mp::Process process{put_one, queue};
    process.start();
    EXPECT_EQ(mp::wait({other, queue}), Indexes{1});
    EXPECT_EQ(queue.get(), 1);
    process.join();
  }
}

TEST(Wait, TakesAQueuesEndForReady) {
  mp::Queue<int> queue;
  mp::Process process{[](mp::Queue<int> its) { its.shutdown(); }, queue};
  process.start();
  EXPECT_EQ(mp::wait({queue}), Indexes{0});
  process.join();
  EXPECT_EQ(mp::wait({queue}), Indexes{0});
}

TEST(Wait, OfAClosedThingOrANonsenseHandleThrows) {
  mp::Queue<int> queue;
  queue.close();
  EXPECT_THROW((void)mp::wait({queue}), std::invalid_argument);
  auto pipe = mp::Pipe();
  pipe.first.close();
  EXPECT_THROW((void)mp::wait({pipe.first}), std::invalid_argument);
  EXPECT_THROW((void)mp::wait({mp::os::to_handle(98'704)}, 0s), std::system_error);
  EXPECT_THROW((void)mp::wait({mp::os::invalid_handle}, 0s), std::system_error);
  mp::Process process{[] {}};
  EXPECT_THROW((void)mp::wait({process}), std::exception);
}

TEST(Wait, TakesRangesOfOneKind) {
  std::deque<mp::Queue<int>> queues(5);
  queues[3].put(1);
  EXPECT_EQ(mp::wait(queues), Indexes{3});
  std::vector<mp::Process<>> processes;
  for (int i = 0; i < 3; ++i) {
    processes.emplace_back([] {});
    processes.back().start();
  }
  for (std::size_t ended = 0; ended < 3;) ended = mp::wait(processes).size();
  for (auto& process : processes) process.join();
  std::vector<mp::native_handle_type> sentinels;
  for (auto& process : processes) sentinels.push_back(process.sentinel());
  EXPECT_EQ(mp::wait(sentinels, 0s).size(), 3U);
}

TEST(Wait, HasRoomForThousands) {
  constexpr std::size_t count = 1500;
  const RoomFor room{count};
  if (!room.is_there()) GTEST_SKIP() << "not so many descriptors here";
  std::vector<mp::Connection> all;
  std::vector<mp::Connection> others;
  for (std::size_t i = 0; i < count; ++i) {
    auto pipe = mp::Pipe();
    all.push_back(pipe.first);
    others.push_back(pipe.second);
  }
  others[700].send(1);
  others[1400].send(2);
  EXPECT_EQ(mp::wait(all), (Indexes{700, 1400}));
}

TEST(Wait, MayBeDoneByManyForTheSameQueue) {
  static constexpr int items = 2000;
  mp::Queue<int> queue;
  std::atomic<int> got{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (got < items) {
        if (mp::wait({queue}, 20ms).empty()) continue;
        while (queue.try_get()) ++got;
      }
    });
  }
  mp::Process producer{[](mp::Queue<int> to) {
                         for (int i = 0; i < items; ++i) {
                           to.put(i);
                           if (i % 50 == 0) std::this_thread::sleep_for(1ms);
                         }
                       },
                       queue};
  producer.start();
  for (auto& thread : threads) thread.join();
  producer.join();
  EXPECT_EQ(got, items);
}

namespace {
void answer(mp::Queue<int> queue, mp::Connection connection) {
  if (mp::wait({connection, queue}) != Indexes{1}) throw mp::SystemExit(3);
  connection.send(queue.get());
}
}  // namespace

TEST(Wait, WorksInProcessesOfEveryStartMethod) {
  for (const auto method : mp::get_all_start_methods()) {
    mp::Queue<int> queue;
    auto [here, there] = mp::Pipe();
    mp::Process process{{.start_method = method}, answer, queue, there};
    process.start();
    queue.put(5);
    EXPECT_EQ(here.recv<int>(), 5);
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
  }
}
