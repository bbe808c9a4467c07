// SPDX-License-Identifier: BSL-1.0
// What signals do to processes, whichever way they were started.
// Not on Windows: signals
#include <multiprocessing/process.hpp>

#include <support/eventually.hpp>
#include <support/forked.hpp>
#include <support/line.hpp>
#include <support/main.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <array>
#include <csignal>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <pthread.h>
#include <sys/types.h>
#include <unistd.h>

namespace mp = multiprocessing;
using test::eventually;
using test::Line;

namespace {

class Signals : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(Signals);

// ---- the mask ----

class AllBlocked {  // in this thread, for a while
 public:
  AllBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  AllBlocked(const AllBlocked&) = delete;
  AllBlocked& operator=(const AllBlocked&) = delete;
  ~AllBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

int count_blocked() {
  sigset_t blocked;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
  int count = 0;
  for (int signal = 1; signal < NSIG; ++signal) count += ::sigismember(&blocked, signal) == 1;
  return count;
}

const int blocked_before_main = count_blocked();

void say_mask(const Line& line) {
  line.say(std::to_string(blocked_before_main) + " " + std::to_string(count_blocked()));
}

TEST_P(Signals, AreNotBlockedInAChildOfAThreadThatBlocksThem) {
  ASSERT_EQ(blocked_before_main, 0);
  const Line line;
  std::thread([&] {
    const AllBlocked blocked;
    const int before = count_blocked();
    mp::Process process(say_mask, line);
    process.start();
    EXPECT_EQ(count_blocked(), before);
    EXPECT_EQ(line.hear(), "0 0");
    process.join();
  }).join();
}

TEST_P(Signals, EndAChildOfAThreadThatBlocksThem) {
  std::thread([] {  // the watchdog's signal finds another
    const AllBlocked blocked;
    for (int round = 0; round < 20; ++round) {  // also before the child has begun
      mp::Process process([] { test::wait_for_ever(); });
      process.start();
      process.terminate();
      EXPECT_TRUE(process.join());
      EXPECT_EQ(process.exitcode(), -SIGTERM);
    }
  })
      .join();
}

TEST_P(Signals, EndTheDaemonsOfAProcessThatBlocksThem) {
  const Line line;
  mp::Process process(
      [](const Line& to) {
        const AllBlocked blocked;
        mp::Process daemon(
            {.daemon = true},
            [](const Line& up) {
              up.say("daemon");
              test::wait_for_ever();
            },
            to);
        daemon.start();
        static_cast<void>(to.hear());
      },
      line);
  process.start();
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 0);
}

// ---- handlers ----

volatile std::sig_atomic_t interrupts = 0;
void count_interrupt(int) {
  interrupts = interrupts + 1;
}

class Disposition {  // of a signal, for a while
 public:
  Disposition(int signal, void (*handler)(int)) : signal_{signal} {
    struct sigaction action {};
    action.sa_handler = handler;
    ::sigaction(signal, &action, &before_);
  }
  Disposition(const Disposition&) = delete;
  Disposition& operator=(const Disposition&) = delete;
  ~Disposition() { ::sigaction(signal_, &before_, nullptr); }

 private:
  int signal_;
  struct sigaction before_ {};
};

void say_dispositions(const Line& line) {
  std::string text;
  for (const int signal : {SIGINT, SIGTERM, SIGPIPE, SIGUSR1, SIGUSR2, SIGRTMIN}) {
    struct sigaction action {};
    ::sigaction(signal, nullptr, &action);
    text += action.sa_handler == SIG_DFL   ? "default "
            : action.sa_handler == SIG_IGN ? "ignored "
                                           : "handled ";
  }
  line.say(text);
}

TEST_P(Signals, HaveTheParentsHandlersUnderForkElseNoneAndStayIgnored) {
  const Line line;
  for (auto* const of_interrupt : {SIG_DFL, SIG_IGN}) {
    const Disposition interrupt(SIGINT, of_interrupt);
    const Disposition pipe(SIGPIPE, SIG_IGN);
    const Disposition handled(SIGUSR1, &count_interrupt);
    const Disposition ignored(SIGUSR2, SIG_IGN);
    const Disposition real_time(SIGRTMIN, &count_interrupt);
    test::end_of_test();  // of a fork server: the next one ignores what is ignored now
    mp::Process process(say_dispositions, line);
    process.start();
    process.join();
    const std::string handler = forks() ? "handled " : "default ";
    EXPECT_EQ(line.hear(), (of_interrupt == SIG_IGN ? "ignored " : "default ") +
                               std::string{"default ignored "} + handler + "ignored " + handler);
  }
}

// ---- Ctrl-C ----

void take_part(const Line& up, const Line& down, int depth) {
  const Disposition counting(SIGINT, &count_interrupt);
  mp::Process child(take_part, up, down, depth - 1);
  if (depth > 0) child.start();
  up.say("ready");
  static_cast<void>(eventually([] { return interrupts > 0; }));
  up.say("interrupted");
  static_cast<void>(down.hear());
  if (depth > 0) child.join();
  up.say(std::to_string(interrupts));
}

TEST_P(Signals, OfTheTerminalReachEveryProcessOfTheTreeOnce) {
  test::Forked session([] {
    ASSERT_EQ(::setsid(), ::getpid());
    const Disposition counting(SIGINT, &count_interrupt);
    const Line up;
    const Line down;
    std::vector<mp::Process<>> children;
    for (int i = 0; i < 2; ++i) children.emplace_back(take_part, up, down, 2);
    for (auto& child : children) child.start();
    constexpr int all = 6;
    for (int i = 0; i < all; ++i) EXPECT_EQ(up.hear(), "ready");
    ASSERT_EQ(::kill(0, SIGINT), 0);  // as the terminal does
    for (int i = 0; i < all; ++i) EXPECT_EQ(up.hear(), "interrupted");
    for (int i = 0; i < all; ++i) down.say("report");
    for (int i = 0; i < all; ++i) EXPECT_EQ(up.hear(), "1");
    for (auto& child : children) {
      EXPECT_TRUE(child.join());
      EXPECT_EQ(child.exitcode(), 0);
    }
    EXPECT_EQ(interrupts, 1);
  });
  EXPECT_EQ(session.join(), 0);
}

TEST_P(Signals, OfTheTerminalLetTheNextProcessStart) {
  test::Forked session([] {
    ASSERT_EQ(::setsid(), ::getpid());
    const Disposition counting(SIGINT, &count_interrupt);
    for (int round = 0; round < 3; ++round) {
      const Line line;
      mp::Process process(
          [](const Line& to) {
            const Disposition usual(SIGINT, SIG_DFL);
            to.say("ready");
            test::wait_for_ever();
          },
          line);
      process.start();
      EXPECT_EQ(line.hear(), "ready");
      ASSERT_EQ(::kill(0, SIGINT), 0);
      EXPECT_TRUE(process.join());
      EXPECT_EQ(process.exitcode(), -SIGINT);
    }
    EXPECT_EQ(interrupts, 3);
  });
  EXPECT_EQ(session.join(), 0);
}

}  // namespace
