// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/context.hpp>
#include <multiprocessing/sharedctypes.hpp>

#include <support/child.hpp>
#include <support/threads.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <complex>
#include <cstdint>
#include <cstring>
#include <limits>
#include <mutex>
#include <new>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <type_traits>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::Child;
using test::in_a_thread;

namespace {

struct Point {
  double x;
  double y;
};
struct Large {
  std::array<std::uint64_t, 100> numbers;
};
enum class Color : std::uint8_t { red, green };
struct WithDefault {
  int number = 7;
};

template <class Shared>
void die_holding(const Shared& shared) {
  EXPECT_EQ((Child{[](Shared its) {
                     its.get_lock().acquire();
                     test::end_now();
                   },
                   shared}
                 .join()),
            0);
}

}  // namespace

TEST(Value, IsZeroOrWhatItIsMadeOf) {
  EXPECT_EQ(mp::Value<int>{}.value(), 0);
  EXPECT_EQ(mp::Value<int>{-5}.value(), -5);
  EXPECT_EQ(mp::Value<double>{2}.value(), 2.0);
  EXPECT_EQ(mp::Value<char>{'x'}.load(), 'x');
  EXPECT_EQ(mp::Value<bool>{true}.load(), true);
  EXPECT_EQ(mp::Value<Color>{Color::green}.load(), Color::green);
  EXPECT_EQ(mp::Value<std::uint64_t>{~0ULL}.load(), ~0ULL);
  EXPECT_EQ(mp::Value<long double>{0.5L}.load(), 0.5L);
  EXPECT_EQ(mp::Value<std::complex<double>>(1.0, 2.0).load(), (std::complex<double>{1.0, 2.0}));
  EXPECT_EQ(mp::Value<WithDefault>{}.value().number, 7);
  EXPECT_EQ(mp::Value<Large>{}.value().numbers[99], 0U);
  const mp::Value<Point> point{1.5, 2.5};
  EXPECT_EQ(point.value().x, 1.5);
  EXPECT_EQ(point.load().y, 2.5);
  EXPECT_EQ((mp::RawValue<Point>{1.5, 2.5}.value().y), 2.5);
  EXPECT_EQ(mp::RawValue<int>{}.value(), 0);
}

TEST(Value, IsSharedByItsCopiesAndWithAChild) {
  mp::Value<int> value{1};
  const mp::Value<int> copy{value};  // NOLINT(performance-unnecessary-copy-initialization)
  mp::RawValue<Point> point{1.0, 2.0};
  mp::RawValue<Point> independent{point.value()};
  EXPECT_EQ((Child{[](mp::Value<int> its, mp::RawValue<Point> its_point) {
                     its.store(2);
                     its_point.value().x = 3;
                   },
                   value, point}
                 .join()),
            0);
  EXPECT_EQ(copy.load(), 2);
  EXPECT_EQ(point.value().x, 3.0);
  EXPECT_EQ(independent.value().x, 1.0);
}

TEST(ValueUpdate, LosesNoIncrement) {
  mp::Value<int> count{0};
  mp::Value<Large> large;
  const auto work = [](mp::Value<int> its_count, mp::Value<Large> its_large) {
    for (int i = 0; i < 500; ++i) {
      its_count.update([](int& x) { ++x; });
      its_large.update([](Large& x) {
        for (auto& number : x.numbers) ++number;
      });
    }
  };
  Child first{work, count, large};
  Child second{work, count, large};
  in_a_thread([&] { work(count, large); });
  EXPECT_EQ(first.join(), 0);
  EXPECT_EQ(second.join(), 0);
  EXPECT_EQ(count.load(), 1500);
  for (const auto number : large.load().numbers) EXPECT_EQ(number, 1500U);
}

TEST(ValueUpdate, ThatThrowsChangesNothing) {
  mp::Value<int> value{1};
  EXPECT_THROW(value.update([](int& x) {
    x = 2;
    throw std::runtime_error{"no"};
  }),
               std::runtime_error);
  EXPECT_EQ(value.load(), 1);
  EXPECT_FALSE(value.get_lock().locked());
  EXPECT_EQ(value.update([](int& x) { x += 5; }), 6);
}

TEST(ValueLock, IsItsOwnOrOneThatIsGiven) {
  mp::Value<int> own{1};
  EXPECT_FALSE(own.get_lock().locked());
  {
    const std::lock_guard guard{own.get_lock()};
    EXPECT_TRUE(own.get_lock().locked());
    own.update([](int& x) { ++x; });  // the lock may be taken again
    EXPECT_EQ(own.load(), 2);
  }
  mp::RLock rlock;
  mp::Value<int> first{rlock, 1};
  mp::Value<Point> second{rlock, 1.0, 2.0};
  mp::Array<int> third{rlock, {1, 2, 3}};
  mp::Lock lock;
  mp::Value fourth{lock, 5};
  static_assert(std::is_same_v<decltype(fourth), mp::Value<int, mp::Lock>>);
  EXPECT_EQ(fourth.update([](int& x) { ++x; }), 6);
  const std::scoped_lock guard{rlock, lock};
  EXPECT_TRUE(first.get_lock().locked());
  EXPECT_TRUE(second.get_lock().locked());
  EXPECT_TRUE(third.get_lock().locked());
  EXPECT_TRUE(fourth.get_lock().locked());
  in_a_thread([&] { EXPECT_FALSE(second.get_lock().acquire(0s)); });
}

TEST(ValueLock, IsTakenByTheValueOrTheArrayItself) {
  mp::Value<int> value{1};
  mp::Array<int> array{1, 2};
  mp::Value<int, mp::Lock> plain{mp::Lock{}, 1};
  {
    const std::scoped_lock guard{value, array, plain};
    EXPECT_TRUE(value.get_lock().locked());
    EXPECT_TRUE(array.get_lock().locked());
    EXPECT_TRUE(plain.get_lock().locked());
    ++value.get_obj();
    in_a_thread([&] {
      EXPECT_FALSE(value.acquire(0s));
      EXPECT_FALSE(array.try_lock());
      EXPECT_FALSE(plain.try_lock_for(1ms));
    });
  }
  EXPECT_EQ(value.load(), 2);
  EXPECT_TRUE(value.acquire());
  EXPECT_TRUE(value.get_lock().locked());
  value.release();
  EXPECT_FALSE(value.get_lock().locked());
  EXPECT_FALSE(array.get_lock().locked());
  EXPECT_THROW(array.release(), std::logic_error);
  EXPECT_THROW(value.release(), std::logic_error);
}

TEST(ValueLock, IsAbandonedByWhoDiesHoldingItByItself) {
  mp::Value<int> value{1};
  die_holding(value);
  EXPECT_THROW(static_cast<void>(value.load()), mp::AbandonedLock);
  EXPECT_THROW(value.store(2), mp::AbandonedLock);
  EXPECT_THROW(value.update([](int& x) { ++x; }), mp::AbandonedLock);
  EXPECT_EQ(value.value(), 1);
  EXPECT_TRUE(value.get_lock().recover());
  value.get_lock().release();
  EXPECT_EQ(value.load(), 1);
}

TEST(ValueLock, IsNotAbandonedByWhoDiesInAnUpdate) {
  mp::Value<int> value{1};
  EXPECT_EQ((Child{[](mp::Value<int> its) {
                     its.update([](int& x) {
                       x = 99;
                       test::end_now();
                     });
                   },
                   value}
                 .join()),
            0);
  EXPECT_EQ(value.load(), 1);
  EXPECT_TRUE(value.get_lock().acquire(0s));
  value.get_lock().release();
  // But by one who had it before.
  EXPECT_EQ((Child{[](mp::Value<int> its) {
                     its.get_lock().acquire();
                     its.update([](int&) { test::end_now(); });
                   },
                   value}
                 .join()),
            0);
  EXPECT_THROW(static_cast<void>(value.load()), mp::AbandonedLock);
  value.get_lock().recover();
  value.get_lock().release();
  // And by one who takes it within, for more than the value.
  for (const bool recovers : {false, true}) {
    EXPECT_EQ((Child{[](mp::Value<int> its, bool by_recover) {
                       its.update([&](int&) {
                         by_recover ? its.get_lock().recover() : its.get_lock().acquire();
                         test::end_now();
                       });
                     },
                     value, recovers}
                   .join()),
              0);
    EXPECT_THROW(static_cast<void>(value.load()), mp::AbandonedLock);
    value.get_lock().recover();
    value.get_lock().release();
  }
  // Nor does one who vouched speak for the next.
  value.store(3);
  die_holding(value);
  EXPECT_THROW(static_cast<void>(value.load()), mp::AbandonedLock);
}

TEST(ValueOfAnAtomic, NeedsNoLock) {
  mp::Value<std::atomic<int>> count{5};
  mp::RawArray<std::atomic<std::uint64_t>> counts(3);
  EXPECT_EQ((mp::Value<std::atomic<long>>{}.value()), 0);
  const auto work = [](mp::Value<std::atomic<int>> its_count,
                       mp::RawArray<std::atomic<std::uint64_t>> its_counts) {
    for (int i = 0; i < 1000; ++i) {
      ++its_count.value();
      ++its_counts[1];
    }
  };
  Child child{work, count, counts};
  in_a_thread([&] { work(count, counts); });
  EXPECT_EQ(child.join(), 0);
  EXPECT_EQ(count.value(), 2005);
  EXPECT_EQ(counts[0], 0U);
  EXPECT_EQ(counts[1], 2000U);
}

TEST(Array, HasItsElements) {
  mp::Array<int> numbers{680, 626, 934};
  EXPECT_EQ(numbers.size(), 3U);
  EXPECT_EQ(numbers[2], 934);
  EXPECT_EQ(numbers.at(0), 680);
  EXPECT_THROW(static_cast<void>(numbers.at(3)), std::out_of_range);
  EXPECT_THROW(static_cast<void>(numbers.at(static_cast<std::size_t>(-1))), std::out_of_range);
  EXPECT_EQ(std::accumulate(numbers.begin(), numbers.end(), 0), 2240);
  std::ranges::copy(std::vector{1, 2}, numbers.span().subspan(1).begin());
  EXPECT_TRUE(std::ranges::equal(numbers, std::vector{680, 1, 2}));
  EXPECT_EQ((Child{[](mp::Array<int> its) {
                     const std::lock_guard guard{its.get_lock()};
                     for (int& number : its) number *= 2;
                   },
                   numbers}
                 .join()),
            0);
  EXPECT_TRUE(std::ranges::equal(numbers, std::vector{1360, 2, 4}));
  EXPECT_EQ((mp::Array<int>{100}.size()), 1U);
  EXPECT_EQ(mp::Array<WithDefault>(2)[1].number, 7);
  const std::vector<double> values{1.5, 2.5};
  EXPECT_EQ(mp::Array<double>(values)[1], 2.5);
  EXPECT_EQ((mp::Array<double, mp::Lock>{mp::Lock{}, values}[0]), 1.5);
  EXPECT_TRUE(mp::RawArray<int>(0).empty());
  const mp::RawArray<int> same{numbers.get_obj()};
  same[1] = 7;
  EXPECT_EQ(numbers[1], 7);
  mp::Array<char> text{'h', 'i', '\0', 'x'};
  EXPECT_EQ((std::string{text.begin(), std::ranges::find(text, '\0')}), "hi");  // Python: value
  EXPECT_EQ((std::string{text.begin(), text.end()}.size()), 4U);                // Python: raw
}

TEST(Array, IsZeroAlsoOnMemoryThatIsUsedAgain) {
  const mp::RawArray<int> keeps(1);
  for (int round = 0; round < 3; ++round) {
    for (const std::size_t size : {10U, 1000U, 100'000U}) {
      mp::Array<int> array(size);
      EXPECT_EQ(std::ranges::count(array, 0), static_cast<std::ptrdiff_t>(size));
      std::ranges::fill(array, -1);
    }
    mp::Value<std::uint64_t> value;
    EXPECT_EQ(value.value(), 0U);
    value.value() = 5;
  }
}

TEST(Array, TooLargeIsRefused) {
  EXPECT_THROW(mp::Array<double>(static_cast<std::size_t>(-1)), std::bad_array_new_length);
  EXPECT_THROW(mp::Array<char>(std::numeric_limits<std::size_t>::max() / 2),
               std::bad_array_new_length);
  EXPECT_THROW(mp::Array<char>(std::size_t{1} << 60U), std::system_error);
}

// ---- in transit ----

namespace {

template <class To, class From>
To sent_as(const From& object) {
  std::vector<std::byte> bytes;
  mp::Transit transit;
  mp::Encoder encoder{bytes, &transit};
  mp::detail::encode(encoder, object);
  std::vector<mp::Transit::Object> objects;
  for (const auto& one : transit.objects()) objects.push_back({one.kind, one.handles, nullptr});
  mp::Transit arrived{std::move(objects), mp::reduction::duplicates(transit.departing())};
  mp::Decoder decoder{bytes, &arrived};
  return mp::detail::decode<To>(decoder);
}

}  // namespace

TEST(ValueTransit, KeepsItsIdentityAndItsType) {
  mp::Value<int> value{1};
  auto there = sent_as<mp::Value<int>>(value);
  there.store(5);
  EXPECT_EQ(value.load(), 5);
  value.get_lock().acquire();
  EXPECT_TRUE(there.get_lock().locked());
  value.get_lock().release();
  EXPECT_THROW((sent_as<mp::Value<unsigned>>(value)), mp::SerializationError);
  EXPECT_THROW((sent_as<mp::RawValue<int>>(value)), mp::SerializationError);
  EXPECT_THROW((sent_as<mp::Value<int>>(mp::Value<int, mp::Lock>{})), mp::SerializationError);
  mp::Array<double> array(3);
  sent_as<mp::Array<double>>(array)[1] = 2.5;
  EXPECT_EQ(array[1], 2.5);
  EXPECT_THROW((sent_as<mp::Array<float>>(array)), mp::SerializationError);
  EXPECT_THROW((void)mp::dumps(value), mp::SerializationError);
  mp::Value<std::atomic<int>> atomic{1};
  ++sent_as<mp::Value<std::atomic<int>>>(atomic).value();
  EXPECT_EQ(atomic.value(), 2);
  static_assert(mp::carries_handles<mp::Value<int>>);
  static_assert(mp::carries_handles<std::optional<mp::RawArray<char>>>);
}

TEST(ContextMakes, ValuesAndArrays) {
  const auto context = mp::get_context(mp::StartMethod::spawn);
  EXPECT_EQ(context.Value<int>(3).load(), 3);
  EXPECT_EQ(context.Value<int>().load(), 0);
  const mp::Lock lock;
  EXPECT_EQ(context.Value<int>(lock, 4).load(), 4);
  EXPECT_EQ(context.RawValue<int>(3).value(), 3);
  EXPECT_EQ(context.Array<int>(3).size(), 3U);
  EXPECT_EQ(context.Array<int>({5, 6})[1], 6);
  EXPECT_EQ(context.Array<int>(lock, {5, 6})[1], 6);
  EXPECT_EQ(context.RawArray<char>({'a'})[0], 'a');
  EXPECT_EQ(context.Semaphore(3).get_value(), 3U);
  EXPECT_EQ(context.BoundedSemaphore(3).get_value(), 3U);
  EXPECT_FALSE(context.RLock().locked());
  EXPECT_FALSE(context.Condition().locked());
  EXPECT_FALSE(context.Condition(lock).locked());
  EXPECT_EQ(context.Barrier(2).parties(), 2U);
}
