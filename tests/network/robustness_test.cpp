// SPDX-License-Identifier: BSL-1.0
// Signals without end, and peers that send and read a byte at a time.
#include <multiprocessing/network.hpp>

#include <support/eventually.hpp>
#if MULTIPROCESSING_POSIX
#  include <support/forked.hpp>
#  include <support/processes.hpp>
#endif

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <network/stranger.hpp>
#if MULTIPROCESSING_POSIX
#  include <sys/socket.h>
#  include <sys/syscall.h>
#  include <sys/time.h>
#  include <unistd.h>
#endif

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::stream_family;

namespace {

#if MULTIPROCESSING_POSIX  // not on Windows: signals
std::atomic<int> signals{0};

// A signal every millisecond, in whichever thread, without SA_RESTART.
class Storm {
 public:
  Storm() {
    struct sigaction counting {};
    counting.sa_handler = [](int) { ++signals; };
    ::sigaction(SIGALRM, &counting, &before_);
    const itimerval every_millisecond{{0, 1000}, {0, 1000}};
    ::setitimer(ITIMER_REAL, &every_millisecond, nullptr);
  }
  Storm(const Storm&) = delete;
  Storm& operator=(const Storm&) = delete;
  ~Storm() {
    const itimerval none{};
    ::setitimer(ITIMER_REAL, &none, nullptr);
    ::sigaction(SIGALRM, &before_, nullptr);
  }

 private:
  struct sigaction before_ {};
};

template <class Work>
void expect_at_least(std::chrono::milliseconds least, Work work) {
  const auto before = std::chrono::steady_clock::now();
  const int seen = signals;
  work();
  EXPECT_GE(std::chrono::steady_clock::now() - before, least);
  EXPECT_GT(signals, seen);
}

TEST(Storm, OfSignalsEndsNoCallBeforeItsTime) {
  const Storm storm;
  mp::Listener listener{{.backlog = 4, .authkey = "k"}};
  expect_at_least(50ms, [&] { EXPECT_FALSE(listener.try_accept(50ms)); });
  expect_at_least(50ms, [&] { EXPECT_TRUE(mp::wait({listener}, 50ms).empty()); });
  expect_at_least(50ms, [&] {
    EXPECT_THROW(
        static_cast<void>(mp::Client(listener.address(), {.authkey = "k", .timeout = 50ms})),
        mp::TimeoutError);
  });
  EXPECT_FALSE(listener.try_accept());
  std::optional<mp::Connection> client;
  std::thread other{[&] { client = mp::Client(listener.address(), {.authkey = "k"}); }};
  auto served = listener.accept();
  other.join();
  expect_at_least(50ms, [&] { EXPECT_FALSE(served.poll(50ms)); });
  expect_at_least(50ms, [&] { EXPECT_FALSE(served.try_recv<int>(50ms)); });
  while (client->try_send(std::string(1000, 'x'))) {
  }
  expect_at_least(50ms, [&] { EXPECT_FALSE(client->try_send(std::string(1000, 'x'), 50ms)); });
}

TEST(Storm, OfSignalsTearsNoMessage) {
  for (const auto family : {mp::Family::af_unix, mp::Family::af_inet}) {
    mp::Listener listener{{.family = family}};
    auto client = mp::Client(listener.address());
    auto served = listener.accept();
    const Storm storm;
    const std::vector<std::byte> large(std::size_t{8} << 20U, std::byte{3});
    std::thread sender{[&] {
      for (int i = 0; i < 5; ++i) {
        client.send_bytes(large);
        client.send(i);
      }
    }};
    for (int i = 0; i < 5; ++i) {
      EXPECT_TRUE(served.recv_bytes() == large);
      EXPECT_EQ(served.recv<int>(), i);
    }
    sender.join();
  }
}

#endif

#if MULTIPROCESSING_WINDOWS
using mp::os::windows::as_socket;
#else
int as_socket(int descriptor) {
  return descriptor;
}
#endif
void set_option(const mp::Connection& end, int what, const auto& value) {
  ASSERT_EQ(::setsockopt(as_socket(end.fileno()), SOL_SOCKET, what,
                         reinterpret_cast<const char*>(&value), sizeof value),
            0);
}

TEST(Stream, TakesMessagesThatComeAByteAtATime) {
  mp::Listener listener{{.family = stream_family}};
  auto client = mp::Client(listener.address());
  auto served = listener.accept();
  std::thread sender{[&] {
    const std::string bytes{"\0\0\0\3abc\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\2de", 25};
    for (const char one : bytes) {
      test::say(client.fileno(), {&one, 1});
      std::this_thread::yield();
    }
  }};
  EXPECT_EQ(served.recv_bytes().size(), 3U);
  EXPECT_EQ(served.recv_bytes().size(), 0U);
  EXPECT_EQ(served.recv_bytes().size(), 2U);  // in the long form, which is allowed for short ones
  sender.join();
}

TEST(Stream, IsReadAByteAtATime) {
  mp::Listener listener{{.family = stream_family}};
  auto client = mp::Client(listener.address());
  auto served = listener.accept();
  set_option(client, SO_SNDBUF, 1);
  std::thread sender{[&] { client.send_bytes(std::string(20'000, 'x')); }};
  for (int i = 0; i < 4 + 20'000; ++i) {
    ASSERT_EQ(test::hear(served.fileno(), 1).size(), 1U);
  }
  sender.join();
}

TEST(Stream, ThatHasNoSizeIsBroken) {
  mp::Listener listener{{.family = stream_family}};
  auto client = mp::Client(listener.address());
  auto served = listener.accept();
  test::say(client.fileno(), {"\x80\0\0\0", 4});
  EXPECT_THROW(static_cast<void>(served.recv_bytes()), mp::ConnectionError);
  EXPECT_THROW(static_cast<void>(served.recv_bytes()), mp::ConnectionError);
  EXPECT_THROW(static_cast<void>(client.recv_bytes()), mp::ConnectionError);
}

// The next thing that the other end sees is a reset.
void reset(mp::Connection& end) {
  const linger at_once{1, 0};
  set_option(end, SO_LINGER, at_once);
  end.close();
}

TEST(Stream, ThatIsResetHasNoCleanEnd) {
  mp::Listener listener{{.family = mp::Family::af_inet}};
#if MULTIPROCESSING_POSIX  // Wine's server hears of it, and says nothing
  {
    auto client = mp::Client(listener.address());
    auto served = listener.accept();
    client.send(1);
    EXPECT_TRUE(served.poll(mp::forever));
    reset(client);
    EXPECT_EQ(served.recv<int>(), 1);
    EXPECT_THROW(static_cast<void>(served.recv_bytes()), mp::ConnectionError);
    EXPECT_THROW(static_cast<void>(served.recv_bytes()), mp::ConnectionError);
  }
#endif
  {
    auto client = mp::Client(listener.address());
    auto served = listener.accept();
    reset(client);
    EXPECT_TRUE(served.poll(mp::forever));
    EXPECT_THROW(served.send(1), std::system_error);  // which hears of the reset
    EXPECT_THROW(static_cast<void>(served.recv_bytes()), mp::ConnectionError);
  }
  {
    auto client = mp::Client(listener.address());
    auto served = listener.accept();
    test::say(client.fileno(), {"\0\0\0\3a", 5});
    EXPECT_TRUE(served.poll(mp::forever));
    reset(client);
    EXPECT_THROW(static_cast<void>(served.recv_bytes()), mp::ConnectionError);
  }
}

#if MULTIPROCESSING_POSIX  // not on Windows: processes that are stopped
TEST(Stream, AStoppedSenderThatWaitsForRoomHoldsNobodyUp) {
  mp::Listener listener{{.family = stream_family}};
  auto sending = mp::Client(listener.address());
  auto receiving = listener.accept();
  test::Forked child{[&] {
    for (;;) sending.send_bytes("x");
  }};
  const std::string call = "/proc/" + std::to_string(child.pid()) + "/syscall";
  const std::string sleeping = std::to_string(SYS_ppoll) + ' ';
  ASSERT_TRUE(test::eventually([&] { return test::first_line(call).starts_with(sleeping); }));
  ::kill(child.pid(), SIGSTOP);
  while (receiving.try_recv_bytes()) {
  }
  EXPECT_TRUE(sending.try_send(1, 10s));
}

#endif

// A fork may come when the call waits already.
TEST(Stream, ACallThatWaitsLearnsThatItsEndIsShared) {
  struct Owner {
    mutable std::atomic<int> asked{0};
    std::atomic<bool> is_shared{false};
  } owner;
  std::error_code ec;
  mp::os::StreamState state{};
  state.initialise(ec);
  mp::Listener listener{{.family = stream_family}};
  auto theirs = mp::Client(listener.address());
  const auto ours = listener.accept();
  const mp::os::Stream stream{ours.fileno(), state,
                              [](const void* one) noexcept {
                                const auto& its = *static_cast<const Owner*>(one);
                                ++its.asked;
                                return its.is_shared.load();
                              },
                              &owner};
  std::thread waiting{[&] {
    mp::os::IncomingMessage message;
    static_cast<void>(stream.receive(1, 10, message, {}, mp::detail::Deadline{mp::forever}, ec));
  }};
  test::eventually([&] { return owner.asked != 0; });
  std::thread{[&] {
    static_cast<void>(state.in.lock.lock(mp::detail::Deadline{mp::forever}));
    state.in.inside = 1;
  }}.join();
  owner.is_shared = true;
  waiting.join();
  EXPECT_EQ(ec, std::errc::connection_aborted);
}

TEST(Stream, OfALieAboutItsSizeTakesNoMemory) {
  mp::Listener listener{{.family = stream_family}};
  auto client = mp::Client(listener.address());
  auto served = listener.accept();
  test::say(client.fileno(), {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xffxx", 14});
  try {
    static_cast<void>(served.recv_bytes());
    FAIL() << "it came";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::not_enough_memory);
  }
  EXPECT_THROW(static_cast<void>(served.recv_bytes()), mp::ConnectionError);
}

#if MULTIPROCESSING_POSIX  // not on Windows: /proc
TEST(Stream, OfALieAboutItsSizeTakesMemoryAsBytesCome) {
  const auto most_resident = [] {  // in KiB, ever
    std::ifstream file{"/proc/self/status"};
    std::string word;
    while (file >> word && word != "VmHWM:") {
    }
    long size = 0;
    file >> size;
    return size;
  };
  mp::Listener listener{{.family = stream_family}};
  std::optional<mp::Connection> client{mp::Client(listener.address())};
  auto served = listener.accept();
  const long before = most_resident();
  test::say(client->fileno(), {"\x20\0\0\0xx", 6});  // 512 MiB, of which two bytes come
  client.reset();
  EXPECT_THROW(static_cast<void>(served.recv_bytes()), mp::ConnectionError);
  EXPECT_LT(most_resident() - before, 100'000);
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: fork
// A forked child has nothing of what its parent says in a handshake.
TEST(Handshake, TellsTheListenerOfAClientsDeathThoughItsChildLives) {
  mp::Listener listener;  // without a key: its side is said by hand
  auto [ours, theirs] = mp::Pipe();
  test::Forked client{[&, end = theirs]() mutable {
    std::thread connecting{[&] {
      EXPECT_ANY_THROW(static_cast<void>(mp::Client(listener.address(), {.authkey = ""})));
    }};
    static_cast<void>(end.recv<int>());
    const pid_t child = ::fork();
    while (child == 0) ::pause();
    end.send(static_cast<int>(child));
    for (;;) ::pause();
  }};
  auto peer = listener.accept();
  peer.send_bytes("#CHALLENGE#{sha256}" + std::string(40, 'x'));
  static_cast<void>(peer.recv_bytes());  // its answer: it waits for the next word
  ours.send(1);
  const int child = ours.recv<int>();
  client.kill();
  EXPECT_ANY_THROW(static_cast<void>(peer.recv_bytes()));
  EXPECT_EQ(::kill(child, SIGKILL), 0);
}

// What comes later is as ever: a child has a copy of what was accepted and connected.
TEST(Handshake, LeavesAConnectionThatForkedChildrenHaveToo) {
  mp::Listener listener{{.authkey = "k"}};
  std::optional<mp::Connection> far;
  std::thread connecting{[&] { far.emplace(mp::Client(listener.address(), {.authkey = "k"})); }};
  auto near = listener.accept();
  connecting.join();
  test::Forked accepting{[&] { near.send(far->fileno()); }};
  EXPECT_EQ(accepting.join(), 0);
  EXPECT_EQ(far->recv<int>(), far->fileno());
  test::Forked connected{[&] { far->send(2); }};
  EXPECT_EQ(connected.join(), 0);
  EXPECT_EQ(near.recv<int>(), 2);
}
#endif

}  // namespace
