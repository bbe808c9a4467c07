// SPDX-License-Identifier: BSL-1.0
// Queues in what a pool's tasks are given and return: whatever travels beside them, and whoever
// dies.
#include <multiprocessing.hpp>

#include <support/eventually.hpp>
#include <support/pool_tasks.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

namespace mp = multiprocessing;

namespace {

class PoolHandles : public test::EveryStartMethod {
 protected:
  static constexpr std::size_t megabyte = std::size_t{1} << 20U;
  mp::Pool pool{1};
};
TEST_EVERY_START_METHOD(PoolHandles);

using Made = std::pair<mp::Queue<int>, std::string>;
Made make(std::size_t size, char letter) {
  Made made{mp::Queue<int>{}, std::string(size, letter)};
  made.first.put(letter);
  return made;
}

TEST_P(PoolHandles, TravelWithAMegabyteToATask) {
  mp::Queue<std::size_t> queue;
  const auto put_size = [](mp::Queue<std::size_t> to, const std::string& text) {
    to.put(text.size());
    return text;
  };
  for (const char letter : {'a', 'b', 'c'}) {  // the second one may lie in a block
    const std::string text(megabyte, letter);
    EXPECT_EQ(pool.apply(put_size, queue, text), text);
    EXPECT_EQ(queue.get(), megabyte);
  }
  EXPECT_EQ(pool.apply(test::square, 3), 9);
}

TEST_P(PoolHandles, TravelInAChunkOfMegabytes) {
  mp::Queue<std::size_t> queue;
  std::vector<std::tuple<mp::Queue<std::size_t>, std::string>> calls;
  for (std::size_t i = 0; i < 20; ++i)
    calls.emplace_back(queue, std::string(megabyte / 8 + i, 'x'));
  const auto sizes = pool.starmap(
      [](mp::Queue<std::size_t> to, const std::string& text) {
        to.put(text.size());
        return text.size();
      },
      calls, 10);
  for (std::size_t i = 0; i < calls.size(); ++i) {
    EXPECT_EQ(sizes[i], megabyte / 8 + i);
    EXPECT_EQ(queue.get(), megabyte / 8 + i);
  }
}

TEST_P(PoolHandles, TravelWithAMegabyteFromATask) {
  for (const char letter : {'a', 'b', 'c'}) {
    auto [queue, text] = pool.apply(make, megabyte, letter);
    EXPECT_EQ(text, std::string(megabyte, letter));
    EXPECT_EQ(queue.get(), letter);
  }
  EXPECT_EQ(pool.apply(test::square, 3), 9);
}

TEST_P(PoolHandles, TravelAgainWithAMegabyteThatWasTakenBack) {
  mp::ProcessPoolExecutor executor{1U};
  mp::Event go;
  mp::Queue<std::size_t> queue;
  const auto first = executor.submit(
      [](mp::Queue<std::size_t> to, mp::Event event) {
        to.put(0);
        event.wait();
      },
      queue, go);
  EXPECT_EQ(queue.get(), 0U);  // so it is not inside the ring
  const auto put_size = [](mp::Queue<std::size_t> to, const std::string& text) {
    to.put(text.size());
  };
  const std::string text(megabyte, 'x');
  auto cancelled = executor.submit(put_size, queue, text);
  const auto later = executor.submit(put_size, queue, text + text);
  EXPECT_TRUE(cancelled.cancel());  // the later one is taken out with it, and put back
  go.set();
  first.result();
  later.result();
  EXPECT_EQ(queue.get(), 2 * megabyte);
}

// A worker with a result that nobody has received yet is killed: in a callback, the loop stands
// still.
mp::AsyncResult<Made> lose_a_worker_with_a_result(mp::Pool& pool, const mp::TaskOptions& options) {
  mp::Event go;
  mp::Queue<int> running;
  const auto held_up = pool.apply_async(mp::Callbacks{[&](int) { go.wait(); }}, test::square, 1);
  const auto result = pool.apply_async(options, make, std::size_t{10}, 'x');
  const auto next = pool.apply_async(
      [](mp::Queue<int> to) {
        to.put(test::own_pid());
        test::wait_for_ever();
      },
      running);
  const int pid = running.get();
  test::kill_process(pid);
  test::eventually([&] {
    std::error_code ec;
    const auto process = mp::os::open_process(pid, ec);
    return ec || mp::os::wait_ready(process.get(), mp::detail::Deadline{std::chrono::seconds{0}});
  });
  go.set();
  EXPECT_THROW(next.get(), mp::BrokenProcessPool);
  EXPECT_EQ(held_up.get(), 1);
  return result;
}

TEST_P(PoolHandles, OfAResultAreThereOrItsTaskHasDiedWithItsWorker) {
  const auto result = lose_a_worker_with_a_result(pool, {});
  if (mp::os::handles_go_with_sender) {
    EXPECT_THROW(result.get(), mp::BrokenProcessPool);
  } else {
    EXPECT_EQ(result.get().first.get(), 'x');
  }
  EXPECT_EQ(pool.apply(make, std::size_t{1}, 'y').second, "y");
}

TEST_P(PoolHandles, OfAResultThatDiedWithItsWorkerComeFromAnotherTry) {
  const auto result = lose_a_worker_with_a_result(pool, {.retries = 1});
  EXPECT_EQ(result.get().first.get(), 'x');
}

}  // namespace
