// SPDX-License-Identifier: BSL-1.0
// A spawned process dies at every step of a change of a Manager's containers, with others at work:
// they are as before or after it, and nobody is locked out.
#include <multiprocessing.hpp>
#include <multiprocessing/managers.hpp>

#include <support/spawned.hpp>
#include <support/store_check.hpp>

#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

namespace mp = multiprocessing;

namespace {

struct Holdings {
  mp::Manager manager;
  mp::DictProxy<int, int> numbers;
  mp::DictProxy<std::string, std::string> texts;
  mp::ListProxy<std::string> words;
};
using HoldingsCase = test::SpawnedCase<Holdings>;

std::string text_of(char letter) {
  return std::string(150, letter);
}
Holdings holdings() {
  const mp::Manager manager;
  return {.manager = manager,
          .numbers = manager.dict<int, int>({{1, 10}, {2, 20}, {3, 30}}),
          .texts = manager.dict<std::string, std::string>({{"a", text_of('a')}, {"c", "short"}}),
          .words = manager.list<std::string>({"one", text_of('t'), ""})};
}
auto image_of(const Holdings& all) {
  return std::tuple{all.numbers.items(), all.texts.items(), all.words.copy()};
}

// A word of the others' own, which no change touches.
void count(const Holdings& all) {
  all.numbers.update(
      77, [](int& n) { ++n; }, 0);
}
template <void (*Change)(const Holdings&)>
void expect_before_or_after(const Holdings& all) {
  test::StoreCheck check;
  check.with(all.numbers).with(all.texts).with(all.words).expect_whole();
  if (all.numbers.contains(77)) all.numbers.erase(77);
  const Holdings others = holdings();
  const auto before = image_of(others);
  Change(others);
  const auto now = image_of(all);
  EXPECT_TRUE(now == before || now == image_of(others));
  count(all);
  all.texts.set("used", text_of('u'));
  all.words.append("used");
  EXPECT_EQ(all.numbers.get(77), 1);
  test::StoreCheck again;
  again.with(all.numbers).with(all.texts).with(all.words).expect_whole();
}

void set_new(const Holdings& all) {
  all.texts.set("new", text_of('n'));
}
void set_old(const Holdings& all) {
  all.texts.set("a", "another");
}
void clear_texts(const Holdings& all) {
  all.texts.clear();
}
void replace_words(const Holdings& all) {
  all.words.set_slice(0, 2, {"p", text_of('q'), "r"});
}
void change_all(const Holdings& all) {
  all.manager.transaction([&] {
    all.numbers.erase(1);
    all.texts.set("moved", text_of('m'));
    all.words.pop();
  });
}

template <void (*Change)(const Holdings&)>
HoldingsCase change(const std::string& name, std::vector<std::string> points) {
  points.insert(points.end(), {"store.word.changed", "store.commit.ready", "store.commit.done"});
  return {.name = name,
          .make = holdings,
          .operation = Change,
          .worker = count,
          .check = expect_before_or_after<Change>,
          .points = points};
}

class SpawnedInAManager : public testing::TestWithParam<HoldingsCase> {};
INSTANTIATE_TEST_SUITE_P(,
                         SpawnedInAManager,
                         testing::Values(change<set_new>("SetNew", {"store.entry.filled"}),
                                         change<set_old>("SetOld", {"store.block.filled"}),
                                         change<clear_texts>("Clear", {}),
                                         change<replace_words>("SetSlice", {}),
                                         change<change_all>("Transaction", {})),
                         [](const auto& one) { return one.param.name; });

}  // namespace

TEST_P(SpawnedInAManager, KilledAtAnyStepLeavesAllAsBeforeOrAfter) {
  test::kill_at_every_step(GetParam());
}
