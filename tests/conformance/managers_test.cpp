// SPDX-License-Identifier: BSL-1.0
// What a Manager's containers are to processes, whichever way they were started.
#include <multiprocessing/connection.hpp>
#include <multiprocessing/managers.hpp>
#include <multiprocessing/process.hpp>

#include <support/start_methods.hpp>
#include <support/store_check.hpp>

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace mp = multiprocessing;

namespace {

class ManagerBetween : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(ManagerBetween);

using Ints = std::vector<int>;

template <class... A>
void run(A&&... arguments) {
  mp::Process process(std::forward<A>(arguments)...);
  process.start();
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 0);
}

TEST_P(ManagerBetween, ProcessesSharesEveryKindOfContainer) {
  const mp::Manager manager;
  const auto dict = manager.dict<std::string, int>({{"a", 1}});
  const auto list = manager.list<std::string>({"x"});
  const auto set = manager.set<int>({1});
  const auto ns = manager.Namespace();
  ns.set("n", 1);
  run(
      [](mp::DictProxy<std::string, int> d, mp::ListProxy<std::string> l, mp::SetProxy<int> s,
         mp::NamespaceProxy n) {
        d.set("b", d.get("a") + 1);
        l.append(l.get(0) + "y");
        s.add(2);
        n.set("text", std::to_string(n.get<int>("n")));
      },
      dict, list, set, ns);
  EXPECT_EQ(dict.get("b"), 2);
  EXPECT_EQ(list.get(1), "xy");
  EXPECT_TRUE(set.contains(2));
  EXPECT_EQ(ns.get<std::string>("text"), "1");
  test::StoreCheck{}.with(dict).with(list).with(set).with(ns).expect_whole();
}

TEST_P(ManagerBetween, ProcessesShowsGrowthToAll) {
  const mp::Manager manager;
  const auto dict = manager.dict<int, std::string>();
  run(
      [](mp::DictProxy<int, std::string> d) {
        for (int i = 0; i < 20'000; ++i) d.set(i, std::string(100, 'x'));
        d.set(-1, std::string(std::size_t{5} << 20U, 'L'));
      },
      dict);
  EXPECT_EQ(dict.size(), 20'001U);
  EXPECT_EQ(dict.get(19'999), std::string(100, 'x'));
  EXPECT_EQ(dict.get(-1).size(), std::size_t{5} << 20U);
  dict.clear();
  for (int i = 0; i < 100; ++i) dict.set(i, "again");
  run([](mp::DictProxy<int, std::string> d) { d.set(0, d.get(99)); }, dict);
  EXPECT_EQ(dict.get(0), "again");
  test::StoreCheck{}.with(dict).expect_whole();
}

TEST_P(ManagerBetween, ProcessesLosesNoUpdate) {
  constexpr int each = 500;
  const mp::Manager manager;
  const auto dict = manager.dict<std::string, int>();
  std::vector<mp::Process<>> processes;
  for (int i = 0; i < 3; ++i) {
    processes.emplace_back(
        [](mp::DictProxy<std::string, int> d) {
          for (int n = 0; n < each; ++n)
            d.update(
                "n", [](int& x) { ++x; }, 0);
        },
        dict);
  }
  for (auto& process : processes) process.start();
  for (auto& process : processes) process.join();
  EXPECT_EQ(dict.get("n"), 3 * each);
}

TEST_P(ManagerBetween, ProcessesPassesContainersInContainers) {
  const mp::Manager manager;
  const auto outer = manager.dict<std::string, mp::ListProxy<int>>();
  outer.set("old", manager.list<int>({1}));
  run(
      [](const mp::Manager& same, mp::DictProxy<std::string, mp::ListProxy<int>> d) {
        d.get("old").append(2);
        d.set("new", same.list<int>({7}));
      },
      manager, outer);
  EXPECT_EQ(outer.get("old").copy(), (Ints{1, 2}));
  EXPECT_EQ(outer.get("new").copy(), (Ints{7}));
  outer.get("new").append(8);
  EXPECT_EQ(outer.get("new").size(), 2U);
}

TEST_P(ManagerBetween, ProcessesSendsContainersThroughAPipe) {
  mp::Pipe pipe;
  mp::Process process(
      [](mp::Connection connection) {
        const mp::Manager own;
        auto list = own.list<int>({1, 2});
        connection.send(list);
        const auto theirs = connection.recv<mp::DictProxy<int, int>>();
        theirs.set(1, 1);
        connection.send(list.size());
      },
      pipe.second);
  process.start();
  const auto list = pipe.first.recv<mp::ListProxy<int>>();
  list.append(3);
  const mp::Manager manager;
  const auto dict = manager.dict<int, int>();
  pipe.first.send(dict);
  EXPECT_EQ(pipe.first.recv<std::size_t>(), 3U);
  process.join();
  EXPECT_EQ(list.copy(), (Ints{1, 2, 3}));  // who made it has gone
  EXPECT_EQ(dict.get(1), 1);
}

TEST_P(ManagerBetween, ProcessesRefusesAContainerOfAnotherKind) {
  mp::Pipe pipe;
  const mp::Manager manager;
  pipe.first.send(manager.list<int>());
  EXPECT_THROW(static_cast<void>(pipe.second.recv<mp::ListProxy<long>>()), mp::SerializationError);
}

TEST_P(ManagerBetween, ProcessesIsAsBeforeWhenOneIsKilledInAnUpdate) {
  const mp::Manager manager;
  const auto dict = manager.dict<std::string, std::string>({{"a", "old"}});
  const mp::Event inside;
  mp::Process process(
      [](mp::DictProxy<std::string, std::string> d, mp::Event is_inside) {
        d.update("a", [&](std::string& value) {
          value = "new";
          d.set("b", "half");
          is_inside.set();
          for (;;) mp::Event{}.wait();
        });
      },
      dict, inside);
  process.start();
  mp::Event{inside}.wait();
  process.kill();
  process.join();
  EXPECT_EQ(dict.items(), (std::vector<std::pair<std::string, std::string>>{{"a", "old"}}));
  test::StoreCheck{}.with(dict).expect_whole();
}

}  // namespace
