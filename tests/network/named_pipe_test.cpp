// SPDX-License-Identifier: BSL-1.0
// Named pipes, byte for byte as CPython's PipeListener, PipeClient and PipeConnection use them: the
// other end here is the system's own calls, with their arguments.
#include <multiprocessing/network.hpp>

#include <gtest/gtest.h>

#if MULTIPROCESSING_WINDOWS
#  include <support/eventually.hpp>

#  include <array>
#  include <chrono>
#  include <optional>
#  include <string>
#  include <string_view>
#  include <thread>
#  include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;

namespace {

std::wstring wide(const std::string& path) {
  return {path.begin(), path.end()};
}

// PipeConnection: a message is what one call writes, and what one call reads.
class Raw {
 public:
  explicit Raw(HANDLE pipe) : pipe_{pipe} {}
  // PipeClient
  static Raw client(const mp::Address& address) {
    const HANDLE pipe = ::CreateFileW(wide(address.path()).c_str(), GENERIC_READ | GENERIC_WRITE, 0,
                                      nullptr, OPEN_EXISTING, 0, nullptr);
    EXPECT_NE(pipe, INVALID_HANDLE_VALUE) << ::GetLastError();
    DWORD mode = PIPE_READMODE_MESSAGE;
    EXPECT_TRUE(::SetNamedPipeHandleState(pipe, &mode, nullptr, nullptr));
    return Raw{pipe};
  }
  // PipeListener
  static Raw listener(const std::string& path) {
    constexpr DWORD size = 8192;
    const HANDLE pipe =
        ::CreateNamedPipeW(wide(path).c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_FIRST_PIPE_INSTANCE,
                           PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT,
                           PIPE_UNLIMITED_INSTANCES, size, size, NMPWAIT_WAIT_FOREVER, nullptr);
    EXPECT_NE(pipe, INVALID_HANDLE_VALUE);
    return Raw{pipe};
  }
  void accept() const {
    EXPECT_TRUE(::ConnectNamedPipe(pipe_.get(), nullptr) != 0 ||
                ::GetLastError() == ERROR_PIPE_CONNECTED);
  }
  void send(std::string_view message) const {
    DWORD sent = 0;
    EXPECT_TRUE(::WriteFile(pipe_.get(), message.data(), static_cast<DWORD>(message.size()), &sent,
                            nullptr));
    EXPECT_EQ(sent, message.size());
  }
  [[nodiscard]] DWORD instances() const {
    DWORD count = 0;
    EXPECT_TRUE(
        ::GetNamedPipeHandleStateW(pipe_.get(), nullptr, &count, nullptr, nullptr, nullptr, 0));
    return count;
  }
  [[nodiscard]] std::string recv() const {
    std::string message(1U << 20U, '\0');
    DWORD got = 0;
    EXPECT_TRUE(
        ::ReadFile(pipe_.get(), message.data(), static_cast<DWORD>(message.size()), &got, nullptr))
        << ::GetLastError();
    message.resize(got);
    return message;
  }

 private:
  mp::os::UniqueHandle pipe_;
};

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
std::string mac(const std::string& key, const std::string& message) {
  std::error_code ec;
  std::string made = mp::os::hmac("sha256", key, message, ec);
  EXPECT_FALSE(ec);
  return "{sha256}" + made;
}

}  // namespace

TEST(NamedPipe, CarriesMessagesWithoutASizeBeforeThem) {
  mp::Listener listener;
  const Raw client = Raw::client(listener.address());
  auto served = listener.accept();
  const std::string large(300'000, 'x');
  std::thread sender{[&] {
    for (const std::string& message :
         {std::string{"abc"}, std::string{}, large, std::string{"z"}}) {
      client.send(message);
    }
  }};
  EXPECT_EQ(text_of(served.recv_bytes()), "abc");
  EXPECT_EQ(text_of(served.recv_bytes()), "");
  EXPECT_EQ(text_of(served.recv_bytes()), large);
  EXPECT_EQ(text_of(served.recv_bytes()), "z");
  sender.join();
  served.send_bytes("abc");
  served.send_bytes("");
  served.send_bytes("de");
  EXPECT_EQ(client.recv(), "abc");
  EXPECT_EQ(client.recv(), "");
  EXPECT_EQ(client.recv(), "de");
  EXPECT_FALSE(listener.last_accepted());
}

// A wait reads no bytes, and the system gives it a message that has none.
TEST(NamedPipe, AnEmptyMessageIsNotLostToWhoWaits) {
  mp::Listener listener;
  const Raw client = Raw::client(listener.address());
  auto served = listener.accept();
  EXPECT_FALSE(served.poll());
  client.send("");
  EXPECT_TRUE(served.poll(mp::forever));
  EXPECT_TRUE(served.poll());
  EXPECT_EQ(mp::wait({served}), std::vector<std::size_t>{0});
  EXPECT_EQ(served.recv_bytes().size(), 0U);
  EXPECT_FALSE(served.poll());
  std::thread waiting{[&] { EXPECT_EQ(mp::wait({served}), std::vector<std::size_t>{0}); }};
  client.send("");
  waiting.join();
  client.send("x");
  EXPECT_EQ(served.recv_bytes().size(), 0U);
  EXPECT_EQ(served.recv_bytes().size(), 1U);
  EXPECT_FALSE(served.try_recv_bytes());
}

TEST(NamedPipe, LongerMessageThanAllowedClosesTheConnection) {
  mp::Listener listener;
  const Raw client = Raw::client(listener.address());
  auto served = listener.accept();
  client.send("12345");
  EXPECT_THROW(static_cast<void>(served.recv_bytes(4)), std::system_error);
  EXPECT_TRUE(served.closed());
}

TEST(NamedPipe, ListenerSpeaksTheHandshakeOfPythons) {
  mp::Listener listener{{.authkey = "key"}};
  std::thread client{[&] {
    const Raw raw = Raw::client(listener.address());
    const std::string challenge = raw.recv();
    EXPECT_TRUE(challenge.starts_with("#CHALLENGE#{sha256}"));
    raw.send(mac("key", challenge.substr(11)));
    EXPECT_EQ(raw.recv(), "#WELCOME#");
    const std::string ours = "{sha256}" + std::string(40, 'c');
    raw.send("#CHALLENGE#" + ours);
    EXPECT_EQ(raw.recv(), mac("key", ours));
    raw.send("#WELCOME#");
    raw.send("hello");
    EXPECT_EQ(raw.recv(), "goodbye");
  }};
  auto served = listener.accept();
  EXPECT_EQ(text_of(served.recv_bytes()), "hello");
  served.send_bytes("goodbye");
  client.join();
}

TEST(NamedPipe, ClientSpeaksTheHandshakeOfPythons) {
  const std::string path =
      R"(\\.\pipe\multiprocessing-test-python)" + std::to_string(mp::os::process_id());
  const Raw listener = Raw::listener(path);
  std::thread server{[&] {
    listener.accept();
    const std::string ours = "{sha256}" + std::string(40, 'c');
    listener.send("#CHALLENGE#" + ours);
    EXPECT_EQ(listener.recv(), mac("key", ours));
    listener.send("#WELCOME#");
    const std::string challenge = listener.recv();
    EXPECT_TRUE(challenge.starts_with("#CHALLENGE#{sha256}"));
    listener.send(mac("key", challenge.substr(11)));
    EXPECT_EQ(listener.recv(), "#WELCOME#");
    EXPECT_EQ(listener.recv(), "hello");
  }};
  auto client = mp::Client(path, {.authkey = "key"});
  client.send_bytes("hello");
  server.join();
}

TEST(NamedPipe, StrangersAreSentAwayAndHoldNobodyUp) {
  mp::Listener listener{{.backlog = 8, .authkey = "key"}};
  const Raw silent = Raw::client(listener.address());
  EXPECT_FALSE(listener.try_accept());
  for (const std::string& words : {std::string{}, std::string{"GET / HTTP/1.1"},
                                   std::string(256, 'x'), std::string(257, 'x')}) {
    const Raw stranger = Raw::client(listener.address());
    stranger.send(words);
    const auto accept = [&] {
      while (!listener.try_accept(1s)) {
      }
    };
    EXPECT_THROW(accept(), mp::AuthenticationError) << words.size();
  }
  std::thread client{[&] { mp::Client(listener.address(), {.authkey = "key"}).send(5); }};
  EXPECT_EQ(listener.accept(30s).recv<int>(), 5);
  client.join();
}

// The client finds the pipe in use, and waits until there is room.
TEST(NamedPipe, ClientWaitsForAnInstance) {
  mp::Listener listener{{.backlog = 0}};
  auto first = mp::Client(listener.address());
  EXPECT_THROW(static_cast<void>(mp::Client(listener.address(), {.timeout = 20ms})),
               mp::TimeoutError);
  std::optional<mp::Connection> second;
  std::thread client{[&] { second = mp::Client(listener.address()); }};
  auto served = listener.accept();
  auto next = listener.accept();
  client.join();
  second->send(2);
  EXPECT_EQ(next.recv<int>(), 2);
}

// The system forgets then what the thread asked for, and says that this has ended.
TEST(NamedPipe, AThreadThatAcceptedAndEndedIsNoClient) {
  mp::Listener listener;
  const auto accept_in_a_thread = [&listener] {
    std::thread{[&listener] {
      const auto client = mp::Client(listener.address());
      listener.accept().close();
    }}.join();
  };
  accept_in_a_thread();
  EXPECT_FALSE(listener.try_accept());
  EXPECT_FALSE(listener.try_accept(20ms));
  accept_in_a_thread();
  EXPECT_TRUE(mp::wait({listener}, 20ms).empty());
  std::thread late{[&] { mp::Client(listener.address()).send(1); }};
  EXPECT_EQ(listener.accept().recv<int>(), 1);
  late.join();
  accept_in_a_thread();
  auto before_anybody_asked_again = mp::Client(listener.address());
  before_anybody_asked_again.send(2);
  EXPECT_EQ(mp::wait({listener}), std::vector<std::size_t>{0});
  EXPECT_EQ(listener.accept(0s).recv<int>(), 2);
  EXPECT_FALSE(listener.try_accept());
}

TEST(NamedPipe, AThreadThatMadeItAndEndedIsNoClient) {
  for (int i = 0; i < 20; ++i) {
    std::optional<mp::Listener> listener;
    std::thread{[&] { listener.emplace(); }}.join();
    EXPECT_TRUE(i % 2 == 0 || mp::wait({*listener}, 0s).empty());
    EXPECT_FALSE(listener->try_accept());
    std::thread asking{[&] { EXPECT_FALSE(listener->try_accept()); }};
    std::thread accepting{[&] { EXPECT_EQ(listener->accept().recv<int>(), 3); }};
    asking.join();
    mp::Client(listener->address()).send(3);
    accepting.join();
  }
}

// Without a key, at every kind of place.
TEST(NamedPipe, WaitIsNotDeceivedByTheEventAlone) {
  for (const auto family : {mp::Family::af_pipe, mp::Family::af_inet}) {
    mp::Listener listener{{.family = family}};
    mp::os::set_event(listener.fileno());
    EXPECT_TRUE(mp::wait({listener}, 0s).empty());
    auto one = mp::Client(listener.address());
    one.send(1);
    EXPECT_EQ(mp::wait({listener}), std::vector<std::size_t>{0});
    EXPECT_EQ(mp::wait({listener}), std::vector<std::size_t>{0});
    EXPECT_EQ(mp::wait({mp::Waitable{listener.fileno()}}), std::vector<std::size_t>{0});
    auto two = mp::Client(listener.address());
    two.send(1);
    EXPECT_EQ(listener.accept(0s).recv<int>(), 1);
    EXPECT_EQ(listener.accept().recv<int>(), 1);
    EXPECT_FALSE(listener.try_accept());
    EXPECT_TRUE(mp::wait({listener}, 0s).empty());
  }
}

TEST(NamedPipe, HasNoMoreInstancesThanAreOfUse) {
  mp::Listener listener{{.backlog = 1'000}};
  EXPECT_EQ(Raw::client(listener.address()).instances(), 256U);
  mp::os::set_event(listener.fileno());  // the destructor waits for the system, not for this
}
#endif
