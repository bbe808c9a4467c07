// SPDX-License-Identifier: BSL-1.0
// What CPython's tests pin of managers' containers, between processes of every start method:
// _TestContainers, and TestSyncManagerTypes as far as it is about them.
#include <multiprocessing.hpp>
#include <multiprocessing/managers.hpp>

#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <parity/in_child.hpp>

namespace mp = multiprocessing;
using in_child::exit_code_of;

namespace {

class ManagerParity : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(ManagerParity);

using Ints = std::vector<int>;
using Texts = std::vector<std::string>;
template <class K, class V>
using Pairs = std::vector<std::pair<K, V>>;

void check(bool holds) {
  if (!holds) throw std::runtime_error{"a check in the child failed"};
}

// _TestContainers.test_list
TEST_P(ManagerParity, ListHasSlicesAndListsOfLists) {
  const mp::Manager manager;
  const auto a = manager.list<int>(Ints{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  EXPECT_EQ(a.slice(0), (Ints{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  const auto b = manager.list<int>();
  EXPECT_EQ(b.copy(), Ints{});
  b.extend({0, 1, 2, 3, 4});
  EXPECT_EQ(b.get(2), 2);
  EXPECT_EQ(b.slice(2, 10), (Ints{2, 3, 4}));
  b *= 2;
  EXPECT_EQ(b.copy(), (Ints{0, 1, 2, 3, 4, 0, 1, 2, 3, 4}));
  b += Ints{5, 6};
  EXPECT_EQ(b.size(), 12U);
  const auto d = manager.list<mp::ListProxy<int>>({a, b});
  const auto e = manager.list<mp::ListProxy<mp::ListProxy<int>>>({d});
  EXPECT_EQ(e.get(0).get(1).copy(), b.copy());
  const auto f = manager.list<mp::ListProxy<int>>({a});
  a.append(99);
  EXPECT_EQ(f.get(0).get(-1), 99);
  EXPECT_EQ(f.get(0).pop(), 99);
  EXPECT_EQ(
      exit_code_of([](mp::ListProxy<mp::ListProxy<int>> outer) { outer.get(0).append(100); }, f),
      0);
  EXPECT_EQ(a.get(-1), 100);
}

// _TestContainers.test_list_iter: here what is gone through is of one moment
TEST_P(ManagerParity, ListIsGoneThroughToItsEnd) {
  const mp::Manager manager;
  const auto a = manager.list<int>(Ints{0, 1, 2});
  auto it = a.begin();
  Ints seen;
  for (; it != a.end(); ++it) {
    seen.push_back(*it);
    a.set(0, 100);
  }
  EXPECT_EQ(seen, (Ints{0, 1, 2}));
  EXPECT_EQ(a.copy(), (Ints{100, 1, 2}));
}

// _TestContainers.test_list_proxy_in_list
TEST_P(ManagerParity, ListInAListIsChangedInPlace) {
  const mp::Manager manager;
  const auto a = manager.list<mp::ListProxy<int>>();
  for (int i = 0; i < 3; ++i) a.append(manager.list<int>({0, 1, 2}));
  for (const auto& inner : a) EXPECT_EQ(inner.copy(), (Ints{0, 1, 2}));
  a.get(0).set(-1, 55);
  EXPECT_EQ(a.get(0).copy(), (Ints{0, 1, 55}));
  EXPECT_EQ(a.get(1).copy(), (Ints{0, 1, 2}));
  a.get(1).append(3);
  EXPECT_EQ(a.get(1).pop(), 3);
  EXPECT_EQ(a.pop(0).size(), 3U);
  EXPECT_EQ(a.size(), 2U);
}

// _TestContainers.test_dict, test_dict_iter
TEST_P(ManagerParity, DictIsAPythonDict) {
  const mp::Manager manager;
  const auto d = manager.dict<int, std::string>();
  Pairs<int, std::string> expected;
  for (int i = 65; i < 70; ++i) {
    d.set(i, std::string(1, static_cast<char>(i)));
    expected.emplace_back(i, std::string(1, static_cast<char>(i)));
  }
  EXPECT_EQ(d.copy(), expected);
  EXPECT_EQ(d.keys(), (Ints{65, 66, 67, 68, 69}));
  EXPECT_EQ(d.values(), (Texts{"A", "B", "C", "D", "E"}));
  EXPECT_EQ(d.items(), expected);
  auto it = d.begin();
  d.clear();
  EXPECT_EQ((*it).first, 65);  // of the moment before
  EXPECT_TRUE(d.empty());
}

// _TestContainers.test_dict_proxy_nested
TEST_P(ManagerParity, DictInADictStaysAliveAndAPlainListACopy) {
  const mp::Manager manager;
  using Pets = mp::DictProxy<std::string, int>;
  const auto d = manager.dict<std::string, Pets>();
  {
    const auto pets = manager.dict<std::string, int>({{"ferrets", 2}, {"hamsters", 4}});
    d.set("pets", pets);
    d.get("pets").set("blanket", 1);
    EXPECT_EQ(pets.size(), 3U);
  }
  EXPECT_EQ(d.get("pets").get("hamsters"), 4);
  const auto pets = d.get("pets");
  d.clear();
  EXPECT_EQ(d.size(), 0U);
  EXPECT_EQ(pets.get("ferrets"), 2);

  const auto l = manager.list<Pets>({pets});
  EXPECT_EQ(l.get(0).get("ferrets"), 2);

  const auto plain = manager.dict<std::string, Ints>({{"a", {1}}});
  Ints copy = plain.get("a");
  copy.push_back(2);
  EXPECT_EQ(plain.get("a"), (Ints{1}));
}

// _TestContainers.test_namespace
TEST_P(ManagerParity, NamespaceHasAttributes) {
  const mp::Manager manager;
  const auto n = manager.Namespace();
  n.set("name", "Bob");
  n.set("job", "Builder");
  n.set("_hidden", "hidden");
  EXPECT_EQ(n.get<std::string>("name"), "Bob");
  EXPECT_EQ(n.get<std::string>("job"), "Builder");
  n.erase("job");
  EXPECT_TRUE(n.contains("name"));
  EXPECT_FALSE(n.contains("job"));
  EXPECT_EQ(exit_code_of([](mp::NamespaceProxy ns) { ns.set("x", 1); }, n), 0);
  EXPECT_EQ(n.get<int>("x"), 1);
}

// TestSyncManagerTypes.test_list
void list_in_child(mp::ListProxy<int> obj) {
  check(obj.get(0) == 5);
  check(obj.count(5) == 2);
  check(obj.index(3) == 1);
  obj.sort();
  check(obj.copy() == Ints{3, 5, 5, 9});
  obj.reverse();
  check(obj.copy() == Ints{9, 5, 5, 3});
  check(obj.size() == 4);
  check(obj.pop(0) == 9);
  check(obj.pop() == 3);
  obj.insert(1, 4);
  check(obj.copy() == Ints{5, 4, 5});
  obj.clear();
  check(obj.empty());
}
TEST_P(ManagerParity, ListIsEmptiedByAChild) {
  const mp::Manager manager;
  const auto o = manager.list<int>();
  o.extend({5, 3, 9});
  o.append(5);
  EXPECT_EQ(exit_code_of(list_in_child, o), 0);
  EXPECT_TRUE(o.empty());
  EXPECT_EQ(o.size(), 0U);
}

// TestSyncManagerTypes.test_dict
void dict_in_child(mp::DictProxy<std::string, int> obj) {
  check(obj.size() == 1);
  check(obj.get("foo") == 5);
  check(obj.items() == Pairs<std::string, int>{{"foo", 5}});
  check(obj.keys() == Texts{"foo"});
  check(obj.values() == Ints{5});
  check(obj.copy() == Pairs<std::string, int>{{"foo", 5}});
  check(obj.setdefault("foo", 6) == 5);
  check(obj.setdefault("bar", 7) == 7);
  obj.update({{"foo", 8}, {"baz", 9}});
  check(obj.copy() == Pairs<std::string, int>{{"foo", 8}, {"bar", 7}, {"baz", 9}});
  check(obj.popitem() == std::pair<std::string, int>{"baz", 9});
  check(obj.pop("bar") == 7);
  check(obj.popitem() == std::pair<std::string, int>{"foo", 8});
}
TEST_P(ManagerParity, DictIsEmptiedByAChild) {
  const mp::Manager manager;
  const auto o = manager.dict<std::string, int>();
  o.set("foo", 5);
  EXPECT_EQ(exit_code_of(dict_in_child, o), 0);
  EXPECT_TRUE(o.empty());
}

// TestSyncManagerTypes.test_set
void set_in_child(mp::SetProxy<std::string> obj) {
  check(obj.contains("a"));
  check(obj.add("d"));
  check(!obj.add("d"));
  check(obj.size() == 4);
  obj.remove("b");
  try {
    obj.remove("b");
    check(false);
  } catch (const std::out_of_range&) {
  }
  check(!obj.discard("b"));
  check(obj.copy() == Texts{"a", "c", "d"});
  check(obj.union_(Texts{"e"}).size() == 4);
  check(obj.intersection(Texts{"a", "e"}) == Texts{"a"});
  check(obj.difference(Texts{"a"}) == Texts{"c", "d"});
  check(obj.issuperset(Texts{"a", "c"}));
  check(obj.isdisjoint(Texts{"x"}));
  obj.difference_update(Texts{"c", "d"});
  check(obj.pop() == "a");
}
TEST_P(ManagerParity, SetIsEmptiedByAChild) {
  const mp::Manager manager;
  const auto o = manager.set<std::string>({"a", "b", "c"});
  EXPECT_EQ(exit_code_of(set_in_child, o), 0);
  EXPECT_TRUE(o.empty());
}
// test_set_init
TEST_P(ManagerParity, SetIsMadeOfAnyRange) {
  const mp::Manager manager;
  const auto list = manager.list<int>({1, 2, 2});
  EXPECT_EQ(manager.set<int>(list).copy(), (Ints{1, 2}));
  EXPECT_EQ(manager.set<int>(Ints{3, 3}).size(), 1U);
}

// TestSyncManagerTypes.test_event, test_lock, test_rlock, test_semaphore, test_barrier, test_queue,
// test_joinable_queue, test_value, test_array: the library's own, made by a manager
void others_in_child(mp::Event event,
                     mp::Lock lock,
                     mp::Semaphore semaphore,
                     mp::Queue<int> queue,
                     mp::JoinableQueue<int> joinable,
                     mp::Value<int> value,
                     mp::Array<int> array) {
  event.set();
  check(lock.acquire());
  lock.release();
  check(semaphore.acquire());
  check(queue.get() == 5);
  check(joinable.get() == 6);
  joinable.task_done();
  value.store(value.load() + 1);
  array[0] = 7;
}
TEST_P(ManagerParity, OthersAreUsedByAChild) {
  const mp::Manager manager;
  auto event = manager.Event();
  const auto lock = manager.Lock();
  const auto semaphore = manager.Semaphore(1);
  auto queue = manager.Queue<int>(2);
  auto joinable = manager.JoinableQueue<int>();
  const auto value = manager.Value<int>(1);
  const auto array = manager.Array<int>({0, 1, 2, 3, 4});
  queue.put(5);
  joinable.put(6);
  EXPECT_EQ(exit_code_of(others_in_child, event, lock, semaphore, queue, joinable, value, array),
            0);
  EXPECT_TRUE(event.is_set());
  EXPECT_EQ(semaphore.get_value(), 0U);
  EXPECT_TRUE(queue.empty());
  EXPECT_TRUE(joinable.join());
  EXPECT_EQ(value.load(), 2);
  EXPECT_EQ(array[0], 7);
}

// TestSyncManagerTypes.test_pool
int square(int x) {
  return x * x;
}
TEST_P(ManagerParity, PoolIsMadeByAManager) {
  const mp::Manager manager;
  auto pool = manager.Pool(1);
  EXPECT_EQ(pool.apply(square, 5), 25);
  EXPECT_EQ(pool.map(square, Ints{1, 2, 3}), (Ints{1, 4, 9}));
}

}  // namespace
