// SPDX-License-Identifier: BSL-1.0
// What CPython's tests pin of shared data, between processes of every start method: _TestValue,
// _TestArray, _TestSharedCTypes, _TestSharedMemory.
#include <multiprocessing.hpp>

#include <support/captured.hpp>
#include <support/eventually.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <parity/in_child.hpp>

#if MULTIPROCESSING_POSIX
#  include <unistd.h>
#endif

namespace mp = multiprocessing;
using in_child::exit_code_of;
using namespace std::chrono_literals;
using test::eventually;

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
                   mp::RawValue<int> raw_number,
                   mp::RawValue<double> raw_real,
                   mp::RawValue<std::int64_t> raw_wide,
                   mp::RawValue<char> raw_letter,
                   mp::RawValue<short> raw) {
  number.store(-10234);
  real.store(-3.5);
  wide.store(std::int64_t{1} << 55U);
  letter.store('q');
  raw_number.value() = -10234;
  raw_real.value() = -3.5;
  raw_wide.value() = std::int64_t{1} << 55U;
  raw_letter.value() = 'q';
  raw.value() = -21;
}

TEST_P(SharedParity, ValuesAreChangedByAChild) {
  mp::Value<int> number{10234};
  mp::Value<double> real{1.5};
  mp::Value<std::int64_t> wide{std::int64_t{1} << 33U};
  mp::Value<char> letter{'c'};
  mp::RawValue<int> raw_number{10234};
  mp::RawValue<double> raw_real{1.5};
  mp::RawValue<std::int64_t> raw_wide{std::int64_t{1} << 33U};
  mp::RawValue<char> raw_letter{'c'};
  mp::RawValue<short> raw{short{7}};
  EXPECT_EQ(exit_code_of(change_values, number, real, wide, letter, raw_number, raw_real, raw_wide,
                         raw_letter, raw),
            0);
  EXPECT_EQ(number.load(), -10234);
  EXPECT_EQ(real.load(), -3.5);
  EXPECT_EQ(wide.load(), std::int64_t{1} << 55U);
  EXPECT_EQ(letter.load(), 'q');
  EXPECT_EQ(raw_number.value(), -10234);
  EXPECT_EQ(raw_real.value(), -3.5);
  EXPECT_EQ(raw_wide.value(), std::int64_t{1} << 55U);
  EXPECT_EQ(raw_letter.value(), 'q');
  EXPECT_EQ(raw.value(), -21);
}

template <class Numbers>
void add_up(const Numbers& numbers) {
  for (std::size_t i = 1; i < numbers.size(); ++i) numbers[i] += numbers[i - 1];
}
void sum_up(mp::Array<int> numbers, const mp::RawArray<int>& raw) {
  const std::lock_guard guard{numbers};
  add_up(numbers);
  add_up(raw);
}

// As _TestArray.test_array: a part is another's, the whole is summed up by a child.
template <class Numbers>
void expect_sums(const Numbers& numbers, const std::vector<int>& before, std::vector<int> sums) {
  EXPECT_EQ(numbers.size(), 10U);
  EXPECT_TRUE(std::ranges::equal(numbers.span().subspan(2, 5), std::span{sums}.subspan(2, 5)));
  EXPECT_TRUE(std::ranges::equal(numbers, sums));
  std::ranges::copy(std::span{before}.subspan(4, 4), numbers.span().subspan(4, 4).begin());
  std::ranges::copy(std::span{before}.subspan(4, 4), sums.begin() + 4);
  EXPECT_TRUE(std::ranges::equal(numbers, sums));
}

TEST_P(SharedParity, ArraysAreChangedByAChild) {
  const std::vector<int> before{680, 626, 934, 821, 150, 233, 548, 982, 714, 831};
  const std::vector<int> sums{680, 1306, 2240, 3061, 3211, 3444, 3992, 4974, 5688, 6519};
  const mp::Array<int> numbers(before);
  const mp::RawArray<int> raw(before);
  EXPECT_TRUE(std::ranges::equal(raw, before));
  EXPECT_EQ(exit_code_of(sum_up, numbers, raw), 0);
  expect_sums(numbers, before, sums);
  expect_sums(raw, before, sums);
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

void write_both_ways(mp::SharedMemory memory,
                     mp::ShareableList list,
                     mp::Event written,
                     mp::Event read) {
  read.wait();
  if (memory.buf()[2] != std::byte{3} || list[0] != mp::ShareableItem{7}) {
    throw std::runtime_error{"not what the parent wrote"};
  }
  memory.buf()[3] = std::byte{4};
  list.set(1, "there");
  written.set();
}

TEST_P(SharedParity, NamedMemoryIsTheSameBytesInBothDirections) {
  mp::SharedMemory memory{{.create = true, .size = 10}};
  mp::ShareableList list{1, "parent"};
  mp::Event written;
  mp::Event read;
  mp::Process process{write_both_ways, memory, list, written, read};
  process.start();
  memory.buf()[2] = std::byte{3};
  list.set(0, 7);
  read.set();
  written.wait();
  EXPECT_EQ(memory.buf()[3], std::byte{4});
  EXPECT_EQ(list[1], mp::ShareableItem{"there"});
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

#if MULTIPROCESSING_POSIX  // not on Windows: names go with their last user, and SIGKILL
bool exists(const std::string& name) {
  try {
    const mp::SharedMemory attached{{.name = name}};
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

// test_resource_tracker, test_shared_memory_cleaned_after_process_termination
TEST_P(SharedParity, NamesOfAChildThatIsKilledAreRemoved) {
  const test::Captured errors{STDERR_FILENO};
  mp::Queue<std::string> names;
  mp::Process process{[](mp::Queue<std::string> to) {
                        const mp::SharedMemory memory{{.create = true, .size = 10}};
                        to.put(memory.name());
                        test::wait_for_ever();
                      },
                      names};
  process.start();
  const std::string name = names.get();
  EXPECT_TRUE(exists(name));
  process.kill();
  process.join();
  eventually([&] { return !exists(name); });
  const std::string expected =
      "multiprocessing: process " + std::to_string(*process.pid()) +
      " has ended and left 1 shared memory segment, which are removed: " + name + "\n";
  eventually([&] { return !errors.text().empty(); });
  EXPECT_EQ(errors.text(), expected);
}

// test_resource_tracker_fork_deadlock: a copy of the creator, which knows nothing of it, lives on.
TEST_P(SharedParity, ACreatorEndsThoughACopyOfItLivesOn) {
  const test::Captured errors{STDERR_FILENO};
  mp::Queue<int> pids;
  mp::Process process{[](mp::Queue<int> to) {
                        static std::optional<mp::SharedMemory> memory;  // until the very end
                        memory.emplace(mp::SharedMemoryOptions{.create = true, .size = 10});
                        const int pid = ::fork();
                        if (pid == 0) {
                          for (;;) ::pause();
                        }
                        to.put(pid);
                      },
                      pids};
  process.start();
  const int copy = pids.get();
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 0);
  EXPECT_FALSE(in_child::is_gone(copy));
  ::kill(copy, SIGKILL);
  eventually([&] { return in_child::is_gone(copy); });
  EXPECT_EQ(errors.text(), "");
}
#endif

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
