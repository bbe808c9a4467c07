// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/os/process_wide.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include <plugin/library.hpp>
#include <plugin/plugin.hpp>

namespace mp = multiprocessing;
namespace os = multiprocessing::os;

namespace {

struct Counted {
  static inline std::atomic<int> alive{0};
  Counted() { ++alive; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --alive; }
};

}  // namespace

TEST(ProcessWide, IsOneObjectPerType) {
  EXPECT_EQ(&os::process_wide<test::Shared>(), &os::process_wide<test::Shared>());
  void* const one = &os::process_wide<test::Numbered<1>>();
  void* const two = &os::process_wide<test::Numbered<2>>();
  EXPECT_NE(one, two);
  EXPECT_EQ(os::process_wide<test::Numbered<2>>().value, 2);
}

TEST(ProcessWide, IsTheSameInASharedLibrary) {
  EXPECT_EQ(&os::process_wide<test::Shared>(), &test::library_shared());
}

TEST(ProcessWide, IsTheSameInPlugInsThatHideTheirSymbols) {
  const test::Plugin one{test::plugin_path("plugin")};
  const test::Plugin other{test::plugin_path("without_id")};
  EXPECT_EQ(&os::process_wide<test::Shared>(), &one->shared());
  EXPECT_EQ(&os::process_wide<test::Shared>(), &other->shared());
  EXPECT_EQ(&mp::detail::process_state(), &one->state());
  EXPECT_EQ(&mp::detail::process_state(), &other->state());
}

TEST(ProcessWide, OutlivesThePlugInThatMadeIt) {
  const std::string path = test::plugin_path("plugin");
  void* made = nullptr;
  {
    const test::Plugin maker{path};
    made = maker->numbered(7);
  }
  ASSERT_FALSE(test::is_loaded(path));
  EXPECT_EQ(&os::process_wide<test::Numbered<7>>(), made);
  EXPECT_EQ(os::process_wide<test::Numbered<7>>().value, 7);
  const test::Plugin again{path};
  EXPECT_EQ(again->numbered(7), made);
}

#if MULTIPROCESSING_POSIX  // not on Windows: a section cannot be taken out of a finished image
TEST(ProcessWide, IsFoundByAPlugInWithoutItsNote) {
  const test::Plugin stripped{test::plugin_path("stripped")};
  EXPECT_EQ(&os::process_wide<test::Shared>(), &stripped->shared());
}
#endif

TEST(ProcessWide, IsMadeOnceByThreadsThatAskAtOnce) {
  std::vector<Counted*> found(8);
  std::atomic<std::size_t> ready{0};
  std::vector<std::thread> threads;
  for (Counted*& mine : found) {
    threads.emplace_back([&] {
      for (++ready; ready < found.size();) std::this_thread::yield();
      mine = &os::process_wide<Counted>();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Counted* one : found) EXPECT_EQ(one, found.front());
  EXPECT_EQ(Counted::alive, 1);
}

TEST(ProcessWideTable, KeepsTheFirstObjectOfAKey) {
  os::ProcessWideTable& table = os::process_wide_table();
  static int first = 0;
  int second = 0;
  EXPECT_EQ(table.find(0x7465737431U), nullptr);
  EXPECT_EQ(table.keep(0x7465737431U, &first), &first);
  EXPECT_EQ(table.keep(0x7465737431U, &second), &first);
  EXPECT_EQ(table.find(0x7465737431U), &first);
}
