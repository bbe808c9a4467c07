// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/sharedctypes.hpp>
#include <multiprocessing/synchronize.hpp>

#include <support/child.hpp>
#include <support/eventually.hpp>
#if MULTIPROCESSING_POSIX
#  include <support/forked.hpp>
#endif
#include <support/threads.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::Child;
using test::eventually;
#if MULTIPROCESSING_POSIX
using test::Forked;
#endif
using test::Thread;

namespace {

template <class Work>
void in_threads(int count, Work work) {
  std::vector<std::unique_ptr<Thread>> threads;
  for (int i = 0; i < count; ++i) threads.push_back(std::make_unique<Thread>(work));
}

}  // namespace

TEST(BarrierWait, LetsAllGoInLockstepAndNumbersThem) {
  constexpr unsigned parties = 5;
  constexpr unsigned rounds = MULTIPROCESSING_WINDOWS ? 50 : 500;  // an emulator is slow
  mp::Barrier barrier{parties};
  EXPECT_EQ(barrier.parties(), parties);
  std::vector<std::atomic<unsigned>> arrived(rounds);
  std::vector<std::atomic<unsigned>> indexes(rounds);
  in_threads(parties, [&] {
    for (unsigned i = 0; i < rounds; ++i) {
      ++arrived[i];
      const unsigned index = barrier.wait();
      indexes[i] += 1U << index;
      EXPECT_EQ(arrived[i], parties);
    }
  });
  for (const auto& all : indexes) EXPECT_EQ(all, (1U << parties) - 1);
  EXPECT_EQ(barrier.n_waiting(), 0U);
  EXPECT_FALSE(barrier.broken());
}

TEST(BarrierWait, OfOnePartyNeverWaits) {
  mp::Barrier barrier{1};
  for (int i = 0; i < 100; ++i) EXPECT_EQ(barrier.wait(0s), 0U);
  EXPECT_THROW(mp::Barrier{0}, std::invalid_argument);
}

TEST(BarrierWait, TakesMoreThreadsThanParties) {
  mp::Barrier barrier{2};
  std::atomic<int> passes{0};
  std::atomic<int> ended{0};
  const auto pass = [&] {
    try {
      for (;;) {
        barrier.wait();
        ++passes;
      }
    } catch (const mp::BrokenBarrierError&) {
      ++ended;
    }
  };
  std::vector<std::unique_ptr<Thread>> threads;
  for (int i = 0; i < 6; ++i) threads.push_back(std::make_unique<Thread>(pass));
  EXPECT_TRUE(eventually([&] { return passes > 300; }));
  barrier.abort();
  threads.clear();
  EXPECT_EQ(ended, 6);
}

TEST(BarrierAction, RunsOnceARoundBeforeAnybodyGoesOn) {
  static std::atomic<int> acted;
  acted = 0;
  mp::Barrier barrier{3, mp::Task{[] { ++acted; }}};
  in_threads(3, [&] {
    for (int i = 1; i <= 50; ++i) {
      barrier.wait();
      EXPECT_GE(acted, i);
    }
  });
  EXPECT_EQ(acted, 50);
}

TEST(BarrierAction, ThatThrowsBreaksIt) {
  mp::Barrier barrier{2, mp::Task{[] { throw std::runtime_error{"failed"}; }}};
  std::atomic<int> failed{0};
  std::atomic<int> broken{0};
  in_threads(2, [&] {
    try {
      barrier.wait();
    } catch (const mp::BrokenBarrierError&) {
      ++broken;
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "failed");
      ++failed;
    }
  });
  EXPECT_EQ(failed, 1);
  EXPECT_EQ(broken, 1);
  EXPECT_TRUE(barrier.broken());
  EXPECT_THROW(barrier.wait(), mp::BrokenBarrierError);
}

TEST(BarrierTimeout, BreaksItForAllAndForWhoComesLate) {
  mp::Barrier barrier{3, {}, 60ms};
  std::atomic<int> broken{0};
  const auto wait = [&](auto... timeout) {
    try {
      barrier.wait(timeout...);
    } catch (const mp::BrokenBarrierError&) {
      ++broken;
    }
  };
  {
    Thread patient{[&] { wait(mp::forever); }};
    ASSERT_TRUE(eventually([&] { return barrier.n_waiting() == 1; }));
    test::expect_at_least(60ms, [&] { wait(); });
  }
  EXPECT_EQ(broken, 2);
  EXPECT_TRUE(barrier.broken());
  EXPECT_EQ(barrier.n_waiting(), 0U);
  wait(mp::forever);
  EXPECT_EQ(broken, 3);
  barrier.reset();
  EXPECT_FALSE(barrier.broken());
  in_threads(3, [&] { barrier.wait(mp::forever); });
  EXPECT_THROW(barrier.wait(0s), mp::BrokenBarrierError);
}

TEST(BarrierAbort, AndResetSendAwayAllWhoWait) {
  mp::Barrier barrier{3};
  std::atomic<int> broken{0};
  const auto wait = [&] {
    EXPECT_THROW(barrier.wait(), mp::BrokenBarrierError);
    ++broken;
  };
  for (const bool aborts : {true, false}) {
    Thread first{wait};
    Thread second{wait};
    ASSERT_TRUE(eventually([&] { return barrier.n_waiting() == 2; }));
    if (aborts) {
      barrier.abort();
      EXPECT_TRUE(barrier.broken());
      barrier.abort();
    } else {
      barrier.reset();
      EXPECT_FALSE(barrier.broken());
    }
    first.join();
    second.join();
    if (aborts) barrier.reset();
  }
  EXPECT_EQ(broken, 4);
  in_threads(3, [&] { barrier.wait(); });
  EXPECT_FALSE(barrier.broken());
}

TEST(BarrierTimeout, OfWhoFoundTheRoundFullBreaksNothing) {
  const mp::Event ends;
  mp::Barrier barrier{2, mp::Task{[](mp::Event end) { end.wait(); }, ends}};
  std::atomic<int> passed{0};
  const auto pass = [&] {
    barrier.wait();
    ++passed;
  };
  Thread first{pass};
  Thread second{pass};
  ASSERT_TRUE(eventually([&] { return barrier.n_waiting() == 2; }));
  test::expect_at_least(20ms, [&] { EXPECT_THROW(barrier.wait(20ms), mp::BrokenBarrierError); });
  EXPECT_THROW(barrier.wait(0s), mp::BrokenBarrierError);
  EXPECT_FALSE(barrier.broken());
  mp::Event{ends}.set();
  first.join();
  second.join();
  EXPECT_EQ(passed, 2);
  in_threads(2, pass);
  EXPECT_EQ(passed, 4);
}

// The last party has counted it before, and looks once more before it lets anybody go.
TEST(BarrierAction, DuringWhichAPartyDiesBreaksIt) {
  mp::Value<int> victim{0};
  mp::Barrier barrier{2, mp::Task{[](const mp::Value<int>& who) {
                                    std::error_code ec;
                                    const auto process = mp::os::open_process(who.load(), ec);
                                    ASSERT_FALSE(ec);
                                    mp::os::signal_process(process.get(), mp::os::Signal::kill, ec);
                                    mp::os::wait_ready(process.get(),
                                                       mp::detail::Deadline{mp::forever});
                                  },
                                  victim}};
  Child party{[](mp::Barrier its, mp::Value<int> who) {
                who.store(mp::os::process_id());
                its.wait();
              },
              barrier, victim};
  ASSERT_TRUE(eventually([&] { return barrier.n_waiting() == 1; }));
  EXPECT_THROW(barrier.wait(), mp::BrokenBarrierError);
  EXPECT_TRUE(barrier.broken());
}

TEST(BarrierWait, IsBrokenByAPartyThatDies) {
  for (int round = 0; round < 3; ++round) {
    mp::Barrier barrier{3};
    Child party{[](mp::Barrier its) { its.wait(); }, barrier};
    ASSERT_TRUE(eventually([&] { return barrier.n_waiting() == 1; }));
    if (round == 0) {  // somebody waits
      Thread waiter{[&] { EXPECT_THROW(barrier.wait(), mp::BrokenBarrierError); }};
      ASSERT_TRUE(eventually([&] { return waiter.sleeps(); }));
      party.kill();
    } else {
      party.kill();
      if (round == 2) {  // others have used the waiting room since
        mp::Condition other;
        const std::lock_guard guard{other};
        EXPECT_FALSE(other.wait(1ms));
      }
      EXPECT_TRUE(barrier.broken());
      EXPECT_THROW(barrier.wait(), mp::BrokenBarrierError);
    }
    EXPECT_TRUE(barrier.broken());
    barrier.reset();
    EXPECT_FALSE(barrier.broken());
    EXPECT_EQ(barrier.n_waiting(), 0U);
    in_threads(3, [&] { barrier.wait(); });
  }
}

namespace {

std::uint32_t seats() {
  std::uint32_t all = 0;
  for (const auto* const arena : mp::detail::heap_state().arenas) all += arena->header().seats;
  return all;
}

}  // namespace

TEST(Barrier, TakesTheSeatsOfDeadPartiesWithIt) {
  const mp::Lock keeps_the_memory;
  for (int i = 0; i < 80; ++i) {
    mp::Barrier barrier{2};
    Child party{[](mp::Barrier its) { its.wait(); }, barrier};
    ASSERT_TRUE(eventually([&] { return barrier.n_waiting() == 1; }));
    party.kill();
  }
  EXPECT_LE(seats(), 64U);
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(Barrier, ThatNobodyHasAnyMoreKeepsNoSeats) {
  const mp::Lock keeps_the_memory;
  for (int i = 0; i < 20; ++i) {
    std::optional<mp::Barrier> barrier{std::in_place, 5U};
    std::vector<Forked> parties;
    const auto wait = [&] {
      try {
        barrier->wait();
      } catch (const mp::BrokenBarrierError&) {  // another one was killed first
      }
    };
    for (int party = 0; party < 4; ++party) parties.emplace_back(wait);
    ASSERT_TRUE(eventually([&] { return barrier->n_waiting() == 4; }));
    barrier.reset();
    for (auto& party : parties) party.kill();
  }
  EXPECT_LE(seats(), 32U);
}

// Another one sits where it sat, and the barrier knows all the same.
TEST(Barrier, HearsOfADeadPartyFromWhoTakesItsSeat) {
  mp::Condition other;
  mp::Barrier barrier{3};
  for (const bool is_reset : {true, false, true}) {
    Forked party{[&] { barrier.wait(); }};
    ASSERT_TRUE(eventually([&] { return barrier.n_waiting() == 1; }));
    party.kill();
    {
      const std::lock_guard guard{other};
      EXPECT_FALSE(other.wait(1ms));
    }
    EXPECT_EQ(barrier.n_waiting(), 0U);
    EXPECT_TRUE(barrier.broken());
    if (!is_reset) {
      EXPECT_THROW(barrier.wait(0s), mp::BrokenBarrierError);
    }
    barrier.reset();
    EXPECT_FALSE(barrier.broken());
    in_threads(3, [&] { barrier.wait(); });
  }
}
#endif
