// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/heap.hpp>
#include <multiprocessing/synchronize.hpp>

#if MULTIPROCESSING_POSIX
#  include <support/forked.hpp>
#endif
#include <support/processes.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <random>
#include <set>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using mp::detail::Block;
#if MULTIPROCESSING_POSIX
using test::Forked;
#endif

namespace {

std::size_t descriptors() {
  return test::open_descriptors([](int) { return false; }).size();
}

bool is_zero(const Block& block) {
  return std::all_of(block.data(), block.data() + block.size(),
                     [](std::byte byte) { return byte == std::byte{0}; });
}
void dirty(const Block& block) {
  std::memset(block.data(), 0x5A, block.size());
}

}  // namespace

TEST(Heap, HoldsThousandsOfLocksWithAHandfulOfDescriptors) {
  const std::size_t before = descriptors();
  {
    std::vector<mp::Lock> locks(10'000);
    EXPECT_LE(descriptors(), before + 16);
    for (auto& lock : locks) {
      lock.acquire();
      lock.release();
    }
  }
  EXPECT_EQ(descriptors(), before);
}

// What is used of each, so that whatever it makes at its first use counts too.
template <class Make, class Use>
void expect_a_handful_for_thousands_of(const char* what, Make make, Use use) {
  SCOPED_TRACE(what);
  constexpr int thousands = 10'000;
  const std::size_t before = descriptors();
  {
    std::vector<decltype(make())> all;
    all.reserve(thousands);
    for (int i = 0; i < thousands; ++i) all.push_back(make());
    for (auto& one : all) use(one);
    EXPECT_LE(descriptors(), before + 16);
  }
  EXPECT_EQ(descriptors(), before);
}

TEST(Heap, HoldsThousandsOfEachOtherKindWithAHandfulOfDescriptors) {
  const auto lock = [](auto& one) {
    one.acquire();
    one.release();
  };
  expect_a_handful_for_thousands_of(
      "RLock", [] { return mp::RLock{}; }, lock);
  expect_a_handful_for_thousands_of(
      "Semaphore", [] { return mp::Semaphore{1}; }, lock);
  expect_a_handful_for_thousands_of(
      "Condition", [] { return mp::Condition{}; },
      [](mp::Condition& one) {
        const std::lock_guard guard{one};
        one.notify_all();
      });
  expect_a_handful_for_thousands_of(
      "Barrier", [] { return mp::Barrier{1}; },
      [](mp::Barrier& one) { EXPECT_EQ(one.wait(), 0U); });
  expect_a_handful_for_thousands_of(
      "Event", [] { return mp::Event{}; },
      [](mp::Event& one) {
        one.set();
        EXPECT_TRUE(one.wait());
      });
}

TEST(Heap, GivesOutPiecesThatAreApartAlignedAndZero) {
  std::mt19937 random{3};
  std::map<std::byte*, Block> blocks;
  for (int i = 0; i < 5000; ++i) {
    if (random() % 2 == 0 && !blocks.empty()) {
      const auto which = std::next(blocks.begin(), static_cast<long>(random() % blocks.size()));
      blocks.erase(which);
      continue;
    }
    const std::size_t size = random() % 64 == 0 ? random() % 100'000 : random() % 1000 + 1;
    Block made = Block::allocate(size, "a test");
    ASSERT_GE(made.size(), size);
    ASSERT_EQ(reinterpret_cast<std::uintptr_t>(made.data()) % Block::alignment, 0U);
    ASSERT_TRUE(is_zero(made));
    dirty(made);
    const auto next = blocks.lower_bound(made.data());
    if (next != blocks.end()) {
      ASSERT_LE(made.data() + made.size(), next->first);
    }
    if (next != blocks.begin()) {
      const Block& before = std::prev(next)->second;
      ASSERT_LE(before.data() + before.size(), made.data());
    }
    std::byte* const where = made.data();
    blocks.emplace(where, std::move(made));
  }
}

TEST(HeapReuse, OfWhatNoOtherProcessCanHaveSeen) {
  const Block keeps = Block::allocate(100, "a test");
  std::set<std::byte*> places;
  for (int i = 0; i < 1000; ++i) {
    const Block block = Block::allocate(100, "a test");
    EXPECT_TRUE(is_zero(block));
    dirty(block);
    places.insert(block.data());
  }
  EXPECT_EQ(places.size(), 1U);
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(HeapReuse, NotOfWhatAForkedChildMayHave) {
  const Block keeps = Block::allocate(100, "a test");
  std::optional<Block> block{Block::allocate(100, "a test")};
  std::byte* const place = block->data();
  Forked child{[&] {
    block.reset();  // a copy of the books may not be used
    const Block own = Block::allocate(100, "a test");
    EXPECT_NE(own.data(), place);
    EXPECT_NE(&own.arena(), &keeps.arena());
  }};
  block.reset();
  EXPECT_NE(Block::allocate(100, "a test").data(), place);
  EXPECT_EQ(child.join(), 0);
  // What came after the fork the child cannot have.
  std::byte* later = nullptr;
  {
    const Block after = Block::allocate(100, "a test");
    later = after.data();
  }
  EXPECT_EQ(Block::allocate(100, "a test").data(), later);
}
#endif

TEST(HeapReuse, NotOfWhatTravelled) {
  const Block keeps = Block::allocate(100, "a test");
  std::vector<std::byte> bytes;
  mp::Transit transit;
  mp::Encoder encoder{bytes, &transit};
  std::optional<Block> block{Block::allocate(100, "a test")};
  std::byte* const place = block->data();
  block->save(encoder, "a test");
  block.reset();
  EXPECT_NE(Block::allocate(100, "a test").data(), place);
  // Arrived where it came from, it is the same memory.
  std::vector<mp::Transit::Object> objects;
  for (const auto& object : transit.objects()) objects.push_back({object.kind, object.handles, {}});
  mp::Transit back{objects, mp::reduction::duplicates(transit.departing())};
  mp::Decoder decoder{bytes, &back};
  std::optional<Block> arrived{Block::load(decoder, 100, "a test")};
  EXPECT_EQ(arrived->data(), place);
  arrived.reset();
  EXPECT_NE(Block::allocate(100, "a test").data(), place);
}

TEST(Heap, IsEmptyWhenAllIsGivenBack) {
  const std::size_t before = descriptors();
  {
    std::vector<Block> blocks;
    for (const std::size_t size : {1U, 128U, 4096U, 16'384U, 16'385U, 1'000'000U}) {
      blocks.push_back(Block::allocate(size, "a test"));
      dirty(blocks.back());
    }
    EXPECT_GT(descriptors(), before);
  }
  EXPECT_EQ(descriptors(), before);
  EXPECT_TRUE(mp::detail::heap_state().arenas.empty());
  EXPECT_THROW(Block::allocate(~std::size_t{0}, "a test"), std::bad_array_new_length);
  EXPECT_THROW(Block::allocate(std::size_t{1} << 60U, "a test"), std::system_error);
  EXPECT_EQ(descriptors(), before);
}
