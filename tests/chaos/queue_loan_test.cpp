// SPDX-License-Identifier: BSL-1.0
// A process dies at every step of a loan and of a view: its memory comes back, and the message is
// there whole or not at all.
// Not on Windows: fork; see spawned_test.cpp
#include <multiprocessing.hpp>

#include <support/asleep.hpp>
#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

namespace mp = multiprocessing;
using test::eventually;

namespace {

constexpr std::size_t large = 500'000;  // of such a size that its memory is given back
using Loans = mp::detail::LoanTable;

void lend(mp::Queue<int>& queue, int first) {
  auto loan = queue.loan(large);
  std::iota(loan.span().begin(), loan.span().end(), first);
  loan.commit();
}
void take(mp::Queue<int>& queue) {
  const auto view = queue.get_view();
  if (view.span().size() != large) throw std::runtime_error{"torn"};
}

std::vector<std::string> points_of(const std::function<void()>& work) {
  auto points = test::stop_points_in([&] {
    mp::Process process{[&] {
      test::detail::stop_board().recording = true;
      work();
      test::detail::stop_board().recording = false;
    }};
    test::detail::stop_board().recording = false;
    process.start();
    process.join();
    ASSERT_EQ(process.exitcode(), 0);
  });
  std::erase_if(points, [](const auto& point) { return !point.starts_with("ring."); });
  return points;
}

void die_in(const std::string& point, const std::function<void()>& work) {
  mp::Process victim{[&] {
    test::stop_at(point, test::Stop::die);
    work();
  }};
  victim.start();
  victim.join();
  ASSERT_EQ(victim.exitcode(), -SIGKILL);
}

// Nobody holds anything: every place can be lent.
void expect_all_places_free(mp::Queue<int>& queue) {
  std::vector<mp::Loan<int>> loans;
  while (loans.size() < Loans::blocks) loans.push_back(queue.loan(1));
}

// What is inside comes out whole, and then everything is as new.
void expect_sound(mp::Queue<int>& queue, std::size_t inside) {
  EXPECT_EQ(queue.qsize(), inside);
  queue.put(1);  // finds a lock that was left, if any
  for (std::size_t i = 0; i < inside; ++i) {
    const auto view = queue.get_view();
    ASSERT_EQ(view.span().size(), large);
    EXPECT_EQ(view.span().back() - view.span().front(), static_cast<int>(large) - 1);
  }
  EXPECT_EQ(queue.get(), 1);
  expect_all_places_free(queue);
  lend(queue, 3);
  take(queue);
}

}  // namespace

TEST(QueueLoanDeath, AnywhereInALoanLeavesTheMessageWholeOrNoneAndNoMemoryTaken) {
  mp::Queue<int> once;
  lend(once, 7);
  const auto points = points_of([&] { lend(once, 0); });
  ASSERT_TRUE(std::ranges::count(points, "ring.put_lent.committing"));
  ASSERT_TRUE(std::ranges::count(points, "ring.lend.claimed"));
  const auto commit = std::ranges::find(points, "ring.put.written");
  for (auto point = points.begin(); point != points.end(); ++point) {
    SCOPED_TRACE(*point);
    if (*point == "ring.commit.filled")
      continue;  // below: a record of the test's own passes it too
    mp::Queue<int> queue;
    lend(queue, 7);
    die_in(*point, [&] { lend(queue, 0); });
    const bool is_done = point > commit && *point != "ring.commit.filled";
    expect_sound(queue, is_done ? 2 : 1);
  }
}

TEST(QueueLoanDeath, BehindTheCommitAndAnyDelayThereHoldNoConsumerUp) {
  for (const bool dies : {true, false}) {
    mp::Queue<int> queue;
    test::forget_stops();
    mp::Process victim{[&] {
      test::stop_at("ring.put.committed", dies ? test::Stop::die : test::Stop::wait);
      lend(queue, 0);
    }};
    victim.start();
    ASSERT_TRUE(eventually([] { return test::stops_reached() == 1; }));
    if (dies) victim.join();
    take(queue);
    if (!dies) {
      victim.kill();
      victim.join();
    }
    expect_sound(queue, 0);
  }
}

TEST(QueueLoanDeath, AnywhereInAViewGivesItsMemoryBack) {
  mp::Queue<int> once;
  for (int i = 0; i < 5; ++i) lend(once, i);
  const auto points = points_of([&] {
    for (int i = 0; i < 4; ++i) take(once);
  });
  ASSERT_TRUE(std::ranges::count(points, "ring.get_lent.taking"));
  ASSERT_TRUE(std::ranges::count(points, "ring.get_lent.taken"));
  ASSERT_TRUE(std::ranges::count(points, "ring.lend.returned"));
  ASSERT_TRUE(std::ranges::count(points, "ring.lend.returning"));
  for (const std::string& point : points) {
    SCOPED_TRACE(point);
    mp::Queue<int> queue;
    for (int i = 0; i < 5; ++i) lend(queue, i);
    die_in(point, [&] {
      for (int i = 0; i < 4; ++i) take(queue);
    });
    const std::size_t inside = queue.qsize();
    EXPECT_GE(inside, 1U);
    EXPECT_LE(inside, 5U);
    expect_sound(queue, inside);
  }
}

TEST(QueueLoanDeath, LetsWhoeverWaitsForAPlaceGoOn) {
  mp::Queue<int> queue;
  mp::Queue<int> ready;
  mp::Process holder{[&] {
    std::vector<mp::Loan<int>> loans;
    while (loans.size() < Loans::blocks) loans.push_back(queue.loan(1));
    ready.put(1);
    ::pause();
  }};
  holder.start();
  ready.get();
  mp::Process waiting{[&] { queue.loan(1).commit(); }};
  waiting.start();
  eventually([&] { return test::sleeps_in_futex(*waiting.pid()); });
  holder.kill();
  EXPECT_EQ(queue.get_view().span().size(), 1U);
  waiting.join();
  holder.join();
}
