// SPDX-License-Identifier: BSL-1.0
// What a Manager's containers do in one process.
#include <multiprocessing/managers.hpp>

#include <support/store_check.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace mp = multiprocessing;

namespace {

using Ints = std::vector<int>;
using Texts = std::vector<std::string>;

struct Point {
  double x;
  double y;
  friend bool operator==(const Point&, const Point&) = default;
};
struct Padded {
  char letter;
  int number;
  friend bool operator==(const Padded&, const Padded&) = default;
};
struct Person {
  std::string name;
  std::vector<int> numbers;
  friend bool operator==(const Person&, const Person&) = default;
};
class Large {
 public:
  std::array<std::uint64_t, 100> words{};
  friend bool operator==(const Large&, const Large&) = default;
};
// Written by hand, and refuses to be read back or written.
struct Fussy {
  int value = 0;
  void save(mp::Encoder& encoder) const {
    if (value < 0) throw std::runtime_error{"refuses to be written"};
    encoder(value);
  }
  void load(mp::Decoder& decoder) {
    decoder(value);
    if (value == 13) throw std::runtime_error{"refuses to be read"};
  }
};
// A tree of containers.
struct Node {
  int value;
  mp::ListProxy<Node> children;
};

}  // namespace

template <>
struct std::hash<Padded> {
  std::size_t operator()(const Padded& padded) const noexcept {
    return std::hash<int>{}(padded.number) ^ static_cast<std::size_t>(padded.letter);
  }
};

// ---- dict ----

TEST(DictProxy, HasWhatWasSet) {
  const mp::Manager manager;
  const auto dict = manager.dict<int, std::string>();
  EXPECT_TRUE(dict.empty());
  dict.set(1, "one");
  dict.set(2, "two");
  dict.set(1, "ONE");
  EXPECT_EQ(dict.size(), 2U);
  EXPECT_EQ(dict.get(1), "ONE");
  EXPECT_EQ(dict.get(3, "none"), "none");
  EXPECT_EQ(dict.try_get(3), std::nullopt);
  EXPECT_TRUE(dict.contains(2));
  EXPECT_FALSE(dict.contains(3));
  test::StoreCheck{}.with(dict).expect_whole();
}

TEST(DictProxy, NamesTheKeyThatItDoesNotHave) {
  const mp::Manager manager;
  const auto dict = manager.dict<std::string, int>({{"a", 1}});
  try {
    static_cast<void>(dict.get("b"));
    FAIL();
  } catch (const std::out_of_range& error) {
    EXPECT_STREQ(error.what(), "no such key in the dictionary: \"b\"");
  }
  EXPECT_THROW(dict.pop("b"), std::out_of_range);
  EXPECT_THROW(dict.erase("b"), std::out_of_range);
  EXPECT_THROW(dict.update("b", [](int&) {}), std::out_of_range);
  EXPECT_EQ(dict.pop("b", 5), 5);
  EXPECT_EQ(dict.pop("a"), 1);
  EXPECT_THROW(dict.popitem(), std::out_of_range);
}

TEST(DictProxy, KeepsTheOrderInWhichKeysCame) {
  const mp::Manager manager;
  const auto dict = manager.dict<int, int>({{3, 30}, {1, 10}, {2, 20}});
  dict.set(1, 11);
  dict.erase(3);
  dict.set(3, 33);
  EXPECT_EQ(dict.keys(), (Ints{1, 2, 3}));
  EXPECT_EQ(dict.values(), (Ints{11, 20, 33}));
  EXPECT_EQ(dict.items(), (std::vector<std::pair<int, int>>{{1, 11}, {2, 20}, {3, 33}}));
  EXPECT_EQ(dict.popitem(), (std::pair{3, 33}));
  Ints seen;
  for (const auto& [key, value] : dict) seen.push_back(key + value);
  EXPECT_EQ(seen, (Ints{12, 22}));
}

TEST(DictProxy, SetsWhatIsMissingByDefault) {
  const mp::Manager manager;
  const auto dict = manager.dict<std::string, std::string>();
  EXPECT_EQ(dict.setdefault("a", "x"), "x");
  EXPECT_EQ(dict.setdefault("a", "y"), "x");
  EXPECT_EQ(dict.setdefault("b"), "");
  EXPECT_EQ(dict.get("b"), "");
}

TEST(DictProxy, UpdatesAValueByAFunction) {
  const mp::Manager manager;
  const auto dict = manager.dict<std::string, Ints>();
  EXPECT_EQ(dict.update("a", [](Ints& list) { list.push_back(1); }, {}), (Ints{1}));
  EXPECT_EQ(dict.update("a", [](Ints& list) { list.push_back(2); }), (Ints{1, 2}));
  EXPECT_EQ(dict.get("a"), (Ints{1, 2}));
  const auto fail = [](Ints& list) {
    list.clear();
    throw std::runtime_error{"no"};
  };
  EXPECT_THROW(dict.update("a", fail), std::runtime_error);
  EXPECT_EQ(dict.get("a"), (Ints{1, 2}));
  test::StoreCheck{}.with(dict).expect_whole();
}

TEST(DictProxy, LetsAnUpdateUseTheManagersContainers) {
  const mp::Manager manager;
  const auto dict = manager.dict<int, int>({{1, 1}});
  const auto list = manager.list<std::string>();
  dict.update(1, [&](int& value) {
    list.append("changed");
    for (int i = 2; i < 100; ++i) dict.set(i, i);  // its own place moves
    dict.erase(1);
    value = 7;
  });
  EXPECT_EQ(dict.get(1), 7);
  EXPECT_EQ(dict.size(), 99U);
  EXPECT_EQ(list.copy(), Texts{"changed"});
  const auto fail = [&](int&) {
    list.clear();
    dict.clear();
    throw std::runtime_error{"no"};
  };
  EXPECT_THROW(dict.update(1, fail), std::runtime_error);
  EXPECT_EQ(dict.size(), 99U);
  EXPECT_EQ(list.size(), 1U);
  test::StoreCheck{}.with(dict).with(list).expect_whole();
}

TEST(DictProxy, TakesAllPairsOfARange) {
  const mp::Manager manager;
  const std::map<std::string, int> pairs{{"a", 1}, {"b", 2}};
  const auto dict = manager.dict<std::string, int>(pairs);
  dict.update({{"b", 3}, {"c", 4}});
  EXPECT_EQ(dict.values(), (Ints{1, 3, 4}));
  dict.update(manager.dict<std::string, int>({{"d", 5}}));
  EXPECT_EQ(dict.get("d"), 5);
}

TEST(DictProxy, IsAsAMapInRandomOperations) {
  const mp::Manager manager;
  const auto dict = manager.dict<int, std::string>();
  std::map<int, std::string> model;
  std::mt19937 random{7};
  for (int i = 0; i < 20'000; ++i) {
    const int key = static_cast<int>(random() % 500);
    switch (random() % 4) {
      case 0:
      case 1: {
        const std::string value(random() % 200, static_cast<char>('a' + random() % 26));
        dict.set(key, value);
        model[key] = value;
        break;
      }
      case 2:
        EXPECT_EQ(dict.pop(key, "none"), model.contains(key) ? model[key] : "none");
        model.erase(key);
        break;
      default:
        EXPECT_EQ(dict.get(key, "none"), model.contains(key) ? model[key] : "none");
    }
  }
  const auto items = dict.items();
  EXPECT_EQ((std::map<int, std::string>{items.begin(), items.end()}), model);
  test::StoreCheck{}.with(dict).expect_whole();
  dict.clear();
  EXPECT_TRUE(dict.items().empty());
  dict.set(1, "x");
  test::StoreCheck{}.with(dict).expect_whole();
}

TEST(DictProxy, TakesKeysOfManyKinds) {
  const mp::Manager manager;
  const auto numbers = manager.dict<double, int>();
  numbers.set(0.0, 1);
  EXPECT_EQ(numbers.get(-0.0), 1);
  const auto tuples = manager.dict<std::tuple<std::string, int>, int>();
  tuples.set({"a", 1}, 2);
  EXPECT_EQ(tuples.get({"a", 1}), 2);
  EXPECT_FALSE(tuples.contains({"a", 2}));
  const auto vectors = manager.dict<Texts, int>();
  vectors.set({"a", "b"}, 1);
  EXPECT_FALSE(vectors.contains({"ab"}));
  const auto padded = manager.dict<Padded, int>();
  Padded key;
  std::memset(static_cast<void*>(&key), 0x55, sizeof key);
  key.letter = 'a';
  key.number = 1;
  padded.set(key, 5);
  EXPECT_EQ(padded.get({'a', 1}), 5);
  const auto empty = manager.dict<std::string, int>({{"", 1}});
  EXPECT_EQ(empty.get(""), 1);
  const auto flags = manager.dict<bool, bool>({{true, false}});
  EXPECT_FALSE(flags.get(true));
  EXPECT_EQ(flags.keys(), (std::vector{true}));
  EXPECT_EQ(flags.values(), (std::vector{false}));
}

TEST(DictProxy, TakesValuesOfManyKinds) {
  const mp::Manager manager;
  const auto points = manager.dict<int, Point>({{1, {1, 2}}});
  EXPECT_EQ(points.get(1), (Point{1, 2}));
  const auto people = manager.dict<int, Person>({{1, {"a", {1, 2}}}});
  people.update(1, [](Person& person) { person.numbers.push_back(3); });
  EXPECT_EQ(people.get(1), (Person{"a", {1, 2, 3}}));
  Large large;
  large.words[99] = 7;
  const auto larges = manager.dict<int, Large>({{1, large}});
  EXPECT_EQ(larges.get(1), large);
  const auto maybe = manager.dict<int, std::optional<std::string>>({{1, {}}, {2, "x"}});
  EXPECT_EQ(maybe.get(1), std::nullopt);
  test::StoreCheck{}.with(points).with(people).with(larges).with(maybe).expect_whole();
}

TEST(DictProxy, StaysWholeWhenAValueRefuses) {
  const mp::Manager manager;
  const auto dict = manager.dict<int, Fussy>({{1, {1}}});
  EXPECT_THROW(dict.set(1, {-1}), std::runtime_error);
  EXPECT_THROW(dict.update(1, [](Fussy& fussy) { fussy.value = -1; }), std::runtime_error);
  EXPECT_EQ(dict.get(1).value, 1);
  dict.set(2, {13});
  EXPECT_THROW(static_cast<void>(dict.items()), std::runtime_error);
  EXPECT_THROW(dict.pop(2), std::runtime_error);
  EXPECT_EQ(dict.keys(), (Ints{1, 2}));
  dict.erase(2);  // it need not be read for that
  EXPECT_EQ(dict.keys(), (Ints{1}));
  test::StoreCheck{}.with(dict).expect_whole();
}

// ---- list ----

TEST(ListProxy, IsAPythonList) {
  const mp::Manager manager;
  const auto list = manager.list<int>({0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  EXPECT_EQ(list.get(2), 2);
  EXPECT_EQ(list.get(-1), 9);
  EXPECT_THROW(static_cast<void>(list.get(10)), std::out_of_range);
  EXPECT_THROW(static_cast<void>(list.get(-11)), std::out_of_range);
  EXPECT_THROW(list.set(10, 1), std::out_of_range);
  EXPECT_THROW(list.update(10, [](int&) {}), std::out_of_range);
  EXPECT_EQ(list.slice(2, 5), (Ints{2, 3, 4}));
  EXPECT_EQ(list.slice(-2), (Ints{8, 9}));
  EXPECT_EQ(list.slice(8, 100), (Ints{8, 9}));
  EXPECT_EQ(list.slice(5, 2), Ints{});
  list.set_slice(2, 5, {20});
  EXPECT_EQ(list.copy(), (Ints{0, 1, 20, 5, 6, 7, 8, 9}));
  list.erase_slice(3);
  list.set_slice(1, 1, {10, 11});
  EXPECT_EQ(list.copy(), (Ints{0, 10, 11, 1, 20}));
  list += Ints{5};
  list.insert(0, -1);
  list.insert(-1, 4);
  list.insert(100, 6);
  EXPECT_EQ(list.copy(), (Ints{-1, 0, 10, 11, 1, 20, 4, 5, 6}));
  EXPECT_EQ(list.pop(), 6);
  EXPECT_EQ(list.pop(0), -1);
  list.erase(-1);
  list.remove(11);
  EXPECT_THROW(list.remove(11), std::invalid_argument);
  EXPECT_EQ(list.index(20), 3U);
  EXPECT_THROW(static_cast<void>(list.index(21)), std::invalid_argument);
  EXPECT_TRUE(list.contains(20));
  list *= 2;
  EXPECT_EQ(list.copy(), (Ints{0, 10, 1, 20, 4, 0, 10, 1, 20, 4}));
  EXPECT_EQ(list.count(20), 2U);
  list.sort();
  EXPECT_EQ(list.copy(), (Ints{0, 0, 1, 1, 4, 4, 10, 10, 20, 20}));
  list.sort(std::ranges::greater{}, [](int x) { return x % 10; });
  EXPECT_EQ(list.copy(), (Ints{4, 4, 1, 1, 0, 0, 10, 10, 20, 20}));
  list.reverse();
  EXPECT_EQ(list.get(0), 20);
  EXPECT_EQ(list.update(0, [](int& x) { x += 1; }), 21);
  test::StoreCheck{}.with(list).expect_whole();
  list *= 0;
  EXPECT_TRUE(list.empty());
  EXPECT_THROW(list.pop(), std::out_of_range);
  list.sort();
  list.reverse();
  test::StoreCheck{}.with(list).expect_whole();
}

TEST(ListProxy, IsAsAVectorInRandomOperations) {
  const mp::Manager manager;
  const auto list = manager.list<std::string>();
  Texts model;
  std::mt19937 random{11};
  for (int i = 0; i < 5'000; ++i) {
    const std::string value(random() % 60, static_cast<char>('a' + random() % 26));
    const auto at = model.empty() ? 0 : static_cast<std::ptrdiff_t>(random() % model.size());
    switch (random() % 7) {
      case 0:
      case 1:
        list.append(value);
        model.push_back(value);
        break;
      case 2:
        list.insert(at, value);
        model.insert(model.begin() + at, value);
        break;
      case 3:
        if (model.empty()) break;
        EXPECT_EQ(list.pop(at), model[static_cast<std::size_t>(at)]);
        model.erase(model.begin() + at);
        break;
      case 4:
        if (model.empty()) break;
        list.set(at, value);
        model[static_cast<std::size_t>(at)] = value;
        break;
      case 5: {
        const auto end =
            std::min<std::ptrdiff_t>(at + 3, static_cast<std::ptrdiff_t>(model.size()));
        list.set_slice(at, at + 3, {value, "+"});
        model.erase(model.begin() + at, model.begin() + end);
        model.insert(model.begin() + at, {value, "+"});
        break;
      }
      default:
        list.extend({value, value});
        model.insert(model.end(), {value, value});
    }
  }
  EXPECT_EQ(list.copy(), model);
  list.sort();
  std::ranges::stable_sort(model);
  EXPECT_EQ(list.copy(), model);
  test::StoreCheck{}.with(list).expect_whole();
}

TEST(ListProxy, IsGoneThroughAsItWasAtOneMoment) {
  const mp::Manager manager;
  const auto list = manager.list<int>({1, 2, 3});
  Ints seen;
  for (const int value : list) {
    list.append(value);
    seen.push_back(value);
  }
  EXPECT_EQ(seen, (Ints{1, 2, 3}));
  EXPECT_EQ(list.size(), 6U);
  const auto other = manager.list<int>(list);
  other.extend(other);
  EXPECT_EQ(other.size(), 12U);
}

TEST(ListProxy, IsMultipliedAsPythonsIs) {
  const mp::Manager manager;
  const auto texts = manager.list<std::string>({"a", "", "bc"});
  texts *= 3;
  EXPECT_EQ(texts.copy(), (Texts{"a", "", "bc", "a", "", "bc", "a", "", "bc"}));
  texts *= 1;
  EXPECT_EQ(texts.size(), 9U);
  const auto empty = manager.list<int>();
  empty *= std::numeric_limits<std::ptrdiff_t>::max();  // nothing to copy takes no time
  EXPECT_TRUE(empty.empty());
  for (const std::ptrdiff_t times :
       {std::numeric_limits<std::ptrdiff_t>::max(), std::ptrdiff_t{1} << 40U}) {
    try {
      texts *= times;
      FAIL();
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code(), std::errc::not_enough_memory);
    }
  }
  EXPECT_EQ(texts.size(), 9U);
  test::StoreCheck{}.with(texts).with(empty).expect_whole();
}

TEST(ListProxy, UpdatesTheElementThatWasTheLastWhenTheUpdateAppends) {
  const mp::Manager manager;
  const auto list = manager.list<int>({1, 2});
  EXPECT_EQ(list.update(-1,
                        [&](int& x) {
                          list.append(7);
                          x = 20;
                        }),
            20);
  EXPECT_EQ(list.copy(), (Ints{1, 20, 7}));
  EXPECT_THROW(list.update(-1, [&](int&) { list.clear(); }), std::out_of_range);
  EXPECT_EQ(list.copy(), (Ints{1, 20, 7}));
}

// A std::vector<bool> has no references to give.
TEST(ListProxy, HasAllOperationsOfBool) {
  const mp::Manager manager;
  const auto list = manager.list<bool>();
  std::vector<bool> model;
  for (int i = 0; i < 100; ++i) model.push_back(i % 3 == 0 || i % 7 == 1);
  list.extend(model);
  EXPECT_EQ(list.copy(), model);
  list.sort();
  std::sort(model.begin(), model.end());  // std::ranges::sort takes none before C++23
  EXPECT_EQ(list.copy(), model);
  list.sort(std::ranges::less{}, [](bool x) { return !x; });
  list.sort(std::ranges::greater{}, [](const bool& x) -> const bool& { return x; });
  list.reverse();
  EXPECT_EQ(list.copy(), model);
  list *= 2;
  EXPECT_EQ(list.count(true), 2U * static_cast<std::size_t>(std::ranges::count(model, true)));
  list.set_slice(0, 200, {true, false});
  list.insert(1, true);
  list.update(-1, [](bool& x) { x = !x; });
  EXPECT_EQ(list.index(true), 0U);
  EXPECT_TRUE(list.pop());
  std::vector<bool> seen;
  for (const bool value : list) seen.push_back(value);
  EXPECT_EQ(seen, (std::vector{true, true}));
}

// ---- set ----

TEST(SetProxy, HasAllOperationsOfBool) {
  using Bools = std::vector<bool>;
  const mp::Manager manager;
  const auto set = manager.set<bool>({true});
  const Bools both{false, true, false};
  EXPECT_EQ(set.union_(both), (Bools{true, false}));
  EXPECT_EQ(set.intersection(both), (Bools{true}));
  EXPECT_EQ(set.difference(both), Bools{});
  EXPECT_EQ(set.symmetric_difference(both), (Bools{false}));
  EXPECT_TRUE(set.issubset(both));
  set.symmetric_difference_update(both);
  EXPECT_EQ(set.copy(), (Bools{false}));
  set.update(both);
  set.intersection_update(Bools{true});
  set.difference_update(Bools{false});
  EXPECT_EQ(set.pop(), true);
}

TEST(SetProxy, HasEachElementOnce) {
  const mp::Manager manager;
  const auto set = manager.set<std::string>({"b", "a", "b"});
  EXPECT_FALSE(set.add("a"));
  EXPECT_TRUE(set.add("c"));
  EXPECT_EQ(set.copy(), (Texts{"b", "a", "c"}));
  EXPECT_TRUE(set.contains("c"));
  EXPECT_TRUE(set.discard("c"));
  EXPECT_FALSE(set.discard("c"));
  EXPECT_THROW(set.remove("c"), std::out_of_range);
  EXPECT_EQ(set.pop(), "b");
  set.remove("a");
  EXPECT_THROW(set.pop(), std::out_of_range);
  EXPECT_TRUE(set.empty());
  test::StoreCheck{}.with(set).expect_whole();
}

TEST(SetProxy, HasPythonsOperations) {
  const mp::Manager manager;
  const auto set = manager.set<int>({1, 2, 3});
  const auto other = manager.set<int>({3, 4});
  EXPECT_EQ(set.union_(other), (Ints{1, 2, 3, 4}));
  EXPECT_EQ(set.intersection(other), (Ints{3}));
  EXPECT_EQ(set.difference(other), (Ints{1, 2}));
  EXPECT_EQ(set.symmetric_difference(other), (Ints{1, 2, 4}));
  EXPECT_FALSE(set.isdisjoint(other));
  EXPECT_TRUE(set.isdisjoint(Ints{7, 8}));
  EXPECT_TRUE(set.issuperset(Ints{1, 3}));
  EXPECT_TRUE(set.issubset(Ints{1, 2, 3, 4}));
  set.update(other);
  EXPECT_EQ(set.copy(), (Ints{1, 2, 3, 4}));
  set.difference_update(Ints{1, 1, 9});
  EXPECT_EQ(set.copy(), (Ints{2, 3, 4}));
  set.intersection_update(Ints{4, 2});
  EXPECT_EQ(set.copy(), (Ints{2, 4}));
  set.symmetric_difference_update(Ints{4, 5, 5});
  EXPECT_EQ(set.copy(), (Ints{2, 5}));
  const auto doubles = manager.set<double>({0.0, -0.0, 1.5});
  EXPECT_EQ(doubles.size(), 2U);
  EXPECT_EQ(doubles.difference(std::vector{1.5}), (std::vector{0.0}));
}

// ---- namespace ----

TEST(NamespaceProxy, HasValuesOfAnyTypes) {
  const mp::Manager manager;
  const auto ns = manager.Namespace();
  ns.set("x", 10);
  ns.set("y", "text");
  ns.set("z", Ints{1, 2});
  EXPECT_EQ(ns.get<int>("x"), 10);
  EXPECT_EQ(ns.get<std::string>("y"), "text");
  EXPECT_EQ(ns.get<Ints>("z"), (Ints{1, 2}));
  ns.set("x", Point{1, 2});
  EXPECT_EQ(ns.get<Point>("x"), (Point{1, 2}));
  EXPECT_THROW(static_cast<void>(ns.get<int>("x")), mp::SerializationError);
  EXPECT_THROW(static_cast<void>(ns.get<int>("w")), std::out_of_range);
  EXPECT_EQ(ns.update<Ints>("z", [](Ints& list) { list.push_back(3); }), (Ints{1, 2, 3}));
  ns.erase("x");
  EXPECT_THROW(ns.erase("x"), std::out_of_range);
  EXPECT_FALSE(ns.contains("x"));
  EXPECT_EQ(ns.names(), (Texts{"y", "z"}));
  test::StoreCheck{}.with(ns).expect_whole();
}

// ---- containers in containers ----

TEST(Manager, PutsContainersIntoContainers) {
  const mp::Manager manager;
  const auto outer = manager.dict<std::string, mp::ListProxy<int>>();
  {
    const auto inner = manager.list<int>({1});
    outer.set("a", inner);
    EXPECT_TRUE(outer.get("a") == inner);
  }
  outer.get("a").append(2);
  const auto again = outer.pop("a");
  EXPECT_TRUE(outer.empty());
  EXPECT_EQ(again.copy(), (Ints{1, 2}));
  const auto ns = manager.Namespace();
  ns.set("list", again);
  ns.get<mp::ListProxy<int>>("list").append(3);
  EXPECT_EQ(again.size(), 3U);
}

TEST(Manager, PutsAContainerIntoItself) {
  const mp::Manager manager;
  const auto root = manager.list<Node>();
  root.append({1, root});
  root.get(0).children.get(0).children.append({2, manager.list<Node>()});
  EXPECT_EQ(root.size(), 2U);
  EXPECT_EQ(root.get(1).value, 2);
}

TEST(Manager, RefusesContainersOfAnotherAndHandles) {
  const mp::Manager manager;
  const mp::Manager stranger;
  const auto outer = manager.list<mp::ListProxy<int>>();
  EXPECT_THROW(outer.append(stranger.list<int>()), mp::SerializationError);
  const auto locks = manager.dict<int, mp::Lock>();
  EXPECT_THROW(locks.set(1, mp::Lock{}), mp::SerializationError);
  EXPECT_TRUE(locks.empty());
}

TEST(Manager, GivesTheMemoryOfAContainerBackThatNobodyElseSaw) {
  const mp::Manager manager;
  const auto kept = manager.list<int>({1});
  const auto tail = [&] { return mp::detail::ContainerOf::core(kept)->store()->state().tail; };
  { const auto one = manager.dict<int, std::string>({{1, "one"}, {2, "two"}}); }
  const auto before = tail();
  for (int i = 0; i < 100; ++i) {
    const auto one = manager.dict<int, std::string>({{1, "one"}, {2, "two"}});
    const auto copy = one;
  }
  EXPECT_EQ(tail(), before);
  test::StoreCheck{}.with(kept).expect_whole();
}

// ---- transactions ----

TEST(Manager, ChangesSeveralContainersAtOnceOrNot) {
  const mp::Manager manager;
  const auto dict = manager.dict<std::string, std::string>({{"a", "1"}, {"b", "2"}});
  const auto list = manager.list<std::string>({"x", "y"});
  const auto set = manager.set<int>({1, 2});
  const int result = manager.transaction([&] {
    dict.set("c", "3");
    list.append("z");
    set.clear();
    return 7;
  });
  EXPECT_EQ(result, 7);
  EXPECT_EQ(dict.size() + list.size() + set.size(), 6U);
  const auto items = dict.items();
  EXPECT_THROW(manager.transaction([&] {
    dict.clear();
    dict.set("d", std::string(1000, 'd'));
    list.pop();
    list.append("w");
    list.sort(std::ranges::greater{});
    set.update({5, 6, 7, 8, 9, 10, 11, 12, 13});
    EXPECT_THROW(dict.pop("none"), std::out_of_range);
    EXPECT_THROW(dict.update("d",
                             [&](std::string&) {
                               list.clear();
                               throw std::logic_error{"inner"};
                             }),
                 std::logic_error);
    EXPECT_EQ(list.copy(), (Texts{"y", "x", "w"}));
    throw std::runtime_error{"outer"};
  }),
               std::runtime_error);
  EXPECT_EQ(dict.items(), items);
  EXPECT_EQ(list.copy(), (Texts{"x", "y", "z"}));
  EXPECT_TRUE(set.empty());
  test::StoreCheck{}.with(dict).with(list).with(set).expect_whole();
}

TEST(Manager, KnowsAContainerThatNeverCameToBe) {
  const mp::Manager manager;
  std::optional<mp::ListProxy<int>> made;
  EXPECT_THROW(manager.transaction([&] {
    made = manager.list<int>({1, 2});
    EXPECT_EQ(made->size(), 2U);
    throw std::runtime_error{"no"};
  }),
               std::runtime_error);
  EXPECT_THROW(made->append(3), mp::ProcessError);
  const auto other = manager.list<int>({7});  // at the same place
  EXPECT_THROW(made->append(3), mp::ProcessError);
  made.reset();
  EXPECT_EQ(other.copy(), (Ints{7}));
  test::StoreCheck{}.with(other).expect_whole();
  const auto kept = manager.transaction([&] { return manager.list<int>({1}); });
  EXPECT_EQ(kept.size(), 1U);
}

TEST(Manager, KeepsWhatARolledBackChangeHadGivenBack) {
  const mp::Manager manager;
  const auto list = manager.list<std::string>();
  for (int i = 0; i < 50; ++i) list.append(std::string(40, static_cast<char>('a' + i % 26)));
  const auto before = list.copy();
  for (int round = 0; round < 20; ++round) {
    EXPECT_THROW(manager.transaction([&] {
      list.erase_slice(10, 30);
      for (int i = 0; i < 30; ++i) list.append(std::string(40, '!'));
      list.pop(0);
      throw std::runtime_error{"no"};
    }),
                 std::runtime_error);
    ASSERT_EQ(list.copy(), before);
  }
  test::StoreCheck{}.with(list).expect_whole();
}

// ---- memory ----

TEST(Manager, GivesLargeValuesBackToTheSystem) {
  const mp::Manager manager;
  const auto dict = manager.dict<int, std::string>();
  const std::string large(std::size_t{8} << 20U, 'x');
  for (int i = 0; i < 20; ++i) dict.set(1, large);
  EXPECT_EQ(dict.get(1), large);
  dict.clear();
  dict.set(1, large);
  EXPECT_EQ(dict.get(1), large);
  test::StoreCheck{}.with(dict).expect_whole();
}

TEST(Manager, TakesOneChangeOfManyWords) {
  const mp::Manager manager;
  const auto dict = manager.dict<int, int>();
  for (int i = 0; i < 100'000; ++i) dict.set(i, i);
  EXPECT_THROW(manager.transaction([&] {
    dict.clear();
    throw std::runtime_error{"no"};
  }),
               std::runtime_error);
  EXPECT_EQ(dict.size(), 100'000U);
  dict.clear();
  EXPECT_TRUE(dict.empty());
  for (int i = 0; i < 1000; ++i) dict.set(i, i);
  test::StoreCheck{}.with(dict).expect_whole();
}

TEST(Manager, IsUsedByManyThreadsAtOnce) {
  const mp::Manager manager;
  const auto counts = manager.dict<std::string, int>();
  const auto list = manager.list<int>();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        counts.update(
            "n", [](int& n) { ++n; }, 0);
        list.append(t);
        if (i % 10 == 0) static_cast<void>(list.copy());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(counts.get("n"), 2000);
  EXPECT_EQ(list.count(3), 500U);
}

TEST(Manager, MakesWhatTheLibraryHas) {
  const mp::Manager manager;
  auto queue = manager.Queue<int>(1);
  queue.put(1);
  EXPECT_TRUE(queue.full());
  auto joinable = manager.JoinableQueue<int>();
  joinable.put(1);
  EXPECT_EQ(joinable.unfinished(), 1U);
  EXPECT_EQ(manager.Value<int>(7).load(), 7);
  EXPECT_EQ(manager.Array<int>({1, 2}).size(), 2U);
  EXPECT_EQ(manager.Array<double>(5).size(), 5U);
  EXPECT_TRUE(manager.Lock().acquire());
  EXPECT_TRUE(manager.RLock().acquire());
  EXPECT_TRUE(manager.Semaphore(1).acquire());
  EXPECT_TRUE(manager.BoundedSemaphore(1).acquire());
  EXPECT_FALSE(manager.Event().is_set());
  manager.Condition().acquire();
  EXPECT_EQ(manager.Barrier(2).parties(), 2U);
}
