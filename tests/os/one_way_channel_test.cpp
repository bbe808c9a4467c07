// SPDX-License-Identifier: BSL-1.0
// One-way pipes, on every system; what only one could be told by a stranger is in channel_test.cpp
// and windows_test.cpp.
#include <multiprocessing/os/one_way_channel.hpp>
#include <multiprocessing/os/wait.hpp>

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <system_error>
#include <utility>
#include <vector>

namespace os = multiprocessing::os;
using multiprocessing::forever;
using multiprocessing::native_handle_type;
using multiprocessing::detail::Deadline;
using namespace std::chrono_literals;

namespace {

const Deadline without_limit{forever};
const Deadline at_once{0s};

TEST(OneWayChannel, CarriesNoHandles) {
  std::error_code ec;
  const auto [receiving, sending] = os::OneWayEnd::create(ec);
  ASSERT_FALSE(ec);
  const std::array<native_handle_type, 1> handles{receiving.handle()};
  static_cast<void>(sending.send({1, {}, handles}, {}, without_limit, ec));
  EXPECT_EQ(ec, std::errc::not_supported);
}

TEST(OneWayChannel, IsReadableWhileItHoldsSomething) {
  std::error_code ec;
  const auto [receiving, sending] = os::OneWayEnd::create(ec);
  ASSERT_FALSE(ec);
  const std::array<native_handle_type, 1> handle{receiving.handle()};
  std::array<bool, 1> ready{};
  const auto is_readable = [&] {
    return os::wait_any(handle, ready, {}, at_once, ec) == os::Waited::ready;
  };
  os::IncomingMessage message;
  for (int round = 0; round < 3; ++round) {
    EXPECT_FALSE(is_readable());
    for (int i = 0; i < 2; ++i) {
      ASSERT_EQ(sending.send({1, {}, {}}, {}, without_limit, ec), os::Outcome::done);
    }
    EXPECT_TRUE(is_readable());
    ASSERT_EQ(receiving.receive(message, {}, without_limit, ec), os::Outcome::done);
    EXPECT_TRUE(is_readable()) << "one is left";
    ASSERT_EQ(receiving.receive(message, {}, without_limit, ec), os::Outcome::done);
  }
  EXPECT_FALSE(is_readable());
}

TEST(OneWayChannel, IsNotReadableWhenTheFirstWhoAsksComesLate) {
  std::error_code ec;
  const auto [receiving, sending] = os::OneWayEnd::create(ec);
  ASSERT_FALSE(ec);
  os::IncomingMessage message;
  ASSERT_EQ(sending.send({1, {}, {}}, {}, without_limit, ec), os::Outcome::done);
  ASSERT_EQ(receiving.receive(message, {}, without_limit, ec), os::Outcome::done);
  EXPECT_EQ(os::wait_ready(receiving.handle(), os::Readiness::readable, {}, at_once, ec),
            os::Waited::timed_out);
}

TEST(OneWayChannel, TellsAtOnceThatTheLastReceiverHasClosed) {
  std::error_code ec;
  auto [receiving, sending] = os::OneWayEnd::create(ec);
  ASSERT_FALSE(ec);
  ASSERT_EQ(sending.send({1, {}, {}}, {}, without_limit, ec), os::Outcome::done);
  receiving = {};
  static_cast<void>(sending.send({1, {}, {}}, {}, without_limit, ec));
  EXPECT_EQ(ec, std::errc::broken_pipe);
}

TEST(OneWayChannel, IsMadeAgainOfItsHandles) {
  std::error_code ec;
  const auto [receiving, sending] = os::OneWayEnd::create(ec);
  ASSERT_FALSE(ec);
  std::vector<os::UniqueHandle> handles;
  for (const native_handle_type handle : sending.handles()) {
    handles.emplace_back(os::duplicate_handle(handle, ec));
  }
  const auto again = os::OneWayEnd::adopt(std::move(handles), ec);
  ASSERT_FALSE(ec) << ec.message();
  EXPECT_EQ(again.send({4, {}, {}}, {}, without_limit, ec), os::Outcome::done);
  os::IncomingMessage message;
  EXPECT_EQ(receiving.receive(message, {}, without_limit, ec), os::Outcome::done);
  EXPECT_EQ(message.kind(), 4);
  static_cast<void>(os::OneWayEnd::adopt({}, ec));
  EXPECT_EQ(ec, std::errc::invalid_argument);
  std::vector<os::UniqueHandle> wrong;
  wrong.reserve(2);
  for (int i = 0; i < 2; ++i) wrong.emplace_back(os::duplicate_handle(sending.handle(), ec));
  static_cast<void>(os::OneWayEnd::adopt(std::move(wrong), ec));
  EXPECT_EQ(ec, std::errc::invalid_argument);
}

}  // namespace
