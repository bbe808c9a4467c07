// SPDX-License-Identifier: BSL-1.0
// Processes are killed at every step of every operation of a Manager's containers, with others
// asleep in front of its lock and with others at work; then at random. What must hold: the
// containers are as before or after, every block of the memory is free or used, once, and nobody
// is locked out.
// Not on Windows: fork; some of these steps are in spawned_managers_test.cpp, random kills are not
#include <multiprocessing.hpp>
#include <multiprocessing/managers.hpp>

#include <support/asleep.hpp>
#include <support/chaos.hpp>
#include <support/eventually.hpp>
#include <support/store_check.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <map>
#include <ostream>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::code_of;
using test::eventually;
using test::Process;
using test::Shared;
using test::sleeps_or_has_ended;
using test::started;

namespace {

// Random kills end then: a sanitizer makes a fork ten times as dear.

using Texts = std::vector<std::string>;

std::string long_text(char letter) {
  return std::string(150, letter);
}

// One of each container, with something in it.
struct World {
  mp::Manager manager;
  mp::DictProxy<int, int> numbers = manager.dict<int, int>({{1, 10}, {2, 20}, {3, 30}});
  mp::DictProxy<std::string, std::string> texts =
      manager.dict<std::string, std::string>({{"a", long_text('a')}, {"b", ""}, {"c", "short"}});
  mp::ListProxy<int> list = manager.list<int>({5, 3, 9, 1, 7, 2, 8});
  mp::ListProxy<std::string> words = manager.list<std::string>({"one", "two", long_text('t'), ""});
  mp::SetProxy<std::string> set = manager.set<std::string>({"x", "y", "z"});
  mp::NamespaceProxy names = manager.Namespace();
  mp::ListProxy<mp::ListProxy<int>> nested = manager.list<mp::ListProxy<int>>();

  World() {
    names.set("n", 1);
    names.set("text", long_text('n'));
    nested.append(list);
    words.erase(1);  // so that there are free blocks
    texts.erase("b");
  }

  using Image = std::tuple<std::vector<std::pair<int, int>>,
                           std::vector<std::pair<std::string, std::string>>,
                           std::vector<int>,
                           Texts,
                           Texts,
                           Texts,
                           int,
                           std::size_t>;
  [[nodiscard]] Image image() const {
    return {numbers.items(),
            texts.items(),
            list.copy(),
            words.copy(),
            set.copy(),
            names.names(),
            names.contains("n") ? names.get<int>("n") : -1,
            nested.size()};
  }
  void expect_whole() const {
    test::StoreCheck check;
    check.with(numbers).with(texts).with(list).with(words).with(set).with(names).with(nested);
    check.expect_whole();
  }
  // Any process can go on with each of them.
  void use() const {
    numbers.update(
        77, [](int& n) { ++n; }, 0);
    texts.set("used", long_text('u'));
    list.append(77);
    words.insert(0, "used");
    set.add("used");
    names.set("used", 1);
    nested.append(list);
  }
};

struct Way {
  std::string name;
  void (*operate)(const World&);
};

std::ostream& operator<<(std::ostream& out, const Way& way) {
  return out << way.name;
}

std::vector<Way> ways() {
  return {
      {"dict_set_new", [](const World& w) { w.numbers.set(4, 40); }},
      {"dict_set_old", [](const World& w) { w.numbers.set(2, 21); }},
      {"dict_set_until_it_grows",
       [](const World& w) {
         std::vector<std::pair<int, int>> pairs;
         for (int i = 10; i < 20; ++i) pairs.emplace_back(i, i);
         w.numbers.update(pairs);
       }},
      {"dict_pop", [](const World& w) { w.numbers.pop(2); }},
      {"dict_update", [](const World& w) { w.numbers.update(1, [](int& n) { n *= 3; }); }},
      {"dict_clear", [](const World& w) { w.numbers.clear(); }},
      {"texts_set_new", [](const World& w) { w.texts.set("new", long_text('z')); }},
      {"texts_set_old", [](const World& w) { w.texts.set("a", "another"); }},
      {"texts_set_empty", [](const World& w) { w.texts.set("a", ""); }},
      {"texts_popitem", [](const World& w) { w.texts.popitem(); }},
      {"texts_setdefault", [](const World& w) { w.texts.setdefault("d", "D"); }},
      {"texts_clear", [](const World& w) { w.texts.clear(); }},
      {"list_append", [](const World& w) { w.list.append(6); }},
      {"list_append_beyond",
       [](const World& w) {
         w.list.extend({1, 2, 3, 4});
       }},
      {"list_insert", [](const World& w) { w.list.insert(1, 6); }},
      {"list_pop", [](const World& w) { w.list.pop(); }},
      {"list_pop_first", [](const World& w) { w.list.pop(0); }},
      {"list_sort", [](const World& w) { w.list.sort(); }},
      {"list_reverse", [](const World& w) { w.list.reverse(); }},
      {"list_clear", [](const World& w) { w.list.clear(); }},
      {"words_append", [](const World& w) { w.words.append("four"); }},
      {"words_set_slice",
       [](const World& w) {
         w.words.set_slice(0, 2, {"p", long_text('q'), "r"});
       }},
      {"words_remove", [](const World& w) { w.words.remove(long_text('t')); }},
      {"words_times", [](const World& w) { w.words *= 3; }},
      {"set_add", [](const World& w) { w.set.add("w"); }},
      {"set_discard", [](const World& w) { w.set.discard("y"); }},
      {"set_exchange",
       [](const World& w) {
         w.set.symmetric_difference_update(Texts{"x", "v", "w"});
       }},
      {"names_set_new", [](const World& w) { w.names.set("m", 3); }},
      {"names_set_old", [](const World& w) { w.names.set("n", 2); }},
      {"names_erase", [](const World& w) { w.names.erase("text"); }},
      {"nested_append", [](const World& w) { w.nested.append(w.list); }},
      {"transaction",
       [](const World& w) {
         w.manager.transaction([&] {
           w.numbers.erase(1);
           w.texts.clear();
           w.texts.set("moved", long_text('m'));
           w.list.pop();
           w.list.append(11);
           w.words.sort();
           w.set.clear();
           w.names.set("n", 5);
         });
       }},
      {"failed_transaction",
       [](const World& w) {
         try {
           w.manager.transaction([&] {
             w.texts.clear();
             w.words.append(long_text('f'));
             throw std::runtime_error{"no"};
           });
         } catch (const std::runtime_error&) {
           w.list.append(12);
         }
       }},
      {"first_large",  // memory and the log grow
       [](const World& w) { w.texts.set("large", std::string(std::size_t{3} << 20U, 'L')); }},
      {"last_large",
       [](const World& w) {
         w.texts.set("large", std::string(std::size_t{3} << 20U, 'L'));
         w.texts.set("large", "small");
       }},
  };
}
// These make two changes, so that there is a third state between.
bool has_a_middle(const Way& way) {
  return way.name == "last_large";
}

// The points of the store; starting a process has its own.
std::vector<std::string> points_of(const Way& way) {
  const World world;
  auto points = test::stop_points_in([&] {
    const Process process = started([&] { way.operate(world); });
    ASSERT_EQ(code_of(process), 0);
  });
  std::erase_if(points, [](const std::string& point) {
    return !point.starts_with("store.") && !point.starts_with("robust_lock.");
  });
  return points;
}

class ManagerStopPoint : public testing::TestWithParam<Way> {};

INSTANTIATE_TEST_SUITE_P(Ways, ManagerStopPoint, testing::ValuesIn(ways()), [](const auto& way) {
  return way.param.name;
});

void expect_before_or_after(const Way& way, const World& world) {
  const World untouched;
  const auto before = untouched.image();
  way.operate(untouched);
  const auto after = untouched.image();
  const auto now = world.image();
  EXPECT_TRUE(now == before || now == after || has_a_middle(way));
  world.expect_whole();
  EXPECT_EQ(code_of(started([&] { world.use(); })), 0);
  world.use();
  EXPECT_EQ(world.numbers.get(77), 2);
  world.expect_whole();
}

}  // namespace

// Each pass of each point: a word that is changed as the seventh is a moment of its own.
TEST_P(ManagerStopPoint, KilledThereLeavesAllAsBeforeOrAfter) {
  const Way& way = GetParam();
  const auto points = points_of(way);
  ASSERT_GE(points.size(), 4U);
  for (const std::string& point : points) {
    for (unsigned pass = 1;; pass += pass < 40 ? 1 : 13) {
      SCOPED_TRACE(point + ", pass " + std::to_string(pass));
      const World world;
      const int code = code_of(started([&] {
        test::stop_at(point, test::Stop::die, pass);
        way.operate(world);
      }));
      expect_before_or_after(way, world);
      if (code == 0) break;
      ASSERT_EQ(code, -SIGKILL);
    }
  }
}

// After the commit it has happened, before it it has not.
TEST(ManagerCommit, IsOneStore) {
  for (const auto& [point, is_done] :
       {std::pair{"store.commit.ready", false}, std::pair{"store.commit.done", true},
        std::pair{"store.access.done", true}, std::pair{"store.access.unlocked", true}}) {
    SCOPED_TRACE(point);
    const World world;
    EXPECT_EQ(code_of(started([&, where = point] {
                test::stop_at(where, test::Stop::die);
                world.texts.set("new", "value");
              })),
              -SIGKILL);
    EXPECT_EQ(world.texts.contains("new"), is_done);
  }
}

// Others sleep in front of the lock when its owner dies.
TEST_P(ManagerStopPoint, KilledThereWakesThoseWhoWait) {
  const Way& way = GetParam();
  for (const std::string& point : points_of(way)) {
    if (point == "store.access.unlocked") continue;  // nobody waits then
    SCOPED_TRACE(point);
    const World world;
    test::forget_stops();
    const Process victim = started([&] {
      test::stop_at(point);
      way.operate(world);
    });
    eventually([&] { return test::stops_reached() == 1; });
    std::vector<Process> others;
    for (int i = 0; i < 2; ++i) {
      others.push_back(started([&] {
        world.numbers.update(
            55, [](int& n) { ++n; }, 0);
      }));
    }
    for (const Process& other : others) {
      eventually([&] { return sleeps_or_has_ended(other); });
      EXPECT_TRUE(other->is_alive());
    }
    victim->kill();
    victim->join();
    for (const Process& other : others) EXPECT_EQ(code_of(other), 0);
    EXPECT_EQ(world.numbers.pop(55), 2);
    expect_before_or_after(way, world);
  }
}

// Others work meanwhile, and lose nothing.
TEST_P(ManagerStopPoint, KilledThereDoesNotDisturbThoseAtWork) {
  const Way& way = GetParam();
  const World world;
  const Shared<std::atomic<int>> done;
  std::vector<Process> others;
  constexpr int each = 400;
  for (int i = 0; i < 2; ++i) {
    others.push_back(started([&] {
      for (int n = 0; n < each; ++n) {
        world.numbers.update(
            55, [](int& x) { ++x; }, 0);
        world.words.append("more");
        world.words.pop();
      }
      ++*done;
    }));
  }
  int deaths = 0;
  for (const std::string& point : points_of(way)) {
    const World another;  // the way's own keys stay as it expects them
    const Process victim = started([&] {
      test::stop_at(point, test::Stop::die);
      world.texts.set("victim", long_text('v'));
      way.operate(another);
    });
    deaths += code_of(victim) == -SIGKILL ? 1 : 0;
    another.expect_whole();
  }
  EXPECT_GT(deaths, 0);
  for (const Process& other : others) EXPECT_EQ(code_of(other), 0);
  EXPECT_EQ(*done, 2);
  EXPECT_EQ(world.numbers.get(55), 2 * each);
  world.expect_whole();
}

// Who dies while it takes back what a dead one had begun leaves it to the next one.
TEST(ManagerRecovery, IsGoneOnWithByTheNextOne) {
  for (const std::string point :
       {"store.recover.begun", "store.undo.word", "store.undo.done", "robust_lock.lock.inherited",
        "robust_lock.lock.made_consistent"}) {
    for (unsigned pass = 1;; ++pass) {
      SCOPED_TRACE(point + ", pass " + std::to_string(pass));
      const World world;
      const auto before = world.image();
      EXPECT_EQ(code_of(started([&] {
                  test::stop_at("store.commit.ready", test::Stop::die);
                  world.texts.clear();
                })),
                -SIGKILL);
      const int code = code_of(started([&] {
        test::stop_at(point, test::Stop::die, pass);
        static_cast<void>(world.list.size());
      }));
      EXPECT_EQ(world.image(), before);
      world.expect_whole();
      if (code == 0) break;
      ASSERT_EQ(code, -SIGKILL);
    }
  }
}

// A thread that ends inside, as by pthread_exit, is a death too, but for its process.
TEST(ManagerRecovery, IsNotNeededWhenAnExceptionEndsAChange) {
  const World world;
  const auto before = world.image();
  std::thread{[&] {
    try {
      world.numbers.update(1, [](int&) { throw 1; });
    } catch (int) {
    }
  }}.join();
  EXPECT_EQ(world.image(), before);
}

// ---- at random ----

namespace {

// The same operations on the containers and on a model of them, step by step by a seed.
struct Model {
  std::vector<std::pair<std::string, std::string>> dict;
  std::vector<int> list;
  std::set<int> set;
  std::map<std::string, std::string> space;
  std::size_t nested = 0;  // how often the list is in there
  friend bool operator==(const Model&, const Model&) = default;
};
struct Containers {
  mp::Manager manager;
  mp::DictProxy<std::string, std::string> dict = manager.dict<std::string, std::string>();
  mp::ListProxy<int> list = manager.list<int>();
  mp::SetProxy<int> set = manager.set<int>();
  mp::NamespaceProxy space = manager.Namespace();
  mp::ListProxy<mp::ListProxy<int>> nested = manager.list<mp::ListProxy<int>>();
  [[nodiscard]] Model model() const {
    Model now{dict.items(), list.copy(), {}, {}, nested.size()};
    for (const int number : set.copy()) now.set.insert(number);
    for (const auto& name : space.names()) now.space[name] = space.get<std::string>(name);
    return now;
  }
  void expect_whole() const {
    test::StoreCheck{}.with(dict).with(list).with(set).with(space).with(nested).expect_whole();
  }
};
unsigned mixed(unsigned seed, unsigned step) {
  return static_cast<unsigned>(std::mt19937{seed * 7919 + step}());
}

void operate(const Containers& all, unsigned choice) {
  const std::string key = std::to_string(choice / 16 % 40);
  const std::string value(choice / 1024 % 300, 'v');
  const int number = static_cast<int>(choice >> 8U);
  switch (choice % 12) {
    case 0:
    case 1:
    case 2:
      return all.dict.set(key, value);
    case 3:
      return static_cast<void>(all.dict.pop(key, ""));
    case 4:
      return all.list.append(number);
    case 5:
      return all.list.insert(0, number);
    case 6:
      return all.list.sort();
    case 7:
      return static_cast<void>(all.set.add(number % 50));
    case 8:
      return static_cast<void>(all.set.discard(number % 50));
    case 9:
      return all.space.set("name" + key, value);
    case 10:
      all.manager.transaction([&] {
        if (all.nested.size() > 5) all.nested.erase_slice(1);
        all.nested.append(all.list);
      });
      return;
    default:
      all.manager.transaction([&] {
        all.dict.set(key, value);
        if (all.list.size() > 60) all.list.erase_slice(10);
      });
  }
}
void operate(Model& model, unsigned choice) {
  const std::string key = std::to_string(choice / 16 % 40);
  const std::string value(choice / 1024 % 300, 'v');
  const int number = static_cast<int>(choice >> 8U);
  const auto entry =
      std::ranges::find(model.dict, key, [](const auto& each) { return each.first; });
  const auto set = [&] {
    if (entry != model.dict.end()) {
      entry->second = value;
    } else {
      model.dict.emplace_back(key, value);
    }
  };
  switch (choice % 12) {
    case 0:
    case 1:
    case 2:
      return set();
    case 3:
      if (entry != model.dict.end()) model.dict.erase(entry);
      return;
    case 4:
      return model.list.push_back(number);
    case 5:
      model.list.insert(model.list.begin(), number);
      return;
    case 6:
      std::ranges::sort(model.list);
      return;
    case 7:
      model.set.insert(number % 50);
      return;
    case 8:
      model.set.erase(number % 50);
      return;
    case 9:
      model.space["name" + key] = value;
      return;
    case 10:
      model.nested = (model.nested > 5 ? 1 : model.nested) + 1;
      return;
    default:
      set();
      if (model.list.size() > 60) model.list.resize(10);
  }
}

}  // namespace

TEST(ManagerRandomKill, LeavesTheContainersBeforeOrAfterTheOperation) {
  const int kills = test::kills(300);
  const mp::detail::Deadline enough = test::enough_killing();
  const Containers all;
  Model model;
  std::mt19937 random{static_cast<unsigned>(std::random_device{}())};
  int inside = 0;
  for (int i = 0; i < kills && !enough.passed(); ++i) {
    const auto seed = static_cast<unsigned>(random());
    SCOPED_TRACE("kill " + std::to_string(i) + ", seed " + std::to_string(seed));
    const Shared<std::atomic<unsigned>> begun;
    const Process victim = started([&] {
      for (unsigned step = 0;; ++step) {
        const unsigned choice = mixed(seed, step);  // takes longer than the operation
        *begun = step + 1;
        operate(all, choice);
      }
    });
    eventually([&] { return *begun > 0; });
    std::this_thread::sleep_for(std::chrono::microseconds{random() % 2000});
    victim->kill();
    victim->join();
    const unsigned last = *begun - 1;
    for (unsigned step = 0; step < last; ++step) operate(model, mixed(seed, step));
    Model after = model;
    operate(after, mixed(seed, last));
    const Model now = all.model();
    ASSERT_TRUE(now == model || now == after);
    if (now == after) model = after;
    inside += now == after ? 0 : 1;
    if (i % 16 == 0) all.expect_whole();
  }
  all.expect_whole();
  std::printf("%d operations had begun and did not happen\n", inside);
}

TEST(ManagerRandomKill, LosesNoIncrementOfThoseThatLive) {
  const int kills = test::kills(50);
  const mp::detail::Deadline enough = test::enough_killing();
  const mp::Manager manager;
  const auto counts = manager.dict<std::string, long>({{"all", 0}, {"living", 0}});
  const auto list = manager.list<std::string>();
  const Shared<std::atomic<bool>> stop;
  const Shared<std::atomic<long>> made;
  std::vector<Process> living;
  for (int i = 0; i < 2; ++i) {
    living.push_back(started([&] {
      while (!*stop) {
        counts.update(
            "living", [](long& n) { ++n; }, 0);
        ++*made;
      }
    }));
  }
  std::mt19937 random{static_cast<unsigned>(std::random_device{}())};
  for (int i = 0; i < kills && !enough.passed(); ++i) {
    const Process victim = started([&] {
      for (;;) {
        manager.transaction([&] {
          list.append(long_text('k'));
          counts.update("all", [](long& n) { ++n; });
        });
        if (list.size() > 50) {
          manager.transaction([&] {
            list.clear();
            counts.set("all", 0);
          });
        }
      }
    });
    std::this_thread::sleep_for(std::chrono::microseconds{500 + random() % 3000});
    victim->kill();
    victim->join();
    manager.transaction([&] { ASSERT_EQ(static_cast<long>(list.size()), counts.get("all")); });
  }
  *stop = true;
  for (const Process& process : living) EXPECT_EQ(code_of(process), 0);
  EXPECT_EQ(counts.get("living"), *made);
  test::StoreCheck{}.with(counts).with(list).expect_whole();
}
