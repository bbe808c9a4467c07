// SPDX-License-Identifier: BSL-1.0
// A queue without a bound has none; and what it does when the system sets one.
// Not on Windows: memory is not given back, and limits of resources
#include <multiprocessing/process.hpp>
#include <multiprocessing/queues.hpp>

#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace mp = multiprocessing;

namespace {

constexpr std::uint64_t mebibyte = std::uint64_t{1} << 20U;

std::uint64_t backlog() {
  const char* const text = std::getenv("MULTIPROCESSING_TEST_BACKLOG_MIB");
  return (text == nullptr ? 160 : std::strtoul(text, nullptr, 10)) * mebibyte;
}

std::string item_of(std::uint64_t number) {
  std::string item(60'000 + number % 1000, static_cast<char>('a' + number % 26));
  return item.replace(0, 20, std::to_string(number) + std::string(20, ' '), 0, 20);
}

// What the queue takes from the machine.
std::uint64_t memory_of(const mp::Queue<std::string>& queue) {
  mp::Transit transit;
  std::vector<std::byte> bytes;
  mp::Encoder encoder{bytes, &transit};
  mp::detail::encode(encoder, queue);
  struct stat status {};
  EXPECT_EQ(::fstat(transit.departing().front(), &status), 0);
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

std::uint64_t fill(mp::Queue<std::string>& queue, std::errc expected) {
  std::uint64_t stored = 0;
  try {
    for (;; ++stored) queue.put(item_of(stored));
  } catch (const std::system_error& error) {
    if (error.code() != expected) throw;
  }
  return stored;
}
void expect_all(mp::Queue<std::string>& queue, std::uint64_t stored) {
  for (std::uint64_t i = 0; i < stored; ++i) {
    if (queue.get() != item_of(i)) throw std::runtime_error{"damaged"};
  }
  for (int i = 0; i < 100; ++i) {
    queue.put("goes on");
    if (queue.get() != "goes on") throw std::runtime_error{"damaged"};
  }
}

// A group of processes with so much memory, where the system lets us make one.
class MemoryGroup {
 public:
  explicit MemoryGroup(std::uint64_t limit) {
    const std::filesystem::path root{"/sys/fs/cgroup"};
    const bool unified = std::filesystem::exists(root / "cgroup.controllers");
    folder_ =
        (unified ? root : root / "memory") / ("multiprocessing-test-" + std::to_string(::getpid()));
    std::error_code ec;
    if (!std::filesystem::create_directory(folder_, ec)) return;
    made_ = true;
    usable_ = write(unified ? "memory.max" : "memory.limit_in_bytes", std::to_string(limit));
    write(unified ? "memory.swap.max" : "memory.memsw.limit_in_bytes",
          unified ? "0" : std::to_string(limit));
  }
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;
  ~MemoryGroup() {
    if (made_) test::eventually([this] { return ::rmdir(folder_.c_str()) == 0; });
  }
  [[nodiscard]] bool usable() const { return usable_; }
  [[nodiscard]] bool enter() const { return write("cgroup.procs", std::to_string(::getpid())); }

 private:
  bool write(std::string_view name, const std::string& text) const {
    std::ofstream file{folder_ / name};
    return static_cast<bool>(file << text << std::flush);
  }

  std::filesystem::path folder_;
  bool made_ = false;
  bool usable_ = false;
};

}  // namespace

TEST(QueueBacklog, ComesOutInOrderAndItsMemoryIsGivenBack) {
  mp::Queue<std::string> queue;
  const std::uint64_t wanted = backlog();
  mp::Queue<std::uint64_t> count;
  mp::Process producer{[&] {
    std::uint64_t number = 0;
    for (std::uint64_t stored = 0; stored < wanted; ++number) {
      const std::string item = item_of(number);
      queue.put(item);
      stored += item.size();
    }
    count.put(number);
  }};
  producer.start();
  producer.join();
  ASSERT_EQ(producer.exitcode(), 0);
  EXPECT_GE(memory_of(queue), wanted);
  const std::uint64_t items = count.get();
  for (std::uint64_t i = 0; i < items; ++i) ASSERT_EQ(queue.get(), item_of(i));
  EXPECT_TRUE(queue.empty());
  EXPECT_LE(memory_of(queue), 80 * mebibyte);
}

TEST(QueueBacklog, OfABoundedQueueTakesWhatItsBoundNeeds) {
  constexpr std::size_t most = 16;
  mp::Queue<std::string> queue{most};
  const std::string item(mebibyte, 'x');
  for (int round = 0; round < 4; ++round) {
    for (std::size_t i = 0; i < most; ++i) queue.put(item);
    for (std::size_t i = 0; i < most; ++i) ASSERT_EQ(queue.get(), item);
  }
  EXPECT_LE(memory_of(queue), 30 * mebibyte);
}

// Large messages would rather go round in more than there is.
TEST(QueueLimit, OfTheSizeOfFilesIsNoErrorOfAFlowThatNeedsNoMore) {
  mp::Process process{[] {
    const rlimit limit{mebibyte / 2, mebibyte / 2};  // as far as the first area goes
    setrlimit(RLIMIT_FSIZE, &limit);
    mp::Queue<std::string> queue;
    const std::string item(5000, 'x');
    for (int i = 0; i < 500; ++i) {
      queue.put(item);
      if (queue.get() != item) throw std::runtime_error{"damaged"};
    }
  }};
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

TEST(QueueLimit, OfTheSizeOfFilesIsAnErrorOfPut) {
  mp::Process process{[] {
    const rlimit limit{24 * mebibyte, 24 * mebibyte};
    setrlimit(RLIMIT_FSIZE, &limit);  // SIGXFSZ would kill this process
    mp::Queue<std::string> queue;
    const std::uint64_t stored = fill(queue, std::errc::file_too_large);
    if (stored < 100) throw std::runtime_error{"too early"};
    expect_all(queue, stored);
  }};
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

TEST(QueueLimit, OfAddressSpaceIsAnErrorOfPut) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer's shadow alone is larger than the limit";
#endif
  mp::Process process{[] {
    const rlimit limit{300 * mebibyte, 300 * mebibyte};
    setrlimit(RLIMIT_AS, &limit);
    mp::Queue<std::string> queue;
    const std::uint64_t stored = fill(queue, std::errc::not_enough_memory);
    if (stored < 100) throw std::runtime_error{"too early"};
    expect_all(queue, stored);
    if (fill(queue, std::errc::not_enough_memory) < 100) throw std::runtime_error{"not again"};
  }};
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

TEST(QueueLimit, OfAGroupsMemoryKillsAProducerAndNotTheQueue) {
  const MemoryGroup group{48 * mebibyte};
  if (!group.usable()) GTEST_SKIP() << "this system lets us make no memory cgroup";
  mp::Queue<std::string> queue;
  mp::Process producer{[&] {
    if (!group.enter()) throw mp::SystemExit(7);
    for (std::uint64_t i = 0; i < 10'000; ++i) queue.put(item_of(i));
  }};
  producer.start();
  producer.join();
  if (producer.exitcode() == 7) GTEST_SKIP() << "this system lets nobody into the cgroup";
  EXPECT_EQ(producer.exitcode(), -SIGKILL);
  const std::uint64_t stored = queue.qsize();
  EXPECT_GE(stored, 100U);
  expect_all(queue, stored);
}
