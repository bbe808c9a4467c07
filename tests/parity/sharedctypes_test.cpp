// SPDX-License-Identifier: BSL-1.0
// What CPython's tests pin of shared data, between processes of every start method: _TestValue,
// _TestArray, _TestSharedCTypes, _TestSharedMemory.
#include <multiprocessing.hpp>

#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include <parity/in_child.hpp>

namespace mp = multiprocessing;
using in_child::exit_code_of;
using namespace std::chrono_literals;

namespace {

class SharedParity : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(SharedParity);

struct Foo {
  int x;
  double y;
  std::int64_t z;
};

void change_values(mp::Value<int> number,
                   mp::Value<double> real,
                   mp::Value<std::int64_t> wide,
                   mp::Value<char> letter,
                   mp::RawValue<short> raw) {
  number.store(-10234);
  real.store(-3.5);
  wide.store(std::int64_t{1} << 55U);
  letter.store('q');
  raw.value() = -21;
}

TEST_P(SharedParity, ValuesAreChangedByAChild) {
  mp::Value<int> number{10234};
  mp::Value<double> real{1.5};
  mp::Value<std::int64_t> wide{std::int64_t{1} << 33U};
  mp::Value<char> letter{'c'};
  mp::RawValue<short> raw{short{7}};
  EXPECT_EQ(exit_code_of(change_values, number, real, wide, letter, raw), 0);
  EXPECT_EQ(number.load(), -10234);
  EXPECT_EQ(real.load(), -3.5);
  EXPECT_EQ(wide.load(), std::int64_t{1} << 55U);
  EXPECT_EQ(letter.load(), 'q');
  EXPECT_EQ(raw.value(), -21);
}

void sum_up(mp::Array<int> numbers, mp::RawArray<int> raw) {
  const std::lock_guard guard{numbers.get_lock()};
  for (std::size_t i = 1; i < numbers.size(); ++i) numbers[i] += numbers[i - 1];
  std::ranges::reverse(raw);
}

TEST_P(SharedParity, ArraysAreChangedByAChild) {
  mp::Array<int> numbers{680, 626, 934, 821, 150, 233, 548, 982, 714, 831};
  mp::RawArray<int> raw{1, 2, 3};
  EXPECT_EQ(exit_code_of(sum_up, numbers, raw), 0);
  EXPECT_EQ(numbers[9], 6519);
  EXPECT_EQ(raw[0], 3);
}

void fill(mp::RawArray<double> large) {
  for (std::size_t i = 0; i < large.size(); ++i) large[i] += static_cast<double>(i);
}

TEST_P(SharedParity, LargeArraysTravelToo) {
  mp::RawArray<double> large(100'000);
  EXPECT_EQ(exit_code_of(fill, large), 0);
  for (std::size_t i = 0; i < large.size(); i += 9999) EXPECT_EQ(large[i], static_cast<double>(i));
}

void double_all(mp::Value<Foo> foo, mp::RawValue<Foo> raw, mp::Array<char> text) {
  foo.update([](Foo& each) { each = {each.x * 2, each.y * 2, each.z * 2}; });
  raw.value().x *= 2;
  for (char& letter : text) letter = static_cast<char>(letter - 32);
}

TEST_P(SharedParity, StructsAndText) {
  mp::Value<Foo> foo{3, 2.0, std::int64_t{1} << 33U};
  mp::RawValue<Foo> raw{foo.value()};
  mp::Array<char> text{'h', 'e', 'l', 'l', 'o'};
  EXPECT_EQ(exit_code_of(double_all, foo, raw, text), 0);
  EXPECT_EQ(foo.value().x, 6);
  EXPECT_EQ(foo.value().y, 4.0);
  EXPECT_EQ(foo.value().z, std::int64_t{1} << 34U);
  EXPECT_EQ(raw.value().x, 6);
  EXPECT_EQ(raw.value().y, 2.0);
  EXPECT_EQ((std::string{text.begin(), text.end()}), "HELLO");
}

void try_locks(mp::Value<int> value, mp::Array<int, mp::Lock> array) {
  if (value.get_lock().acquire(0s) || array.get_lock().acquire(0s))
    throw std::runtime_error{"free"};
}

TEST_P(SharedParity, AGivenLockIsTheLock) {
  mp::RLock rlock;
  mp::Lock lock;
  mp::Value<int> value{rlock, 5};
  mp::Array<int, mp::Lock> array{lock, {1, 2}};
  const std::scoped_lock guard{rlock, lock};
  EXPECT_EQ(exit_code_of(try_locks, value, array), 0);
}

void count(mp::Value<std::atomic<int>> counter, mp::Value<int> locked) {
  for (int i = 0; i < 1000; ++i) {
    ++counter.value();
    locked.update([](int& x) { ++x; });
  }
}

TEST_P(SharedParity, NoIncrementIsLost) {
  mp::Value<std::atomic<int>> counter;
  mp::Value<int> locked;
  std::vector<mp::Process<>> processes;
  for (int i = 0; i < 3; ++i) processes.emplace_back(count, counter, locked);
  for (auto& process : processes) process.start();
  for (auto& process : processes) process.join();
  EXPECT_EQ(counter.value(), 3000);
  EXPECT_EQ(locked.load(), 3000);
}

void change_memory(mp::SharedMemory memory, mp::ShareableList list, const std::string& name) {
  memory.buf()[0] = std::byte{1};
  mp::SharedMemory{{.name = name}}.buf()[1] = std::byte{2};
  list.set(1, "child");
}

TEST_P(SharedParity, NamedMemoryIsAttachedToByNameOrAsAnArgument) {
  mp::SharedMemory memory{{.create = true, .size = 10}};
  mp::ShareableList list{1, "parent"};
  EXPECT_EQ(exit_code_of(change_memory, memory, list, memory.name()), 0);
  EXPECT_EQ(memory.buf()[0], std::byte{1});
  EXPECT_EQ(memory.buf()[1], std::byte{2});
  EXPECT_EQ(list[1], mp::ShareableItem{"child"});
  EXPECT_EQ(mp::SharedMemory{{.name = memory.name()}}.size(), memory.size());
}

void hand_on(mp::Connection connection) {
  for (int i = 0; i < 1000; ++i) {
    const auto lock = connection.recv<mp::Lock>();
    if (!lock.locked()) throw std::runtime_error{"another lock"};
  }
}

TEST_P(SharedParity, ThousandsOfLocksTravelThroughAPipe) {
  mp::Pipe pipe;
  mp::Process process{hand_on, pipe.second};
  process.start();
  std::vector<mp::Lock> locks(1000);
  for (auto& lock : locks) {
    lock.acquire();
    pipe.first.send(lock);
  }
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  for (auto& lock : locks) lock.release();
}

void use_all(std::vector<mp::Lock> locks) {
  for (auto& lock : locks) {
    const std::lock_guard guard{lock};
  }
}

TEST_P(SharedParity, ThousandsOfLocksTravelInAnArgument) {
  EXPECT_EQ(exit_code_of(use_all, std::vector<mp::Lock>(5000)), 0);
}

}  // namespace
