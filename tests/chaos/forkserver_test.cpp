// SPDX-License-Identifier: BSL-1.0
// A fork server is killed at every step of its work, and at any moment: each process that was to be
// started runs exactly once.
// Not on Windows: the fork server
#include <multiprocessing.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <mutex>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <unistd.h>

namespace mp = multiprocessing;
using namespace std::chrono_literals;

namespace {

constexpr mp::StartMethod forkserver = mp::StartMethod::forkserver;

// In a server: dies at the point, if no server has yet.
void die_once_at(const std::string& point, const std::string& token) {
  if (std::remove(token.c_str()) == 0) test::stop_at(point, test::Stop::die);
}

void put(mp::Queue<int> queue, int number) {
  queue.put(number);
}

class ForkServerStopPoint : public testing::TestWithParam<const char*> {};

TEST_P(ForkServerStopPoint, KilledThereStartsEachProcessOnce) {
  const std::string token = "nobody died yet";
  std::ofstream{token}.close();
  mp::set_forkserver_preload(mp::Task{die_once_at, std::string{GetParam()}, token});
  mp::Queue<int> queue;
  std::vector<mp::Process<>> processes;
  for (int i = 0; i < 4; ++i) {
    processes.emplace_back(mp::ProcessOptions{.start_method = forkserver}, put, queue, i);
    processes.back().start();
  }
  for (auto& process : processes) {
    process.join();
    EXPECT_EQ(process.exitcode(), 0) << process.name();
  }
  EXPECT_NE(std::remove(token.c_str()), 0) << "it did not come by that point";
  std::vector<int> got;
  while (const auto number = queue.try_get()) got.push_back(*number);
  std::ranges::sort(got);
  EXPECT_EQ(got, (std::vector{0, 1, 2, 3}));
  mp::set_forkserver_preload({});
}
INSTANTIATE_TEST_SUITE_P(At,
                         ForkServerStopPoint,
                         testing::Values("forkserver.requested",
                                         "forkserver.fork",
                                         "forkserver.forked",
                                         "forkserver.reaped"));

TEST(ForkServerChaos, ChildKilledBeforeItIsKnownHasBeen) {
  const std::string token = "nobody died yet";
  std::ofstream{token}.close();
  mp::set_forkserver_preload(mp::Task{die_once_at, std::string{"forkserver.child.born"}, token});
  mp::Process process({.start_method = forkserver}, [] {});
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), -SIGKILL);
  mp::set_forkserver_preload({});
}

TEST(ForkServerChaos, ForksByOtherThreadsDoNotHideItsDeath) {
  constexpr int rounds = 10;
  constexpr int forks = 20;
  const std::string token = "nobody died yet";
  const std::string large(std::size_t{4} << 20U, 'x');  // takes its time on the way
  mp::set_forkserver_preload(mp::Task{die_once_at, std::string{"forkserver.requested"}, token});
  for (int round = 0; round < rounds; ++round) {
    {
      const std::lock_guard lock{mp::detail::process_state().mutex};
      mp::detail::end_forkserver();
    }
    std::ofstream{token}.close();
    std::vector<mp::Process<>> siblings;
    std::thread forker{[&siblings] {
      for (int i = 0; i < forks; ++i) {
        siblings.emplace_back(mp::ProcessOptions{.start_method = mp::StartMethod::fork}, [] {
          for (;;) ::pause();
        });
        siblings.back().start();
      }
    }};
    mp::Process process(
        {.start_method = forkserver}, [](const std::string&) {}, large);
    process.start();
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
    forker.join();
    for (auto& sibling : siblings) sibling.kill();
    for (auto& sibling : siblings) sibling.join();
  }
  mp::set_forkserver_preload({});
}

TEST(ForkServerChaos, KilledAtAnyMomentStartsEachProcessOnce) {
  constexpr int most_rounds = 150;
  constexpr int each = 3;
  const mp::detail::Deadline enough{20s};
  mp::Queue<int> queue;
  std::mt19937 random{7};  // NOLINT(*-msc51-cpp): the same every time
  int rounds = 0;
  for (; rounds < most_rounds && !enough.passed(); ++rounds) {
    std::vector<mp::Process<>> processes;
    const auto delay = std::chrono::microseconds{random() % 3000};
    std::thread killer{[delay] {
      std::this_thread::sleep_for(delay);  // any moment will do
      auto& state = mp::detail::process_state();
      const std::lock_guard lock{state.mutex};
      std::error_code ignored;
      if (state.forkserver_process == -1) return;
      mp::os::signal_process(mp::os::to_handle(state.forkserver_process), mp::os::Signal::kill,
                             ignored);
    }};
    for (int i = 0; i < each; ++i) {
      processes.emplace_back(mp::ProcessOptions{.start_method = forkserver}, put, queue,
                             rounds * each + i);
      processes.back().start();
    }
    for (auto& process : processes) {
      process.join();
      EXPECT_EQ(process.exitcode(), 0) << process.name();
    }
    killer.join();
  }
  std::vector<int> got;
  while (const auto number = queue.try_get()) got.push_back(*number);
  std::ranges::sort(got);
  ASSERT_EQ(got.size(), static_cast<std::size_t>(rounds * each));
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], static_cast<int>(i));
}

}  // namespace
