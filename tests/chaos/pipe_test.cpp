// SPDX-License-Identifier: BSL-1.0
// Senders and receivers are killed at every step, with the others asleep in the pipe and with the
// others at work; then at random. What must hold: nobody hangs (the watchdog), a message whose send
// returned comes out exactly once, none comes out torn or twice, only what a killed receiver had in
// its hands may be lost, and poll() does not promise what recv() does not have.
// Not on Windows: fork; the steps are in spawned_test.cpp, random kills are not
#include <multiprocessing/connection.hpp>

#include <support/asleep.hpp>
#include <support/eventually.hpp>
#include <support/forked.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <sys/mman.h>
#include <sys/wait.h>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::eventually;
using test::Forked;

namespace {

using Bytes = std::vector<std::byte>;

constexpr std::size_t small_size = 100;
constexpr std::size_t large_size = 600'000;  // more than a pipe holds

Bytes numbered(std::uint32_t number, std::size_t size) {
  Bytes message(sizeof number + size);
  std::memcpy(message.data(), &number, sizeof number);
  for (std::size_t i = 0; i < size; ++i) {
    message[sizeof number + i] = static_cast<std::byte>(number * 31 + i * 7);
  }
  return message;
}

// The number of a whole message; a torn one fails the test.
std::uint32_t number_of(const Bytes& message) {
  std::uint32_t number = 0;
  if (message.size() >= sizeof number) std::memcpy(&number, message.data(), sizeof number);
  EXPECT_TRUE(message.size() >= sizeof number &&
              message == numbered(number, message.size() - sizeof number))
      << "a torn message of " << message.size() << " bytes";
  return number;
}

// Plain memory that all forked processes share, for what the test itself writes down.
template <class T>
class Shared {
 public:
  Shared()
      : memory_{
            ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)} {
    if (memory_ == MAP_FAILED) throw std::bad_alloc{};
    new (memory_) T{};
  }
  ~Shared() { ::munmap(memory_, sizeof(T)); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  T* operator->() { return static_cast<T*>(memory_); }

 private:
  void* memory_;
};

// Waits until the process has come to its stop, or has ended without coming by.
void wait_for_stop(const Forked& victim) {
  eventually([&] {
    if (test::stops_reached() != 0) return true;
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(victim.pid()), &info, WEXITED | WNOHANG | WNOWAIT);
    return info.si_pid != 0;
  });
}

std::vector<std::string> steps_of_sending(bool duplex) {
  return test::stop_points_in([&] {
    mp::Pipe pipe{duplex};
    static_cast<void>(pipe.second.try_send_bytes(numbered(0, small_size)));
    static_cast<void>(pipe.second.try_send_bytes(numbered(0, large_size)));
    static_cast<void>(pipe.second.try_send_bytes(numbered(0, 3 * large_size)));
    pipe.second.close();
  });
}

std::vector<std::string> steps_of_receiving(bool duplex) {
  return test::stop_points_in([&] {
    mp::Pipe pipe{duplex};
    std::thread sender{[&] { pipe.second.send_bytes(numbered(0, large_size)); }};
    static_cast<void>(pipe.first.poll(mp::forever));
    static_cast<void>(pipe.first.recv_bytes());
    sender.join();
  });
}

class EveryPipeChaos : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(, EveryPipeChaos, testing::Values(true, false), [](const auto& duplex) {
  return duplex.param ? "duplex" : "one_way";
});

}  // namespace

TEST_P(EveryPipeChaos, ASenderKilledAtAnyStepLeavesAWholeMessageOrNone) {
  const auto steps = steps_of_sending(GetParam());
  ASSERT_GE(steps.size(), 2U);
  for (const auto& step : steps) {
    for (const std::size_t size : {small_size, large_size}) {
      SCOPED_TRACE(step + ", " + std::to_string(size) + " bytes");
      mp::Pipe pipe{GetParam()};
      test::forget_stops();
      Forked victim{[&] {
        test::stop_at(step);
        static_cast<void>(pipe.second.try_send_bytes(numbered(1, size)));
      }};
      wait_for_stop(victim);
      victim.kill();
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

TEST_P(EveryPipeChaos, AReceiverAtWorkOutlivesASenderKilledAtAnyStep) {
  for (const auto& step : steps_of_sending(GetParam())) {
    for (const unsigned pass : {1U, 2U}) {
      for (const std::size_t size : {small_size, large_size}) {
        SCOPED_TRACE(step + ", pass " + std::to_string(pass) + ", " + std::to_string(size) +
                     " bytes");
        mp::Pipe pipe{GetParam()};
        std::vector<std::uint32_t> got;
        test::forget_stops();
        Forked victim{[&] {
          test::stop_at(step, test::Stop::wait, pass);
          pipe.second.send_bytes(numbered(1, size));
        }};
        std::thread receiver{[&] {
          do {
            got.push_back(number_of(pipe.first.recv_bytes()));
          } while (got.back() != 2);
        }};
        wait_for_stop(victim);
        victim.kill();
        pipe.second.send_bytes(numbered(2, large_size));
        receiver.join();
        EXPECT_LE(got.size(), 2U);
        EXPECT_TRUE(got.front() == 1 || got.size() == 1);
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
    wait_for_stop(victim);
    victim.kill();
  }
  EXPECT_FALSE(pipe.first.poll());
  EXPECT_EQ(pipe.first.try_recv_bytes(), std::nullopt);
  pipe.second.send_bytes(numbered(7, small_size));
  EXPECT_TRUE(pipe.first.poll());
  EXPECT_EQ(number_of(pipe.first.recv_bytes()), 7U);
}

TEST_P(EveryPipeChaos, AReceiverKilledAtAnyStepLosesOneMessageAtMost) {
  constexpr std::uint32_t last = 6;
  for (const auto& step : steps_of_receiving(GetParam())) {
    for (const unsigned pass : {1U, 2U, 70U}) {
      for (const bool others_wait : {false, true}) {
        SCOPED_TRACE(step + ", pass " + std::to_string(pass));
        mp::Pipe pipe{GetParam()};
        Shared<std::array<std::atomic<int>, last + 1>> seen;
        test::forget_stops();
        Forked sender{[&] {
          pipe.first.close();
          for (std::uint32_t i = 1; i <= last; ++i) {
            pipe.second.send_bytes(numbered(i, i % 2 == 0 ? small_size : large_size));
          }
        }};
        pipe.second.close();
        const auto receive_all = [&](bool stops) {
          return [&, stops] {
            if (stops) test::stop_at(step, test::Stop::wait, pass);
            try {
              for (;;) {
                static_cast<void>(pipe.first.poll(mp::forever));
                const std::uint32_t number = number_of(pipe.first.recv_bytes());
                ++(*seen.operator->())[number];
              }
            } catch (const mp::EOFError&) {
            }
          };
        };
        Forked victim{receive_all(true)};
        std::vector<Forked> others;
        if (others_wait) others.emplace_back(receive_all(false));
        wait_for_stop(victim);
        victim.kill();
        if (!others_wait) others.emplace_back(receive_all(false));
        EXPECT_EQ(others[0].join(), 0);
        EXPECT_EQ(sender.join(), 0);
        int lost = 0;
        for (std::uint32_t i = 1; i <= last; ++i) {
          EXPECT_LE((*seen.operator->())[i], 1);
          if ((*seen.operator->())[i] == 0) ++lost;
        }
        EXPECT_LE(lost, 1);
      }
    }
  }
}

namespace {

constexpr std::size_t very_large_size = 3'000'000;  // more than a duplex pipe's memory holds

// Of a very large message, received at once or too late; of one side.
std::vector<std::string> steps_of_passing(const std::string& side) {
  auto steps = test::stop_points_in([&] {
    mp::Pipe pipe;
    std::thread sender{[&] { pipe.second.send_bytes(numbered(0, very_large_size)); }};
    static_cast<void>(pipe.first.recv_bytes());
    sender.join();
    pipe.second.send_bytes(numbered(0, very_large_size));
  });
  std::erase_if(steps, [&](const auto& step) { return step.find(side) == std::string::npos; });
  EXPECT_GE(steps.size(), 3U);
  return steps;
}

}  // namespace

TEST(DuplexPipeChaos, ASenderKilledInAVeryLargeMessageSentNothing) {
  for (const auto& step : steps_of_passing(".send.")) {
    for (const unsigned pass : {1U, 5U}) {
      for (const bool at_work : {true, false}) {
        SCOPED_TRACE(step + ", pass " + std::to_string(pass) + (at_work ? ", at work" : ""));
        mp::Pipe pipe;
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
          pipe.second.send_bytes(numbered(1, very_large_size));
        }};
        std::optional<std::thread> receiver;
        if (at_work) receiver.emplace(receive);
        wait_for_stop(victim);
        victim.kill();
        if (!receiver) receiver.emplace(receive);
        pipe.second.send_bytes(numbered(2, very_large_size));
        receiver->join();
        EXPECT_LE(got.size(), 2U);
        EXPECT_TRUE(got.front() == 1 || got.size() == 1);
      }
    }
  }
}

TEST(DuplexPipeChaos, AReceiverKilledInAVeryLargeMessageHoldsNobodyUp) {
  for (const auto& step : steps_of_passing(".recv.")) {
    for (const unsigned pass : {1U, 5U, 30U}) {
      SCOPED_TRACE(step + ", pass " + std::to_string(pass));
      mp::Pipe pipe;
      test::forget_stops();
      Forked victim{[&] {
        test::stop_at(step, test::Stop::wait, pass);
        for (int i = 0; i < 3; ++i) static_cast<void>(pipe.first.recv_bytes());
      }};
      std::atomic<bool> all_sent{false};
      std::thread sender{[&] {
        for (std::uint32_t i = 1; i <= 3; ++i) pipe.second.send_bytes(numbered(i, very_large_size));
        all_sent = true;
      }};
      wait_for_stop(victim);
      victim.kill();
      std::uint32_t last = 0;
      for (bool all = false; !all;) {
        all = all_sent;  // before it is looked for once more
        while (const auto got = pipe.first.try_recv_bytes(10ms)) {
          const std::uint32_t number = number_of(*got);
          EXPECT_GT(number, last);
          last = number;
        }
      }
      EXPECT_TRUE(last == 3 || pass > 1);  // or the victim may have come to the end
      sender.join();
    }
  }
}

TEST(DuplexPipeChaos, WhoeverIsKilledTheMemoryIsFoundAgain) {
  mp::Pipe pipe;  // of which all have the same memory
  pipe.second.send_bytes(numbered(0, large_size));
  EXPECT_EQ(number_of(pipe.first.recv_bytes()), 0U);
  for (const auto& step : steps_of_sending(true)) {
    SCOPED_TRACE(step);
    test::forget_stops();
    Forked victim{[&] {
      test::stop_at(step);
      pipe.second.send_bytes(numbered(1, large_size));
    }};
    wait_for_stop(victim);
    victim.kill();
    if (const auto got = pipe.first.try_recv_bytes()) {
      EXPECT_EQ(number_of(*got), 1U);
    }
    for (std::uint32_t i = 2; i < 100; ++i) {
      pipe.second.send_bytes(numbered(i, large_size));
      EXPECT_EQ(number_of(pipe.first.recv_bytes()), i);
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
  wait_for_stop(victim);
  victim.kill();
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
  wait_for_stop(victim);
  victim.kill();
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

namespace {

constexpr std::uint32_t messages = 3000;

struct Books {
  std::atomic<std::uint32_t> next{0};
  std::array<std::atomic<bool>, messages> sent{};  // send returned
  std::array<std::atomic<int>, messages> received{};
};

std::size_t size_of(std::uint32_t number) {
  constexpr std::array<std::size_t, 8> sizes{0, 10, 1000, 4060, 5000, 70'000, 10, 300'000};
  return sizes[number % sizes.size()];
}

}  // namespace

TEST_P(EveryPipeChaos, RandomKillsTearLoseAndDoubleNothing) {
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
