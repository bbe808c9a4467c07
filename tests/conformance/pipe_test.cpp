// SPDX-License-Identifier: BSL-1.0
// What a pipe is to processes, whichever way they were started.
#include <multiprocessing/connection.hpp>
#include <multiprocessing/process.hpp>

#include <support/line.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::Line;

namespace {

class PipeBetween : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(PipeBetween);

void echo(mp::Connection end) {
  for (;;) {
    try {
      end.send_bytes(end.recv_bytes());
    } catch (const mp::EOFError&) {
      return;
    }
  }
}

TEST_P(PipeBetween, ProcessesCarriesMessagesOfAnySizeBothWays) {
  auto [ours, theirs] = mp::Pipe();
  mp::Process process(
      [](mp::Connection end, mp::Connection others) {
        others.close();  // under fork it is here too
        echo(std::move(end));
      },
      theirs, ours);
  process.start();
  theirs.close();
  for (const std::size_t size : {0U, 1U, 1000U, 65536U, 65537U, 3'000'000U}) {
    const std::vector<std::byte> message(size, std::byte{7});
    ours.send_bytes(message);
    EXPECT_EQ(ours.recv_bytes(), message);
  }
  ours.close();
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 0);
}

TEST_P(PipeBetween, OneWayProcessesCarriesMessagesOfAnySize) {
  auto [in, out] = mp::Pipe(false);
  mp::Process process(
      [](mp::Connection to) {
        for (const std::size_t size : {0U, 1U, 5000U, 2'000'000U}) to.send(std::string(size, 'x'));
      },
      out);
  process.start();
  out.close();
  for (const std::size_t size : {0U, 1U, 5000U, 2'000'000U}) {
    EXPECT_EQ(in.recv<std::string>().size(), size);
  }
  EXPECT_THROW(static_cast<void>(in.recv<std::string>()), mp::EOFError);
  process.join();
}

TEST_P(PipeBetween, EndsWithTheProcessAtTheOtherEnd) {
  for (const bool duplex : {true, false}) {
    mp::Pipe pipe{duplex};
    const Line line;
    mp::Process process(
        [](const mp::Connection&, const Line& from) { static_cast<void>(from.hear()); },
        pipe.second, line);
    process.start();
    pipe.second.close();
    EXPECT_FALSE(pipe.first.poll());
    process.kill();
    EXPECT_TRUE(pipe.first.poll(mp::forever));
    EXPECT_THROW(static_cast<void>(pipe.first.recv_bytes()), mp::EOFError);
    process.join();
  }
}

void send_numbers(mp::Connection to, int sender, int count) {
  for (int i = 0; i < count; ++i) to.send(std::pair{sender, i});
}

TEST_P(PipeBetween, SeveralSendersAtOneEndKeepsMessagesWhole) {
  for (const bool duplex : {true, false}) {
    constexpr int senders = 4;
    constexpr int count = 300;
    mp::Pipe pipe{duplex};
    std::vector<mp::Process<>> processes;
    for (int i = 0; i < senders; ++i) processes.emplace_back(send_numbers, pipe.second, i, count);
    for (auto& process : processes) process.start();
    std::map<int, int> next;
    for (int i = 0; i < senders * count; ++i) {
      const auto [sender, number] = pipe.first.recv<std::pair<int, int>>();
      EXPECT_EQ(number, next[sender]++);
    }
    for (auto& process : processes) process.join();
  }
}

TEST_P(PipeBetween, TakesConnectionsToAnotherProcess) {
  auto [ours, theirs] = mp::Pipe();
  mp::Process process(
      [](mp::Connection end) {
        auto sent = end.recv<mp::Connection>();
        sent.send(std::string{"through the other"});
      },
      theirs);
  process.start();
  auto [close_by, distant] = mp::Pipe();
  ours.send(distant);
  EXPECT_EQ(close_by.recv<std::string>(), "through the other");
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

class Echo : public mp::Process<Echo> {
 public:
  explicit Echo(mp::Connection end) : end_{std::move(end)} {}
  void run() override { end_.send(end_.recv<std::string>() + " " + name()); }
  auto reduce() const { return mp::arguments(end_); }

 private:
  mp::Connection end_;
};

TEST_P(PipeBetween, EndCanBeAMemberOfAProcessClass) {
  auto [ours, theirs] = mp::Pipe();
  Echo process{theirs};
  process.set_name("the echo");
  process.start();
  ours.send("hello");
  EXPECT_EQ(ours.recv<std::string>(), "hello the echo");
  process.join();
}

}  // namespace
