// SPDX-License-Identifier: BSL-1.0
// Pools at their edges: initializers whose errors cannot come home, workers that never get ready,
// maps that end while their progress is being told, results that cannot be copied, forked children.
#include <multiprocessing.hpp>

#include <support/asleep.hpp>
#include <support/eventually.hpp>
#include <support/pool_tasks.hpp>
#if MULTIPROCESSING_POSIX
#  include <support/forked.hpp>
#endif

#include <boost/iterator/transform_iterator.hpp>
#include <boost/range/iterator_range.hpp>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#if MULTIPROCESSING_POSIX
#  include <malloc.h>
#endif

namespace mp = multiprocessing;
using test::eventually;
using test::square;

namespace {

// ---- initializers ----

struct Unmakeable : mp::SendableError<Unmakeable> {
  Unmakeable() : SendableError{"cannot be made"} {}
  template <class Archive>
  void save(Archive& archive) const {
    archive(1);
  }
  template <class Archive>
  void load(Archive& archive) {
    int one = 0;
    archive(one);
    throw one;
  }
};
struct Unencodable : mp::SendableError<Unencodable> {
  Unencodable() : SendableError{"cannot be encoded"} {}
  template <class Archive>
  void save(Archive&) const {
    throw 2;
  }
  template <class Archive>
  void load(Archive&) {}
};
struct WithQueue : mp::SendableError<WithQueue> {
  WithQueue() : SendableError{"has a queue"} {}
  mp::Queue<int> queue;
  template <class Archive>
  void save(Archive& archive) const {
    archive(queue);
  }
  template <class Archive>
  void load(Archive& archive) {
    archive(queue);
  }
};
template <class Error>
void throw_one() {
  throw Error{};
}

template <class Error>
void expect_broken() {
  mp::Pool pool{{.processes = 1, .initializer = mp::Task{throw_one<Error>}}};
  EXPECT_THROW(pool.apply(square, 1), mp::BrokenProcessPool);
  mp::Pool other{{.processes = 1, .initializer = mp::Task{throw_one<Error>}}};
  std::string said;
  try {  // or it is broken before the task comes
    const auto result = other.apply_async(square, 1);
    ASSERT_TRUE(eventually([&] { return result.ready(); }));
    result.get();
  } catch (const mp::BrokenProcessPool& error) {
    said = error.what();
  }
  EXPECT_NE(said.find("initializer threw"), std::string::npos) << said;
}

TEST(PoolInitializer, WhoseErrorCannotBeMadeAnewBreaksThePool) {
  expect_broken<Unmakeable>();
}
TEST(PoolInitializer, WhoseErrorCannotBeEncodedBreaksThePool) {
  expect_broken<Unencodable>();
}
TEST(PoolInitializer, WhoseErrorHasHandlesBreaksThePool) {
  expect_broken<WithQueue>();
}

// ---- workers that do not get ready ----

void wait_if_first(const mp::Value<int>& count, const mp::Event& go) {
  int number = 0;
  mp::Value<int>{count}.update([&](int& all) { number = ++all; });
  if (number == 1) test::wait_for(go);
}

TEST(PoolBalance, NoTaskWaitsForAWorkerThatDoesNotGetReady) {
  mp::Value<int> count{0};
  mp::Event go;
  mp::Pool pool{{.processes = 2, .initializer = mp::Task{wait_if_first, count, go}}};
  const auto first = pool.apply_async(square, 2);
  const auto second = pool.apply_async(square, 3);
  EXPECT_EQ(first.get(), 4);
  EXPECT_EQ(second.get(), 9);
  go.set();
}

// ---- maps and their progress ----

TEST(PoolProgress, IsNotToldBehindTheEndOfAMapThatWasTerminated) {
  mp::Pool pool{2};
  mp::Event never;
  // So the pool's own thread is there, and tells while the input is still being read.
  static_cast<void>(pool.apply_async(test::wait_for, never));
  std::atomic<bool> is_told{false};
  std::atomic<bool> may_go_on{false};
  std::atomic<bool> has_gone{false};
  std::atomic<bool> has_thrown{false};
  std::atomic<bool> has_told{false};
  std::atomic<int> late{0};
  const auto tell = [&](std::size_t, std::size_t) {
    is_told = true;
    eventually([&] { return may_go_on.load(); });
    if (has_gone) ++late;
    has_told = true;
  };
  const std::function<int(int)> item = [&](int x) {
    if (x != 0) eventually([&] { return is_told.load(); });
    return x;
  };
  std::thread caller{[&] {
    const std::vector<int> numbers{0, 1, 2, 3};
    try {
      pool.map(
          {.progress = tell},
          [](int x) {
            if (x != 0) test::wait_for_ever();
            return x;
          },
          boost::make_iterator_range(boost::make_transform_iterator(numbers.begin(), item),
                                     boost::make_transform_iterator(numbers.end(), item)),
          1);
    } catch (const mp::CancelledError&) {
      has_thrown = true;
    }
    has_gone = true;
  }};
  eventually([&] { return pool.stats().queued + pool.stats().running == 4; });
  pool.terminate();
  may_go_on = true;
  caller.join();
  eventually([&] { return has_told.load(); });
  EXPECT_TRUE(has_thrown);
  EXPECT_EQ(late, 0);
}

// ---- what cannot be copied ----

std::unique_ptr<int> on_the_heap(int x) {
  return std::make_unique<int>(x);
}
struct Tree {
  int value = 0;
  std::vector<std::unique_ptr<Tree>> children;
};
Tree tree(int x) {
  Tree root{x, {}};
  root.children.push_back(std::make_unique<Tree>(Tree{x + 1, {}}));
  return root;
}
std::vector<std::unique_ptr<int>> several(int x) {
  std::vector<std::unique_ptr<int>> all;
  for (int i = 0; i < x; ++i) all.push_back(std::make_unique<int>(i));
  return all;
}

static_assert(mp::detail::is_copyable<std::vector<std::string>>);
static_assert(!mp::detail::is_copyable<std::vector<std::vector<std::unique_ptr<int>>>>);
static_assert(!mp::detail::is_copyable<std::tuple<int, std::vector<std::unique_ptr<int>>>>);

TEST(PoolResult, OfContainersOfWhatCannotBeCopiedIsMoved) {
  mp::Pool pool{2};
  EXPECT_EQ(*pool.map(on_the_heap, std::vector{1, 2}).at(1), 2);
  EXPECT_EQ(*pool.map_async(on_the_heap, std::vector{1, 2}).get().at(1), 2);
  EXPECT_EQ(pool.apply(tree, 3).children.at(0)->value, 4);
  EXPECT_EQ(*pool.apply_async(several, 3).get().at(2), 2);
}

// ---- cancelled tasks ----

#if MULTIPROCESSING_POSIX  // not on Windows: mallinfo2(), which counts what is in use
std::size_t length(const std::vector<char>& bytes) {
  return bytes.size();
}

TEST(ExecutorCancel, GivesTheArgumentsBackWhileAllWorkersAreBusy) {
  constexpr std::size_t size = std::size_t{5} << 20U;
  constexpr std::size_t bound = std::size_t{50} << 20U;
  const auto used = [] {
    const auto all = ::mallinfo2();
    return all.uordblks + all.hblkhd;
  };
  const auto at_first = used();
  const std::vector<char> much(size);
  // Sanitizers bring an allocator of which mallinfo2() knows nothing: there the test could not
  // fail.
  if (used() < at_first + size) GTEST_SKIP() << "this allocator does not say what is in use";
  mp::Event go;
  mp::ProcessPoolExecutor executor{1};
  const auto busy = executor.submit(test::wait_for, go);
  ASSERT_TRUE(eventually([&] { return busy.running(); }));
  const auto ahead = executor.submit(length, much);  // the worker has as much as it may have
  const auto before = used();
  for (int i = 0; i < 40; ++i) EXPECT_TRUE(executor.submit(length, much).cancel());
  EXPECT_LT(used(), before + bound);
  go.set();
  EXPECT_EQ(ahead.result(), size);
}
#endif

// ---- forked children, and programs ----

#if MULTIPROCESSING_POSIX  // not on Windows: bare forks, and /proc
std::ptrdiff_t threads() {
  return std::distance(std::filesystem::directory_iterator{"/proc/self/task"}, {});
}

TEST(PoolInACopy, MakesNoThreadBeforeItThrows) {
  mp::Pool pool{1};
  EXPECT_EQ(pool.apply(square, 2), 4);
  test::Forked child{[&] {
    EXPECT_THROW(pool.apply_async(square, 1), std::logic_error);
    EXPECT_EQ(threads(), 1);
  }};
  EXPECT_EQ(child.join(), 0);
}

TEST(PoolTrace, IsNotInheritedByPrograms) {
  mp::Pool pool{{.processes = 1, .trace = "edges.json"}};
  std::string listed;
  std::FILE* const program = ::popen("ls -l /proc/self/fd", "r");
  ASSERT_NE(program, nullptr);
  char line[512];
  while (std::fgets(line, sizeof line, program) != nullptr) listed += line;
  ::pclose(program);
  std::filesystem::remove("edges.json");
  EXPECT_EQ(listed.find("edges.json"), std::string::npos) << listed;
}
#endif

// ---- the pool in its own calls ----

mp::Pool* asked = nullptr;
struct Curious {
  template <class Archive>
  void save(Archive&) const {
    if (asked != nullptr) static_cast<void>(asked->stats());
  }
  template <class Archive>
  void load(Archive&) {}
  int operator()(int x) const { return x + 1; }
};

TEST(PoolCode, MayAskThePoolWhileItIsEncoded) {
  mp::Pool pool{1};
  asked = &pool;
  EXPECT_EQ(pool.apply(Curious{}, 1), 2);
  asked = nullptr;
}

TEST(PoolJoin, ACallbackMayDestroyThePoolInIt) {
  auto pool = std::make_unique<mp::Pool>(1U);
  std::atomic<bool> has_returned{false};
  mp::Event go;
  const auto result = pool->apply_async(mp::Callbacks{[&] {
                                          pool.reset();
                                          has_returned = true;
                                        }},
                                        test::wait_for, go);
  pool->close();
  const int me = test::thread_id();
  std::atomic<bool> joins{false};
  std::thread opener{[&] {  // not before we are in join(): the pool may be no more
    eventually([&] { return joins && test::sleeps_in_futex(me); });
    go.set();
  }};
  joins = true;
  pool->join();
  opener.join();
  result.wait();
  EXPECT_TRUE(has_returned);
}

// Takes every task back; another thread has yet to tell the future so.
class SlowToTell final : public mp::detail::TaskRunner {
 public:
  std::uint64_t submit(const mp::detail::NewTask& /*task*/) override { return 0; }
  void work_in_background() override {}
  void check_takes_tasks() override {}
  bool wait(const mp::detail::Receiver* /*of*/,
            const std::function<bool()>& done,
            const mp::detail::Deadline& /*deadline*/,
            const std::stop_token& /*stop*/) override {
    return done();
  }
  bool cancel(std::uint64_t /*task*/) override { return true; }
  bool is_running(std::uint64_t /*task*/) override { return false; }
  bool kill(std::uint64_t /*task*/) override { return false; }
  void close() override {}
  void cancel_waiting() override {}
  bool join(const mp::detail::Deadline& /*deadline*/, const std::stop_token& /*stop*/) override {
    return true;
  }
  void terminate(mp::os::Signal /*first*/) override {}
  void retire() override {}
  mp::PoolStats stats() override { return {}; }
  unsigned workers() override { return 0; }
  [[nodiscard]] bool is_ours() const noexcept override { return true; }
};

TEST(CancelledFuture, SaysSoAsSoonAsCancelHas) {
  const auto core = std::make_shared<mp::detail::ResultCore<int>>();
  const auto runner = std::make_shared<SlowToTell>();
  core->attach(runner);
  const mp::Future<int> future{core};
  int told = 0;
  future.add_done_callback([&](const mp::Future<int>& /*future*/) { ++told; });
  EXPECT_TRUE(future.cancel());
  EXPECT_TRUE(future.cancelled());
  core->on_cancelled(0, std::make_exception_ptr(mp::CancelledError{"late"}));
  EXPECT_EQ(told, 1);
  EXPECT_THROW(static_cast<void>(future.result()), mp::CancelledError);
}

}  // namespace
