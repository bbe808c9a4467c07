// SPDX-License-Identifier: BSL-1.0
// Processes that share an end of a stream are killed at every step, with the others asleep in it
// and at work. What must hold: nobody hangs (the watchdog), no message comes out torn, and when one
// died inside a message, every later call of all of them says so, and so does the other end's
// recv(). Not on Windows: fork; see spawned_network_test.cpp
#include <multiprocessing/network.hpp>

#include <support/eventually.hpp>
#include <support/forked.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::eventually;
using test::Forked;

namespace {

using Bytes = std::vector<std::byte>;
constexpr std::array<std::size_t, 2> sizes{100,
                                           6'000'000};  // the second is more than a socket holds

Bytes numbered(std::uint32_t number, std::size_t size) {
  Bytes message(sizeof number + size, static_cast<std::byte>(number));
  std::memcpy(message.data(), &number, sizeof number);
  return message;
}
std::uint32_t number_of(const Bytes& message) {
  std::uint32_t number = 0;
  if (message.size() >= sizeof number) std::memcpy(&number, message.data(), sizeof number);
  EXPECT_EQ(message, numbered(number, message.size() - sizeof number)) << "a torn message";
  return number;
}

struct Ends {
  mp::Connection far;
  mp::Connection shared;
};
Ends connected(mp::Family family) {
  mp::Listener listener{{.family = family}};
  auto client = mp::Client(listener.address());
  return {listener.accept(), std::move(client)};
}

// Every later call of those who share the end, of both directions.
void expect_broken(mp::Connection end) {
  for (int i = 0; i < 2; ++i) {
    EXPECT_THROW(end.send(1), mp::ConnectionError);
    EXPECT_THROW(static_cast<void>(end.recv_bytes()), mp::ConnectionError);
    EXPECT_THROW(static_cast<void>(end.poll()), mp::ConnectionError);
  }
}

class StreamChaos : public testing::TestWithParam<mp::Family> {};
INSTANTIATE_TEST_SUITE_P(Over,
                         StreamChaos,
                         testing::Values(mp::Family::af_unix, mp::Family::af_inet),
                         [](const auto& family) {
                           return family.param == mp::Family::af_unix ? "af_unix" : "af_inet";
                         });

TEST_P(StreamChaos, SenderKilledAtAnyStepTearsNoMessage) {
  for (const std::size_t size : sizes) {
    const auto points = test::stop_points_in([&] {
      auto [far, shared] = connected(GetParam());
      std::thread reader{[&end = far] { number_of(end.recv_bytes()); }};
      shared.send_bytes(numbered(1, size));
      reader.join();
    });
    int broken = 0;
    for (const std::string& point : points) {
      if (!point.starts_with("stream.send")) continue;
      for (const bool is_asleep : {false, true}) {
        SCOPED_TRACE(point + (is_asleep ? ", others asleep, " : ", ") + std::to_string(size));
        auto [far, shared] = connected(GetParam());
        test::forget_stops();
        Forked victim{[&end = shared, &other = far, &point, size] {
          other.close();
          test::stop_at(point);
          end.send_bytes(numbered(1, size));
        }};
        std::thread sleeper;
        std::atomic<bool> is_told{false};
        if (is_asleep) {
          sleeper = std::thread{[&, &end = shared] {
            try {
              static_cast<void>(end.recv_bytes());
            } catch (const std::exception&) {
              is_told = true;
            }
          }};
        }
        eventually([] { return test::stops_reached() == 1; });
        victim.kill();
        std::vector<std::uint32_t> got;
        std::atomic<bool> far_broke{false};
        std::thread reader{[&, &end = far] {
          try {
            while (got.empty() || got.back() != 2) got.push_back(number_of(end.recv_bytes()));
          } catch (const mp::ConnectionError&) {
            far_broke = true;
          } catch (const mp::EOFError&) {  // no byte of it has been sent, or all of them
            EXPECT_TRUE(point == "stream.send.inside" || got.size() == 1) << point;
            far_broke = true;
          }
        }};
        bool did_break = false;
        try {
          shared.send_bytes(numbered(2, 50));
        } catch (const mp::ConnectionError&) {
          did_break = true;
        }
        reader.join();
        EXPECT_EQ(far_broke, did_break);
        if (did_break) expect_broken(shared);
        broken += did_break ? 1 : 0;
        shared.close();
        if (is_asleep) sleeper.join();
        EXPECT_EQ(is_told, is_asleep);
      }
    }
    if (size > 1000) {
      EXPECT_GT(broken, 0);
    }
  }
}

TEST_P(StreamChaos, ReceiverKilledAtAnyStepTearsNoMessage) {
  for (const std::size_t size : sizes) {
    const auto points = test::stop_points_in([&] {
      auto [far, shared] = connected(GetParam());
      std::thread writer{[&end = far, size] { end.send_bytes(numbered(1, size)); }};
      number_of(shared.recv_bytes());
      writer.join();
    });
    int broken = 0;
    for (const std::string& point : points) {
      if (!point.starts_with("stream.recv")) continue;
      for (const bool is_asleep : {false, true}) {
        SCOPED_TRACE(point + (is_asleep ? ", others asleep, " : ", ") + std::to_string(size));
        auto [far, shared] = connected(GetParam());
        test::forget_stops();
        Forked victim{[&end = shared, &other = far, &point] {
          other.close();
          test::stop_at(point);
          static_cast<void>(end.recv_bytes());
        }};
        std::thread writer{[&end = far, size] {
          try {
            end.send_bytes(numbered(1, size));
            end.send_bytes(numbered(2, 50));
          } catch (const std::system_error&) {  // EPIPE
          }
        }};
        eventually([] { return test::stops_reached() == 1; });
        bool did_break = false;
        const auto read = [&, &end = shared] {
          try {
            while (number_of(end.recv_bytes()) != 2) {
            }
          } catch (const mp::ConnectionError&) {
            did_break = true;
          }
        };
        if (is_asleep) {
          std::thread sleeper{read};
          victim.kill();
          sleeper.join();
        } else {
          victim.kill();
          read();
        }
        if (did_break) expect_broken(shared);
        broken += did_break ? 1 : 0;
        shared.close();  // over TCP a writer that waits for room hears of it only now
        writer.join();
        if (did_break) {
          EXPECT_THROW(static_cast<void>(far.recv_bytes()), mp::ConnectionError);
        }
      }
    }
    EXPECT_GT(broken, 0);
  }
}

TEST(ListenerChaos, ProcessKilledAtAnyStepLeavesNoFile) {
  const auto points = test::stop_points_in(
      [] { const mp::Listener listener{{.address = mp::Address{"chaos.socket"}}}; });
  int killed = 0;
  for (const std::string& point : points) {
    if (!point.starts_with("listener")) continue;
    SCOPED_TRACE(point);
    test::forget_stops();
    Forked victim{[&] {
      std::freopen("/dev/null", "w", stderr);
      test::stop_at(point);
      const mp::Listener listener{{.address = mp::Address{"chaos.socket"}}};
    }};
    eventually([] { return test::stops_reached() == 1; });
    victim.kill();
    eventually([] { return !std::filesystem::exists("chaos.socket"); });
    ++killed;
  }
  EXPECT_EQ(killed, 3);
}

}  // namespace
