// SPDX-License-Identifier: BSL-1.0
// The distributed executor and pool over a Gearman server, with agents in processes of their own.
// Not on Windows: there is no Gearman server
#include <multiprocessing/distributed.hpp>

#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
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

}  // namespace
