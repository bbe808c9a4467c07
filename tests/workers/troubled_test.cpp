// SPDX-License-Identifier: BSL-1.0
// Pools and executors in trouble: no descriptor, no memory, workers that end at once, waits inside
// callbacks. What must hold: every future is resolved, and one task's trouble is no other's.
#include <multiprocessing.hpp>

#include <support/eventually.hpp>
#include <support/pool_tasks.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if MULTIPROCESSING_POSIX
#  include <malloc.h>
#  include <sys/resource.h>
#  include <unistd.h>
#endif

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::eventually;
using test::exit_with;
using test::square;

namespace {

// ---- workers that end at once ----

TEST(TroubledPool, BreaksWhenInitializersExitAlsoWithALimitOfTasks) {
  for (const unsigned most : {0U, 1U}) {
    mp::PoolOptions options;
    options.processes = 1;
    options.initializer = mp::Task{[] { mp::os::exit_now(7); }};
    options.maxtasksperchild = most;
    mp::Pool pool{std::move(options)};
    EXPECT_THROW(pool.apply_async(square, 1).get(), mp::BrokenProcessPool) << most;
  }
}

TEST(TroubledExecutor, BreaksWhenAWorkerDiesAlsoWithALimitOfTasks) {
  mp::ProcessPoolExecutor executor{
      {.max_workers = 1, .max_tasks_per_child = 1, .breaks_when_worker_dies = true}};
  EXPECT_THROW(executor.submit(exit_with, 3).result(), mp::BrokenProcessPool);
  EXPECT_THROW(executor.submit(square, 1).result(), mp::BrokenProcessPool);
}

TEST(TroubledExecutor, DoesNotBreakWhenAWorkerHasDoneAllItsTasks) {
  mp::ProcessPoolExecutor executor{
      {.max_workers = 1, .max_tasks_per_child = 1, .breaks_when_worker_dies = true}};
  for (int i = 0; i < 3; ++i) EXPECT_EQ(executor.submit(square, i).result(), i * i);
}

// ---- no descriptor ----

#if MULTIPROCESSING_POSIX  // not on Windows: it takes descriptors and memory away by setrlimit(),
                           // and limits a task's
void set_descriptors(rlim_t most) {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = most;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
}
// The next descriptor would be the first that is not allowed.
int allow_no_descriptors() {
  const int next = ::dup(0);
  ::close(next);
  set_descriptors(static_cast<rlim_t>(next));
  return 0;
}
int allow_descriptors() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  set_descriptors(limit.rlim_max);
  return 0;
}
int size_of(const mp::Queue<int>& queue, int x) {
  return static_cast<int>(queue.qsize()) + x;
}

TEST(TroubledPool, OneTaskWithoutDescriptorsCostsNoOtherItsArguments) {
  mp::Pool pool{1};
  mp::Queue<int> queue;
  EXPECT_EQ(pool.apply(size_of, queue, 1), 1);
  pool.apply(allow_no_descriptors);
  EXPECT_ANY_THROW(pool.apply(size_of, queue, 2));
  pool.apply(allow_descriptors);
  EXPECT_EQ(pool.apply(size_of, queue, 3), 3);
  EXPECT_EQ(pool.apply(size_of, queue, 4), 4);
}

TEST(TroubledPool, ATaskWhoseMemoryCannotBeLimitedIsNotRun) {
  mp::Pool pool{1};
  pool.apply(allow_no_descriptors);  // nobody can say there how much is in use
  try {
    pool.apply({.max_memory = std::size_t{1} << 30U}, exit_with, 3);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::function_not_supported);
    EXPECT_NE(std::string{error.what()}.find("max_memory"), std::string::npos) << error.what();
  }
  pool.apply(allow_descriptors);
  EXPECT_EQ(pool.apply({.max_memory = std::size_t{1} << 30U}, square, 3), 9);
}

TEST(TroubledExecutor, APlaceWithoutAWorkerDoesNotBreakTheOthers) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  std::atomic<int> failed{0};
  mp::set_log_sink([&](mp::LogLevel, std::string_view text) {
    if (text.starts_with("a pool's worker:")) ++failed;
  });
  {
    mp::Event go;
    mp::ProcessPoolExecutor executor{2};
    const auto running = executor.submit(test::wait_for, go);
    ASSERT_TRUE(eventually([&] { return running.running(); }));
    allow_no_descriptors();
    const auto waiting = executor.submit(square, 3);
    eventually([&] { return failed > 8 || waiting.done(); });
    set_descriptors(before.rlim_cur);
    EXPECT_EQ(waiting.result(), 9);
    go.set();
    EXPECT_NO_THROW(running.result());
  }
  mp::set_log_sink({});
}

// ---- no memory ----

std::vector<char> large(std::size_t size) {
  return std::vector<char>(size, 'x');
}

TEST(TroubledPool, AResultThatThereIsNoMemoryForFailsItsTaskOnly) {
#  if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer's own memory counts";
#  endif
  mp::Pool pool{1};
  pool.apply(square, 1);
  std::error_code ec;
  std::optional<mp::os::MemoryLimit> limit{std::in_place, std::size_t{16} << 20U, ec};
  ASSERT_FALSE(ec);
  const auto much = pool.apply_async(large, std::size_t{64} << 20U);
  const auto little = pool.apply_async(square, 3);
  EXPECT_THROW(much.get(), std::bad_alloc);
  EXPECT_EQ(little.get(), 9);
  EXPECT_EQ(pool.apply(square, 4), 16);
  limit.reset();
}

TEST(TroubledPool, TheLargestMemoryLimitIsNone) {
  mp::Pool pool{1};
  const std::size_t size = std::size_t{1} << 26U;
  EXPECT_EQ(pool.apply({.max_memory = std::numeric_limits<std::size_t>::max()}, large, size).size(),
            size);
}
#endif

// ---- waits inside callbacks ----

TEST(TroubledExecutor, MayBeShutDownInACallback) {
  auto executor = std::make_unique<mp::ProcessPoolExecutor>(2U);
  std::atomic<bool> has_returned{false};
  const auto future = executor->submit(square, 3);
  future.add_done_callback([&](const auto&) {
    executor.reset();
    has_returned = true;
  });
  EXPECT_EQ(future.result(), 9);
  EXPECT_TRUE(eventually([&] { return has_returned.load(); }));
}

TEST(TroubledExecutor, MayBeShutDownInSeveralCallbacksAtOnce) {
  mp::ProcessPoolExecutor executor{1};
  mp::Event go;
  mp::Event here;
  const auto running = executor.submit(test::say_and_wait, here, go);
  here.wait();
  const auto first = executor.submit(square, 3);
  const auto second = executor.submit(square, 4);
  std::atomic<int> begun{0};
  std::atomic<int> returned{0};
  const auto shut_down = [&](const auto&) {
    ++begun;
    executor.shutdown();
    ++returned;
  };
  first.add_done_callback(shut_down);
  second.add_done_callback(shut_down);
  std::thread one{[&] { EXPECT_TRUE(first.cancel()); }};
  std::thread two{[&] { EXPECT_TRUE(second.cancel()); }};
  eventually([&] { return begun == 2; });
  EXPECT_EQ(returned, 0);
  go.set();
  one.join();
  two.join();
  EXPECT_EQ(returned, 2);
}

// ---- futures of no executor ----

// In each round the two go in step, which takes long where they have to wait for a processor: then
// fewer rounds must do.
TEST(TroubledFuture, IsNotCancelledAndRunByTwoThreads) {
  constexpr int rounds = 40'000;
  constexpr auto enough = 5s;
  std::vector<mp::Future<int>> futures(rounds);
  std::vector<char> runs(rounds);
  std::atomic<int> at{-1};
  std::atomic<int> answered{-1};
  std::atomic<int> last{rounds - 1};
  std::thread runner{[&] {
    for (int i = 0; i <= last; ++i) {
      for (int spin = 0; at.load() < i; ++spin) {
        if (spin > 100) std::this_thread::yield();
      }
      runs[static_cast<std::size_t>(i)] =
          futures[static_cast<std::size_t>(i)].set_running_or_notify_cancel() ? 1 : 0;
      answered = i;
    }
  }};
  int both = 0;
  const auto end = std::chrono::steady_clock::now() + enough;
  for (int i = 0; i <= last; ++i) {
    const auto number = static_cast<std::size_t>(i);
    if (std::chrono::steady_clock::now() > end) last = i;
    at = i;
    for (int spin = 0; spin < i % 64; ++spin) mp::os::relax();
    const bool is_cancelled = futures[number].cancel();
    while (answered.load() < i) std::this_thread::yield();
    if (is_cancelled == (runs[number] != 0)) ++both;
  }
  runner.join();
  EXPECT_EQ(both, 0);
}

TEST(TroubledFuture, RefusesNoException) {
  const mp::Future<std::string> future;
  EXPECT_THROW(future.set_exception(nullptr), std::invalid_argument);
  EXPECT_FALSE(future.done());
  future.set_exception(std::make_exception_ptr(std::range_error{"x"}));
  EXPECT_THROW(future.set_exception(std::make_exception_ptr(std::range_error{"y"})),
               mp::InvalidStateError);
}

#if MULTIPROCESSING_POSIX  // not on Windows: mallinfo2(), which counts what is in use
TEST(TroubledFuture, WaitsThatTimeOutLeaveNothingBehind) {
  const std::vector<mp::Future<int>> futures(1);
  static_cast<void>(mp::wait(futures, 0s));
  const auto before = ::mallinfo2().uordblks;
  for (int i = 0; i < 20'000; ++i) static_cast<void>(mp::wait(futures, 0s));
  EXPECT_LT(::mallinfo2().uordblks, before + (std::size_t{1} << 20U));
}
#endif

// ---- exceptions ----

struct FeedErrors final : std::error_category {
  [[nodiscard]] const char* name() const noexcept override { return "feed"; }
  [[nodiscard]] std::string message(int) const override { return "end of feed"; }
};
int throw_of_own_category(int number) {
  static const FeedErrors category;
  throw std::system_error{number, category, "reading"};
}
template <class E>
int throw_error(int) {
  throw E{"so it is"};
}
int throw_lost_tasks(int lost) {
  throw mp::LostTasks{static_cast<std::size_t>(lost)};
}

TEST(TroubledTask, AnErrorOfAnotherCategoryIsNotTheSystems) {
  mp::Pool pool{1};
  try {
    pool.apply(throw_of_own_category, ENOENT);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const mp::RemoteError& error) {
    EXPECT_EQ(error.type, "std::system_error");
    EXPECT_STREQ(error.what(), "reading: end of feed");
  }
}

TEST(TroubledTask, TheLibrarysErrorsComeHomeAsThemselves) {
  mp::Pool pool{1};
  EXPECT_THROW(pool.apply(throw_error<mp::ShutDown>, 0), mp::ShutDown);
  EXPECT_THROW(pool.apply(throw_error<mp::BrokenBarrierError>, 0), mp::BrokenBarrierError);
  EXPECT_THROW(pool.apply(throw_error<mp::AuthenticationError>, 0), mp::AuthenticationError);
  try {
    pool.apply(throw_lost_tasks, 3);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const mp::LostTasks& error) {
    EXPECT_EQ(error.count, 3U);
  }
}

TEST(TroubledTask, AnErrorWithOnePathIsRefused) {
  const auto which = mp::detail::standard_error_of(
      std::filesystem::filesystem_error{"t", std::error_code{}}, false);
  ASSERT_TRUE(which);
  for (const std::size_t paths : {0U, 1U, 2U, 3U}) {
    std::vector<std::byte> bytes;
    mp::Encoder encoder{bytes};
    encoder.write_number(*which);
    encoder(std::string{"t"}, ENOENT, std::uint8_t{0}, std::vector<std::byte>{},
            std::vector<std::filesystem::path>(paths, "one"));
    mp::Decoder decoder{bytes};
    if (paths % 2 == 0) {
      EXPECT_NO_THROW(static_cast<void>(mp::detail::decode_standard_error(decoder).make({})));
    } else {
      EXPECT_THROW(static_cast<void>(mp::detail::decode_standard_error(decoder)),
                   mp::SerializationError);
    }
  }
}

}  // namespace
