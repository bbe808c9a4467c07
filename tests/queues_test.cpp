// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/process.hpp>
#include <multiprocessing/queues.hpp>

#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <fstream>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#if MULTIPROCESSING_POSIX
#  include <sys/resource.h>
#  include <sys/stat.h>
#  include <sys/syscall.h>
#endif

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::eventually;

namespace {

struct Point {
  int x = 0;
  int y = 0;
  bool operator==(const Point&) const = default;
};

// A type whose encoding may fail, by any exception, when some of it is written.
struct Refuses {
  enum class By : std::uint8_t { nothing, serialization_error, bad_alloc, number };
  std::string written;
  By by = By::nothing;
  template <class Archive>
  void save(Archive& archive) const {
    archive(written);
    if (by == By::serialization_error) throw mp::SerializationError{"refused"};
    if (by == By::bad_alloc) throw std::bad_alloc{};
    if (by == By::number) throw 42;  // NOLINT(hicpp-exception-baseclass): anything can be thrown
    archive(by);
  }
  template <class Archive>
  void load(Archive& archive) {
    archive(written, by);
  }
};
// Looks as if it could be put; a queue in it cannot travel through a queue.
struct HidesAQueue {
  HidesAQueue() {}
  template <class Archive>
  void serialize(Archive& archive) {
    archive(written, hidden);
  }
  std::string written = std::string(100, 'h');
  mp::Queue<int> hidden;
};

// No put() of what fails by that leaves a trace in the queue or in this thread.
template <class Error>
void expect_no_trace(Refuses::By by) {
  for (const std::size_t size : {0U, 100U, 10'000U, 1'000'000U}) {
    mp::JoinableQueue<Refuses> queue{1};
    const Refuses refused{std::string(size, 'r'), by};
    EXPECT_THROW(queue.put(refused), Error);
    EXPECT_THROW(queue.put_nowait(refused), Error);
    EXPECT_THROW(static_cast<void>(queue.try_put(refused)), Error);
    EXPECT_TRUE(queue.empty());
    EXPECT_EQ(queue.qsize(), 0U);
    EXPECT_EQ(queue.unfinished(), 0U);
    queue.join();
    // The one place is still there, and no byte of what failed before is in it.
    queue.put_nowait({"whole", Refuses::By::nothing});
    EXPECT_EQ(queue.unfinished(), 1U);
    const Refuses got = queue.get();
    EXPECT_EQ(got.written, "whole");
    EXPECT_EQ(got.by, Refuses::By::nothing);
    queue.task_done();
    queue.join();
  }
}

#if MULTIPROCESSING_POSIX
bool sleeps_in_futex(int pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/syscall"};
  std::string number;
  file >> number;
  return number == std::to_string(SYS_futex);
}
char state_of(int pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/stat"};
  std::string word;
  file >> word >> word >> word;
  return word.empty() ? '?' : word.front();
}

// What the queue's memory takes from the machine, by its descriptor, which is the newest here.
std::uint64_t memory_of_newest_descriptor() {
  struct stat status {};
  int newest = -1;
  for (int fd = 0; fd < 256; ++fd) {
    struct stat one {};
    if (::fstat(fd, &one) == 0 && one.st_size >= (256 << 10) && S_ISREG(one.st_mode)) {
      newest = fd;
      status = one;
    }
  }
  EXPECT_GE(newest, 0);
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}
#endif

}  // namespace

TEST(QueueGet, ReturnsItemsInTheOrderTheyWerePut) {
  mp::Queue<int> queue;
  for (int i = 0; i < 100'000; ++i) queue.put(i);
  for (int i = 0; i < 100'000; ++i) ASSERT_EQ(queue.get(), i);
  EXPECT_TRUE(queue.empty());
}

TEST(QueueGet, ReturnsWhatWasPutForEveryKindOfType) {
  mp::Queue<std::string> strings;
  strings.put("");
  strings.put("hello");
  EXPECT_EQ(strings.get(), "");
  EXPECT_EQ(strings.get(), "hello");
  mp::Queue<Point> points;
  points.put({1, 2});
  EXPECT_EQ(points.get(), (Point{1, 2}));
  mp::Queue<std::vector<Point>> vectors;
  vectors.put({{1, 2}, {3, 4}});
  EXPECT_EQ(vectors.get(), (std::vector<Point>{{1, 2}, {3, 4}}));
  mp::Queue<std::unique_ptr<int>> owners;
  owners.put(std::make_unique<int>(7));
  EXPECT_EQ(*owners.get(), 7);
  mp::Queue<bool> flags;
  flags.put(true);
  EXPECT_TRUE(flags.get());
}

TEST(QueuePut, TakesMessagesOfEverySizeAcrossTheEndOfEveryArea) {
  mp::Queue<std::string> queue;
  std::string text;
  for (std::size_t size = 0; size < 3000; size += 7) {  // goes round area 0 several times
    queue.put(std::string(size, static_cast<char>('a' + size % 26)));
    text = queue.get();
    ASSERT_EQ(text, std::string(size, static_cast<char>('a' + size % 26)));
  }
  for (std::size_t size = 1; size <= (std::size_t{64} << 20U); size *= 3) {
    queue.put(std::string(size, 'x'));
    queue.put(std::string(size / 2, 'y'));
    ASSERT_EQ(queue.get(), std::string(size, 'x'));
    ASSERT_EQ(queue.get(), std::string(size / 2, 'y'));
  }
}

TEST(QueuePut, KeepsOrderWhileTheBacklogGrowsAndShrinks) {
  mp::Queue<std::string> queue;
  std::uint64_t put = 0;
  std::uint64_t got = 0;
  const auto item = [](std::uint64_t number) {
    return std::to_string(number) + std::string(number * 37 % 5000, '.');
  };
  for (const std::uint64_t backlog : {10U, 1000U, 3U, 20'000U, 0U, 500U, 0U, 40'000U, 0U}) {
    while (put - got < backlog) queue.put(item(put++));
    while (put - got > backlog) ASSERT_EQ(queue.get(), item(got++));
    ASSERT_EQ(queue.qsize(), backlog);
  }
}

TEST(QueuePut, FindsAnAreaWhileConsumersHaveNotFollowedItHome) {
  mp::Queue<std::string> queue;
  const std::string large(700'000, 'x');
  for (int i = 0; i < 64; ++i) {  // a large item leads away from the first area, the 65th back
    queue.put(i == 0 ? large : "");
    queue.get();
  }
  queue.put("home");
  for (int i = 0; i < 8; ++i) queue.put(large);
  EXPECT_EQ(queue.get(), "home");
  for (int i = 0; i < 8; ++i) EXPECT_EQ(queue.get(), large);
}

TEST(QueuePut, FindsFreeAreasHoweverOftenTheBacklogComesAndGoes) {
  mp::Queue<std::string> queue;
  for (int round = 0; round < 40; ++round) {
    const std::string item(100'000, static_cast<char>('a' + round % 26));
    for (int i = 0; i < 12; ++i) queue.put(item);
    for (int i = 0; i < 12; ++i) ASSERT_EQ(queue.get(), item);
    for (int i = 0; i < 64; ++i) {
      queue.put("");
      queue.get();
    }
  }
}

TEST(QueuePut, ThrowsFullWhenABoundedQueueHoldsMaxsizeItems) {
  mp::Queue<int> queue{3};
  for (int i = 0; i < 3; ++i) queue.put(i);
  EXPECT_TRUE(queue.full());
  EXPECT_THROW(queue.put_nowait(3), mp::Full);
  EXPECT_FALSE(queue.try_put(3));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THROW(queue.put(3, 120ms), mp::Full);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 120ms);
  EXPECT_THROW(queue.put(3, -1s), mp::Full);
  EXPECT_EQ(queue.get(), 0);
  EXPECT_FALSE(queue.full());
  queue.put_nowait(3);
  EXPECT_EQ(queue.get(), 1);
  EXPECT_EQ(queue.qsize(), 2U);
}

TEST(QueueGet, ThrowsEmptyWhenNothingCameInTime) {
  mp::Queue<int> queue;
  EXPECT_THROW(queue.get_nowait(), mp::Empty);
  EXPECT_EQ(queue.try_get(), std::nullopt);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THROW(queue.get(120ms), mp::Empty);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 120ms);
  EXPECT_THROW(queue.get(-1s), mp::Empty);
  queue.put(1);
  EXPECT_EQ(queue.get(0s), 1);
}

TEST(QueueSize, FollowsPutAndGet) {
  mp::Queue<int> queue;
  EXPECT_EQ(queue.qsize(), 0U);
  queue.put(1);
  EXPECT_EQ(queue.qsize(), 1U);
  queue.put(5);
  EXPECT_EQ(queue.qsize(), 2U);
  queue.get();
  EXPECT_EQ(queue.qsize(), 1U);
  queue.get();
  EXPECT_EQ(queue.qsize(), 0U);
  EXPECT_FALSE(queue.full());
}

TEST(QueuePut, WhoseEncodingFailsLeavesNoTrace) {
  expect_no_trace<mp::SerializationError>(Refuses::By::serialization_error);
  expect_no_trace<std::bad_alloc>(Refuses::By::bad_alloc);
  expect_no_trace<int>(Refuses::By::number);
}

TEST(QueuePut, OfAQueueThatIsHiddenInAnObjectIsAnErrorAndLeavesNoTrace) {
  mp::JoinableQueue<HidesAQueue> queue{1};
  EXPECT_THROW(queue.put(HidesAQueue{}), mp::SerializationError);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.unfinished(), 0U);
  mp::Queue<std::string> next;  // the thread's buffer is that of all queues
  next.put("next");
  EXPECT_EQ(next.get(), "next");
  mp::Queue<std::vector<std::string>> encoded;
  encoded.put({"next"});
  EXPECT_EQ(encoded.get(), std::vector<std::string>{"next"});
}

TEST(QueueEmplace, MakesTheItemOfItsArguments) {
  mp::Queue<std::string> queue;
  queue.emplace(3U, 'x');
  EXPECT_EQ(queue.get(), "xxx");
}

TEST(QueueClose, MakesEveryCopyHereUnusableAndIsFineTwice) {
  mp::Queue<int> queue;
  mp::Queue<int> copy = queue;
  queue.put(1);
  queue.close();
  queue.close();
  EXPECT_THROW(copy.put(2), std::invalid_argument);
  EXPECT_THROW(copy.get(), std::invalid_argument);
  EXPECT_THROW((void)copy.empty(), std::invalid_argument);
  EXPECT_THROW((void)copy.full(), std::invalid_argument);
  EXPECT_THROW((void)copy.get_many(0), std::invalid_argument);
  EXPECT_THROW((void)mp::dumps(copy), std::exception);
  queue.join_thread();
  queue.cancel_join_thread();
}

TEST(QueueClose, OfAnUnusedQueueDoesNothingElse) {
  mp::Queue<int> queue;
  queue.close();
  queue.join_thread();
  EXPECT_THROW((void)queue.empty(), std::invalid_argument);
}

TEST(QueueClose, LeavesOtherProcessesTheirs) {
  mp::Queue<int> there;
  mp::Queue<int> back;
  mp::Process process{[](mp::Queue<int> in, mp::Queue<int> out) { out.put(in.get() + 1); }, there,
                      back};
  process.start();
  there.put(1);
  there.close();
  EXPECT_EQ(back.get(), 2);
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

TEST(QueueClose, WakesAThreadThatWaitsInIt) {
  mp::Queue<int> empty;
  mp::Queue<int> full{1};
  full.put(1);
  std::atomic<int> woken{0};
  const auto blocked = [&woken](auto call) {
    return std::thread{[&woken, call] {
      EXPECT_THROW(call(), std::invalid_argument);
      ++woken;
    }};
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.push_back(blocked([&empty] { empty.get(); }));
    threads.push_back(blocked([&full] { full.put(2); }));
  }
  empty.close();
  full.close();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(woken, 4);
}

TEST(QueuePut, FromManyThreadsAndProcessesArrivesExactlyOnce) {
  constexpr int producers = 4;
  constexpr int each = 20'000;
  for (const std::size_t maxsize : {std::size_t{0}, std::size_t{1}, std::size_t{100}}) {
    mp::Queue<int> queue{maxsize};
    std::vector<mp::Process<>> processes;
    for (int p = 0; p < producers; ++p) {
      processes.emplace_back(
          [](mp::Queue<int> q, int number) {
            for (int i = 0; i < each; ++i) q.put(number * each + i);
          },
          queue, p);
    }
    for (auto& process : processes) process.start();
    std::vector<std::atomic<int>> seen(std::size_t{producers} * each);
    std::vector<std::thread> consumers;
    for (int c = 0; c < 2; ++c) {
      consumers.emplace_back([&] {
        std::vector<int> last(producers, -1);
        for (int i = 0; i < producers * each / 2; ++i) {
          const int item = queue.get();
          ++seen[static_cast<std::size_t>(item)];
          int& before = last[static_cast<std::size_t>(item / each)];
          EXPECT_LT(before, item % each);  // one consumer sees each producer's order
          before = item % each;
        }
      });
    }
    for (auto& consumer : consumers) consumer.join();
    for (auto& process : processes) process.join();
    for (const auto& count : seen) ASSERT_EQ(count, 1);
    EXPECT_TRUE(queue.empty());
  }
}

#if MULTIPROCESSING_POSIX  // not on Windows: signals
TEST(QueueWaiting, OfAStoppedProcessHoldsNobodyUp) {
  mp::Queue<int> empty;
  mp::Queue<int> full{1};
  full.put(0);
  mp::Process getter{[&empty] { empty.get(); }};
  mp::Process putter{[&full] { full.put(1); }};
  for (auto* process : {&getter, &putter}) {
    process->start();
    const int pid = *process->pid();
    ASSERT_TRUE(eventually([&] { return sleeps_in_futex(pid); }));
    ASSERT_TRUE(eventually([&] {
      ::kill(pid, SIGSTOP);
      eventually([&] { return state_of(pid) == 'T'; });
      if (sleeps_in_futex(pid)) return true;
      ::kill(pid, SIGCONT);  // it had just woken up to look again, and may have had a lock
      return false;
    }));
  }
  empty.put(1);
  EXPECT_EQ(empty.get(), 1);
  EXPECT_EQ(full.get(), 0);
  full.put(2);
  EXPECT_EQ(full.get(), 2);
  for (auto* process : {&getter, &putter}) ::kill(*process->pid(), SIGCONT);
  empty.put(3);
  for (auto* process : {&getter, &putter}) process->join();
  EXPECT_EQ(full.get(), 1);
}
#endif

TEST(QueueWaiting, EndsForAsManyConsumersAsThereAreItems) {
  mp::Queue<int> queue;
  std::atomic<int> sum{0};
  std::vector<std::thread> consumers;
  for (int i = 0; i < 4; ++i) consumers.emplace_back([&] { sum += queue.get(); });
  for (int i = 1; i <= 4; ++i) queue.put(i);
  for (auto& consumer : consumers) consumer.join();
  EXPECT_EQ(sum, 10);
}

TEST(QueuePut, OfUnreadItemsDoesNotHoldUpTheProcessEnd) {
  mp::Queue<std::string> queue;
  mp::Process process{[](mp::Queue<std::string> q) {
                        for (int i = 0; i < 100; ++i) q.put(std::string(100'000, 'x'));
                      },
                      queue};
  process.start();
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 0);
  EXPECT_EQ(queue.qsize(), 100U);
}

#if MULTIPROCESSING_POSIX  // not on Windows: memory is not given back
TEST(QueueMemory, IsGivenBackWhenTheBacklogHasBeenRead) {
  mp::Queue<std::string> queue;
  const std::string item(std::size_t{1} << 20U, 'x');
  for (int i = 0; i < 400; ++i) queue.put(item);
  EXPECT_GE(memory_of_newest_descriptor(), std::uint64_t{400} << 20U);
  for (int i = 0; i < 400; ++i) ASSERT_EQ(queue.get(), item);
  EXPECT_LE(memory_of_newest_descriptor(), std::uint64_t{40} << 20U);
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: memory is not given back
TEST(QueueMemory, OfASteadyFlowStaysSmall) {
  mp::Queue<std::string> queue;
  for (int i = 0; i < 100'000; ++i) {
    queue.put("steady");
    queue.get();
  }
  EXPECT_LE(memory_of_newest_descriptor(), std::uint64_t{1} << 20U);
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: memory is not given back
TEST(QueueMemory, IsSmallAgainForLargeItemsAfterABurst) {
  mp::Queue<std::string> queue;
  const std::string item(100'000, 'x');
  for (int i = 0; i < 600; ++i) queue.put(item);
  for (int i = 0; i < 600; ++i) queue.get();
  for (int i = 0; i < 200; ++i) {
    queue.put(item);
    queue.get();
  }
  EXPECT_LE(memory_of_newest_descriptor(), std::uint64_t{12} << 20U);
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: memory is not given back
TEST(QueueMemory, OfOneHugeItemIsGivenBackWhenItHasBeenRead) {
  mp::Queue<std::string> queue;
  queue.put(std::string(std::size_t{100} << 20U, 'x'));
  queue.get();
  EXPECT_LE(memory_of_newest_descriptor(), std::uint64_t{20} << 20U);
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: limits of resources
TEST(QueueMemory, RefusedByTheSystemIsAnErrorOfPutAndTheQueueGoesOn) {
  mp::Queue<std::uint64_t> results;
  mp::Process process{[](mp::Queue<std::uint64_t> out) {
                        mp::Queue<std::string> queue;
                        const rlimit limit{std::uint64_t{4} << 20U, std::uint64_t{4} << 20U};
                        setrlimit(RLIMIT_FSIZE, &limit);  // SIGXFSZ would kill this process
                        std::uint64_t stored = 0;
                        try {
                          for (;; ++stored) queue.put(std::string(100'000, 'x'));
                        } catch (const std::system_error& error) {
                          if (error.code() != std::errc::file_too_large) throw;
                        }
                        for (std::uint64_t i = 0; i < stored; ++i) {
                          if (queue.get().size() != 100'000) throw std::runtime_error{"damaged"};
                        }
                        for (int i = 0; i < 1000; ++i) {
                          queue.put("goes on");
                          queue.get();
                        }
                        out.put(stored);
                      },
                      results};
  process.start();
  process.join();
  ASSERT_EQ(process.exitcode(), 0);
  EXPECT_GE(results.get(), 5U);
}

TEST(QueueMemory, WithLittleAddressSpaceIsASmallerQueue) {
  mp::Process process{[] {
    const rlimit limit{std::uint64_t{1} << 30U, std::uint64_t{1} << 30U};
    setrlimit(RLIMIT_AS, &limit);
    mp::Queue<int> queue;
    queue.put(1);
    if (queue.get() != 1) throw std::runtime_error{"lost"};
  }};
#  if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer's shadow alone is larger than the limit";
#  endif
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}
#endif

TEST(QueueTransit, KeepsTheQueuesTypeAndIdentity) {
  mp::Queue<int> queue;
  std::vector<std::byte> bytes;
  mp::Transit transit;
  mp::Encoder encoder{bytes, &transit};
  mp::detail::encode(encoder, queue);
  mp::detail::encode(encoder, mp::Queue<int>{queue});
  ASSERT_EQ(transit.objects().size(), 1U);
  std::vector<mp::os::UniqueHandle> handles;
  for (const auto handle : transit.departing()) {
    std::error_code ec;
    handles.emplace_back(mp::os::duplicate_handle(handle, ec));
    ASSERT_FALSE(ec);
  }
  mp::Transit arrived{{{transit.objects()[0].kind, transit.objects()[0].handles, nullptr}},
                      std::move(handles)};
  mp::Decoder decoder{bytes, &arrived};
  auto first = mp::detail::decode<mp::Queue<int>>(decoder);
  auto second = mp::detail::decode<mp::Queue<int>>(decoder);
  queue.put(5);
  EXPECT_EQ(first.get(), 5);
  first.close();
  EXPECT_THROW(second.put(1), std::invalid_argument);  // copies there as they are copies here
  mp::Decoder again{bytes, &arrived};
  EXPECT_THROW((void)mp::detail::decode<mp::Queue<long>>(again), mp::SerializationError);
}

#if MULTIPROCESSING_POSIX  // not on Windows: descriptors
TEST(QueueTransit, TakesItsOwnHandlesAlongWhateverIsClosedMeanwhile) {
  mp::Queue<int> queue;
  std::vector<std::byte> bytes;
  mp::Transit transit;
  mp::Encoder encoder{bytes, &transit};
  mp::detail::encode(encoder, queue);
  queue.close();
  struct stat memory {};
  ASSERT_EQ(transit.departing().size(), 2U);  // memory and event
  ASSERT_EQ(::fstat(transit.departing()[0], &memory), 0);
  EXPECT_GT(memory.st_size, 0);
}
#endif

TEST(QueueTransit, WithoutHandlesIsRefused) {
  mp::Queue<int> queue;
  EXPECT_THROW((void)mp::dumps(queue), mp::SerializationError);
  static_assert(mp::carries_handles<mp::Queue<int>>);
  static_assert(mp::carries_handles<std::vector<std::optional<mp::Queue<int>>>>);
  static_assert(!mp::carries_handles<std::vector<int>>);
}

TEST(QueueTransit, RefusesHandlesThatAreNotAQueues) {
  std::error_code ec;
  const auto adopt = [&](mp::os::UniqueHandle handle) {
    std::vector<mp::os::UniqueHandle> handles;
    handles.push_back(std::move(handle));
    handles.push_back(mp::os::make_event(ec));
    return mp::Ring::adopt(std::move(handles));
  };
  auto plain = mp::os::SharedRegion::create(std::size_t{1} << 20U, ec);
  ASSERT_FALSE(ec);
  plain.commit(0, std::size_t{1} << 20U, ec);
  ASSERT_FALSE(ec);
  EXPECT_THROW(adopt(mp::os::UniqueHandle{mp::os::duplicate_handle(plain.handle(), ec)}),
               mp::SerializationError);
  EXPECT_THROW(adopt(mp::os::make_event(ec)), mp::SerializationError);
  EXPECT_THROW(mp::Ring::adopt({}), mp::SerializationError);
}
