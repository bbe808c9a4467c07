// SPDX-License-Identifier: BSL-1.0
// A process that was spawned dies at every step of every operation, with others asleep and at work:
// what chaos does to forked ones, on every system.
#include <multiprocessing.hpp>

#include <support/codes.hpp>
#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;

namespace {

const std::string small = "small";
const std::string large(200'000, 'x');  // goes into a pipe that nobody reads

// What victims and their peers share.
struct Things {
  mp::Queue<std::string> queue{2};
  mp::Lock lock;
  mp::Event event;
  mp::Connection receiving;
  mp::Connection sending;
};

Things things_with(bool duplex) {
  const mp::Pipe pipe{duplex};
  return {mp::Queue<std::string>{2}, {}, {}, pipe.first, pipe.second};
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
};

class Spawned : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(, Spawned, testing::ValuesIn(cases), [](const auto& one) {
  return one.param.name;
});

std::vector<std::string> points_of(const Case& which) {
  const Things things = things_with(which.duplex);
  which.prepare(things);
  return test::stop_points_in([&] { which.operation(things); });
}

TEST_P(Spawned, KilledAtAnyStepTheOthersGoOn) {
  const Case& which = GetParam();
  for (const std::string& point : points_of(which)) {
    SCOPED_TRACE(point);
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
    // Where a peer took part, the victim may have had nothing to do there.
    if (which.peer == nothing) {
      EXPECT_EQ(victim.exitcode(), test::killed_code);
    }
    which.check(things);
  }
}

}  // namespace
