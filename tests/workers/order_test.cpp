// SPDX-License-Identifier: BSL-1.0
// Which thread tells whom, who waits for what in a callback, and which worker gets a task.
#include <multiprocessing.hpp>

#include <support/eventually.hpp>
#include <support/pool_tasks.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <exception>
#include <set>
#include <stop_token>
#include <system_error>
#include <thread>
#include <vector>

namespace mp = multiprocessing;
using test::eventually;
using test::square;

namespace {

// Says which process runs it, and waits until it is let go.
void say_and_stay(mp::Queue<int> pid, const mp::Event& end) {
  pid.put(test::own_pid());
  test::wait_for(end);
}

class WorkersOrder : public testing::Test {
 protected:
  // Returns when it runs. @returns its pid.
  template <class... Callback>
  int start_one_that_stays(mp::Pool& pool, Callback... callback) {
    staying.push_back(pool.apply_async(callback..., say_and_stay, pids, end));
    return pids.get();
  }
  mp::Queue<int> pids;
  mp::Event end;
  std::vector<mp::AsyncResult<void>> staying;
};

void kill_and_wait(int pid) {
  std::error_code ec;
  const auto process = mp::os::open_process(pid, ec);
  ASSERT_FALSE(ec);
  test::kill_process(pid);
  mp::os::wait_ready(process.get(), mp::detail::Deadline{mp::forever});
}

// While the pool's own thread tells one of two that died with their workers, the other is nobody's
// whose own task is taken back.
TEST_F(WorkersOrder, WhoTakesATaskBackTellsNobodyElse) {
  const auto me = std::this_thread::get_id();
  std::atomic<bool> is_told{false};
  std::atomic<bool> may_go_on{false};
  std::atomic<int> told_here{0};
  mp::Pool pool{3};
  const mp::Callbacks callbacks{nullptr, [&](const std::exception_ptr&) {
                                  if (std::this_thread::get_id() == me) {
                                    ++told_here;
                                    return;
                                  }
                                  is_told = true;
                                  eventually([&] { return may_go_on.load(); });
                                }};
  const int first = start_one_that_stays(pool, callbacks);
  const int second = start_one_that_stays(pool, callbacks);
  std::atomic<bool> is_inside{false};
  std::atomic<bool> both_are_dead{false};
  const auto before = pool.apply_async(mp::Callbacks{[&](int) {
                                         is_inside = true;  // and sees no worker's death meanwhile
                                         eventually([&] { return both_are_dead.load(); });
                                       }},
                                       square, 2);
  eventually([&] { return is_inside.load(); });
  start_one_that_stays(pool);
  kill_and_wait(first);
  kill_and_wait(second);
  both_are_dead = true;
  eventually([&] { return is_told.load(); });
  std::stop_source stop;
  std::thread stopper{[&] {
    eventually([&] { return pool.stats().queued == 1; });
    stop.request_stop();
  }};
  EXPECT_THROW(pool.apply({.stop = stop.get_token()}, square, 3), mp::CancelledError);
  stopper.join();
  EXPECT_EQ(told_here, 0);
  may_go_on = true;
  end.set();
  EXPECT_THROW(staying[0].get(), mp::BrokenProcessPool);
  EXPECT_THROW(staying[1].get(), mp::BrokenProcessPool);
}

TEST_F(WorkersOrder, AJoinInACallbackInAJoinInACallbackWaitsForAllOthers) {
  mp::Pool pool{2};
  std::atomic<bool> is_closed{false};
  std::atomic<bool> is_inside{false};
  std::atomic<bool> all_were_done{false};
  start_one_that_stays(pool);
  const auto outer = pool.apply_async(mp::Callbacks{[&](int) {
                                        eventually([&] { return is_closed.load(); });
                                        pool.join();
                                      }},
                                      square, 2);
  const auto inner = pool.apply_async(mp::Callbacks{[&](int) {
                                        eventually([&] { return is_closed.load(); });
                                        is_inside = true;
                                        pool.join();
                                        all_were_done = staying[0].ready();
                                      }},
                                      square, 3);
  pool.close();
  is_closed = true;
  eventually([&] { return is_inside.load(); });
  end.set();
  pool.join();
  EXPECT_TRUE(all_were_done);
}

[[noreturn]] void stay_whatever_is_asked(mp::Queue<int> pid) {
  std::signal(SIGTERM, SIG_IGN);
  pid.put(test::own_pid());
  test::wait_for_ever();
}

// The one that tells would kill the others only behind a callback that does not return.
TEST_F(WorkersOrder, WhoKillsTheWorkersOfABrokenExecutorNeedNotWaitUntilAllIsTold) {
  std::atomic<bool> is_told{false};  // these outlive the executor, whose thread calls back
  std::atomic<bool> may_go_on{false};
  mp::ProcessPoolExecutor executor{{.max_workers = 2, .breaks_when_worker_dies = true}};
  const auto held_up = [&](const mp::Future<void>&) {
    if (is_told.exchange(true)) return;
    eventually([&] { return may_go_on.load(); });
  };
  executor.submit(say_and_stay, pids, end).add_done_callback(held_up);
  const int first = pids.get();
  executor.submit(stay_whatever_is_asked, pids).add_done_callback(held_up);
  std::error_code ec;
  const auto stubborn = mp::os::open_process(pids.get(), ec);
  ASSERT_FALSE(ec);
  kill_and_wait(first);
  eventually([&] { return is_told.load(); });
  executor.kill_workers();
  mp::os::wait_ready(stubborn.get(), mp::detail::Deadline{mp::forever});
  may_go_on = true;
}

// What it was to do after its task went to another one.
TEST_F(WorkersOrder, OneWhoseTasksOthersDoIsNotUsedUp) {
  mp::Pool pool{{.processes = 2, .maxtasksperchild = 4}};
  const int first = start_one_that_stays(pool);
  mp::Queue<int> others_pid;
  const mp::Event others_end;
  const auto other = pool.apply_async(say_and_stay, others_pid, others_end);
  others_pid.get();
  std::vector<mp::AsyncResult<int>> behind;  // three behind each of the two
  for (int i = 0; i < 6; ++i) behind.push_back(pool.apply_async(square, i));
  mp::Event{others_end}.set();
  other.get();
  for (int i = 0; i < 6; ++i) EXPECT_EQ(behind[static_cast<std::size_t>(i)].get(), i * i);
  end.set();
  staying[0].get();
  end.clear();
  std::set<int> now;
  now.insert(start_one_that_stays(pool));
  now.insert(start_one_that_stays(pool));
  EXPECT_TRUE(now.contains(first));
  end.set();
}

}  // namespace
