// SPDX-License-Identifier: BSL-1.0
// The distributed executor and pool over a Gearman server, with agents in processes of their own.
// Not on Windows: there is no Gearman server
#include <multiprocessing/distributed.hpp>
#include <multiprocessing/queues.hpp>

#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <distributed/gearman_agents.hpp>
#include <distributed/gearmand.hpp>

namespace {

namespace mp = multiprocessing;
using test::Agent;
using test::Gearmand;
using namespace std::chrono_literals;

int square(int n) {
  return n * n;
}
std::string twice(const std::string& text) {
  return text + text;
}
[[noreturn]] void fail() {
  throw std::out_of_range{"too far"};
}
[[noreturn]] void die() {
  std::raise(SIGKILL);
  std::abort();
}

class GearmanExecutor : public testing::Test {
 protected:
  void SetUp() override { MULTIPROCESSING_NEEDS_GEARMAND(); }
  static mp::distributed::Launch at(const Gearmand& server) { return {.server = server.server()}; }
};

TEST_F(GearmanExecutor, HasAgentsDoTasks) {
  const Gearmand server;
  const Agent agent{server.server(), 2};
  mp::distributed::ProcessPoolExecutor executor{{.launch = at(server)}};
  EXPECT_EQ(executor.submit(square, 7).result(), 49);
  EXPECT_EQ(executor.submit(twice, "ab").result(), "abab");
  EXPECT_EQ(executor.num_workers(), 2U);
}

TEST_F(GearmanExecutor, BringsExceptionsHomeAsThemselves) {
  const Gearmand server;
  const Agent agent{server.server(), 1};
  mp::distributed::ProcessPoolExecutor executor{{.launch = at(server)}};
  EXPECT_THROW(executor.submit(fail).result(), std::out_of_range);
}

TEST_F(GearmanExecutor, LosesOneTaskWithAWorkerAndNamesTheHost) {
  const Gearmand server;
  const Agent agent{server.server(), 1};
  mp::distributed::ProcessPoolExecutor executor{{.launch = at(server)}};
  auto dead = executor.submit(die);
  auto alive = executor.submit(square, 3);
  try {
    dead.result();
    ADD_FAILURE();
  } catch (const mp::BrokenProcessPool& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("on host " + mp::detail::host_name()), std::string::npos) << text;
    EXPECT_NE(text.find("SIGKILL"), std::string::npos) << text;
  }
  EXPECT_EQ(alive.result(), 9);
}

TEST_F(GearmanExecutor, MapsOverManyItems) {
  const Gearmand server;
  const Agent agent{server.server(), 2};
  mp::distributed::Pool pool{{.launch = at(server)}};
  std::vector<int> numbers(500);
  for (int i = 0; i < 500; ++i) numbers[static_cast<std::size_t>(i)] = i;
  const auto squares = pool.map(square, numbers, 7);
  for (int i = 0; i < 500; ++i) EXPECT_EQ(squares[static_cast<std::size_t>(i)], i * i);
}

int wait_for_file(const std::string& path) {
  test::eventually([&] { return std::filesystem::exists(path); });
  return mp::os::process_id();
}
void make_file(const std::string& path) {
  std::ofstream{path}.put('x');
}

TEST_F(GearmanExecutor, WaitsForTheFirstAgentAndSeesOthersComeAndGo) {
  const Gearmand server;
  mp::distributed::ProcessPoolExecutor executor{{.launch = at(server)}};
  const auto first = executor.submit(square, 5);
  EXPECT_FALSE(executor.bootup(10ms)) << "there is no agent";
  EXPECT_FALSE(first.done());
  Agent one{server.server(), 1};
  EXPECT_EQ(first.result(), 25);
  Agent two{server.server(), 3};
  // It looks for agents once a second while there are tasks.
  const auto long_one = executor.submit(wait_for_file, "go");
  test::eventually([&] { return executor.num_workers() == 4; });
  two.kill();
  test::eventually([&] { return executor.num_workers() == 1 || executor.num_workers() == 0; });
  make_file("go");
  EXPECT_GT(long_one.result(), 0);
  std::filesystem::remove("go");
}

TEST_F(GearmanExecutor, LetsAnAgentLeaveThatFinishesWhatItHas) {
  const Gearmand server;
  std::stop_source stop;
  std::thread agent{[&] {
    mp::distributed::serve({.server = server.server(), .max_workers = 1, .stop = stop.get_token()});
  }};
  {
    mp::distributed::ProcessPoolExecutor executor{{.launch = at(server)}};
    const auto task = executor.submit(wait_for_file, "go");
    test::eventually([&] { return task.running(); });
    stop.request_stop();
    make_file("go");
    EXPECT_GT(task.result(), 0);
    agent.join();
    const auto next = executor.submit(square, 2);
    const Agent other{server.server(), 1};
    EXPECT_EQ(next.result(), 4);
  }
  std::filesystem::remove("go");
}

TEST_F(GearmanExecutor, CancelsWhatNoAgentHasAndKillsWhatOneHas) {
  const Gearmand server;
  const Agent agent{server.server(), 1};
  mp::distributed::ProcessPoolExecutor executor{{.launch = at(server)}};
  const auto running = executor.submit(wait_for_file, "never");
  test::eventually([&] { return running.running(); });
  std::vector<mp::Future<int>> waiting;
  for (int i = 0; i < 5; ++i) waiting.push_back(executor.submit(square, i));
  EXPECT_FALSE(running.cancel());
  for (const auto& each : waiting) EXPECT_TRUE(each.cancel());
  for (const auto& each : waiting) EXPECT_TRUE(each.cancelled());
  // At once: the server, which gets them, has not said so yet.
  mp::distributed::ProcessPoolExecutor other{{.launch = at(server)}};
  EXPECT_EQ(other.num_workers(), 1U);
  for (int i = 0; i < 20; ++i) {
    const auto early = other.submit(square, i);
    EXPECT_TRUE(test::eventually([&] {  // the server may take its time to answer
      return early.cancelled() || (i % 2 == 0 ? early.cancel() : early.kill());
    }));
    EXPECT_THROW(early.result(), mp::CancelledError);
  }
  EXPECT_TRUE(test::eventually([&] { return running.cancelled() || running.kill(); }));
  EXPECT_THROW(running.result(), mp::CancelledError);
  EXPECT_EQ(executor.submit(square, 6).result(), 36) << "the agent goes on";
}

TEST_F(GearmanExecutor, IsEndedWithTasksThatNobodyDoes) {
  const Gearmand server;
  {
    mp::distributed::ProcessPoolExecutor executor{{.launch = at(server)}};
    const auto task = executor.submit(square, 1);
    executor.shutdown(true, true);
    EXPECT_TRUE(task.cancelled());
  }
  const Agent agent{server.server(), 1};
  mp::distributed::Pool pool{{.launch = at(server)}};
  const auto running = pool.apply_async(wait_for_file, "never");
  pool.terminate();
  EXPECT_THROW(running.get(), mp::CancelledError);
}

TEST_F(GearmanExecutor, RefusesWhatCannotLeaveTheMachine) {
  const Gearmand server;
  mp::distributed::ProcessPoolExecutor executor{{.launch = at(server)}};
  const mp::Queue<int> queue;
  EXPECT_THROW(executor.submit([](const mp::Queue<int>&) {}, queue).result(),
               mp::SerializationError);
}

TEST_F(GearmanExecutor, CarriesMegabytes) {
  const Gearmand server;
  const Agent agent{server.server(), 1};
  mp::distributed::ProcessPoolExecutor executor{{.launch = at(server)}};
  const std::string large(8'000'000, 'm');
  const auto back = executor.submit(twice, large).result();
  EXPECT_EQ(back.size(), 2 * large.size());
  EXPECT_TRUE(back == large + large);
}

TEST_F(GearmanExecutor, HasAnInitializerRunInEachWorkerAndBreaksWhenItThrows) {
  const Gearmand server;
  const Agent agent{server.server(), 1};
  {
    mp::distributed::ProcessPoolExecutor executor{
        {.initializer = mp::Task{[] { std::filesystem::current_path("/"); }},
         .launch = at(server)}};
    EXPECT_EQ(executor.submit([] { return std::filesystem::current_path().string(); }).result(),
              "/");
  }
  mp::distributed::ProcessPoolExecutor broken{
      {.initializer = mp::Task{fail}, .launch = at(server)}};
  EXPECT_THROW(broken.submit(square, 1).result(), mp::BrokenProcessPool);
}

TEST_F(GearmanExecutor, SharesAgentsWithOtherMasters) {
  const Gearmand server;
  const Agent agent{server.server(), 2};
  mp::distributed::ProcessPoolExecutor one{{.launch = at(server)}};
  mp::distributed::Pool two{{.launch = at(server)}};
  std::vector<mp::Future<int>> futures;
  for (int i = 0; i < 50; ++i) futures.push_back(one.submit(square, i));
  for (int i = 0; i < 50; ++i) EXPECT_EQ(two.apply(square, -i), i * i);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(futures[static_cast<std::size_t>(i)].result(), i * i);
}

TEST_F(GearmanExecutor, NamesAServerThatIsNotThere) {
  EXPECT_THROW((mp::distributed::Pool{{.launch = {.server = "127.0.0.1:1"}}}), std::system_error);
  EXPECT_THROW((mp::distributed::Pool{{.launch = {.server = ":"}}}), std::invalid_argument);
  EXPECT_THROW((mp::distributed::Pool{{.launch = {.hosts = {"a"}, .server = "b"}}}),
               std::invalid_argument);
  EXPECT_THROW(mp::distributed::serve({.server = "127.0.0.1:1"}), std::system_error);
}

}  // namespace
