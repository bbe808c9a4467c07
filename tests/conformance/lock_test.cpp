// SPDX-License-Identifier: BSL-1.0
// What a Lock is between processes, whichever way they were started.
#include <multiprocessing/connection.hpp>
#include <multiprocessing/process.hpp>
#include <multiprocessing/synchronize.hpp>

#include <support/eventually.hpp>
#include <support/line.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::Line;

namespace {

class Lock : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(Lock);

template <class Target, class... Arguments>
int exit_code_of(Target target, const Arguments&... arguments) {
  mp::Process process{target, arguments...};
  process.start();
  process.join();
  return process.exitcode().value();
}

void expect(bool condition) {
  if (!condition) throw std::runtime_error{"not so"};
}

// What release() and acquire() answer to somebody who is not the owner.
std::string answers(mp::Lock lock) {
  std::string text = lock.locked() ? "locked" : "free";
  try {
    text += lock.acquire(0s) ? ", acquired" : ", refused";
  } catch (const mp::AbandonedLock&) {
    text += ", abandoned";
  }
  try {
    lock.release();
    text += ", released";
  } catch (const std::logic_error&) {
    text += ", not mine";
  }
  return text;
}
void say_answers(const Line& line, mp::Lock lock) {
  line.say(answers(std::move(lock)));
}

// ---- passing it on ----

TEST_P(Lock, IsTheSameInAnArgument) {
  const Line line;
  mp::Lock lock;
  EXPECT_EQ(exit_code_of(say_answers, line, lock), 0);
  EXPECT_EQ(line.hear(), "free, acquired, released");
  const std::lock_guard guard{lock};
  EXPECT_EQ(exit_code_of(say_answers, line, lock), 0);
  EXPECT_EQ(line.hear(), "locked, refused, not mine");
  EXPECT_TRUE(lock.locked());
}

class Worker : public mp::Process<Worker> {
 public:
  Worker(Line line, std::vector<mp::Lock> locks)
      : line_{std::move(line)}, locks_{std::move(locks)} {}
  void run() override {
    for (const auto& lock : locks_) say_answers(line_, lock);
  }
  auto reduce() const { return mp::arguments(line_, locks_); }

 private:
  Line line_;
  std::vector<mp::Lock> locks_;
};

TEST_P(Lock, IsTheSameInTheStateOfAProcess) {
  const Line line;
  std::vector<mp::Lock> locks(3);
  locks[1].acquire();
  Worker worker{line, locks};
  worker.start();
  EXPECT_EQ(line.hear(), "free, acquired, released");
  EXPECT_EQ(line.hear(), "locked, refused, not mine");
  EXPECT_EQ(line.hear(), "free, acquired, released");
  worker.join();
  locks[1].release();
}

void receive_and_say(const Line& line, mp::Connection connection) {
  for (int i = 0; i < 2; ++i) say_answers(line, connection.recv<mp::Lock>());
}

TEST_P(Lock, IsTheSameBehindADuplexPipe) {
  const Line line;
  mp::Pipe pipe;
  mp::Process process{receive_and_say, line, pipe.second};
  process.start();
  mp::Lock lock;
  pipe.first.send(lock);
  EXPECT_EQ(line.hear(), "free, acquired, released");
  lock.acquire();
  pipe.first.send(lock);
  EXPECT_EQ(line.hear(), "locked, refused, not mine");
  process.join();
  lock.release();
  EXPECT_THROW(mp::Pipe{false}.second.send(lock), mp::SerializationError);
}

void pass_on(const Line& line, const mp::Lock& lock) {
  expect(exit_code_of(say_answers, line, lock) == 0);
}

TEST_P(Lock, IsTheSameInAGrandchild) {
  const Line line;
  mp::Lock lock;
  const std::lock_guard guard{lock};
  EXPECT_EQ(exit_code_of(pass_on, line, lock), 0);
  EXPECT_EQ(line.hear(), "locked, refused, not mine");
}

// ---- holding it ----

void hold_until_set(mp::Lock lock, mp::Event is_held, mp::Event is_over) {
  const std::lock_guard guard{lock};
  is_held.set();
  is_over.wait();
}

TEST_P(Lock, IsHeldByAProcessUntilItReleasesIt) {
  mp::Lock lock;
  mp::Event is_held;
  mp::Event is_over;
  mp::Process process{hold_until_set, lock, is_held, is_over};
  process.start();
  is_held.wait();
  EXPECT_TRUE(lock.locked());
  EXPECT_FALSE(lock.acquire(0s));
  EXPECT_FALSE(lock.acquire(20ms));
  EXPECT_FALSE(lock.recover(0s));
  EXPECT_THROW(lock.release(), std::logic_error);
  is_over.set();
  EXPECT_TRUE(lock.acquire());
  lock.release();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

// There is one number, and whoever is alone finds it at one end and puts the next one in at the
// other.
void count_together(mp::Lock lock, mp::Connection in, mp::Connection out) {
  const auto count = [&] {
    for (int i = 0; i < 200; ++i) {
      const std::lock_guard guard{lock};
      expect(in.poll());
      out.send(in.recv<int>() + 1);
    }
  };
  std::thread second{count};
  count();
  second.join();
}

TEST_P(Lock, ExcludesThreadsOfSeveralProcesses) {
  mp::Lock lock;
  mp::Pipe pipe;
  pipe.first.send(0);
  std::vector<mp::Process<>> processes;
  for (int i = 0; i < 3; ++i) {
    processes.emplace_back(count_together, lock, pipe.second, pipe.first);
  }
  for (auto& process : processes) process.start();
  for (auto& process : processes) {
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
  }
  EXPECT_EQ(pipe.second.recv<int>(), 3 * 2 * 200);
}

// ---- dying with it ----

void end_holding(mp::Lock lock) {
  lock.acquire();
}
void hold_for_ever(mp::Lock lock, mp::Event is_held) {
  lock.recover();
  is_held.set();
  test::wait_for_ever();
}
void end_a_thread_holding(mp::Lock lock, mp::Event is_abandoned, mp::Event is_over) {
  std::thread{[&] { lock.acquire(); }}.join();
  is_abandoned.set();
  is_over.wait();
}

TEST_P(Lock, OfAProcessThatEndsIsAbandoned) {
  const Line line;
  mp::Lock lock;
  EXPECT_EQ(exit_code_of(end_holding, lock), 0);
  EXPECT_FALSE(lock.locked());
  EXPECT_THROW(lock.acquire(), mp::AbandonedLock);
  EXPECT_EQ(exit_code_of(say_answers, line, lock), 0);
  EXPECT_EQ(line.hear(), "free, abandoned, not mine");
  EXPECT_TRUE(lock.recover());
  EXPECT_EQ(exit_code_of(say_answers, line, lock), 0);
  EXPECT_EQ(line.hear(), "locked, refused, not mine");
  lock.release();
  EXPECT_EQ(exit_code_of(say_answers, line, lock), 0);
  EXPECT_EQ(line.hear(), "free, acquired, released");
}

TEST_P(Lock, OfAProcessThatIsKilledIsAbandonedAgainAndAgain) {
  mp::Lock lock;
  for (int i = 0; i < 3; ++i) {
    mp::Event is_held;
    mp::Process process{hold_for_ever, lock, is_held};
    process.start();
    is_held.wait();
    EXPECT_FALSE(lock.acquire(0s));
    process.kill();
    EXPECT_THROW(lock.acquire(), mp::AbandonedLock);
    EXPECT_THROW(lock.acquire(0s), mp::AbandonedLock);
    EXPECT_FALSE(lock.locked());
    process.join();
  }
  EXPECT_TRUE(lock.recover(0s));
  lock.release();
}

TEST_P(Lock, OfAThreadThatEndsIsAbandonedWhileItsProcessLives) {
  mp::Lock lock;
  mp::Event is_abandoned;
  mp::Event is_over;
  mp::Process process{end_a_thread_holding, lock, is_abandoned, is_over};
  process.start();
  is_abandoned.wait();
  EXPECT_THROW(lock.acquire(), mp::AbandonedLock);
  EXPECT_TRUE(lock.recover(0s));
  lock.release();
  is_over.set();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

void acquire_and_say(const Line& line, mp::Lock lock) {
  line.say("waits");
  try {
    lock.acquire();
    line.say("acquired");
  } catch (const mp::AbandonedLock&) {
    line.say("abandoned");
  }
}

TEST_P(Lock, ThatIsAbandonedSendsAwayAllWhoWait) {
  const Line line;
  mp::Lock lock;
  mp::Event is_held;
  mp::Process owner{hold_for_ever, lock, is_held};
  owner.start();
  is_held.wait();
  std::vector<mp::Process<>> waiters;
  for (int i = 0; i < 3; ++i) waiters.emplace_back(acquire_and_say, line, lock);
  for (auto& waiter : waiters) waiter.start();
  for (std::size_t i = 0; i < waiters.size(); ++i) EXPECT_EQ(line.hear(), "waits");
  owner.kill();
  for (std::size_t i = 0; i < waiters.size(); ++i) EXPECT_EQ(line.hear(), "abandoned");
  for (auto& waiter : waiters) waiter.join();
  owner.join();
}

}  // namespace
