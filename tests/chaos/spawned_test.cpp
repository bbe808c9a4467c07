// SPDX-License-Identifier: BSL-1.0
// A process that was spawned dies at every step of every operation, with others asleep and at work:
// what chaos does to forked ones, on every system.
#include <multiprocessing.hpp>

#include <support/codes.hpp>
#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;

namespace {

const std::string small = "small";
const std::string large(200'000, 'x');  // goes into a pipe that nobody reads

struct Numbers {
  std::array<int, 40> all;  // the same number
};

// What victims and their peers share.
struct Things {
  mp::Queue<std::string> queue{2};
  mp::Lock lock{};
  mp::Event event{};
  mp::Connection receiving;
  mp::Connection sending;
  mp::RLock rlock{};
  mp::Semaphore units{};
  mp::Condition condition{};
  mp::Barrier barrier{2};
  mp::Value<Numbers> value{};
  mp::JoinableQueue<int> tasks{};
  mp::Queue<int> numbers{};
};

Things things_with(bool duplex) {
  const mp::Pipe pipe{duplex};
  return {.receiving = pipe.first, .sending = pipe.second};
}

using Operation = void (*)(const Things&);

void be_victim(const Things& things, Operation operation, const std::string& point) {
  test::stop_at(point, test::Stop::die);
  operation(things);
}

// ---- the operations, and how they go on when somebody died in one ----

struct Case {
  const char* name;
  Operation prepare;
  Operation operation;  // of the victim
  Operation peer;       // what somebody else is at, meanwhile
  Operation check;      // and afterwards
  bool duplex = false;
  bool takes_two = false;  // it does not end without its peer
};

void nothing(const Things&) {}
void put_small(const Things& things) {
  mp::Queue<std::string>{things.queue}.put(small);
}
void put_large(const Things& things) {
  mp::Queue<std::string>{things.queue}.put(large);
}
std::optional<std::string> get(const Things& things) {
  return mp::Queue<std::string>{things.queue}.try_get(20ms);
}
void get_one(const Things& things) {
  static_cast<void>(get(things));
}
void fill(const Things& things) {
  put_small(things);
  put_large(things);
}
// A producer: its item is there or not, and everything goes on.
void expect_one_or_none(const Things& things) {
  auto first = get(things);
  if (first) {
    EXPECT_TRUE(*first == small || *first == large);
  }
  EXPECT_FALSE(get(things));
  put_small(things);
  EXPECT_EQ(get(things), small);
}
void expect_the_rest(const Things& things) {
  auto first = get(things);
  if (first == small) first = get(things);
  EXPECT_EQ(first, large);
  EXPECT_FALSE(get(things));
  put_small(things);
  EXPECT_EQ(get(things), small);
}
void try_to_put(const Things& things) {
  static_cast<void>(mp::Queue<std::string>{things.queue}.try_put(small, 20ms));
}
void expect_full(const Things& things) {
  EXPECT_EQ(get(things), small);
  EXPECT_EQ(get(things), large);
  EXPECT_FALSE(get(things));
}

void take_and_release(const Things& things) {
  mp::Lock lock{things.lock};
  lock.acquire();
  lock.release();
}
void recover_and_release(const Things& things) {
  mp::Lock lock{things.lock};
  lock.recover();
  lock.release();
}
void take_or_recover(const Things& things) {
  mp::Lock lock{things.lock};
  try {
    lock.acquire();
  } catch (const mp::AbandonedLock&) {
    lock.recover();
  }
  lock.release();
}
void abandon(const Things& things) {
  std::thread{[lock = things.lock]() mutable { lock.acquire(); }}.join();
}
void expect_a_free_lock(const Things& things) {
  take_or_recover(things);
  EXPECT_FALSE(things.lock.locked());
  take_and_release(things);
}

void set(const Things& things) {
  mp::Event{things.event}.set();
}
void clear(const Things& things) {
  mp::Event{things.event}.clear();
}
void wait_a_little(const Things& things) {
  mp::Event{things.event}.wait(20ms);
}
void expect_a_sound_event(const Things& things) {
  mp::Event event{things.event};
  event.set();
  EXPECT_TRUE(event.wait());
  event.clear();
  EXPECT_FALSE(event.wait(1ms));
}

void send_small(const Things& things) {
  mp::Connection{things.sending}.send(small);
}
void send_large(const Things& things) {
  mp::Connection{things.sending}.send(large);
}
void send_both(const Things& things) {
  send_small(things);
  send_large(things);
}
void receive_one(const Things& things) {
  static_cast<void>(mp::Connection{things.receiving}.try_recv<std::string>(20ms));
}
// Messages are whole, and what is sent now comes last.
void expect_whole_messages(const Things& things) {
  std::thread sender{[&] { mp::Connection{things.sending}.send(std::string{"last"}); }};
  mp::Connection receiving{things.receiving};
  for (std::string text; text != "last";) {
    text = receiving.recv<std::string>();
    EXPECT_TRUE(text == small || text == large || text == "last") << text.size();
  }
  sender.join();
}

void take_rlock_twice(const Things& things) {
  mp::RLock lock{things.rlock};
  lock.acquire();
  lock.acquire();
  lock.release();
  lock.release();
}
void expect_a_free_rlock(const Things& things) {
  mp::RLock lock{things.rlock};
  EXPECT_FALSE(lock.locked());
  try {
    lock.acquire();
  } catch (const mp::AbandonedLock&) {
    lock.recover();
  }
  lock.release();
  take_rlock_twice(things);
  EXPECT_FALSE(lock.locked());
}

void take_a_unit(const Things& things) {
  mp::Semaphore units{things.units};
  if (units.acquire(20ms)) units.release();
}
void give_units(const Things& things) {
  mp::Semaphore{things.units}.release(3);
}
// What the dead took stays taken; nothing else is lost.
void expect_units(const Things& things) {
  mp::Semaphore units{things.units};
  EXPECT_LE(units.get_value(), 4U);
  while (units.acquire(0s)) {
  }
  std::thread waiter{[units]() mutable { units.acquire(); }};
  units.release();
  waiter.join();
  EXPECT_EQ(units.get_value(), 0U);
}

void hold(mp::Condition& condition) {
  try {
    condition.acquire();
  } catch (const mp::AbandonedLock&) {
    condition.recover();
  }
}
void notify(const Things& things) {
  mp::Condition condition{things.condition};
  hold(condition);
  condition.notify_all();
  condition.release();
}
void wait_at_condition(const Things& things) {
  mp::Condition condition{things.condition};
  hold(condition);
  try {
    condition.wait(20ms);
  } catch (const mp::AbandonedLock&) {  // it is held
    condition.recover(0s);
  }
  if (condition.locked()) condition.release();
}
void expect_a_sound_condition(const Things& things) {
  mp::Condition condition{things.condition};
  bool said = false;
  std::thread waiter{[&, its = condition]() mutable {
    hold(its);
    EXPECT_TRUE(its.wait_for([&] { return said; }));
    its.release();
  }};
  hold(condition);
  said = true;
  condition.notify();
  condition.release();
  waiter.join();
  EXPECT_FALSE(condition.locked());
}

void pass_barrier(const Things& things) {
  try {
    mp::Barrier{things.barrier}.wait(50ms);
  } catch (const mp::BrokenBarrierError&) {
  }
}
void pass_or_mend_barrier(const Things& things) {
  pass_barrier(things);
  mp::Barrier barrier{things.barrier};
  if (barrier.broken()) barrier.reset();
}
void expect_a_sound_barrier(const Things& things) {
  mp::Barrier barrier{things.barrier};
  barrier.reset();
  std::thread other{[barrier]() mutable { barrier.wait(); }};
  barrier.wait();
  other.join();
  EXPECT_FALSE(barrier.broken());
  EXPECT_EQ(barrier.n_waiting(), 0U);
}

void update(const Things& things) {
  mp::Value<Numbers>{things.value}.update([](Numbers& numbers) {
    for (int& number : numbers.all) ++number;
  });
}
void expect_a_whole_value(const Things& things) {
  const Numbers numbers = things.value.load();
  for (const int number : numbers.all) EXPECT_EQ(number, numbers.all[0]);
}

void put_tasks(const Things& things) {
  mp::JoinableQueue<int>{things.tasks}.put_many(std::vector{1, 2, 3});
}
void do_a_task(const Things& things) {
  mp::JoinableQueue<int> tasks{things.tasks};
  if (tasks.try_get(20ms)) tasks.task_done();
}
void join_tasks(const Things& things) {
  try {
    mp::JoinableQueue<int>{things.tasks}.join(20ms);
  } catch (const mp::LostTasks&) {
  }
}
// Each is done, lost, or there.
void expect_tasks_accounted_for(const Things& things) {
  mp::JoinableQueue<int> tasks{things.tasks};
  while (tasks.try_get()) tasks.task_done();
  try {
    EXPECT_TRUE(tasks.join());
  } catch (const mp::LostTasks& lost) {
    EXPECT_EQ(lost.count, 1U);
    EXPECT_TRUE(tasks.join());
  }
  EXPECT_THROW(tasks.task_done(), std::invalid_argument);
  put_tasks(things);
  for (int i = 0; i < 3; ++i) do_a_task(things);
  EXPECT_TRUE(tasks.join());
}

void put_numbers(const Things& things) {
  mp::Queue<int>{things.numbers}.put_many(std::vector{1, 2, 3});
}
void get_numbers(const Things& things) {
  static_cast<void>(mp::Queue<int>{things.numbers}.get_many(3, 20ms));
}
void expect_all_numbers_or_none(const Things& things) {
  mp::Queue<int> numbers{things.numbers};
  const auto got = numbers.get_many(9, 0s);
  EXPECT_TRUE(got.empty() || got == (std::vector{1, 2, 3})) << got.size();
  numbers.put(4);
  EXPECT_EQ(numbers.get(), 4);
}
void lend_numbers(const Things& things) {
  auto loan = mp::Queue<int>{things.numbers}.loan(20'000);
  std::iota(loan.span().begin(), loan.span().end(), 0);
  loan.commit();
}
void view_numbers(const Things& things) {
  mp::Queue<int> numbers{things.numbers};
  try {
    const auto view = numbers.get_view(20ms);
    EXPECT_TRUE(view.is_in_place());
  } catch (const mp::Empty&) {
  }
}
void expect_a_whole_loan_or_none(const Things& things) {
  mp::Queue<int> numbers{things.numbers};
  if (numbers.qsize() == 1) {
    const auto view = numbers.get_view();
    ASSERT_EQ(view.span().size(), 20'000U);
    for (int i = 0; i < 20'000; ++i) ASSERT_EQ(view.span()[static_cast<std::size_t>(i)], i);
  }
  for (int i = 0; i < 3; ++i) {
    lend_numbers(things);
    view_numbers(things);
  }
  EXPECT_TRUE(numbers.empty());
}
void shut_down(const Things& things) {
  mp::Queue<int>{things.numbers}.shutdown(true);
}
void wait_for_numbers(const Things& things) {
  try {
    get_numbers(things);
  } catch (const mp::ShutDown&) {
  }
}
void expect_to_be_shut_down(const Things& things) {
  shut_down(things);
  mp::Queue<int> numbers{things.numbers};
  EXPECT_THROW(numbers.put(1), mp::ShutDown);
  EXPECT_THROW(numbers.get(), mp::ShutDown);
}

const Case cases[] = {
    {"PutSmall", nothing, put_small, nothing, expect_one_or_none},
    {"PutLarge", nothing, put_large, nothing, expect_one_or_none},
    {"PutWhileOthersTakeTurns", nothing, put_small, get_one, expect_one_or_none},
    {"PutIntoAFullQueue", fill, try_to_put, nothing, expect_full},
    {"GetSmall", fill, get_one, nothing, expect_the_rest},
    {"GetOfAnEmptyQueue", nothing, get_one, nothing, expect_one_or_none},
    {"GetWhileOthersWait", nothing, get_one, get_one, expect_one_or_none},
    {"Acquire", nothing, take_and_release, nothing, expect_a_free_lock},
    {"AcquireOfAnAbandonedLock", abandon, take_or_recover, nothing, expect_a_free_lock},
    {"AcquireWhileOthersWait", nothing, take_and_release, take_or_recover, expect_a_free_lock},
    {"Recover", abandon, recover_and_release, nothing, expect_a_free_lock},
    {"Set", nothing, set, wait_a_little, expect_a_sound_event},
    {"Clear", set, clear, wait_a_little, expect_a_sound_event},
    {"Wait", nothing, wait_a_little, nothing, expect_a_sound_event},
    {"SendSmall", nothing, send_small, nothing, expect_whole_messages},
    {"SendLarge", nothing, send_large, receive_one, expect_whole_messages},
    {"ReceiveSmall", send_small, receive_one, nothing, expect_whole_messages},
    {"SendSmallOnADuplexPipe", nothing, send_small, nothing, expect_whole_messages, true},
    {"SendLargeOnADuplexPipe", nothing, send_large, receive_one, expect_whole_messages, true},
    {"ReceiveSmallFromADuplexPipe", send_both, receive_one, nothing, expect_whole_messages, true},
    {"AcquireAnRLock", nothing, take_rlock_twice, nothing, expect_a_free_rlock},
    {"AcquireASemaphore", nothing, take_a_unit, nothing, expect_units},
    {"AcquireASemaphoreWhileOthersWait", nothing, take_a_unit, take_a_unit, expect_units},
    {"ReleaseASemaphore", nothing, give_units, take_a_unit, expect_units},
    {"Notify", nothing, notify, wait_at_condition, expect_a_sound_condition},
    {"WaitAtACondition", nothing, wait_at_condition, nothing, expect_a_sound_condition},
    {"WaitAtAConditionAndBeNotified", nothing, wait_at_condition, notify, expect_a_sound_condition},
    {"PassABarrier", nothing, pass_barrier, pass_or_mend_barrier, expect_a_sound_barrier, false,
     true},
    {"UpdateAValue", update, update, nothing, expect_a_whole_value},
    {"UpdateAValueThatOthersRead", update, update, expect_a_whole_value, expect_a_whole_value},
    {"PutTasks", nothing, put_tasks, nothing, expect_tasks_accounted_for},
    {"DoATask", put_tasks, do_a_task, nothing, expect_tasks_accounted_for},
    {"JoinTasks", put_tasks, join_tasks, nothing, expect_tasks_accounted_for},
    {"PutMany", nothing, put_numbers, nothing, expect_all_numbers_or_none},
    {"GetMany", put_numbers, get_numbers, nothing, expect_all_numbers_or_none},
    {"CommitALoan", nothing, lend_numbers, nothing, expect_a_whole_loan_or_none},
    {"ViewALoan", lend_numbers, view_numbers, nothing, expect_a_whole_loan_or_none},
    {"ShutDown", put_numbers, shut_down, wait_for_numbers, expect_to_be_shut_down},
};

class Spawned : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(, Spawned, testing::ValuesIn(cases), [](const auto& one) {
  return one.param.name;
});

std::vector<std::string> points_of(const Case& which) {
  const Things things = things_with(which.duplex);
  which.prepare(things);
  return test::stop_points_in([&] {
    std::thread peer;
    if (which.takes_two) peer = std::thread{[&] { which.peer(things); }};
    which.operation(things);
    if (peer.joinable()) peer.join();
  });
}

// @returns whether the victim was killed there, and not at its end before.
bool is_killed_at(const std::string& point, const Case& which) {
  const Things things = things_with(which.duplex);
  which.prepare(things);
  mp::Process victim{
      {.start_method = mp::StartMethod::spawn}, be_victim, things, which.operation, point};
  std::atomic<bool> is_over{false};
  std::thread peer{[&] {
    do {
      which.peer(things);
    } while (which.peer != nothing && !is_over);
  }};
  victim.start();
  victim.join();
  is_over = true;
  peer.join();
  which.check(things);
  return victim.exitcode() == test::killed_code;
}

TEST_P(Spawned, KilledAtAnyStepTheOthersGoOn) {
  const Case& which = GetParam();
  for (const std::string& point : points_of(which)) {
    SCOPED_TRACE(point);
    bool is_killed = is_killed_at(point, which);
    if (which.peer != nothing) continue;  // the victim may have had nothing to do there
    // On a busy machine a wait of 20 ms may be over before it has begun.
    for (int more = 10; !is_killed && more > 0; --more) is_killed = is_killed_at(point, which);
    EXPECT_TRUE(is_killed);
  }
}

}  // namespace
