// SPDX-License-Identifier: BSL-1.0
// What CPython's tests pin of Listener and Client, under every start method: _TestListenerClient,
// TestIgnoreEINTR.test_ignore_listener, OtherTest.
#include <multiprocessing/network.hpp>
#include <multiprocessing/process.hpp>

#include <support/start_methods.hpp>
#if MULTIPROCESSING_POSIX
#  include <support/eventually.hpp>
#  include <support/processes.hpp>
#endif

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if MULTIPROCESSING_POSIX
#  include <unistd.h>
#endif

namespace mp = multiprocessing;
using namespace std::chrono_literals;

namespace {

constexpr auto systems_own = MULTIPROCESSING_WINDOWS ? mp::Family::af_pipe : mp::Family::af_unix;

class NetworkParity : public test::EveryStartMethod {
 protected:
  static std::vector<mp::Listener> every_listener() {
    std::vector<mp::Listener> all;
    for (const auto family : {systems_own, mp::Family::af_inet}) {
      all.push_back(mp::Listener{{.family = family, .authkey = "k"}});
      all.push_back(mp::Listener{{.family = family}});
    }
    return all;
  }
};
TEST_EVERY_START_METHOD(NetworkParity);

// An address as arguments of a process: an empty path for one of the Internet.
struct Place {
  std::string path;
  std::string host;
  std::uint16_t port = 0;
  bool has_key = false;
};
Place place_of(const mp::Listener& listener, bool has_key) {
  const mp::Address address = listener.address();
  if (!address.is_internet()) return {address.path(), "", 0, has_key};
  return {"", address.host(), address.port(), has_key};
}
mp::Connection connect(const Place& place) {
  const mp::Address address =
      place.path.empty() ? mp::Address{place.host, place.port} : mp::Address{place.path};
  mp::ClientOptions options;
  if (place.has_key) options.authkey = "k";
  return mp::Client(address, options);
}

// test_listener_client
void say_hello(const Place& place) {
  connect(place).send(std::string{"hello"});
}

TEST_P(NetworkParity, AChildIsTheClient) {
  bool has_key = true;
  for (auto& listener : every_listener()) {
    SCOPED_TRACE(listener.address().to_string());
    mp::Process process{say_hello, place_of(listener, has_key)};
    process.start();
    auto connection = listener.accept();
    EXPECT_EQ(connection.recv<std::string>(), "hello");
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
    EXPECT_THROW(static_cast<void>(connection.recv_bytes()), mp::EOFError);
    has_key = !has_key;
  }
}

// test_issue14725
TEST_P(NetworkParity, AClientThatLeftBeforeItWasAcceptedIsHeard) {
  for (const auto family : {systems_own, mp::Family::af_inet}) {
    mp::Listener listener{{.family = family}};
    mp::Process process{say_hello, place_of(listener, false)};
    process.start();
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
    auto connection = listener.accept();
    EXPECT_EQ(connection.recv<std::string>(), "hello");
    EXPECT_THROW(static_cast<void>(connection.recv_bytes()), mp::EOFError);
  }
}

// test_issue16955
void poll_and_answer(const Place& place) {
  auto connection = connect(place);
  if (!connection.poll(mp::forever)) throw std::runtime_error{"nothing came"};
  connection.send(connection.recv<std::string>() + "!");
}

TEST_P(NetworkParity, AClientPollsWhatIsSentAtOnce) {
  bool has_key = true;
  for (auto& listener : every_listener()) {
    mp::Process process{poll_and_answer, place_of(listener, has_key)};
    process.start();
    auto connection = listener.accept();
    connection.send(std::string{"hello"});
    EXPECT_EQ(connection.recv<std::string>(), "hello!");
    process.join();
    has_key = !has_key;
  }
}

#if MULTIPROCESSING_POSIX  // not on Windows: signals
// test_ignore_listener
void disturb_and_connect(const Place& place) {
  const int parent = mp::parent_process()->pid();
  const std::string status = "/proc/" + std::to_string(parent) + "/stat";
  for (int i = 0; i < 20; ++i) {
    test::eventually([&] { return test::first_line(status).find(") S ") != std::string::npos; });
    ::kill(parent, SIGUSR1);
  }
  say_hello(place);
}

TEST_P(NetworkParity, AcceptGoesOnThroughSignals) {
  static std::atomic<int> signals;
  signals = 0;
  struct sigaction counting {};
  struct sigaction before {};
  counting.sa_handler = [](int) { ++signals; };  // without SA_RESTART
  ::sigaction(SIGUSR1, &counting, &before);
  for (const bool has_key : {false, true}) {
    mp::ListenerOptions options;
    if (has_key) options.authkey = "k";
    mp::Listener listener{options};
    mp::Process process{disturb_and_connect, place_of(listener, has_key)};
    process.start();
    EXPECT_EQ(listener.accept().recv<std::string>(), "hello");
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
  }
  EXPECT_GT(signals, 0);
  ::sigaction(SIGUSR1, &before, nullptr);
}
#endif

// OtherTest.test_answer_challenge_auth_failure, test_deliver_challenge_auth_failure
TEST(HandshakeParity, AWelcomeThatIsNoneIsRefused) {
  mp::Listener impostor;
  std::thread client{[&] {
    EXPECT_THROW(static_cast<void>(mp::Client(impostor.address(), {.authkey = "k"})),
                 mp::AuthenticationError);
  }};
  auto victim = impostor.accept();
  victim.send_bytes("#CHALLENGE#{sha256}" + std::string(40, 'x'));
  static_cast<void>(victim.recv_bytes());
  victim.send_bytes("something bogus");
  client.join();
}

TEST(HandshakeParity, AnAnswerThatIsNoneIsRefused) {
  mp::Listener listener{{.authkey = "k"}};
  std::thread client{[&] {
    auto connection = mp::Client(listener.address());
    EXPECT_TRUE(connection.poll(mp::forever));
    static_cast<void>(connection.recv_bytes());  // the challenge
    connection.send_bytes("something bogus");
    EXPECT_TRUE(connection.poll(mp::forever));
  }};
  EXPECT_THROW(static_cast<void>(listener.accept()), mp::AuthenticationError);
  client.join();
}

}  // namespace
