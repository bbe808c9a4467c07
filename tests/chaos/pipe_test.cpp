// SPDX-License-Identifier: BSL-1.0
// Senders and receivers are killed at every step, with the others asleep in the pipe and with the
// others at work. What must hold: nobody hangs (the watchdog), a message whose send returned comes
// out exactly once, none comes out torn or twice, only what a killed receiver had in its hands may
// be lost, and poll() does not promise what recv() does not have. Each point that the headers name
// is died at.
// Not on Windows: fork; the steps are in spawned_test.cpp, random kills are not
#include <multiprocessing/connection.hpp>

#include <support/asleep.hpp>
#include <support/chaos.hpp>
#include <support/eventually.hpp>
#include <support/forked.hpp>
#include <support/named_points.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "chaos/pipe_messages.hpp"

namespace mp = multiprocessing;
using namespace pipe_messages;
using test::eventually;
using test::Forked;
using test::Shared;

namespace {

class EveryPipeChaos : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(, EveryPipeChaos, testing::Values(true, false), [](const auto& duplex) {
  return duplex.param ? "duplex" : "one_way";
});

}  // namespace

TEST_P(EveryPipeChaos, ASenderKilledAtAnyStepLeavesAWholeMessageOrNone) {
  for (const std::size_t size : {small_size, large_size}) {
    for (const auto& step : steps_of_sending(GetParam(), size)) {
      SCOPED_TRACE(step + ", " + std::to_string(size) + " bytes");
      mp::Pipe pipe{GetParam()};
      test::forget_stops();
      Forked victim{[&] {
        test::stop_at(step);
        static_cast<void>(pipe.second.try_send_bytes(numbered(1, size)));
      }};
      kill_at_its_stop(victim);
      std::optional<Bytes> got;
      if (pipe.first.poll()) {
        got = pipe.first.try_recv_bytes();
        ASSERT_TRUE(got) << "poll() promised a message";
        EXPECT_EQ(number_of(*got), 1U);
        EXPECT_FALSE(pipe.first.poll());
      }
      pipe.second.send_bytes(numbered(2, small_size));
      EXPECT_TRUE(pipe.first.poll());
      EXPECT_EQ(number_of(pipe.first.recv_bytes()), 2U);
      EXPECT_FALSE(pipe.first.poll());
    }
  }
}

namespace {

struct Death {
  std::string step;
  unsigned pass;
  std::size_t size;
};

// One receives all the time, or sleeps when the victim begins to send.
void expect_a_receiver_goes_on(bool duplex, const Death& death, bool asleep) {
  constexpr std::uint32_t first = 10;
  constexpr std::uint32_t last = 2;
  mp::Pipe pipe{duplex};
  Shared<Received> seen;
  Forked receiver{[&] {
    std::uint32_t next = first;
    for (std::uint32_t number = 0; number != last;) {
      number = number_of(pipe.first.recv_bytes());
      if (number != last) {
        EXPECT_EQ(number, next++);
      }
      seen->note(number);
    }
  }};
  if (asleep) {  // without end: for the descriptor, not for 10 ms on the bell
    eventually(
        [&] { return test::is_asleep(receiver.pid()) && !test::sleeps_in_futex(receiver.pid()); });
  }
  test::forget_stops();
  Forked victim{[&] {
    test::stop_at(death.step, test::Stop::wait, death.pass);
    for (std::uint32_t number = first; number < 2 * first; ++number) {
      pipe.second.send_bytes(numbered(number, death.size));
      ++seen->sent;
    }
  }};
  kill_at_its_stop(victim);
  pipe.second.send_bytes(numbered(last, large_size));
  EXPECT_EQ(receiver.join(), 0);
  EXPECT_GE(seen->count, seen->sent + 1);
  EXPECT_LE(seen->count, seen->sent + 2);
}

}  // namespace

TEST_P(EveryPipeChaos, AReceiverOutlivesASenderKilledAtAnyStep) {
  for (const std::size_t size : {small_size, large_size}) {
    for (const auto& step : steps_of_sending(GetParam(), size)) {
      for (const bool asleep : {false, true}) {
        for (const unsigned pass : {1U, 2U}) {
          if (pass > 1 && step == "pipe.send.announced") continue;  // once, while messages follow
          SCOPED_TRACE(step + ", pass " + std::to_string(pass) + ", " + std::to_string(size) +
                       " bytes" + (asleep ? ", asleep" : ""));
          expect_a_receiver_goes_on(GetParam(), {step, pass, size}, asleep);
        }
      }
    }
  }
}

TEST(OneWayPipeChaos, SeveralDeadMessagesAreNoMessage) {
  mp::Pipe pipe{false};
  for (std::uint32_t i = 0; i < 3; ++i) {  // as many beginnings as the pipe has room for
    test::forget_stops();
    Forked victim{[&] {
      test::stop_at("pipe.send.part");
      pipe.second.send_bytes(numbered(i, large_size));
    }};
    kill_at_its_stop(victim);
  }
  EXPECT_FALSE(pipe.first.poll());
  EXPECT_EQ(pipe.first.try_recv_bytes(), std::nullopt);
  pipe.second.send_bytes(numbered(7, small_size));
  EXPECT_TRUE(pipe.first.poll());
  EXPECT_EQ(number_of(pipe.first.recv_bytes()), 7U);
}

TEST_P(EveryPipeChaos, AReceiverKilledAtAnyStepLosesOneMessageAtMost) {
  for (const auto& step : steps_of_receiving(GetParam())) {
    for (const unsigned pass : {1U, 2U, 70U}) {
      if (pass > 2 && !comes_often(step)) continue;
      for (const bool others_wait : {false, true}) {
        SCOPED_TRACE(step + ", pass " + std::to_string(pass));
        mp::Pipe pipe{GetParam()};
        Shared<Received> seen;
        test::forget_stops();
        Forked sender{[&] {  // until the victim has had its turn
          pipe.first.close();
          constexpr std::uint32_t fewest = 6;
          for (std::uint32_t i = 1; i <= Received::most && (i <= fewest || !seen->enough); ++i) {
            pipe.second.send_bytes(numbered(i, i % 2 == 0 ? small_size : large_size));
            seen->sent = i;
            // Orders nothing: the second half takes 50 s, or a victim that has not begun gets none.
            if (i > Received::most / 2) std::this_thread::sleep_for(std::chrono::milliseconds{50});
          }
        }};
        pipe.second.close();
        const auto receive_all = [&](bool stops) {
          return [&, stops] {
            if (stops) test::stop_at(step, test::Stop::wait, pass);
            try {
              for (;;) {
                static_cast<void>(pipe.first.poll(mp::forever));
                seen->note(number_of(pipe.first.recv_bytes()));
              }
            } catch (const mp::EOFError&) {
            }
          };
        };
        Forked victim{receive_all(true)};
        std::vector<Forked> others;
        if (others_wait) others.emplace_back(receive_all(false));
        kill_at_its_stop(victim);
        if (!others_wait) others.emplace_back(receive_all(false));
        seen->enough = true;
        EXPECT_EQ(others[0].join(), 0);
        EXPECT_EQ(sender.join(), 0);
        int lost = 0;
        for (std::uint32_t i = 1; i <= seen->sent; ++i) {
          EXPECT_LE(seen->times[i], 1);
          if (seen->times[i] == 0) ++lost;
        }
        EXPECT_LE(lost, 1);
      }
    }
  }
}

namespace {

// Empty messages, of which nothing but their number can be wrong.
struct Empties {
  std::atomic<std::uint32_t> sent;
  std::atomic<std::uint32_t> received;
};

// Receives until a message is not empty.
void count_empties(mp::Pipe& pipe, Empties& seen) {
  for (;;) {
    const Bytes got = pipe.first.recv_bytes();
    if (!got.empty()) {
      EXPECT_EQ(number_of(got), 2U);
      return;
    }
    ++seen.received;
  }
}

void send_empties(mp::Pipe& pipe, Empties& seen, int count) {
  for (int i = 0; i < count; ++i) {
    pipe.second.send_bytes(Bytes{});
    ++seen.sent;
  }
}

}  // namespace

TEST_P(EveryPipeChaos, EmptyMessagesOnSharedEndsOutliveAKilledSender) {
  for (const auto& step : steps_of_sending(GetParam(), small_size)) {
    SCOPED_TRACE(step);
    mp::Pipe pipe{GetParam()};
    Shared<Empties> seen;
    std::array<Forked, 2> receivers{Forked{[&] { count_empties(pipe, *seen); }},
                                    Forked{[&] { count_empties(pipe, *seen); }}};
    test::forget_stops();
    Forked victim{[&] {
      test::stop_at(step, test::Stop::wait, step == "pipe.send.announced" ? 1 : 3);
      send_empties(pipe, *seen, 10);
    }};
    wait_for_stop(victim);
    Forked other{[&] { send_empties(pipe, *seen, 10); }};
    kill_at_its_stop(victim);
    EXPECT_EQ(other.join(), 0);
    send_empties(pipe, *seen, 10);
    for (std::size_t i = 0; i < receivers.size(); ++i) {
      pipe.second.send_bytes(numbered(2, small_size));
    }
    for (Forked& receiver : receivers) EXPECT_EQ(receiver.join(), 0);
    EXPECT_GE(seen->received, seen->sent);
    EXPECT_LE(seen->received, seen->sent + 1);
  }
}

TEST_P(EveryPipeChaos, EmptyMessagesOnSharedEndsOutliveAKilledReceiver) {
  for (const auto& step :
       GetParam() ? Steps{"channel.recv.taken"} : Steps{"pipe.recv.locked", "pipe.recv.part"}) {
    SCOPED_TRACE(step);
    mp::Pipe pipe{GetParam()};
    Shared<Empties> seen;
    test::forget_stops();
    Forked victim{[&] {
      test::stop_at(step, test::Stop::wait, 3);
      count_empties(pipe, *seen);
    }};
    send_empties(pipe, *seen, 10);
    kill_at_its_stop(victim);
    Forked other{[&] { count_empties(pipe, *seen); }};
    send_empties(pipe, *seen, 10);
    pipe.second.send_bytes(numbered(2, small_size));
    EXPECT_EQ(other.join(), 0);
    EXPECT_GE(seen->received, seen->sent - 1);
    EXPECT_LE(seen->received, seen->sent);
  }
}

// It has taken "there is a message" back, and not yet the byte that says so.
TEST(OneWayPipeChaos, AReceiverKilledAsItEmptiesThePipeLetsSleepersGoOn) {
  for (const bool others_wait : {false, true}) {
    mp::Pipe pipe{false};
    Shared<Received> seen;
    const auto receive_all = [&](bool stops) {
      return [&, stops] {
        pipe.second.close();
        if (stops) test::stop_at("pipe.recv.quiet", test::Stop::die);
        try {
          for (;;) {
            seen->note(number_of(pipe.first.recv_bytes()));
            if (stops) static_cast<void>(pipe.first.poll());
          }
        } catch (const mp::EOFError&) {
        }
      };
    };
    test::forget_stops();
    std::optional<Forked> other;
    if (others_wait) other.emplace(receive_all(false));
    Forked victim{receive_all(true)};
    std::uint32_t number = 0;
    const auto send_one = [&] {
      pipe.second.send_bytes(numbered(++number, small_size));
      eventually([&] { return seen->count == number || test::stops_reached() != 0; });
    };
    while (test::stops_reached() == 0 && number < 1000) {
      send_one();
      // Orders nothing: the second half takes 50 s, or a victim that has not begun gets none.
      if (number > 500) std::this_thread::sleep_for(std::chrono::milliseconds{100});
    }
    kill_at_its_stop(victim);
    if (!other) other.emplace(receive_all(false));
    for (int i = 0; i < 3; ++i) {
      eventually([&] { return seen->count == number; });  // goes on, and sleeps
      send_one();
    }
    pipe.second.close();
    EXPECT_EQ(other->join(), 0);
    for (std::uint32_t i = 1; i <= number; ++i) EXPECT_EQ(seen->times[i], 1);
  }
}

// Its count is there, and the system call that wakes is not.
TEST(OneWayPipeChaos, ASenderKilledAsItWakesAReceiverLetsItGoOn) {
  for (const std::size_t size : {small_size, large_size}) {
    SCOPED_TRACE(size);
    mp::Pipe pipe{false};
    Shared<Received> seen;
    const auto receive_all = [&] {
      pipe.second.close();
      try {
        for (;;) seen->note(number_of(pipe.first.recv_bytes()));
      } catch (const mp::EOFError&) {
      }
    };
    std::array<Forked, 2> sleepers{Forked{receive_all}, Forked{receive_all}};
    const auto one_sleeps = [&] {  // on the bell; after 10 ms it goes to sleep elsewhere
      constexpr int looks = 100;
      for (int look = 0; look < looks; ++look) {
        for (const auto& one : sleepers) {
          if (test::sleeps_in_futex(one.pid())) return true;
        }
      }
      return false;
    };
    test::forget_stops();
    Forked victim{[&] {
      for (std::uint32_t number = 1; number < Received::most;) {
        pipe.second.send_bytes(numbered(number++, small_size));
        seen->sent = number - 1;
        eventually([&] { return seen->count == seen->sent; });
        if (!one_sleeps()) continue;
        test::stop_at("bell.ring.counted");
        pipe.second.send_bytes(numbered(number++, size));
        test::stop_nowhere();
        seen->sent = number - 1;
      }
    }};
    kill_at_its_stop(victim);
    const std::uint32_t last = seen->sent;
    if (size == small_size) {  // it was sent
      eventually([&] { return seen->count == last + 1; });
    }
    pipe.second.send_bytes(numbered(last + 2, large_size));
    eventually([&] { return seen->times[last + 2] == 1; });
    pipe.second.close();
    for (auto& one : sleepers) EXPECT_EQ(one.join(), 0);
    for (std::uint32_t i = 1; i <= last; ++i) EXPECT_EQ(seen->times[i], 1);
    EXPECT_EQ(seen->times[last + 1], size == small_size ? 1 : 0);
  }
}

TEST(OneWayPipeChaos, WhoInheritsALockMayDieToo) {
  for (const auto& step : steps_of_inheriting) {
    for (const bool sends : {true, false}) {
      SCOPED_TRACE(step + (sends ? ", sends" : ", receives"));
      mp::Pipe pipe{false};
      // A receiver sleeps, or a sender for which there is no room.
      Forked sleeper{[&] {
        if (sends) {
          EXPECT_EQ(number_of(pipe.first.recv_bytes()), 2U);
        } else {
          pipe.second.send_bytes(numbered(2, large_size));
        }
      }};
      eventually([&] { return test::is_asleep(sleeper.pid()); });
      const std::string lock = sends ? "pipe.send.locked" : "pipe.recv.locked";
      for (const auto& where : {lock, step}) {
        test::forget_stops();
        Forked victim{[&] {
          test::stop_at(where);
          if (sends) {
            pipe.second.send_bytes(numbered(1, small_size));
          } else {
            static_cast<void>(pipe.first.recv_bytes());
          }
        }};
        kill_at_its_stop(victim);
      }
      if (sends) {
        pipe.second.send_bytes(numbered(2, large_size));
      } else {
        EXPECT_EQ(number_of(pipe.first.recv_bytes()), 2U);
      }
      EXPECT_EQ(sleeper.join(), 0);
      EXPECT_FALSE(pipe.first.poll());
    }
  }
}

TEST(OneWayPipeChaos, AMessageWhoseSenderDiedIsNotWaitedFor) {
  mp::Pipe pipe{false};
  test::forget_stops();
  Forked victim{[&] {
    test::stop_at("pipe.send.part", test::Stop::wait, 3);
    pipe.second.send_bytes(numbered(1, large_size));
  }};
  wait_for_stop(victim);
  EXPECT_TRUE(pipe.first.poll());
  std::atomic<int> id{0};
  std::thread receiver{[&] {
    id = test::thread_id();
    EXPECT_EQ(pipe.first.try_recv_bytes(), std::nullopt);
  }};
  eventually([&] { return id != 0 && test::sleeps_in_futex(id); });  // has taken all that is there
  victim.kill();
  receiver.join();
}

TEST(OneWayPipeChaos, AReceiverKilledWhileItCopiesLeavesASmallMessageToTheNext) {
  mp::Pipe pipe{false};
  pipe.second.send_bytes(numbered(1, small_size));
  test::forget_stops();
  Forked victim{[&] {
    test::stop_at("pipe.recv.copied");
    static_cast<void>(pipe.first.recv_bytes());
  }};
  kill_at_its_stop(victim);
  const auto got = pipe.first.try_recv_bytes();
  ASSERT_TRUE(got);
  EXPECT_EQ(number_of(*got), 1U);
  EXPECT_FALSE(pipe.first.poll());
}

TEST(OneWayPipeChaos, PollAfterAReceiverDiedInAMessageSeesOnlyTheNext) {
  mp::Pipe pipe{false};
  test::forget_stops();
  Forked sender{[&] { pipe.second.send_bytes(numbered(1, large_size)); }};
  Forked victim{[&] {
    test::stop_at("pipe.recv.part", test::Stop::wait, 5);
    static_cast<void>(pipe.first.recv_bytes());
  }};
  kill_at_its_stop(victim);
  std::thread poller{[&] {
    EXPECT_TRUE(
        pipe.first.poll(mp::forever));  // takes the remains out, so the sender comes to an end
    const auto got = pipe.first.try_recv_bytes();
    ASSERT_TRUE(got) << "poll() promised a message";
    EXPECT_EQ(number_of(*got), 2U);
  }};
  EXPECT_EQ(sender.join(), 0);
  pipe.second.send_bytes(numbered(2, small_size));
  poller.join();
}

TEST(PipeChaos, IsKilledAtEachPoint) {
  const std::filesystem::path folder{MULTIPROCESSING_TEST_HEADERS};
  const std::filesystem::path os = folder / "os/posix";
  const auto all = test::stop_points_named_in(
      {os / "one_way_channel.ipp", os / "pipe_reader.ipp", os / "pipe_writer.ipp",
       os / "channel.ipp", os / "passage.ipp", os / "bell.ipp", os / "lock.ipp"});
  std::set<std::string> steps{"pipe.recv.quiet"};
  steps.insert(steps_of_inheriting.begin(), steps_of_inheriting.end());
  for (const Steps& some :
       {steps_of_sending(true, large_size), steps_of_sending(false, large_size),
        steps_of_receiving(true), steps_of_receiving(false), steps_of_sending_very_large}) {
    steps.insert(some.begin(), some.end());
  }
  EXPECT_EQ(steps, all);
}
