// SPDX-License-Identifier: BSL-1.0
// What CPython's own Listener and Client say to ours.
// Not on Windows: no Python of that system to test with
#include <multiprocessing/network.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <vector>

#include <network/python.hpp>
#include <sys/mman.h>
#include <sys/resource.h>

namespace mp = multiprocessing;
namespace pickle = multiprocessing::pickle;
using namespace std::chrono_literals;
using test::Peer;

namespace {

class EveryPython : public testing::TestWithParam<test::Python> {
 protected:
  [[nodiscard]] static const test::Python& python() { return GetParam(); }
  [[nodiscard]] static bool is_old() { return GetParam().version < 312; }
  // Of those that know no better it is asked for; the others must not need it.
  [[nodiscard]] static mp::Listener listener(const std::optional<std::string>& key) {
    return mp::Listener{{.authkey = key, .legacy_md5 = is_old()}};
  }
  [[nodiscard]] static mp::Connection client(const mp::Address& address, const std::string& key) {
    if (key == "-") return test::connect(address, {});
    return test::connect(address, {.authkey = key, .legacy_md5 = is_old()});
  }
  static void echo(mp::Connection& connection) {
    for (;;) {
      try {
        connection.send_bytes(connection.recv_bytes());
      } catch (const mp::EOFError&) {
        return;
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(From,
                         EveryPython,
                         testing::ValuesIn(test::pythons()),
                         [](const auto& python) { return std::to_string(python.param.version); });

TEST_P(EveryPython, ClientTalksToOurListener) {
  for (const char* const key : {"-", "secret"}) {
    for (const auto family : {mp::Family::af_unix, mp::Family::af_inet}) {
      const bool has_key = std::string_view{key} != "-";
      mp::Listener listener{{.family = family,
                             .authkey = has_key ? std::optional<std::string>{key} : std::nullopt,
                             .legacy_md5 = is_old()}};
      Peer peer{python(), "client_talk", listener.address(), key};
      auto connection = listener.accept();
      echo(connection);
      EXPECT_EQ(peer.join(), 0);
    }
  }
}

TEST_P(EveryPython, ListenerTalksToOurClient) {
  for (const char* const key : {"-", "secret", ""}) {
    if (*key == '\0' && python().version < 313) continue;  // its Listener takes that for no key
    Peer peer{python(), "listener_talk", "python.socket", key};
    auto connection = client("python.socket", key);
    echo(connection);
    EXPECT_EQ(peer.join(), 0);
  }
}

TEST_P(EveryPython, ClientWithAnotherKeyIsRefused) {
  auto ours = listener("secret");
  Peer peer{python(), "refused", ours.address(), "another"};
  EXPECT_THROW(static_cast<void>(ours.accept()), mp::AuthenticationError);
  EXPECT_EQ(peer.join(), 0);
}

TEST_P(EveryPython, ListenerWithAnotherKeyRefusesUs) {
  Peer peer{python(), "listener_talk", "python.socket", "another"};
  EXPECT_THROW(static_cast<void>(client("python.socket", "secret")), mp::AuthenticationError);
  EXPECT_EQ(peer.join(), 3);
}

TEST_P(EveryPython, ThatKnowsMd5OnlyIsRefusedUnlessItIsAllowed) {
  if (!is_old()) GTEST_SKIP() << "it knows more";
  mp::Listener strict{{.authkey = "secret"}};
  Peer peer{python(), "refused", strict.address(), "secret"};
  try {
    static_cast<void>(strict.accept());
    FAIL() << "it was let in";
  } catch (const mp::AuthenticationError& error) {
    EXPECT_NE(std::string_view{error.what()}.find("legacy_md5"), std::string_view::npos);
  }
  EXPECT_EQ(peer.join(), 0);
  Peer other{python(), "listener_talk", "python.socket", "secret"};
  EXPECT_THROW(static_cast<void>(test::connect("python.socket", {.authkey = "secret"})),
               mp::AuthenticationError);
  other.join();
}

TEST_P(EveryPython, ThatDiesInsideAMessageIsAnErrorAndNotTheEnd) {
  auto ours = listener("secret");
  Peer peer{python(), "client_half", ours.address(), "secret"};
  auto connection = ours.accept();
  EXPECT_THROW(static_cast<void>(connection.recv_bytes()), mp::ConnectionError);
  EXPECT_THROW(static_cast<void>(connection.recv_bytes()), mp::ConnectionError);
  EXPECT_THROW(connection.send(1), mp::ConnectionError);
  EXPECT_EQ(peer.join(), -SIGKILL);
}

TEST_P(EveryPython, SaysThatMoreThanTwoGigabytesCome) {
  for (const bool is_limited : {true, false}) {
    auto ours = listener("secret");
    Peer peer{python(), "client_huge", ours.address(), "secret"};
    auto connection = ours.accept();
    try {
      static_cast<void>(connection.recv_bytes(is_limited ? 1000 : mp::Connection::npos));
      FAIL() << "it came";
    } catch (const std::system_error& error) {
      EXPECT_TRUE(is_limited);
      EXPECT_EQ(error.code(), std::errc::message_size);
      EXPECT_TRUE(connection.closed());
    } catch (const mp::ConnectionError&) {
      EXPECT_FALSE(is_limited);
    }
    EXPECT_EQ(peer.join(), 0);
  }
}

TEST_P(EveryPython, HearsThatMoreThanTwoGigabytesCome) {
  const std::size_t size = (std::size_t{1} << 31U) + 5;
  void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto ours = listener("secret");
  Peer peer{python(), "client_hears_huge", ours.address(), "secret"};
  auto connection = ours.accept();
  EXPECT_THROW(connection.send_bytes(std::span{static_cast<const std::byte*>(memory), size}),
               std::system_error);
  EXPECT_THROW(connection.send_bytes("more"), mp::ConnectionError);
  ::munmap(memory, size);
  EXPECT_EQ(peer.join(), 0);
}

TEST_P(EveryPython, PicklesComeAndGo) {
  auto ours = listener("secret");
  Peer peer{python(), "client_pickles", ours.address(), "secret"};
  auto connection = ours.accept();
  try {
    for (int protocol = 2;; protocol = protocol == 5 ? 2 : protocol + 1) {
      const auto value = pickle::recv(connection);
      pickle::send(connection, value, protocol);
    }
  } catch (const mp::EOFError&) {
  }
  EXPECT_EQ(peer.join(), 0);
}

TEST_P(EveryPython, PicklesOfOtherThingsAreRefusedAndTheConnectionStaysUsable) {
  auto ours = listener("secret");
  Peer peer{python(), "client_foreign", ours.address(), "secret"};
  auto connection = ours.accept();
  int refused = 0;
  for (;;) {
    try {
      EXPECT_EQ(pickle::recv<std::string>(connection), "the end");
      break;
    } catch (const mp::SerializationError&) {
      ++refused;
    }
  }
  EXPECT_EQ(refused, 11);
  EXPECT_EQ(peer.join(), 0);
}

// What a Python program's BaseManager and its proxies say to each other, as far as values go.
pickle::Object call(mp::Connection& connection, const pickle::Tuple& request) {
  pickle::send(connection, request);
  const auto [kind, result] = pickle::recv<std::tuple<std::string, pickle::Object>>(connection);
  EXPECT_EQ(kind, "#RETURN");
  return result;
}

TEST_P(EveryPython, QueueManagerIsUsedByAWorker) {
  Peer peer{python(), "manager", "manager.socket", "secret"};
  const auto dispatch = [&](const char* method, const pickle::Tuple& arguments) {
    auto connection = client("manager.socket", "secret");
    return call(connection, {{nullptr, method, arguments, pickle::Dict{}}});
  };
  const auto [ident, methods] =
      dispatch("create", {{"get_queue"}}).as<std::tuple<std::string, std::vector<std::string>>>();
  EXPECT_TRUE(std::ranges::count(methods, "put"));
  auto proxy = client("manager.socket", "secret");
  EXPECT_TRUE(
      call(proxy, {{nullptr, "accept_connection", pickle::Tuple{{"worker"}}, pickle::Dict{}}})
          .is_none());
  using Item = std::map<std::string, std::vector<int>>;
  const Item item{{"a", {1, 2}}};
  EXPECT_TRUE(call(proxy, {{ident, "put", pickle::Tuple{{item}}, pickle::Dict{}}}).is_none());
  EXPECT_EQ(call(proxy, {{ident, "qsize", pickle::Tuple{}, pickle::Dict{}}}).as<int>(), 1);
  EXPECT_EQ(call(proxy, {{ident, "get", pickle::Tuple{}, pickle::Dict{}}}).as<Item>(), item);
  peer.kill();
  std::remove("manager.socket");
}

}  // namespace
