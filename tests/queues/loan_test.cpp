// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/process.hpp>
#include <multiprocessing/queues.hpp>

#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include <queues/put_lent.hpp>

#if MULTIPROCESSING_POSIX
#  include <sys/stat.h>
#endif

namespace mp = multiprocessing;
using test::put_lent;
using namespace std::chrono_literals;

namespace {
void expect_from(std::span<const int> elements, std::size_t count, int first) {
  ASSERT_EQ(elements.size(), count);
  for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(elements[i], first + static_cast<int>(i));
}

// How many places a queue has for loans.
std::size_t all_places() {
  mp::Queue<std::byte> queue;
  std::vector<mp::Loan<std::byte>> all;
  for (;;) {
    try {
      all.push_back(queue.loan(1, 0s));
    } catch (const mp::Full&) {
      return all.size();
    }
  }
}

#if MULTIPROCESSING_POSIX
std::uint64_t memory_of(const mp::Queue<int>& queue) {
  mp::Transit transit;
  std::vector<std::byte> bytes;
  mp::Encoder encoder{bytes, &transit};
  mp::detail::encode(encoder, queue);
  struct stat status {};
  EXPECT_EQ(::fstat(transit.departing().front(), &status), 0);
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}
#endif

}  // namespace

TEST(QueueLoan, IsSeenInPlaceInOrderWithOtherItems) {
  mp::Queue<int> queue;
  put_lent(queue, 100'000, 5);
  queue.put(7);
  put_lent(queue, 0, 0);
  put_lent(queue, 10, 9);
  EXPECT_EQ(queue.qsize(), 4U);
  const auto large = queue.get_view();
  EXPECT_TRUE(large.is_in_place());
  expect_from(large.span(), 100'000, 5);
  const auto plain = queue.get_view();
  EXPECT_FALSE(plain.is_in_place());
  expect_from(plain.span(), 1, 7);
  EXPECT_TRUE(queue.get_view().span().empty());
  expect_from(queue.get_view().span(), 10, 9);
  EXPECT_THROW((void)queue.get_view(10ms), mp::Empty);
}

TEST(QueueLoan, ThatIsNotCommittedIsGivenBack) {
  mp::Queue<int> queue;
  for (int i = 0; i < 1000; ++i) {
    auto loan = queue.loan(10);
    ASSERT_EQ(loan.span().size(), 10U);
    auto moved = std::move(loan);
    ASSERT_EQ(moved.span().size(), 10U);
  }
  EXPECT_TRUE(queue.empty());
  auto loan = queue.loan(1);
  loan.commit();
  EXPECT_TRUE(loan.span().empty());
  EXPECT_THROW(loan.commit(), std::invalid_argument);
}

TEST(QueueLoan, OfOneElementIsAnItemAndOfMoreIsNone) {
  mp::Queue<int> queue;
  put_lent(queue, 1, 42);
  put_lent(queue, 2, 0);
  put_lent(queue, 1, 43);
  queue.put(44);
  EXPECT_EQ(queue.get(), 42);
  EXPECT_THROW(queue.get(), mp::SerializationError);
  EXPECT_EQ(queue.get_many(5), (std::vector<int>{43, 44}));
}

TEST(QueueLoan, WaitsWhileAllPlacesAreInUse) {
  mp::Queue<std::byte> queue;
  const std::size_t half_gigabyte = std::size_t{600} << 20U;  // of those there are few: no memory
  EXPECT_THROW((void)queue.loan(3 * half_gigabyte), std::system_error);
  std::vector<mp::Loan<std::byte>> all;
  const std::size_t places = all_places();
  EXPECT_GE(places, MULTIPROCESSING_WINDOWS ? 100U : 512U);
  for (std::size_t i = 0; i < places; ++i) all.push_back(queue.loan(1));
  EXPECT_THROW((void)queue.loan(1, 60ms), mp::Full);
  EXPECT_THROW((void)queue.loan(1, 0s), mp::Full);
  all.pop_back();
  EXPECT_EQ(queue.loan(1).span().size(), 1U);
}

TEST(QueueLoan, OfAFullQueueStaysALoan) {
  mp::Queue<int> queue{1};
  queue.put(1);
  auto loan = queue.loan(3);
  EXPECT_THROW(loan.commit(20ms), mp::Full);
  EXPECT_EQ(loan.span().size(), 3U);
  queue.get();
  loan.commit();
  EXPECT_EQ(queue.get_view().span().size(), 3U);
}

TEST(QueueLoan, IsGivenBackWhenItsProcessEnds) {
  mp::Queue<std::byte> queue;
  const std::size_t all = all_places();
  mp::Queue<int> ready;
  mp::Process holder{[](mp::Queue<std::byte> from, mp::Queue<int> says, std::size_t count) {
                       std::vector<mp::Loan<std::byte>> loans;
                       std::vector<mp::View<std::byte>> views;
                       for (std::size_t i = 0; i < count / 2; ++i) {
                         from.loan(1).commit();
                         views.push_back(from.get_view());
                       }
                       while (loans.size() + views.size() < count) loans.push_back(from.loan(1));
                       says.put(1);
                       test::wait_for_ever();
                     },
                     queue, ready, all};
  holder.start();
  ready.get();
  EXPECT_THROW((void)queue.loan(1, 0s), mp::Full);
  holder.kill();
  std::vector<mp::Loan<std::byte>> loans;
  while (loans.size() < all) loans.push_back(queue.loan(1));  // waits until it has been noticed
  holder.join();
}

TEST(QueueLoan, GoesBetweenProcessesOfEveryStartMethod) {
  for (const auto method : mp::get_all_start_methods()) {
    mp::Queue<int> there;
    mp::Queue<int> back;
    mp::Process process{{.start_method = method},
                        [](mp::Queue<int> in, mp::Queue<int> out) {
                          for (int i = 0; i < 100; ++i) {
                            const auto view = in.get_view();
                            auto loan = out.loan(view.span().size());
                            std::ranges::copy(view.span(), loan.span().begin());
                            loan.commit();
                          }
                        },
                        there,
                        back};
    process.start();
    for (int i = 0; i < 100; ++i) {
      const auto count = static_cast<std::size_t>(i) * 1000;
      put_lent(there, count, i);
      expect_from(back.get_view().span(), count, i);
    }
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
  }
}

#if MULTIPROCESSING_POSIX  // not on Windows: memory is not given back
TEST(QueueLoan, OfASteadyFlowTakesLittleMemoryAndABurstIsGivenBack) {
  constexpr std::size_t large = std::size_t{1} << 20U;  // 4 MiB
  mp::Queue<int> queue;
  for (int i = 0; i < 100; ++i) {
    put_lent(queue, large, i);
    ASSERT_EQ(queue.get_view().span().front(), i);
  }
  EXPECT_LE(memory_of(queue), std::uint64_t{20} << 20U);
  for (int i = 0; i < 20; ++i) put_lent(queue, large, i);
  EXPECT_GE(memory_of(queue), std::uint64_t{80} << 20U);
  for (int i = 0; i < 20; ++i) ASSERT_EQ(queue.get_view().span().front(), i);
  EXPECT_LE(memory_of(queue), std::uint64_t{20} << 20U);
}
#endif

TEST(QueueLoan, IsDroppedByAShutdownAtOnce) {
  mp::Queue<int> queue;
  for (int i = 0; i < 40; ++i) put_lent(queue, 10, i);
  auto kept = queue.loan(1);
  queue.shutdown(true);
  EXPECT_THROW(kept.commit(), mp::ShutDown);
  EXPECT_THROW((void)queue.get_view(), mp::ShutDown);
  std::vector<mp::Loan<int>> loans;
  const std::size_t others = all_places() - 1;
  while (loans.size() < others) loans.push_back(queue.loan(1, 0s));
}

TEST(QueueLoan, OfTasksCountsThem) {
  mp::JoinableQueue<int> queue;
  auto loan = queue.loan(5);
  loan.commit();
  EXPECT_EQ(queue.unfinished(), 1U);
  { const auto view = queue.get_view(); }
  EXPECT_FALSE(queue.join(0s));
  queue.task_done();
  EXPECT_TRUE(queue.join());
}

TEST(QueueLoan, KeepsAViewWhenTheQueueIsClosed) {
  mp::Queue<int> queue;
  put_lent(queue, 1000, 3);
  const auto view = queue.get_view();
  queue.close();
  expect_from(view.span(), 1000, 3);
  EXPECT_THROW((void)queue.loan(1), std::invalid_argument);
}
