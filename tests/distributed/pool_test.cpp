// SPDX-License-Identifier: BSL-1.0
// The rules of pools and executors, on workers of this process and on those of agents. Built twice:
// with agents in child processes, and with MPI, where mpirun or MULTIPROCESSING_TEST_HOSTS says so.
// Not on Windows: pools on several machines are not available there.
#include <multiprocessing.hpp>
#include <multiprocessing/distributed.hpp>

#include <support/eventually.hpp>
#include <support/pool_tasks.hpp>
#include <support/processes.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::eventually;
using test::square;

namespace {

// "a,b" as MULTIPROCESSING_TEST_HOSTS says; without it the job's ranks, or this host.
mp::distributed::Launch launch() {
  mp::distributed::Launch launch;
  const char* const names = std::getenv("MULTIPROCESSING_TEST_HOSTS");
  std::string name;
  for (const char* at = names; at != nullptr && *at != '\0'; ++at) {
    if (*at != ',') name += *at;
    if (*at == ',' || at[1] == '\0') launch.hosts.push_back(std::exchange(name, {}));
  }
  return launch;
}

template <class P>
std::unique_ptr<P> made(mp::Task initializer = {}, unsigned workers = 2) {
  if constexpr (std::is_same_v<P, mp::Pool>) {
    return std::make_unique<P>(
        mp::PoolOptions{.processes = workers, .initializer = std::move(initializer)});
  } else if constexpr (std::is_same_v<P, mp::distributed::Pool>) {
    return std::make_unique<P>(mp::distributed::PoolOptions{
        .processes = workers, .initializer = std::move(initializer), .launch = launch()});
  } else if constexpr (std::is_same_v<P, mp::ProcessPoolExecutor>) {
    return std::make_unique<P>(
        mp::ExecutorOptions{.max_workers = workers, .initializer = std::move(initializer)});
  } else {
    return std::make_unique<P>(mp::distributed::ExecutorOptions{
        .max_workers = workers, .initializer = std::move(initializer), .launch = launch()});
  }
}

std::string text_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& what) {
    return what.what();
  }
}

[[noreturn]] void sleep_long() {
  test::wait_for_ever();
}

// ---- pools ----

template <class P>
class EveryPool : public testing::Test {
 protected:
  std::unique_ptr<P> given = made<P>();
};
using Pools = testing::Types<mp::Pool, mp::distributed::Pool>;
TYPED_TEST_SUITE(EveryPool, Pools);

TYPED_TEST(EveryPool, RunsFunctionsLambdasAndMembersOfAnyArguments) {
  auto& pool = *this->given;
  EXPECT_EQ(pool.apply(square, 3), 9);
  EXPECT_EQ(pool.apply([](const std::string& a, int b) { return a + std::to_string(b); }, "x", 4),
            "x4");
  const std::map<std::string, std::vector<double>> table{{"a", {1.5}}, {"b", {}}};
  EXPECT_EQ(pool.apply([](std::map<std::string, std::vector<double>> all) { return all; }, table),
            table);
  const std::vector<char> large(3U << 20U, 'x');
  EXPECT_EQ(pool.apply([](std::vector<char> all) { return all; }, large), large);
  const int factor = static_cast<int>(large.front()) - 'x' + 3;  // no constant, so it is captured
  EXPECT_EQ(pool.apply(mp::by_value([factor](int x) { return factor * x; }), 5), 15);
  pool.apply([] {});
}

TYPED_TEST(EveryPool, MapsInOrderInChunksOfAnySize) {
  auto& pool = *this->given;
  std::vector<int> numbers(500);
  std::iota(numbers.begin(), numbers.end(), 0);
  std::vector<int> squares;
  for (const int x : numbers) squares.push_back(x * x);
  EXPECT_EQ(pool.map(square, numbers), squares);
  EXPECT_EQ(pool.map(square, numbers, 7), squares);
  EXPECT_EQ(pool.map_async(square, numbers).get(), squares);
  std::vector<int> lazily;
  for (const int y : pool.imap(square, numbers, 3)) lazily.push_back(y);
  EXPECT_EQ(lazily, squares);
  std::multiset<int> in_any_order;
  for (const int y : pool.imap_unordered(square, numbers)) in_any_order.insert(y);
  EXPECT_EQ(in_any_order, (std::multiset<int>{squares.begin(), squares.end()}));
  const std::vector<std::pair<int, int>> pairs{{2, 3}, {4, 5}};
  EXPECT_EQ(pool.starmap(test::product, pairs), (std::vector{6, 20}));
}

TYPED_TEST(EveryPool, GetsOnAlsoWhereOneOnlyAsks) {
  auto& pool = *this->given;
  EXPECT_EQ(pool.apply(square, 2), 4);
  auto result = pool.apply_async(square, 3);
  while (!result.wait(0s)) {
  }
  EXPECT_EQ(result.get(), 9);
}

TYPED_TEST(EveryPool, ATaskThatDiesCostsItselfAlone) {
  auto& pool = *this->given;
  std::vector<mp::AsyncResult<int>> results;
  for (int i = 0; i < 12; ++i) {
    results.push_back(i == 5 ? pool.apply_async(test::kill_itself, i)
                             : pool.apply_async(square, i));
  }
  for (int i = 0; i < 12; ++i) {
    auto& result = results[static_cast<std::size_t>(i)];
    if (i != 5) {
      EXPECT_EQ(result.get(), i * i);
      continue;
    }
    try {
      result.get();
      ADD_FAILURE() << "a result of a task that was killed";
    } catch (const mp::BrokenProcessPool& error) {
      EXPECT_NE(std::string{error.what()}.find("SIGKILL"), std::string::npos) << error.what();
    }
  }
}

TYPED_TEST(EveryPool, ClosesJoinsAndTerminates) {
  auto& pool = *this->given;
  auto late = pool.apply_async(square, 6);
  EXPECT_THROW(pool.join(), std::invalid_argument);
  pool.close();
  EXPECT_THROW(pool.apply(square, 1), std::invalid_argument);
  pool.join();
  EXPECT_EQ(late.get(), 36);
  auto other = made<TypeParam>();
  auto never = other->apply_async(sleep_long);
  other->terminate();
  EXPECT_THROW(never.get(), mp::CancelledError);
}

// ---- executors ----

template <class E>
class EveryExecutor : public testing::Test {
 protected:
  std::unique_ptr<E> given = made<E>();
};
using Executors = testing::Types<mp::ProcessPoolExecutor, mp::distributed::ProcessPoolExecutor>;
TYPED_TEST_SUITE(EveryExecutor, Executors);

TYPED_TEST(EveryExecutor, GivesFuturesOfOneTypeWithAllTheirMembers) {
  auto& executor = *this->given;
  mp::Future<int> future = executor.submit(square, 7);
  EXPECT_EQ(future.result(), 49);
  EXPECT_TRUE(future.done());
  std::atomic<int> called{0};
  auto other = executor.submit(square, 2);
  other.add_done_callback([&](const mp::Future<int>& done) { called = done.result(); });
  eventually([&] { return called == 4; });
  std::vector<mp::Future<int>> all;
  for (int i = 0; i < 20; ++i) all.push_back(executor.submit(square, i));
  int sum = 0;
  for (auto& each : mp::as_completed(all)) sum += each.result();
  EXPECT_EQ(sum, 2470);
}

TYPED_TEST(EveryExecutor, BringsExceptionsHomeAsThemselves) {
  auto& executor = *this->given;
  EXPECT_THROW(executor.submit(test::throw_range_error, 1).result(), std::range_error);
  EXPECT_THROW(executor.submit([] { throw 42; }).result(), mp::RemoteError);
}

TYPED_TEST(EveryExecutor, CancelsWhatIsNotBegunAndKillsWhatIs) {
  auto& executor = *this->given;
  std::vector<mp::Future<void>> busy;
  for (int i = 0; i < 16; ++i) busy.push_back(executor.submit(sleep_long));
  // Whichever two: one may wait behind another in a worker that was ready first.
  const auto runs = [](const auto& each) { return each.running(); };
  eventually([&] { return std::count_if(busy.begin(), busy.end(), runs) >= 2; });
  std::stable_partition(busy.begin(), busy.end(), runs);
  EXPECT_FALSE(busy[0].cancel());
  EXPECT_TRUE(eventually([&] { return busy[15].cancel(); }));
  EXPECT_TRUE(busy[15].cancelled());
  for (const auto& each : busy) eventually([&] { return each.kill() || each.done(); });
  for (const auto& each : busy) EXPECT_THROW(each.result(), mp::CancelledError);
  EXPECT_EQ(executor.submit(square, 3).result(), 9);
}

TYPED_TEST(EveryExecutor, HoldsTasksToTheirTimeAndTriesThemAgain) {
  auto& executor = *this->given;
  EXPECT_THROW(executor.submit({.timeout = 50ms}, sleep_long).result(), mp::TimeoutError);
  const std::string mark = std::filesystem::absolute("tried").string();
  const auto once = [](const std::string& file) {
    if (std::filesystem::create_directory(file)) test::kill_itself(0);
    return 1;
  };
  EXPECT_EQ(executor.submit({.retries = 1}, once, mark).result(), 1);
  std::filesystem::remove(mark);
  EXPECT_THROW(executor.submit({.retries = 2}, test::kill_itself, 0).result(),
               mp::BrokenProcessPool);
}

TYPED_TEST(EveryExecutor, MapsOverSeveralRangesInOrderOrNot) {
  auto& executor = *this->given;
  std::vector<int> products;
  for (const int each : executor.map(test::product, std::vector{1, 2, 3}, std::vector{4, 5, 6})) {
    products.push_back(each);
  }
  EXPECT_EQ(products, (std::vector{4, 10, 18}));
  std::multiset<int> any;
  for (const int each : executor.map({.chunksize = 2, .buffersize = 2, .unordered = true}, square,
                                     std::vector{1, 2, 3, 4, 5})) {
    any.insert(each);
  }
  EXPECT_EQ(any, (std::multiset<int>{1, 4, 9, 16, 25}));
}

TYPED_TEST(EveryExecutor, ShutsDownWaitingOrCancelling) {
  auto& executor = *this->given;
  std::vector<mp::Future<int>> all;
  for (int i = 0; i < 8; ++i) all.push_back(executor.submit(square, i));
  executor.shutdown();
  for (int i = 0; i < 8; ++i) EXPECT_EQ(all[static_cast<std::size_t>(i)].result(), i * i);
  EXPECT_THROW(executor.submit(square, 1), std::invalid_argument);
  auto other = made<TypeParam>();
  std::vector<mp::Future<void>> stuck;
  for (int i = 0; i < 16; ++i) stuck.push_back(other->submit(sleep_long));
  other->kill_workers();
  for (const auto& each : stuck) EXPECT_THROW(each.result(), mp::CancelledError);
}

TYPED_TEST(EveryExecutor, MayBeShutDownInACallback) {
  std::atomic<bool> is_over{false};
  auto future = this->given->submit(square, 5);
  future.add_done_callback([&](const auto&) {
    this->given->shutdown();
    is_over = true;
  });
  eventually([&] { return is_over.load(); });
}

TYPED_TEST(EveryExecutor, AnInitializerRunsFirstAndBreaksAllWhenItThrows) {
  auto executor = made<TypeParam>(
      mp::Task{[](int x) { ::setenv("SET_FIRST", std::to_string(x).c_str(), 1); }, 7});
  EXPECT_EQ(executor->submit([] { return std::string{std::getenv("SET_FIRST")}; }).result(), "7");
  auto broken = made<TypeParam>(mp::Task{[] { throw std::runtime_error{"no good"}; }});
  try {
    broken->submit(square, 1).result();
    ADD_FAILURE() << "works without its initializer";
  } catch (const mp::BrokenProcessPool& error) {
    EXPECT_NE(std::string{error.what()}.find("no good"), std::string::npos) << error.what();
  }
  eventually([&] {
    try {
      static_cast<void>(broken->submit(square, 1));
    } catch (const mp::BrokenProcessPool&) {
      return true;
    }
    return false;
  });
}

TYPED_TEST(EveryExecutor, ResolvesEachFutureOnceWhileWorkersAreKilled) {
  auto& executor = *this->given;
  constexpr int tasks = 300;
  std::vector<mp::Future<int>> all;
  std::vector<std::atomic<int>> resolved(tasks);
  for (int i = 0; i < tasks; ++i) {
    all.push_back(executor.submit(
        [](int x) {
          if (x % 7 == 3) test::kill_itself(0);
          return x;
        },
        i));
    all.back().add_done_callback(
        [&resolved, i](const auto&) { ++resolved[static_cast<std::size_t>(i)]; });
  }
  for (int i = 0; i < tasks; ++i) {
    auto& future = all[static_cast<std::size_t>(i)];
    if (i % 7 == 3) {
      EXPECT_THROW(future.result(), mp::BrokenProcessPool);
    } else {
      EXPECT_EQ(future.result(), i);
    }
  }
  executor.shutdown();
  for (const auto& count : resolved) EXPECT_EQ(count, 1);
}

// ---- what only agents have ----

TEST(DistributedPool, RefusesWhatLivesInOneMachinesMemory) {
  auto pool = made<mp::distributed::Pool>();
  mp::Queue<int> queue;
  const auto text = [&](const auto& work) {
    try {
      work();
    } catch (const mp::SerializationError& error) {
      return std::string{error.what()};
    }
    return std::string{};
  };
  EXPECT_NE(text([&] { pool->apply([](mp::Queue<int>) {}, queue); }).find("machine"),
            std::string::npos);
  EXPECT_NE(text([&] { pool->apply([] { return mp::Queue<int>{}; }); }).find("machine"),
            std::string::npos);
}

TEST(DistributedPool, SetsEnvironmentAndWorkingDirectory) {
  mp::distributed::PoolOptions options{.processes = 1, .launch = launch()};
  options.launch.environment = {{"FLAVOUR", "vanilla"}};
  options.launch.working_directory = "/";
  options.launch.bootup = true;
  mp::distributed::Pool pool{std::move(options)};
  EXPECT_EQ(pool.apply([] { return std::string{std::getenv("FLAVOUR")}; }), "vanilla");
  EXPECT_EQ(pool.apply([] { return std::filesystem::current_path().string(); }), "/");
  EXPECT_EQ(pool.num_workers(), pool.agents().size());
}

TEST(DistributedPool, MayBeAskedForItsWorkersInACallback) {
  auto executor = made<mp::distributed::ProcessPoolExecutor>();
  std::atomic<unsigned> workers{0};
  auto future = executor->submit(square, 2);
  future.add_done_callback([&](const auto&) { workers = executor->num_workers(); });
  eventually([&] { return workers.load() >= 2; });
}

TEST(DistributedPool, IsOfItsOwnProcessAlone) {
  auto pool = made<mp::distributed::Pool>();
  EXPECT_EQ(pool->apply(square, 2), 4);
  mp::Process<> child{mp::ProcessOptions{.start_method = mp::StartMethod::fork}, [&] {
                        try {
                          pool->apply(square, 2);
                        } catch (const std::logic_error&) {
                          throw mp::SystemExit{7};
                        }
                      }};
  child.start();
  child.join();
  EXPECT_EQ(child.exitcode(), 7);
}

// ---- the seam: agents that are lost, of the engine that can be had everywhere ----

std::shared_ptr<mp::detail::Fleet> fleet_of_two(unsigned retries) {
  mp::detail::FleetOptions options;
  options.retries = retries;
  options.session.workers = 2;
  return mp::detail::Fleet::create(std::move(options),
                                   std::make_unique<mp::detail::LocalEngine>(2U));
}
template <class F, class... A>
auto submitted(const std::shared_ptr<mp::detail::Fleet>& fleet, F function, A... arguments) {
  return mp::Future{mp::detail::submit_call<F>(
      std::shared_ptr<mp::detail::TaskRunner>{fleet}, mp::TaskOptions{}, true, [](auto&) {},
      function, arguments...)};
}

TEST(DistributedAgent, ThatIsKilledFailsItsTasksAndNoOthers) {
  const auto fleet = fleet_of_two(0);
  fleet->bootup(mp::detail::Deadline{mp::forever});
  std::vector<mp::Future<void>> stuck;
  for (int i = 0; i < 4; ++i) stuck.push_back(submitted(fleet, &sleep_long));
  eventually([&] { return stuck[0].running() && stuck[3].running(); });
  const auto agents = fleet->agents();
  ASSERT_EQ(agents.size(), 2U);
  test::kill_process(agents[0].pid);
  int failed = 0;
  eventually([&] {
    failed = 0;
    for (const auto& each : stuck) failed += each.done() ? 1 : 0;
    return failed == 2;
  });
  for (const auto& each : stuck) {
    if (!each.done()) continue;
    EXPECT_THROW(each.result(), mp::BrokenProcessPool);
    EXPECT_NE(text_of(each.exception()).find("is lost"), std::string::npos);
    EXPECT_NE(text_of(each.exception()).find(agents[0].host), std::string::npos);
  }
  fleet->terminate(mp::os::Signal::kill);
  for (const auto& each : stuck) EXPECT_TRUE(each.done());
}

TEST(DistributedAgent, ThatIsKilledHasItsTasksDoneByOthersWhereTheyMayBeTriedAgain) {
  const auto fleet = fleet_of_two(3);
  fleet->bootup(mp::detail::Deadline{mp::forever});
  std::vector<mp::Future<int>> all;
  for (int i = 0; i < 100; ++i) {
    all.push_back(submitted(
        fleet,
        +[](int x) {
          std::this_thread::sleep_for(5ms);  // the work
          return x;
        },
        i));
  }
  eventually([&] { return all[3].done(); });
  test::kill_process(fleet->agents().at(1).pid);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(all[static_cast<std::size_t>(i)].result(), i);
  fleet->close();
  fleet->join();
}

bool has_ended(int pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/stat"};
  const std::string text{std::istreambuf_iterator<char>{file}, {}};
  return text.empty() || text.find(") Z ") != std::string::npos;
}

TEST(DistributedAgent, EndsWithItsPoolAlsoWhereACallbackDoesNotReturn) {
  const auto threads = test::names_in("/proc/self/task").size();
  const auto fleet = fleet_of_two(0);
  fleet->bootup(mp::detail::Deadline{mp::forever});
  std::promise<void> gate;
  std::atomic<bool> is_inside{false};
  const std::string mark = std::filesystem::absolute("go").string();
  auto future = submitted(
      fleet,
      +[](std::string file) {
        eventually([&] { return std::filesystem::exists(file); });
        return 9;
      },
      mark);
  future.add_done_callback([&](const auto&) {
    is_inside = true;
    gate.get_future().wait();
  });
  std::ofstream{mark}.put('x');  // only now may it end: the callback would be called here
  eventually([&] { return is_inside.load(); });
  std::filesystem::remove(mark);
  const auto agents = fleet->agents();
  ASSERT_EQ(agents.size(), 2U);
  auto never = submitted(fleet, &sleep_long);
  EXPECT_FALSE(never.running());  // nobody can say, and nobody waits for ever to hear it
  fleet->terminate(mp::os::Signal::terminate);
  eventually([&] { return never.done(); });
  for (const auto& agent : agents) eventually([&] { return has_ended(agent.pid); });
  gate.set_value();
  eventually([&] { return test::names_in("/proc/self/task").size() == threads; });
}

TEST(DistributedAgent, TheLastOneBreaksThePool) {
  const auto fleet = fleet_of_two(3);
  fleet->bootup(mp::detail::Deadline{mp::forever});
  auto never = submitted(fleet, &sleep_long);
  for (const auto& agent : fleet->agents()) test::kill_process(agent.pid);
  EXPECT_THROW(never.result(), mp::BrokenProcessPool);
  eventually([&] {
    try {
      fleet->check_takes_tasks();
    } catch (const mp::BrokenProcessPool&) {
      return true;
    }
    return false;
  });
  fleet->terminate(mp::os::Signal::kill);
}

TEST(DistributedAgent, OfAnotherBuildIsRefusedWithBothNamed) {
  const std::vector<mp::detail::Build> ours{{"/a/program", {std::byte{'B'}, std::byte{1}}},
                                            {"/lib/libx.so", {std::byte{'B'}, std::byte{2}}}};
  auto theirs = ours;
  EXPECT_EQ(mp::detail::difference(ours, theirs), "");
  theirs[1].path = "/elsewhere/libx.so";
  EXPECT_EQ(mp::detail::difference(ours, theirs), "");
  theirs[1].id[1] = std::byte{3};
  EXPECT_NE(mp::detail::difference(ours, theirs).find("B:02"), std::string::npos);
  EXPECT_NE(mp::detail::difference(ours, theirs).find("B:03"), std::string::npos);
  theirs[0].id[1] = std::byte{4};
  EXPECT_NE(mp::detail::difference(ours, theirs).find("B:01"), std::string::npos);

  auto outbox = std::make_shared<mp::detail::Outbox>([] {});
  mp::detail::AgentSession session{outbox, mp::StartMethod::fork, "here"};
  mp::detail::OpenMessage open;
  open.builds = theirs;
  session.handle(mp::detail::make_message(mp::detail::MessageTo::open, open));
  EXPECT_TRUE(session.has_ended());
  const auto said = outbox->take();
  ASSERT_EQ(said.size(), 1U);
  std::span<const std::byte> rest{said[0].bytes};
  EXPECT_EQ(mp::detail::take_header<mp::detail::MessageTo>(rest), mp::detail::MessageTo::refused);
  EXPECT_NE(mp::detail::read_message<mp::detail::TextMessage>(rest).text.find("B:04"),
            std::string::npos);
}

TEST(DistributedAgent, ThatGetsNonsenseSaysSo) {
  auto outbox = std::make_shared<mp::detail::Outbox>([] {});
  mp::detail::AgentSession session{outbox, mp::StartMethod::fork, "here"};
  EXPECT_THROW(session.handle(std::vector<std::byte>(3)), mp::SerializationError);
  EXPECT_THROW(session.handle(std::vector<std::byte>(64)), mp::SerializationError);
  mp::detail::TaskFrame frame;
  frame.code_size = 1000;
  EXPECT_THROW(session.handle(mp::detail::make_frame(mp::detail::MessageTo::task, frame)),
               mp::SerializationError);
}

}  // namespace
