// SPDX-License-Identifier: BSL-1.0
// A process that was spawned dies at every step of every operation, with others asleep and at work:
// what chaos does to forked ones, on every system.
#include <multiprocessing.hpp>

#include <support/named_points.hpp>
#include <support/spawned.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <numeric>
#include <optional>
#include <set>
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
  mp::Semaphore units{0};
  mp::Condition condition{};
  mp::Barrier barrier{2};
  mp::Value<Numbers> value{};
  mp::JoinableQueue<int> tasks{};
  mp::Queue<int> numbers{};
  mp::Event at_work{};  // somebody holds what others are to wait for
};

Things things() {
  const mp::Pipe pipe{false};
  return {.receiving = pipe.first, .sending = pipe.second};
}
Things things_with_a_duplex_pipe() {
  const mp::Pipe pipe{true};
  return {.receiving = pipe.first, .sending = pipe.second};
}

using Case = test::SpawnedCase<Things>;

// ---- the operations, and how they go on when somebody died in one ----

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
void get_for_ever(const Things& things) {
  const auto item = mp::Queue<std::string>{things.queue}.get();
  EXPECT_TRUE(item == small || item == large);
}
void put_if_empty(const Things& things) {
  if (things.queue.empty()) put_small(things);
}
void get_if_full(const Things& things) {
  if (things.queue.full()) get_one(things);
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
void wait_for_an_item(const Things& things) {
  static_cast<void>(mp::wait({things.queue}, 20ms));
  get_one(things);
}
void wait_for_an_item_for_ever(const Things& things) {
  EXPECT_FALSE(mp::wait({things.queue}).empty());
  get_for_ever(things);
}
void expect_whole_items(const Things& things) {
  for (auto item = get(things); item; item = get(things)) {
    EXPECT_TRUE(*item == small || *item == large);
  }
  put_small(things);
  EXPECT_EQ(get(things), small);
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
// The time in between orders nothing, and what must hold holds without it: it lets others fall
// asleep in front of the lock, which is the harder case.
void take_and_release_before_others(const Things& things) {
  mp::Lock lock{things.lock};
  lock.acquire();
  mp::Event{things.at_work}.set();
  std::this_thread::sleep_for(30ms);
  lock.release();
}
void take_when_it_is_taken(const Things& things) {
  mp::Event{things.at_work}.wait();
  take_or_recover(things);
}
void say_that_it_is_taken(const Things& things) {
  mp::Event{things.at_work}.set();
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
void wait_for_ever(const Things& things) {
  EXPECT_TRUE(mp::Event{things.event}.wait());
}
void set_unless_it_is(const Things& things) {
  if (!things.event.is_set()) set(things);
}
void set_and_clear(const Things& things) {
  set(things);
  clear(things);
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
void receive_for_ever(const Things& things) {
  const auto text = mp::Connection{things.receiving}.recv<std::string>();
  EXPECT_TRUE(text == small || text == large);
}
void poll(const Things& things) {
  static_cast<void>(mp::Connection{things.receiving}.poll(20ms));
}
void poll_for_ever(const Things& things) {
  EXPECT_TRUE(mp::Connection{things.receiving}.poll(mp::forever));
}
void die_in_a_send(const Things& things) {
  test::leave_the_dead(things, send_large,
                       MULTIPROCESSING_WINDOWS ? "pipe.send.fragments" : "pipe.send.part");
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
  static_cast<void>(mp::Semaphore{things.units}.acquire(20ms));
}
void take_a_unit_for_ever(const Things& things) {
  EXPECT_TRUE(mp::Semaphore{things.units}.acquire());
}
void give_units(const Things& things) {
  mp::Semaphore{things.units}.release(3);
}
void give_a_unit_if_none_is_there(const Things& things) {
  if (things.units.locked()) mp::Semaphore{things.units}.release();
}
void take_a_unit_and_give_it_back(const Things& things) {
  mp::Semaphore units{things.units};
  if (units.acquire(20ms)) units.release();
}
void give_and_take(const Things& things) {
  mp::Semaphore units{things.units};
  units.release();
  static_cast<void>(units.acquire(0s));
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
void wait_at_condition_for_ever(const Things& things) {
  mp::Condition condition{things.condition};
  hold(condition);
  try {
    EXPECT_TRUE(condition.wait());
  } catch (const mp::AbandonedLock&) {  // it is held
    condition.recover(0s);
  }
  condition.release();
}
// A call that comes before it sleeps does not wake it: it waits until one does.
void wait_at_condition_until_killed(const Things& things) {
  for (;;) wait_at_condition_for_ever(things);
}
// Called, and died before it knew; the call is the next one's.
void leave_one_who_was_called(const Things& things) {
  std::atomic<bool> is_over{false};
  std::thread caller{[&] {
    while (!is_over) {
      notify(things);
      std::this_thread::sleep_for(1ms);  // orders nothing: it calls until the other one has died
    }
  }};
  test::leave_the_dead(things, wait_at_condition_until_killed, "condition.wait.woken");
  is_over = true;
  caller.join();
}
void notify_one(const Things& things) {
  mp::Condition condition{things.condition};
  hold(condition);
  condition.notify();
  condition.release();
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
    mp::Barrier{things.barrier}.wait(200ms);
  } catch (const mp::BrokenBarrierError&) {
  }
}
void pass_or_mend_barrier(const Things& things) {
  pass_barrier(things);
  mp::Barrier barrier{things.barrier};
  if (barrier.broken()) barrier.reset();
}
// Whoever dies in it breaks it.
void pass_barrier_at_any_time(const Things& things) {
  try {
    mp::Barrier{things.barrier}.wait();
  } catch (const mp::BrokenBarrierError&) {
  }
}
void pass_barrier_if_one_waits(const Things& things) {
  if (things.barrier.n_waiting() == 1) pass_barrier(things);
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
void do_all_tasks(const Things& things) {
  mp::JoinableQueue<int> tasks{things.tasks};
  while (!tasks.empty()) {  // whoever joins may have the lock at that moment
    if (tasks.try_get(20ms)) tasks.task_done();
  }
}
void join_for_ever(const Things& things) {
  for (bool is_over = false; !is_over;) {
    try {
      is_over = mp::JoinableQueue<int>{things.tasks}.join();
    } catch (const mp::LostTasks& lost) {
      EXPECT_EQ(lost.count, 1U);
    }
  }
}
void put_a_task(const Things& things) {
  mp::JoinableQueue<int>{things.tasks}.put(1);
}
void get_a_task_for_ever(const Things& things) {
  mp::JoinableQueue<int> tasks{things.tasks};
  static_cast<void>(tasks.get());
  tasks.task_done();
}
void put_a_task_if_empty(const Things& things) {
  if (things.tasks.empty()) put_a_task(things);
}
void die_with_a_task(const Things& things) {
  put_a_task(things);
  test::leave_the_dead(things, do_a_task, "ring.get.unlocked");
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
void wait_for_the_shutdown(const Things& things) {
  EXPECT_THROW(mp::Queue<int>{things.numbers}.get(), mp::ShutDown);
}
void expect_to_be_shut_down(const Things& things) {
  shut_down(things);
  mp::Queue<int> numbers{things.numbers};
  EXPECT_THROW(numbers.put(1), mp::ShutDown);
  EXPECT_THROW(numbers.get(), mp::ShutDown);
}

// ---- a queue that is received ----

// On Windows it is the sender's until then, so somebody has to stay.
std::optional<mp::Process<>> sender_that_stays;

void send_a_queue(const Things& things) {
  mp::Connection{things.sending}.send(things.numbers);
}
void send_a_queue_and_stay(const Things& things) {
  send_a_queue(things);
  mp::Event{things.event}.wait();
}
void have_a_queue_sent(const Things& things) {
  sender_that_stays.emplace(mp::ProcessOptions{.start_method = mp::StartMethod::spawn},
                            send_a_queue_and_stay, things);
  sender_that_stays->start();
  EXPECT_TRUE(mp::Connection{things.receiving}.poll(mp::forever));
}
void receive_a_queue(const Things& things) {
  mp::Connection receiving{things.receiving};
  if (auto numbers = receiving.try_recv<mp::Queue<int>>(20ms)) numbers->put(1);
}
void expect_a_queue_or_none(const Things& things) {
  mp::Queue<int> numbers{things.numbers};
  while (numbers.try_get()) {
  }
  send_a_queue(things);
  int received = 0;
  for (mp::Connection receiving{things.receiving}; receiving.poll(); ++received) {
    receiving.recv<mp::Queue<int>>().put(received);
    EXPECT_EQ(numbers.get(), received);
  }
  EXPECT_TRUE(received == 1 || received == 2) << received;
  mp::Event{things.event}.set();
  sender_that_stays->join();
  sender_that_stays.reset();
}

// ---- all of them ----

std::vector<std::string> on_windows(std::vector<std::string> points) {
  return MULTIPROCESSING_WINDOWS ? points : std::vector<std::string>{};
}
std::vector<std::string> on_posix(std::vector<std::string> points) {
  return MULTIPROCESSING_WINDOWS ? std::vector<std::string>{} : points;
}

const std::vector<Case> cases = {
    {.name = "PutSmall",
     .make = things,
     .operation = put_small,
     .sleeper = get_for_ever,
     .wake = put_if_empty,
     .worker = get_one,
     .check = expect_one_or_none,
     .points = {"ring.put.written", "ring.put.committed", "bell.ring.counted"}},
    {.name = "PutLarge",
     .make = things,
     .operation = put_large,
     .sleeper = get_for_ever,
     .wake = put_if_empty,
     .check = expect_one_or_none,
     .points = {"bell.ring.counted"}},
    {.name = "PutIntoAFullQueue",
     .make = things,
     .prepare = fill,
     .operation = try_to_put,
     .check = expect_full},
    {.name = "GetSmall",
     .make = things,
     .prepare = fill,
     .operation = get_one,
     .check = expect_the_rest},
    {.name = "GetFromAFullQueue",
     .make = things,
     .prepare = fill,
     .operation = get_one,
     .sleeper = put_small,
     .wake = get_if_full,
     .worker = try_to_put,
     .check = expect_whole_items,
     .points = {"ring.get.committed", "bell.ring.counted"}},
    {.name = "GetOfAnEmptyQueue",
     .make = things,
     .operation = get_one,
     .sleeper = get_for_ever,
     .wake = put_if_empty,
     .worker = get_one,
     .check = expect_one_or_none,
     .points = {"ring.wait.announced", "ring.wait.woken"}},
    {.name = "WaitForAnItem",
     .make = things,
     .operation = wait_for_an_item,
     .sleeper = wait_for_an_item_for_ever,
     .wake = put_if_empty,
     .check = expect_whole_items,
     .points = {"ring.prepare_wait.announced"}},
    {.name = "PutWhatIsWaitedFor",
     .make = things,
     .operation = put_small,
     .sleeper = wait_for_an_item_for_ever,
     .wake = put_if_empty,
     .check = expect_one_or_none,
     .points = {"ring.set_event.told"}},
    {.name = "GetWhatOthersPut",
     .make = things,
     .operation = get_one,
     .worker = try_to_put,
     .check = expect_whole_items},
    {.name = "Acquire",
     .make = things,
     .operation = take_and_release,
     .check = expect_a_free_lock,
     .points = {"lock.acquire.taken", "lock.acquire.held", "lock.release.begun",
                "lock.release.done", "lock.release.unlocked"}},
    {.name = "AcquireOfAnAbandonedLock",
     .make = things,
     .prepare = abandon,
     .operation = take_or_recover,
     .check = expect_a_free_lock,
     .points = on_posix({"robust_lock.lock.inherited", "robust_lock.lock.made_consistent",
                         "lock.acquire.marked", "lock.acquire.given_back"})},
    {.name = "AcquireWhileOthersWait",
     .make = things,
     .operation = take_and_release_before_others,
     .sleeper = take_when_it_is_taken,
     .wake = say_that_it_is_taken,
     .worker = take_or_recover,
     .check = expect_a_free_lock,
     .points = {"lock.acquire.held", "bell.ring.counted", "lock.release.begun"}},
    {.name = "Recover",
     .make = things,
     .prepare = abandon,
     .operation = recover_and_release,
     .check = expect_a_free_lock,
     .points = {"lock.recover.taken", "lock.recover.held", "lock.recover.sound"}},
    {.name = "Set",
     .make = things,
     .operation = set,
     .sleeper = wait_for_ever,
     .wake = set_unless_it_is,
     .worker = wait_a_little,
     .check = expect_a_sound_event,
     .points = {"event.set.stored", "bell.ring.counted", "event.set.rung"}},
    {.name = "Clear",
     .make = things,
     .prepare = set,
     .operation = clear,
     .worker = wait_a_little,
     .check = expect_a_sound_event,
     .points = {"event.clear.stored"}},
    {.name = "Wait",
     .make = things,
     .operation = wait_a_little,
     .sleeper = wait_for_ever,
     .wake = set_unless_it_is,
     .worker = set_and_clear,
     .check = expect_a_sound_event,
     .points = {"event.wait.announced", "event.wait.woken", "event.wait.rung"}},
    {.name = "SendSmall",
     .make = things,
     .operation = send_small,
     .sleeper = receive_for_ever,
     .wake = send_small,
     .check = expect_whole_messages},
    {.name = "SendLarge",
     .make = things,
     .operation = send_large,
     .sleeper = receive_for_ever,
     .wake = send_small,
     .worker = receive_one,
     .check = expect_whole_messages,
     .points = on_windows({"pipe.send.fragments", "pipe.send.whole"})},
    {.name = "SendAfterASenderThatDied",
     .make = things,
     .prepare = die_in_a_send,
     .operation = send_small,
     .check = expect_whole_messages,
     .points = on_windows({"pipe.bury.entered"})},
    {.name = "ReceiveSmall",
     .make = things,
     .prepare = send_small,
     .operation = receive_one,
     .check = expect_whole_messages},
    {.name = "ReceiveLarge",
     .make = things,
     .prepare = send_large,
     .operation = receive_one,
     .check = expect_whole_messages,
     .points = on_windows({"pipe.recv.fragment"})},
    {.name = "ReceiveWhileOthersWait",
     .make = things,
     .operation = receive_one,
     .sleeper = receive_for_ever,
     .wake = send_small,
     .worker = receive_one,
     .check = expect_whole_messages},
    {.name = "ReceiveAfterASenderThatDied",
     .make = things,
     .prepare = die_in_a_send,
     .operation = receive_one,
     .check = expect_whole_messages,
     .points = on_windows({"pipe.bury.entered"})},
    {.name = "Poll",
     .make = things,
     .prepare = send_small,
     .operation = poll,
     .check = expect_whole_messages,
     .points = {"pipe.poll.locked"}},
    {.name = "PollWhileOthersWait",
     .make = things,
     .operation = poll,
     .sleeper = poll_for_ever,
     .wake = send_small,
     .worker = receive_one,
     .check = expect_whole_messages},
    {.name = "PollAfterASenderThatDied",
     .make = things,
     .prepare = die_in_a_send,
     .operation = poll,
     .check = expect_whole_messages,
     .points = on_windows({"pipe.bury.entered"})},
    {.name = "SendSmallOnADuplexPipe",
     .make = things_with_a_duplex_pipe,
     .operation = send_small,
     .sleeper = receive_for_ever,
     .wake = send_small,
     .check = expect_whole_messages},
    {.name = "SendLargeOnADuplexPipe",
     .make = things_with_a_duplex_pipe,
     .operation = send_large,
     .sleeper = receive_for_ever,
     .wake = send_small,
     .worker = receive_one,
     .check = expect_whole_messages},
    {.name = "ReceiveSmallFromADuplexPipe",
     .make = things_with_a_duplex_pipe,
     .prepare = send_both,
     .operation = receive_one,
     .check = expect_whole_messages},
    {.name = "ReceiveLargeFromADuplexPipe",
     .make = things_with_a_duplex_pipe,
     .prepare = send_large,
     .operation = receive_one,
     .check = expect_whole_messages,
     .points = on_windows({"pipe.recv.fragment", "channel.recv.taken"})},
    {.name = "ReceiveAQueueFromADuplexPipe",
     .make = things_with_a_duplex_pipe,
     .prepare = have_a_queue_sent,
     .operation = receive_a_queue,
     .check = expect_a_queue_or_none,
     .points = {"channel.recv.taken"}},
    {.name = "AcquireAnRLock",
     .make = things,
     .operation = take_rlock_twice,
     .check = expect_a_free_rlock},
    {.name = "AcquireASemaphore",
     .make = things,
     .operation = take_a_unit,
     .sleeper = take_a_unit_for_ever,
     .wake = give_a_unit_if_none_is_there,
     .worker = give_and_take,
     .check = expect_units,
     .points = {"semaphore.acquire.announced", "semaphore.acquire.woken"}},
    {.name = "AcquireAFreeUnit",
     .make = things,
     .prepare = give_units,
     .operation = take_a_unit,
     .worker = take_a_unit_and_give_it_back,
     .check = expect_units,
     .points = {"semaphore.acquire.taken"}},
    {.name = "ReleaseASemaphore",
     .make = things,
     .operation = give_units,
     .sleeper = take_a_unit_for_ever,
     .wake = give_a_unit_if_none_is_there,
     .worker = take_a_unit,
     .check = expect_units,
     .points = {"semaphore.release.stored", "bell.ring.counted", "semaphore.release.rung"}},
    {.name = "Notify",
     .make = things,
     .operation = notify,
     .sleeper = wait_at_condition_for_ever,
     .wake = notify,
     .worker = wait_at_condition,
     .check = expect_a_sound_condition,
     .points = {"room.call.stored", "wakeup.wake.counted", "room.call.woken"}},
    {.name = "WaitAtACondition",
     .make = things,
     .operation = wait_at_condition,
     .sleeper = wait_at_condition_for_ever,
     .wake = notify_one,
     .worker = notify,
     .check = expect_a_sound_condition,
     .points = {"condition.wait.seat_taken", "condition.wait.seated", "condition.wait.released",
                "condition.wait.woken", "lock.take_back.taken", "condition.wait.taken_back",
                "condition.wait.stood_up"}},
    {.name = "WaitAtAConditionAfterOneWhoDied",
     .make = things,
     .prepare = leave_one_who_was_called,
     .operation = wait_at_condition,
     .check = expect_a_sound_condition,
     .points = {"condition.wait.seated", "room.inherit.begun", "room.inherit.called"}},
    {.name = "PassABarrier",
     .make = things,
     .operation = pass_barrier,
     .sleeper = pass_barrier_at_any_time,
     .wake = pass_barrier_if_one_waits,
     .worker = pass_or_mend_barrier,
     .check = expect_a_sound_barrier,
     .points = {"barrier.wait.locked", "barrier.wait.seated", "barrier.phase.stored",
                "barrier.wait.acted", "wakeup.wake.counted", "barrier.wait.woke_all"}},
    {.name = "UpdateAValue",
     .make = things,
     .prepare = update,
     .operation = update,
     .worker = expect_a_whole_value,
     .check = expect_a_whole_value,
     .points = {"value.change.prepared", "value.change.committed", "value.change.stored"}},
    {.name = "PutTasks",
     .make = things,
     .operation = put_tasks,
     .sleeper = get_a_task_for_ever,
     .wake = put_a_task_if_empty,
     .check = expect_tasks_accounted_for,
     .points = {"bell.ring.counted"}},
    {.name = "DoATask",
     .make = things,
     .prepare = put_a_task,
     .operation = do_a_task,
     .sleeper = join_for_ever,
     .wake = do_all_tasks,
     .check = expect_tasks_accounted_for,
     .points = {"ring.tasks.noted", "ring.task_done.stored", "bell.ring.counted"}},
    {.name = "JoinTasks",
     .make = things,
     .prepare = put_tasks,
     .operation = join_tasks,
     .sleeper = join_for_ever,
     .wake = do_all_tasks,
     .check = expect_tasks_accounted_for},
    {.name = "JoinTasksOfOneThatDied",
     .make = things,
     .prepare = die_with_a_task,
     .operation = join_tasks,
     .check = expect_tasks_accounted_for,
     .points = {"ring.tasks.losing", "ring.tasks.lost"}},
    {.name = "PutMany",
     .make = things,
     .operation = put_numbers,
     .check = expect_all_numbers_or_none},
    {.name = "GetMany",
     .make = things,
     .prepare = put_numbers,
     .operation = get_numbers,
     .check = expect_all_numbers_or_none},
    {.name = "CommitALoan",
     .make = things,
     .operation = lend_numbers,
     .check = expect_a_whole_loan_or_none},
    {.name = "ViewALoan",
     .make = things,
     .prepare = lend_numbers,
     .operation = view_numbers,
     .check = expect_a_whole_loan_or_none},
    {.name = "ShutDown",
     .make = things,
     .operation = shut_down,
     .sleeper = wait_for_the_shutdown,
     .wake = shut_down,
     .worker = wait_for_numbers,
     .check = expect_to_be_shut_down,
     .points = {"ring.shutdown.stored", "bell.ring.counted"}},
};

class Spawned : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(, Spawned, testing::ValuesIn(cases), [](const auto& one) {
  return one.param.name;
});

}  // namespace

TEST_P(Spawned, KilledAtAnyStepTheOthersGoOn) {
  test::kill_at_every_step(GetParam());
}

TEST(SpawnedDeath, IsDiedAtEachPointOfWhatSynchronizes) {
  std::set<std::string> died_at{"barrier.wait.woken", "room.death.noted"};  // waiting_test.cpp
  for (const Case& one : cases) died_at.insert(one.points.begin(), one.points.end());
  const std::filesystem::path folder{MULTIPROCESSING_TEST_HEADERS};
  for (const std::string& point :
       test::stop_points_named_in({folder / "synchronize", folder / "heap", folder / "sharedctypes",
                                   folder / "os/posix/bell.ipp", folder / "os/posix/lock.ipp",
                                   folder / "os/posix/wakeup.ipp"})) {
    EXPECT_TRUE(MULTIPROCESSING_WINDOWS || died_at.contains(point)) << point;
  }
}
