// SPDX-License-Identifier: BSL-1.0
// A connection to a server that a test plays.
#include <multiprocessing/distributed/gearman/server_connection.hpp>

#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <semaphore>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include <distributed/fake_server.hpp>
#include <distributed/gearman_packet.hpp>

namespace {

namespace mp = multiprocessing;
namespace gearman = mp::detail::gearman;
using gearman::Command;
using gearman::PacketWriter;
using gearman::ServerConnection;
using test::bytes_of;
using test::response;
using test::text_of;
using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace std::string_view_literals;

const mp::detail::Deadline endless{mp::forever};

/// The server's part runs beside the test's.
class GearmanConnection : public testing::Test {
 protected:
  void TearDown() override { finish(); }
  void serve(std::function<void()> part) { thread_ = std::thread{std::move(part)}; }
  void finish() {
    if (thread_.joinable()) thread_.join();
  }
  std::string refusal(const gearman::ServerOptions& options = {}) {
    try {
      const ServerConnection connection{server_.address(), options};
      return "none";
    } catch (const std::exception& error) {
      return error.what();
    }
  }
  test::FakeServer server_;

 private:
  std::thread thread_;
};

std::string end_of(ServerConnection& connection) {
  try {
    for (;;) static_cast<void>(connection.receive(endless));
  } catch (const mp::ConnectionError& error) {
    return error.what();
  }
}

TEST_F(GearmanConnection, KnowsTheServersVersionAndExchangesPackets) {
  serve([this] {
    server_.welcome();
    server_.say(response(Command::noop));
    const std::string asked = test::request(Command::grab_job_uniq);
    EXPECT_EQ(server_.hear(asked.size()), asked);
    server_.say(response(Command::no_job));
  });
  ServerConnection connection{server_.address(), {}};
  EXPECT_EQ(connection.version(), "1.1.20");
  auto packet = connection.receive(endless);
  ASSERT_TRUE(packet);
  EXPECT_EQ(packet->command(), Command::noop);
  PacketWriter writer;
  writer.put(Command::grab_job_uniq);
  connection.send(writer);
  packet = connection.receive(endless);
  ASSERT_TRUE(packet);
  EXPECT_EQ(packet->command(), Command::no_job);
}

TEST_F(GearmanConnection, RefusesWhatIsNoGearmanServer) {
  for (const std::string_view word : {"HTTP/1.1 400\r\n"sv, "\n"sv, "OK \r\n"sv}) {
    serve([this, word] {
      server_.accept();
      server_.say(word);
    });
    EXPECT_NE(refusal().find("is no Gearman server"), std::string::npos) << word;
    finish();
  }
  serve([this] {
    server_.accept();
    server_.say(std::string(1000, '1'));
  });
  EXPECT_NE(refusal().find("is no Gearman server"), std::string::npos);
}

TEST_F(GearmanConnection, GivesUpAServerThatSaysNothingInTime) {
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_NE(refusal({.timeout = 100ms}).find("in time"), std::string::npos);
  EXPECT_GE(std::chrono::steady_clock::now() - begun, 100ms);
}

TEST_F(GearmanConnection, NamesWhoDoesNotListen) {
  mp::Address nobody{"127.0.0.1", 1};
  try {
    const ServerConnection connection{nobody, {}};
    ADD_FAILURE();
  } catch (const std::system_error& error) {
    EXPECT_NE(std::string{error.what()}.find("127.0.0.1:1"), std::string::npos) << error.what();
  }
}

TEST_F(GearmanConnection, NoticesAServerThatLeavesAndFirstGivesWhatItSaid) {
  serve([this] {
    server_.welcome();
    server_.say(response(Command::noop));
    server_.hang_up();
  });
  ServerConnection connection{server_.address(), {}};
  EXPECT_TRUE(connection.receive(endless));
  EXPECT_NE(end_of(connection).find("was closed by it"), std::string::npos);
  PacketWriter writer;
  writer.put(Command::pre_sleep);
  for (int i = 0; i < 3; ++i) {
    writer.put(Command::pre_sleep);
    EXPECT_NO_THROW(connection.send(writer)) << "no signal, and no error: receive() tells";
  }
}

TEST_F(GearmanConnection, KeepsWhatFindsNoRoomAndSendsItWhileItReceives) {
  const std::string large(20'000'000, 'x');
  serve([this, &large] {
    server_.welcome();
    const std::string asked = test::request(Command::work_complete, "h\0"s + large);
    EXPECT_EQ(server_.hear(asked.size()), asked);
    server_.say(response(Command::noop));
  });
  ServerConnection connection{server_.address(), {}};
  PacketWriter writer;
  writer.put(Command::work_complete, {"h"}, {bytes_of(large)});
  connection.send(writer);
  EXPECT_GT(connection.unsent(), 0U);
  std::optional<gearman::Packet> packet;
  while (!packet) packet = connection.receive(endless);
  EXPECT_EQ(packet->command(), Command::noop);
  EXPECT_EQ(connection.unsent(), 0U);
}

TEST_F(GearmanConnection, IsSentOverByOthersWhileOneReceives) {
  const std::string large(20'000'000, 'x');
  serve([this, &large] {
    server_.welcome();
    const std::string asked = test::request(Command::work_complete, "h\0"s + large);
    EXPECT_EQ(server_.hear(asked.size()).size(), asked.size());
    server_.say(response(Command::noop));
  });
  ServerConnection connection{server_.address(), {}};
  std::thread sender{[&] {
    PacketWriter writer;
    writer.put(Command::work_complete, {"h"}, {bytes_of(large)});
    connection.send(writer);
  }};
  std::optional<gearman::Packet> packet;
  while (!packet) packet = connection.receive(endless);
  sender.join();
}

TEST_F(GearmanConnection, ReceivesLargePacketsAndWaitsNoLongerThanItIsTold) {
  const std::string large(5'000'000, 'y');
  serve([this, &large] {
    server_.welcome();
    server_.say(response(Command::work_data, "h\0"s + large));
  });
  ServerConnection connection{server_.address(), {}};
  auto packet = connection.receive(endless);
  ASSERT_TRUE(packet);
  EXPECT_EQ(packet->argument(), "h");
  EXPECT_EQ(text_of(packet->data()), large);
  EXPECT_FALSE(connection.receive(mp::detail::Deadline{10ms}));
  EXPECT_FALSE(connection.receive(mp::detail::Deadline{0ms}));
}

TEST_F(GearmanConnection, IsWokenByAnyThread) {
  serve([this] { server_.welcome(); });
  ServerConnection connection{server_.address(), {}};
  connection.wake();
  EXPECT_FALSE(connection.receive(endless)) << "also before it waits";
  std::thread other{[&] { connection.wake(); }};
  EXPECT_FALSE(connection.receive(endless));
  other.join();
}

TEST_F(GearmanConnection, IsWokenAlsoWhereBytesComeAtTheSameMoment) {
  constexpr int rounds = 500;
  std::counting_semaphore<> next{0};
  std::atomic<ServerConnection*> woken{nullptr};
  serve([&] {
    server_.welcome();
    for (int i = 0; i < rounds; ++i) {
      next.acquire();
      woken.load()->wake();
      server_.say(response(Command::noop));
    }
  });
  ServerConnection connection{server_.address(), {}};
  woken.store(&connection);
  for (int i = 0; i < rounds; ++i) {
    next.release();
    bool has_packet = false;
    bool has_woken = false;
    while (!has_packet || !has_woken) (connection.receive(endless) ? has_packet : has_woken) = true;
  }
}

TEST_F(GearmanConnection, RefusesPacketsThatAreTooLong) {
  serve([this] {
    server_.welcome();
    server_.say(response(Command::work_data, "h\0"s + std::string(1000, 'z')));
  });
  ServerConnection connection{server_.address(), {.longest_packet = 999}};
  EXPECT_NE(end_of(connection).find("1002 bytes"), std::string::npos);
}

TEST(GearmanAddress, IsAHostAPortOrBoth) {
  EXPECT_EQ(gearman::parse_address("host").to_string(), "host:4730");
  EXPECT_EQ(gearman::parse_address("10.0.0.1:99").to_string(), "10.0.0.1:99");
  EXPECT_EQ(gearman::parse_address("[::1]:99").to_string(), "[::1]:99");
  EXPECT_EQ(gearman::parse_address("[::1]").to_string(), "[::1]:4730");
  EXPECT_EQ(gearman::parse_address("fe80::1").to_string(), "[fe80::1]:4730");
  for (const char* const text : {"", ":1", "a:", "a:0", "a:x", "a:99999", "[::1]x", "a:1x"}) {
    EXPECT_THROW(static_cast<void>(gearman::parse_address(text)), std::invalid_argument) << text;
  }
}

}  // namespace
