// SPDX-License-Identifier: BSL-1.0
// What is left of a queue, and of its items, when something goes wrong half-way through a call.
#include <multiprocessing/process.hpp>
#include <multiprocessing/queues.hpp>

#include <support/child.hpp>
#include <support/eventually.hpp>
#include <support/failing_new.hpp>

#include <queues/put_lent.hpp>
#if MULTIPROCESSING_POSIX
#  include <support/forked.hpp>
#endif
#include <support/threads.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <memory>
#include <new>
#include <numeric>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if MULTIPROCESSING_POSIX
#  include <pthread.h>
#endif

namespace mp = multiprocessing;
using test::put_lent;
using namespace std::chrono_literals;
using mp::detail::Place;
using mp::detail::Record;
using mp::detail::RingMemory;
using test::eventually;

namespace {

// A ring, and its memory as another program would see it.
struct Seen {
  static constexpr std::size_t size = std::size_t{1} << 20U;

  explicit Seen(bool counts_tasks = false) : ring{mp::Ring::create(0, counts_tasks)} {
    std::error_code ec;
    region = mp::os::SharedRegion::adopt(std::move(ring->duplicate_handles().front()), size, ec);
    if (ec) throw std::system_error{ec, "mapping"};
  }
  [[nodiscard]] std::byte* at(std::size_t offset) const { return region.data() + offset; }
  [[nodiscard]] RingMemory& memory() const { return *reinterpret_cast<RingMemory*>(at(0)); }
  [[nodiscard]] mp::detail::TaskBook& book() const {
    return *reinterpret_cast<mp::detail::TaskBook*>(at(mp::detail::task_book_begin));
  }
  [[nodiscard]] mp::detail::LoanTable& loans() const {
    return *reinterpret_cast<mp::detail::LoanTable*>(at(mp::detail::loan_table_begin));
  }
  void put_bytes(std::size_t count) const {
    ring->put(
        count, [&](std::byte* to) { std::memset(to, 1, count); }, mp::detail::Deadline{0s});
  }
  void write_header(std::size_t offset, std::uint64_t header) const {
    std::memcpy(at(offset), &header, sizeof header);
  }

  std::shared_ptr<mp::Ring> ring;
  mp::os::SharedRegion region;
};

// Of 1000 items the 601st is damaged: what comes, and what is still there?
template <class T, class Make>
void expect_once_before_a_damaged_one(std::size_t room, Make make) {
  const Seen seen;
  mp::Queue<T> queue{seen.ring};
  std::vector<T> all;
  for (int i = 0; i < 1000; ++i) all.push_back(make(i));
  queue.put_many(all);
  seen.write_header(mp::detail::smallest_area + 600 * room, 0);
  const std::vector<T> first = queue.get_many(1000);
  ASSERT_EQ(first.size(), 512U);
  for (int i = 0; i < 512; ++i) ASSERT_EQ(first[static_cast<std::size_t>(i)], make(i));
  EXPECT_EQ(queue.qsize(), 488U);
  EXPECT_THROW((void)queue.get_many(1000), mp::ProcessError);
  for (int i = 512; i < 600; ++i) ASSERT_EQ(queue.get(), make(i));
  EXPECT_THROW((void)queue.get(), mp::ProcessError);
}

struct Moody {  // throws when it is moved
  int number = 0;
  Moody() = default;
  explicit Moody(int value) : number{value} {}
  Moody(const Moody&) = default;
  Moody(Moody&& /*other*/) { throw std::runtime_error{"not now"}; }  // NOLINT: that is the point
  Moody& operator=(const Moody&) = default;
  ~Moody() = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(number);
  }
};

struct Listed {  // made of a list of its own kind, where braces say so
  std::vector<int> own;
  Listed() = default;
  Listed(std::initializer_list<Listed> /*all*/) { throw std::runtime_error{"a list"}; }
  template <class Archive>
  void serialize(Archive& archive) {
    archive(own);
  }
};

}  // namespace

TEST(QueueGet, WithoutMemoryLeavesTheItemWhereItIs) {
  mp::Queue<std::string> queue;
  const std::string text(10'000, 'x');
  queue.put(text);
  queue.put("next");
  test::left = 0;
  EXPECT_THROW(queue.get(), std::bad_alloc);
  test::left = -1;
  EXPECT_EQ(queue.qsize(), 2U);
  EXPECT_EQ(queue.get(), text);
  EXPECT_EQ(queue.get(), "next");
}

TEST(QueueGetMany, DeliversOnceWhatIsBeforeADamagedOne) {
  expect_once_before_a_damaged_one<int>(Record::room(sizeof(int)), [](int i) { return i; });
  expect_once_before_a_damaged_one<std::string>(Record::room(sizeof(std::uint64_t) + 4),
                                                [](int i) { return std::to_string(1000 + i); });
}

TEST(QueueGetMany, WithoutMemoryDeliversNothingTwiceAndKeepsWhatItHas) {
  const auto item = [](int i) {
    return std::to_string(10'000 + i) + std::string(i < 512 ? 30 : 400, 'x');
  };
  constexpr int count = 560;
  for (int failing = 0; failing < 640; failing += failing < 500 && failing > 20 ? 29 : 1) {
    mp::Queue<std::string> queue;
    for (int i = 0; i < count; ++i) queue.put(item(i));
    std::vector<std::string> all;
    bool threw = false;
    test::in_a_thread([&] {  // which has no buffer yet
      test::left = failing;
      try {
        all = queue.get_many(count);
      } catch (const std::bad_alloc&) {
        threw = true;
      }
      test::left = -1;
    });
    if (threw) {
      ASSERT_TRUE(all.empty());
    }
    while (const auto left = queue.try_get()) all.push_back(*left);
    int last = -1;
    for (const std::string& each : all) {
      const int number = std::stoi(each.substr(0, 5)) - 10'000;
      ASSERT_GT(number, last) << "failing: " << failing;
      ASSERT_EQ(each, item(number));
      last = number;
    }
    ASSERT_GE(all.size(), threw ? std::size_t{count - 512} : std::size_t{count - 1})
        << "failing: " << failing;
  }
}

TEST(QueueGetMany, OfALargeBacklogMovesItemsAFewTimesOnly) {
  constexpr std::size_t count = 15'000;
  mp::Queue<int> queue;
  queue.put_many(std::vector<int>(count));
  const std::size_t before = test::asked_for;
  ASSERT_EQ(queue.get_many(count * 2).size(), count);
  EXPECT_LE(test::asked_for - before, 8 * count * sizeof(int));
}

TEST(QueueGetMany, LeavesALentMessageThatIsNoItemToTheNextCall) {
  mp::Queue<int> queue;
  queue.put(1);
  put_lent(queue, 2, 0);
  queue.put(3);
  EXPECT_EQ(queue.get_many(5), std::vector<int>{1});
  EXPECT_EQ(queue.qsize(), 2U);
  EXPECT_THROW((void)queue.get_many(5), mp::SerializationError);
  EXPECT_EQ(queue.get_many(5), std::vector<int>{3});
}

TEST(QueuePut, OfAnRvalueThrowsNothingOnceItIsStored) {
  mp::Queue<Moody> moody;
  Moody item{7};
  EXPECT_NO_THROW(moody.put(std::move(item)));
  EXPECT_EQ(moody.qsize(), 1U);
  mp::Queue<Listed> listed;
  Listed list;
  list.own.assign(100, 1);
  EXPECT_NO_THROW(listed.put(std::move(list)));
  EXPECT_TRUE(list.own.empty());  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(listed.get().own.size(), 100U);
}

TEST(QueueLoan, ThatCannotBeTakenByAProcessTooManyStaysInTheQueue) {
  const Seen seen{true};
  mp::Queue<int> queue{seen.ring};
  put_lent(queue, 1, 42);
  auto& book = seen.book();
  for (auto& holder : book.holders) {  // of processes that live
    holder.birth = 0;
    holder.pid = static_cast<std::uint64_t>(mp::os::process_id());
  }
  book.used = mp::detail::TaskBook::most_holders;
  EXPECT_THROW((void)queue.get(), std::system_error);
  EXPECT_THROW((void)queue.get_many(3), std::system_error);
  EXPECT_THROW((void)queue.get_view(), std::system_error);
  EXPECT_EQ(queue.qsize(), 1U);
  book.holders[7].pid = 0;
  EXPECT_EQ(queue.get(), 42);
}

TEST(QueueLoan, ThatIsNotThereIsAnErrorOnce) {
  const Seen seen;
  mp::Queue<int> queue{seen.ring};
  put_lent(queue, 1, 42);
  queue.put(5);
  seen.loans().words[0] = 0;
  EXPECT_THROW((void)queue.get(), mp::ProcessError);
  EXPECT_EQ(queue.qsize(), 1U);
  EXPECT_EQ(queue.get(), 5);
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(QueueLoan, CanBeCommittedByTheProcessOnlyThatAskedForIt) {
  mp::Queue<int> queue;
  auto loan = queue.loan(1);
  loan.span().front() = 4;
  test::Forked child{[&] { EXPECT_THROW(loan.commit(), std::logic_error); }};
  EXPECT_EQ(child.join(), 0);
  EXPECT_TRUE(queue.empty());
  loan.commit();
  EXPECT_EQ(queue.get(), 4);
}
#endif

TEST(QueueLoan, WaitsForALockNoLongerThanItsTime) {
  const auto ring = mp::Ring::create(0);
  ring->put(
      1, [](std::byte* to) { *to = std::byte{1}; }, mp::detail::Deadline{0s});
  std::atomic<int> stage{0};
  std::thread inside{[&] {
    ring->get(
        [&](std::span<const std::byte> /*message*/) {
          stage = 1;
          eventually([&] { return stage == 2; });
        },
        mp::detail::Deadline{mp::forever});
  }};
  EXPECT_TRUE(eventually([&] { return stage == 1; }));
  EXPECT_FALSE(ring->lend(10, mp::detail::Deadline{20ms}));
  EXPECT_FALSE(ring->lend(10, mp::detail::Deadline{0s}));
  stage = 2;
  inside.join();
  EXPECT_TRUE(ring->lend(10, mp::detail::Deadline{mp::forever}));
}

TEST(QueueLoan, ThatWaitsForAPlaceHearsOfAShutdown) {
  mp::Queue<std::byte> queue;
  std::vector<mp::Loan<std::byte>> all;
  try {
    for (;;) all.push_back(queue.loan(1, 20ms));
  } catch (const mp::Full&) {
  }
  test::Thread waiting{[&] { EXPECT_THROW((void)queue.loan(1), mp::ShutDown); }};
  EXPECT_TRUE(eventually([&] { return waiting.sleeps(); }));
  queue.shutdown();
  waiting.join();
}

TEST(QueueDamage, OfABlocksSizeIsNeverASignal) {
  test::Child process{[] {
    const Seen seen;
    mp::Queue<std::byte> queue{seen.ring};
    { const auto opened = queue.loan(1); }
    constexpr std::size_t size = std::size_t{1} << 20U;
    for (auto& committed : seen.loans().committed) committed = ~std::uint64_t{0};
    const auto loan = queue.loan(size);
    std::memset(loan.span().data(), 1, size);
  }};
  EXPECT_EQ(process.join(), 0);
}

TEST(QueueDamage, OfALentMessagesLengthIsAnErrorAndNobodySeesItsNeighbour) {
  const Seen seen;
  mp::Queue<std::byte> queue{seen.ring};
  constexpr std::size_t size = mp::detail::LoanTable::smallest;
  {
    auto loan = queue.loan(size);
    const auto neighbour = queue.loan(size);
    std::memset(loan.span().data(), 1, size);
    loan.commit();
  }
  mp::detail::LentMessage message{};
  std::byte* const where = seen.at(mp::detail::smallest_area + Record::header_size);
  std::memcpy(&message, where, sizeof message);
  ASSERT_EQ(message.size, size);
  ++message.size;
  std::memcpy(where, &message, sizeof message);
  EXPECT_THROW(static_cast<void>(queue.get_view()), mp::ProcessError);
}

TEST(QueueDamage, OfWhenAnAreaWasEnteredIsNoLoopWithoutEnd) {
  const Seen seen;
  seen.put_bytes(200'000);
  seen.put_bytes(200'000);
  const auto get = [&] {
    seen.ring->get([](std::span<const std::byte> /*message*/) {}, mp::detail::Deadline{0s});
  };
  get();
  get();
  for (auto& entered : seen.memory().producers.entered) entered = 0;
  for (int i = 0; i < 64; ++i) {  // in one of them it looks for a better area
    seen.put_bytes(8);
    get();
  }
  EXPECT_EQ(seen.ring->qsize(), 0U);
}

TEST(QueueDamage, OfJumpsIsNoLoopWithoutEndForAShutdown) {
  const Seen seen;
  seen.put_bytes(200'000);  // in area 0, and a jump to
  seen.put_bytes(200'000);  // area 1, and now
  seen.write_header(mp::detail::area_begin(1) + Record::room(200'000),
                    Record::pack(Record::jump, 0));
  auto& tail = seen.memory().producers.tail;
  tail.commit({Place{1, 400'000}.packed(), ~std::uint64_t{0} >> 1U});
  EXPECT_THROW(seen.ring->shutdown(true), mp::ProcessError);
}

#if MULTIPROCESSING_POSIX  // not on Windows: no lock is lost for good
TEST(QueueLock, ThatNobodyCanEverGetIsAnErrorAndNotAWaitForEver) {
  mp::os::RobustLock lock{};
  std::error_code ec;
  lock.initialise(ec);
  reinterpret_cast<pthread_mutex_t*>(&lock)->__data.__kind = 99;  // which there is not
  mp::os::Patience patience;
  const auto acquire = [&](mp::Timeout timeout) {
    return mp::detail::acquire(lock, patience, mp::detail::Deadline{timeout}, [] {});
  };
  ASSERT_THROW(acquire(20ms), std::system_error);
  EXPECT_THROW(acquire(mp::forever), std::system_error);
}
#endif
