// SPDX-License-Identifier: BSL-1.0
// Waiting for several futures where that is not as Python has it.
#include <multiprocessing/futures.hpp>

#if MULTIPROCESSING_POSIX
#  include <support/eventually.hpp>
#  include <support/forked.hpp>
#endif

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;

namespace {

#if MULTIPROCESSING_POSIX
int slowly(int x) {
  std::this_thread::sleep_for(1h);  // until it is killed
  return x;
}
int at_once(int x) {
  return x;
}
#endif
using All = mp::AsCompleted<mp::Future<int>>;

}  // namespace

static_assert(!std::is_copy_constructible_v<All> && !std::is_copy_assignable_v<All>);
static_assert(std::is_nothrow_move_constructible_v<All> && std::is_nothrow_move_assignable_v<All>);

TEST(FuturesAsCompleted, GoesOnWhereItIsMovedTo) {
  const std::vector<mp::Future<int>> futures(3);
  for (const auto& future : futures) future.set_result(7);
  auto all = mp::as_completed(futures);
  EXPECT_EQ(all.next().value().result(), 7);
  auto rest = std::move(all);
  EXPECT_FALSE(all.next());  // NOLINT(bugprone-use-after-move): nothing is left there
  int left = 0;
  for (const auto& future : rest) left += future.result();
  EXPECT_EQ(left, 14);
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(FuturesWait, OfAForkedChildForItsParentsFuturesThrows) {
  mp::ProcessPoolExecutor executor{2U};
  const std::vector futures{executor.submit(at_once, 1), executor.submit(slowly, 2)};
  EXPECT_EQ(futures[0].result(), 1);
  test::Forked child{[&] {
    EXPECT_THROW(mp::wait(futures), std::logic_error);
    EXPECT_THROW(mp::wait(futures, 1h), std::logic_error);
    // What is done already is given out.
    EXPECT_EQ(mp::wait(futures, mp::forever, mp::FIRST_COMPLETED).done.size(), 1U);
    auto all = mp::as_completed(futures);
    EXPECT_EQ(all.next().value().result(), 1);
    EXPECT_THROW(all.next(), std::logic_error);
    // Behind one that this process will complete, too.
    const std::vector both{mp::Future<int>{}, futures[1]};
    both[0].set_result(3);
    EXPECT_THROW(mp::wait(both), std::logic_error);
  }};
  EXPECT_EQ(child.join(), 0);
  EXPECT_TRUE(test::eventually([&] { return futures[1].kill(); }));
}

// A thread of the parent, which no fork takes along, is inside the future.
TEST(FuturesWait, OfAForkedChildAsksForNoLockOfItsParents) {
#  if defined(__SANITIZE_ADDRESS__) && defined(__clang__) && __clang_major__ < 18
  // The hang would be the sanitizer's, not the library's: CONTRIBUTING.md says how to tell.
  GTEST_SKIP() << "that sanitizer's own allocator may be locked in a forked child";
#  endif
  mp::ProcessPoolExecutor executor{1U};
  const std::vector futures{executor.submit(slowly, 2)};
  std::atomic<bool> is_over{false};
  std::thread other{[&] {
    while (!is_over) mp::wait(futures, 0s);
  }};
  for (int i = 0; i < 200; ++i) {
    test::Forked child{[&] { EXPECT_THROW(mp::wait(futures), std::logic_error); }};
    EXPECT_EQ(child.join(), 0);
  }
  is_over = true;
  other.join();
  EXPECT_TRUE(test::eventually([&] { return futures[0].kill(); }));
}
#endif
