// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file connection_between.hpp
/// @brief What a Connection is to processes, whichever way they were started and whatever kind it
/// is: the suite ConnectionBetween, which each program that includes this instantiates with its
/// kinds.
#include <multiprocessing/connection.hpp>
#include <multiprocessing/process.hpp>

#include <support/line.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using test::Line;

namespace connection_between {

/// A kind of connection: `first` receives what `second` sends.
struct KindBetween {
  const char* name;
  std::pair<mp::Connection, mp::Connection> (*make)();
  bool is_duplex;
};

class ConnectionBetween : public testing::TestWithParam<std::tuple<mp::StartMethod, KindBetween>> {
 protected:
  void SetUp() override { mp::set_start_method(std::get<0>(GetParam()), true); }
  void TearDown() override {
    auto& state = mp::detail::process_state();
    const std::lock_guard lock{state.mutex};
    state.start_method.reset();
  }
  static std::pair<mp::Connection, mp::Connection> make() { return std::get<1>(GetParam()).make(); }
  static bool is_duplex() { return std::get<1>(GetParam()).is_duplex; }
};

inline std::string name_of_kind(const testing::TestParamInfo<ConnectionBetween::ParamType>& info) {
  return test::start_method_name({std::get<0>(info.param), 0}) + "_" + std::get<1>(info.param).name;
}

inline void echo(mp::Connection end) {
  for (;;) {
    try {
      end.send_bytes(end.recv_bytes());
    } catch (const mp::EOFError&) {
      return;
    }
  }
}

TEST_P(ConnectionBetween, ProcessesCarriesMessagesOfAnySizeBothWays) {
  if (!is_duplex()) GTEST_SKIP() << "it has one way";
  auto [ours, theirs] = make();
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

TEST_P(ConnectionBetween, EndsWithTheProcessAtTheOtherEnd) {
  auto [ours, theirs] = make();
  const Line line;
  mp::Process process(
      [](const mp::Connection&, const Line& from) { static_cast<void>(from.hear()); }, theirs,
      line);
  process.start();
  theirs.close();
  EXPECT_FALSE(ours.poll());
  process.kill();
  EXPECT_TRUE(ours.poll(mp::forever));
  EXPECT_THROW(static_cast<void>(ours.recv_bytes()), mp::EOFError);
  process.join();
}

inline void send_numbers(mp::Connection to, int sender, int count) {
  for (int i = 0; i < count; ++i) to.send(std::pair{sender, i});
}

TEST_P(ConnectionBetween, SeveralSendersAtOneEndKeepsMessagesWhole) {
  constexpr int senders = 4;
  constexpr int count = 300;
  auto [ours, theirs] = make();
  std::vector<mp::Process<>> processes;
  for (int i = 0; i < senders; ++i) processes.emplace_back(send_numbers, theirs, i, count);
  for (auto& process : processes) process.start();
  std::map<int, int> next;
  for (int i = 0; i < senders * count; ++i) {
    const auto [sender, number] = ours.recv<std::pair<int, int>>();
    EXPECT_EQ(number, next[sender]++);
  }
  for (auto& process : processes) process.join();
}

class Echo : public mp::Process<Echo> {
 public:
  explicit Echo(mp::Connection end) : end_{std::move(end)} {}
  void run() override { end_.send(end_.recv<std::string>() + " " + name()); }
  auto reduce() const { return mp::arguments(end_); }

 private:
  mp::Connection end_;
};

TEST_P(ConnectionBetween, EndCanBeAMemberOfAProcessClass) {
  if (!is_duplex()) GTEST_SKIP() << "it has one way";
  auto [ours, theirs] = make();
  Echo process{theirs};
  process.set_name("the echo");
  process.start();
  ours.send("hello");
  EXPECT_EQ(ours.recv<std::string>(), "hello the echo");
  process.join();
}

}  // namespace connection_between
