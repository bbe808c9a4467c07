// SPDX-License-Identifier: BSL-1.0
// Agents, servers and hosts that are lost. What must hold: every future is resolved, exactly once,
// by its right result or an error that says what was lost; nobody hangs (the watchdog).
// Not on Windows: there is no Gearman server
#include <multiprocessing/distributed.hpp>

#include <support/child.hpp>
#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <distributed/gearman_agents.hpp>
#include <distributed/gearmand.hpp>

namespace {

namespace mp = multiprocessing;
namespace gearman = mp::detail::gearman;
using test::Agent;
using test::eventually;
using test::Gearmand;
using namespace std::chrono_literals;

int square_slowly(int x) {
  const auto end = std::chrono::steady_clock::now() + 1ms;
  while (std::chrono::steady_clock::now() < end) {
  }
  return x * x;
}
int wait_for_file(const std::string& path) {
  eventually([&] { return std::filesystem::exists(path); });
  return mp::os::process_id();
}
void make_file(const std::string& path) {
  std::ofstream{path}.put('x');
}
std::string error_of(const mp::Future<int>& future) {
  try {
    future.result();
    return "none";
  } catch (const mp::BrokenProcessPool& error) {
    return error.what();
  }
}

class GearmanLoss : public testing::Test {
 protected:
  void SetUp() override { MULTIPROCESSING_NEEDS_GEARMAND(); }
  void TearDown() override { std::filesystem::remove("go"); }
};

TEST_F(GearmanLoss, OfAnAgentGivesItsTaskToAnother) {
  const Gearmand server;
  Agent first{server.server(), 1};
  mp::distributed::ProcessPoolExecutor executor{{.launch = {.server = server.server()}}};
  const auto task = executor.submit(wait_for_file, "go");
  eventually([&] { return task.running(); });
  first.kill();
  const Agent second{server.server(), 1};
  make_file("go");
  EXPECT_GT(task.result(), 0);
}

TEST_F(GearmanLoss, OfAnAgentIsAnErrorWithItsHostWhereTheServerDoesNotTryAgain) {
  const Gearmand server{{"--job-retries", "1"}};
  Agent agent{server.server(), 1};
  mp::distributed::ProcessPoolExecutor executor{{.launch = {.server = server.server()}}};
  const auto lost = executor.submit(wait_for_file, "go");
  const auto tried_again = executor.submit({.retries = 1}, wait_for_file, "go");
  eventually([&] { return lost.running(); });
  const std::string place = mp::detail::host_name() + " (pid " + std::to_string(agent.pid()) + ")";
  agent.kill();
  const std::string text = error_of(lost);
  EXPECT_NE(text.find("the agent on host " + place + " is lost"), std::string::npos) << text;
  const Agent second{server.server(), 1};
  make_file("go");
  EXPECT_GT(tried_again.result(), 0);
}

TEST_F(GearmanLoss, OfTheServerFailsAllFuturesAndAgentsComeBackToTheNext) {
  Gearmand server;
  const Agent agent{server.server(), 1};
  {
    mp::distributed::ProcessPoolExecutor executor{{.launch = {.server = server.server()}}};
    std::vector<mp::Future<int>> futures;
    for (int i = 0; i < 10; ++i) futures.push_back(executor.submit(wait_for_file, "go"));
    eventually([&] { return futures.front().running(); });
    server.kill();
    for (const auto& each : futures) {
      const std::string text = error_of(each);
      EXPECT_NE(text.find("the Gearman server at " + server.server()), std::string::npos) << text;
    }
    EXPECT_THROW(executor.submit(square_slowly, 1), mp::BrokenProcessPool);
  }
  server.start();
  mp::distributed::ProcessPoolExecutor executor{{.launch = {.server = server.server()}}};
  EXPECT_EQ(executor.submit(square_slowly, 3).result(), 9);
}

TEST_F(GearmanLoss, OfAMasterLeavesAgentsToOthers) {
  const Gearmand server;
  const Agent agent{server.server(), 1};
  {
    test::Child master{
        [](const std::string& where) {
          mp::distributed::ProcessPoolExecutor executor{{.launch = {.server = where}}};
          executor.submit(square_slowly, 1).result();
          make_file("go");
          executor.submit(wait_for_file, "never").result();
        },
        server.server()};
    eventually([] { return std::filesystem::exists("go"); });
    master.kill();
  }
  // Its last task may have come to the agent, and then nobody tells it to end.
  const Agent second{server.server(), 1};
  mp::distributed::ProcessPoolExecutor executor{{.launch = {.server = server.server()}}};
  EXPECT_EQ(executor.submit(square_slowly, 4).result(), 16);
}

TEST_F(GearmanLoss, OfAnAgentThatIsStoppedIsNoticedAndItsLateResultPassedOver) {
  const Gearmand server;
  const Agent stopped{server.server(), 1};
  mp::distributed::ProcessPoolExecutor executor{
      {.launch = {.server = server.server(), .silence = 3s}}};
  const auto lost = executor.submit(wait_for_file, "go");
  const auto tried_again = executor.submit({.retries = 5}, wait_for_file, "go");
  eventually([&] { return lost.running(); });
  ::kill(stopped.pid(), SIGSTOP);
  EXPECT_NE(error_of(lost).find("nothing was heard"), std::string::npos);
  {
    const Agent other{server.server(), 1};
    make_file("go");
    EXPECT_GT(tried_again.result(), 0);
  }
  ::kill(stopped.pid(), SIGCONT);
  EXPECT_EQ(executor.submit({.retries = 5}, square_slowly, 3).result(), 9) << "it goes on";
}

TEST_F(GearmanLoss, OfAMastersAnswerGivesTheTaskBackAsItWas) {
  const Gearmand server;
  const Agent agent{server.server(), 1};
  gearman::ServerConnection connection{server.address(), {}};
  gearman::ClientRole master;  // that never says with what its session opens
  const auto head = gearman::bytes_of({.what = gearman::JobHeader::task, .session = 7});
  const auto message = mp::detail::make_frame(mp::detail::MessageTo::task, mp::detail::TaskFrame{});
  gearman::PacketWriter out;
  master.submit(out, 1, gearman::task_function(), "unique", {head, message});
  connection.send(out);
  std::optional<gearman::ClientRole::Event> event;
  while (!event || event->kind == gearman::ClientRole::Event::Kind::data) {
    auto packet = connection.receive(mp::detail::Deadline{mp::forever});
    if (packet) event = master.take(*std::move(packet));
  }
  ASSERT_EQ(event->kind, gearman::ClientRole::Event::Kind::complete);
  auto data = event->packet.data();
  EXPECT_EQ(gearman::take_job_header(data).what, gearman::JobHeader::asks);
  EXPECT_EQ(mp::detail::as_text(data), mp::detail::as_text(message));
}

/// Agents die at random, and others come, while tasks are done.
void kill_at_random(const Gearmand& server, unsigned retries, int tasks, int kills) {
  mp::distributed::ProcessPoolExecutor executor{
      {.launch = {.server = server.server(), .retries = retries}}};
  std::vector<Agent> agents;
  for (int i = 0; i < 3; ++i) agents.emplace_back(server.server(), 2);
  std::vector<mp::Future<int>> futures;
  std::atomic<int> resolved{0};
  for (int i = 0; i < tasks; ++i) {
    futures.push_back(executor.submit(square_slowly, i));
    futures.back().add_done_callback([&](const auto&) { ++resolved; });
  }
  std::mt19937 random{42};
  for (int i = 0; i < kills && resolved.load() < tasks; ++i) {
    const int seen = resolved.load();
    eventually([&] { return resolved.load() > seen || resolved.load() == tasks; });
    const std::size_t victim = random() % agents.size();
    agents[victim].kill();
    agents[victim] = Agent{server.server(), 2};
  }
  int lost = 0;
  for (int i = 0; i < tasks; ++i) {
    try {
      EXPECT_EQ(futures[static_cast<std::size_t>(i)].result(), i * i);
    } catch (const mp::BrokenProcessPool& error) {
      EXPECT_NE(std::string{error.what()}.find("is lost"), std::string::npos) << error.what();
      ++lost;
    }
  }
  executor.shutdown();
  EXPECT_EQ(resolved.load(), tasks) << "each once";
  EXPECT_TRUE(retries == 0 || lost == 0) << lost;
  const auto stats = executor.stats();
  EXPECT_EQ(stats.done + stats.failed, static_cast<std::size_t>(tasks));
}

TEST_F(GearmanLoss, OfAgentsAtRandomLosesNoTaskWhereTheServerTriesAgain) {
  const Gearmand server;
  kill_at_random(server, 0, 1000, 20);
}

TEST_F(GearmanLoss, OfAgentsAtRandomIsToldOfEachTaskOrMadeGoodByRetries) {
  const Gearmand server{{"--job-retries", "1"}};
  kill_at_random(server, 0, 500, 15);
  kill_at_random(server, 100, 500, 15);
}

// ---- another build of this program ----

/// How many workers a function has, and how many jobs; -1: the server does not know it.
std::pair<int, int> workers_and_jobs(const Gearmand& server, const std::string& function) {
  gearman::ServerConnection connection{server.address(), {.takes_lines = true}};
  gearman::PacketWriter out;
  out.put_line("status");
  connection.send(out);
  std::pair<int, int> found{-1, -1};
  for (;;) {
    const auto packet = connection.receive(mp::detail::Deadline{mp::forever});
    if (!packet) continue;
    const std::string line = mp::detail::as_text(packet->data());
    if (line == ".") return found;
    if (!line.starts_with(function + "\t")) continue;
    found = {std::stoi(line.substr(line.rfind('\t') + 1)),
             std::stoi(line.substr(function.size() + 1))};
  }
}

TEST(DISABLED_GearmanOtherBuild, IsAnAgent) {
  mp::distributed::serve({.server = std::getenv("MULTIPROCESSING_TEST_SERVER"), .max_workers = 1});
}

TEST_F(GearmanLoss, NeverComesOfAnotherBuildWhichGetsNoTask) {
  const Gearmand server;
  // A copy of this program with one bit of its build id another.
  const auto id = mp::detail::own_builds().front().id;
  ASSERT_EQ(std::to_integer<char>(id.front()), 'B') << "linked without a build id";
  std::ifstream in{"/proc/self/exe", std::ios::binary};
  std::string program{std::istreambuf_iterator<char>{in}, {}};
  const std::string bytes = mp::detail::as_text(std::span{id}.subspan(1));
  const std::size_t at = program.find(bytes);
  ASSERT_NE(at, std::string::npos);
  program[at] = static_cast<char>(program[at] ^ 1);
  std::ofstream{"other_build", std::ios::binary} << program;
  std::filesystem::permissions("other_build", std::filesystem::perms::owner_all);
  auto other_id = id;
  other_id[1] ^= std::byte{1};
  const std::string other_function = "mp-" + gearman::hexadecimal(other_id);

  const auto folder = std::filesystem::absolute("folder_of_the_other");
  std::filesystem::create_directory(folder);
  const pid_t other = ::fork();
  ASSERT_GE(other, 0);
  if (other == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::setenv("TMPDIR", folder.c_str(), 1);  // it is ended with a folder of its own
    ::setenv("MULTIPROCESSING_TEST_SERVER", server.server().c_str(), 1);
    ::execl("other_build", "other_build", "--gtest_also_run_disabled_tests",
            "--gtest_filter=*GearmanOtherBuild.IsAnAgent", nullptr);
    ::_exit(127);
  }
  eventually([&] { return workers_and_jobs(server, other_function).first == 1; });
  {
    mp::distributed::ProcessPoolExecutor executor{{.launch = {.server = server.server()}}};
    EXPECT_FALSE(executor.bootup(300ms)) << "it sees no agent";
    const auto task = executor.submit(square_slowly, 5);
    EXPECT_FALSE(task.done());
    const Agent ours{server.server(), 1};
    EXPECT_EQ(task.result(), 25);
    EXPECT_EQ(workers_and_jobs(server, other_function), (std::pair{1, 0}));
  }
  ::kill(other, SIGTERM);
  ::waitpid(other, nullptr, 0);
  std::filesystem::remove("other_build");
  std::filesystem::remove_all(folder);
}

}  // namespace
