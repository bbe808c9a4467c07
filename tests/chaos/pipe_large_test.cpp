// SPDX-License-Identifier: BSL-1.0
// Senders and receivers are killed in large messages, of up to 64 MiB, on ends that several share;
// then at random. What must hold is said in pipe_test.cpp.
// Not on Windows: fork; see spawned_test.cpp
#include <multiprocessing/connection.hpp>

#include <support/chaos.hpp>
#include <support/eventually.hpp>
#include <support/forked.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "chaos/pipe_messages.hpp"

namespace mp = multiprocessing;
using namespace pipe_messages;
using namespace std::chrono_literals;
using test::eventually;
using test::Forked;
using test::Shared;

namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20U;

class SharedPipeChaos : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(, SharedPipeChaos, testing::Values(true, false), [](const auto& duplex) {
  return duplex.param ? "duplex" : "one_way";
});

// Whether the sender of one very large message comes by: it writes on as long as somebody takes
// from it, else it lays the rest aside, once.
bool comes_by(const std::string& step, unsigned pass, bool at_work) {
  if (at_work) return step != "passage.send.spilled";
  if (step == "passage.send.piece") return false;
  return pass == 1 || step == "passage.send.spilled";
}

}  // namespace

TEST(DuplexPipeChaos, ASenderKilledInAVeryLargeMessageSentNothing) {
  constexpr std::uint32_t first = 10;
  for (const auto& step : steps_of_sending_very_large) {
    for (const unsigned pass : {1U, 5U}) {
      for (const bool at_work : {true, false}) {
        if (!comes_by(step, pass, at_work)) continue;
        SCOPED_TRACE(step + ", pass " + std::to_string(pass) + (at_work ? ", at work" : ""));
        mp::Pipe pipe;
        Shared<std::atomic<std::uint32_t>> sent;
        std::vector<std::uint32_t> got;
        const auto receive = [&] {
          Bytes room(very_large_size + 100);
          do {
            room.resize(room.capacity());
            room.resize(pipe.first.recv_bytes_into(room));
            got.push_back(number_of(room));
          } while (got.back() != 2);
        };
        test::forget_stops();
        Forked victim{[&] {
          test::stop_at(step, test::Stop::wait, pass);
          for (std::uint32_t number = first; number < 100 * first; ++number) {
            pipe.second.send_bytes(numbered(number, very_large_size));
            ++*sent;
          }
        }};
        std::optional<std::thread> receiver;
        if (at_work) receiver.emplace(receive);
        kill_at_its_stop(victim);
        if (!receiver) receiver.emplace(receive);
        pipe.second.send_bytes(numbered(2, very_large_size));
        receiver->join();
        got.pop_back();
        EXPECT_GE(got.size(), *sent);
        EXPECT_LE(got.size(), *sent + 1);
        for (std::uint32_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], first + i);
      }
    }
  }
}

TEST(DuplexPipeChaos, AReceiverKilledInAVeryLargeMessageHoldsNobodyUp) {
  for (const auto& step : steps_of_receiving(true)) {
    for (const unsigned pass : {1U, 3U, 30U}) {
      if (pass > 3 && !comes_often(step)) continue;
      SCOPED_TRACE(step + ", pass " + std::to_string(pass));
      mp::Pipe pipe;
      test::forget_stops();
      Forked victim{[&] {
        test::stop_at(step, test::Stop::wait, pass);
        for (int i = 0; i < 3; ++i) static_cast<void>(pipe.first.recv_bytes());
      }};
      std::atomic<bool> all_sent{false};
      std::thread sender{[&] {
        for (std::uint32_t i = 1; i <= 4; ++i) pipe.second.send_bytes(numbered(i, very_large_size));
        all_sent = true;
      }};
      kill_at_its_stop(victim);
      std::uint32_t last = 0;
      for (bool all = false; !all;) {
        all = all_sent;  // before it is looked for once more
        while (const auto got = pipe.first.try_recv_bytes(10ms)) {
          const std::uint32_t number = number_of(*got);
          EXPECT_GT(number, last);
          last = number;
        }
      }
      EXPECT_EQ(last, 4U);
      sender.join();
    }
  }
}

TEST(DuplexPipeChaos, WhoeverIsKilledTheMemoryIsFoundAgain) {
  mp::Pipe pipe;  // of which all have the same memory
  pipe.second.send_bytes(numbered(0, large_size));
  EXPECT_EQ(number_of(pipe.first.recv_bytes()), 0U);
  for (const auto& step : steps_of_sending(true, large_size)) {
    SCOPED_TRACE(step);
    test::forget_stops();
    Forked victim{[&] {
      test::stop_at(step);
      pipe.second.send_bytes(numbered(1, large_size));
    }};
    kill_at_its_stop(victim);
    if (const auto got = pipe.first.try_recv_bytes()) {
      EXPECT_EQ(number_of(*got), 1U);
    }
    for (std::uint32_t i = 2; i < 100; ++i) {
      pipe.second.send_bytes(numbered(i, large_size));
      EXPECT_EQ(number_of(pipe.first.recv_bytes()), i);
    }
  }
}

namespace {

constexpr std::uint32_t messages = 3000;

struct Books {
  std::atomic<std::uint32_t> next{0};
  std::array<std::atomic<bool>, messages> sent{};  // send returned
  std::array<std::atomic<int>, messages> received{};
};

std::size_t size_of(std::uint32_t number) {
  constexpr std::array<std::size_t, 8> sizes{0, 10, 1000, 4060, 5000, 70'000, 10, 300'000};
  constexpr std::uint32_t now_and_then = 50;
  if (number % now_and_then == 0) return 5 * mebibyte;
  return sizes[number % sizes.size()];
}

}  // namespace

TEST_P(SharedPipeChaos, RandomKillsTearLoseAndDoubleNothing) {
  mp::Pipe pipe{GetParam()};
  Shared<Books> books;
  const auto send = [&] {
    for (std::uint32_t number = books->next++; number < messages; number = books->next++) {
      pipe.second.send_bytes(numbered(number, size_of(number)));
      books->sent[number] = true;
    }
  };
  const auto receive = [&] {
    pipe.second.close();
    try {
      for (;;) ++books->received[number_of(pipe.first.recv_bytes())];
    } catch (const mp::EOFError&) {
    }
  };
  constexpr std::size_t each = 2;
  std::vector<std::optional<Forked>> senders(each);
  std::vector<std::optional<Forked>> receivers(each);
  for (auto& one : receivers) one.emplace(receive);
  for (auto& one : senders) one.emplace(send);
  std::mt19937 source{20240607};  // NOLINT(cert-msc51-cpp): the same every time is wanted
  const auto random = [&source] { return static_cast<std::uint32_t>(source()); };
  unsigned killed_receivers = 0;
  unsigned killed_senders = 0;
  for (std::uint32_t kill_at = 0; kill_at < messages; kill_at += 10 + random() % 20) {
    eventually([&] { return books->next >= std::min(kill_at, messages); });
    for (unsigned delay = random() % 20000; delay > 0; --delay)
      std::atomic_signal_fence(std::memory_order_seq_cst);
    if (random() % 2 == 0) {
      auto& victim = senders[random() % each];
      victim.reset();
      victim.emplace(send);
      ++killed_senders;
    } else {
      auto& victim = receivers[random() % each];
      victim.reset();
      victim.emplace(receive);
      ++killed_receivers;
    }
  }
  for (auto& one : senders) EXPECT_EQ(one->join(), 0);
  pipe.second.close();
  for (auto& one : receivers) EXPECT_EQ(one->join(), 0);
  unsigned lost = 0;
  for (std::uint32_t number = 0; number < messages; ++number) {
    EXPECT_LE(books->received[number], 1) << number;
    if (books->sent[number] && books->received[number] == 0) ++lost;
  }
  EXPECT_LE(lost, killed_receivers);
  EXPECT_GT(killed_receivers, 20U);
  EXPECT_GT(killed_senders, 20U);
}

namespace {

// What two senders and two receivers that share the ends have to carry, besides what a victim does.
struct Load {
  static constexpr std::uint32_t messages = 10;
  static constexpr std::uint32_t of_the_victim = 20;
  std::atomic<std::uint32_t> next{0};
  std::atomic<std::uint32_t> victim_sent{0};
  std::array<std::atomic<int>, 100> received{};

  static std::size_t size_of(std::uint32_t number) {
    constexpr std::array<std::size_t, 5> sizes{0, 5 * mebibyte, 100, 5 * mebibyte, 70'000};
    return number == 0 || number >= of_the_victim ? 64 * mebibyte : sizes[number % sizes.size()];
  }
};

class TheLargest {
 public:
  explicit TheLargest(bool duplex) : pipe_{duplex} { test::forget_stops(); }

  Forked victim_that_sends(const std::string& step, unsigned pass) {
    return Forked{[this, step, pass] {
      test::stop_at(step, test::Stop::wait, pass);
      for (std::uint32_t number = Load::of_the_victim; number < load_->received.size(); ++number) {
        pipe_.second.send_bytes(numbered(number, Load::size_of(number)));
        ++load_->victim_sent;
      }
    }};
  }
  Forked victim_that_receives(const std::string& step, unsigned pass) {
    return Forked{[this, step, pass] {
      test::stop_at(step, test::Stop::wait, pass);
      receive();
    }};
  }
  void start_senders() {
    for (int i = 0; i < 2; ++i) senders_.emplace_back([this] { send(); });
  }
  void start_receivers() {
    for (int i = 0; i < 2; ++i) receivers_.emplace_back([this] { receive(); });
  }
  // Each message came once, but the one that the victim died in.
  void end(bool died_receiving_the_first = false) {
    for (auto& one : senders_) EXPECT_EQ(one.join(), 0);
    pipe_.second.close();
    for (auto& one : receivers_) EXPECT_EQ(one.join(), 0);
    for (std::uint32_t number = 0; number < load_->received.size(); ++number) {
      const bool is_sent =
          number < Load::messages ||
          (number >= Load::of_the_victim && number - Load::of_the_victim < load_->victim_sent);
      const bool is_lost = number == 0 && died_receiving_the_first;
      EXPECT_EQ(load_->received[number], is_sent && !is_lost ? 1 : 0) << number;
    }
  }

 private:
  void send() {
    for (std::uint32_t number = load_->next++; number < Load::messages; number = load_->next++) {
      pipe_.second.send_bytes(numbered(number, Load::size_of(number)));
    }
  }
  void receive() {
    pipe_.second.close();
    try {
      for (;;) {
        const Bytes message = pipe_.first.recv_bytes();
        const std::uint32_t number = number_of(message);
        EXPECT_EQ(message.size(), sizeof number + Load::size_of(number));
        ++load_->received.at(number);
      }
    } catch (const mp::EOFError&) {
    }
  }

  mp::Pipe pipe_;
  Shared<Load> load_;
  std::vector<Forked> senders_;
  std::vector<Forked> receivers_;
};

}  // namespace

TEST_P(SharedPipeChaos, TheLargestMessagesPassOnSharedEnds) {
  TheLargest load{GetParam()};
  load.start_receivers();
  load.start_senders();
  load.end();
}

TEST_P(SharedPipeChaos, TheLargestMessagesPassWhenASenderIsKilledInOne) {
  TheLargest load{GetParam()};
  load.start_receivers();
  Forked victim = GetParam() ? load.victim_that_sends("passage.send.piece", 20)
                             : load.victim_that_sends("pipe.send.part", 1000);
  wait_for_stop(victim);
  load.start_senders();  // while it stands still, with whatever it holds
  kill_at_its_stop(victim);
  load.end();
}

TEST(DuplexPipeChaos, TheLargestMessagesPassWhenASenderIsKilledInOneThatNobodyTook) {
  TheLargest load{true};
  Forked victim = load.victim_that_sends("passage.send.spilled", 100);
  kill_at_its_stop(victim);
  load.start_receivers();
  load.start_senders();
  load.end();
}

TEST_P(SharedPipeChaos, TheLargestMessagesPassWhenAReceiverIsKilledInOne) {
  TheLargest load{GetParam()};
  load.start_senders();
  // So many parts are not in the others all together: it stands in the first, of 64 MiB.
  Forked victim = GetParam() ? load.victim_that_receives("passage.recv.piece", 400)
                             : load.victim_that_receives("pipe.recv.part", 1500);
  wait_for_stop(victim);
  load.start_receivers();
  kill_at_its_stop(victim);
  load.end(true);
}
