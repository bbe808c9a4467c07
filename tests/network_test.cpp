// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/network.hpp>
#include <multiprocessing/process.hpp>

#include <support/eventually.hpp>
#if MULTIPROCESSING_POSIX
#  include <support/forked.hpp>
#endif

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <network/stranger.hpp>
#if MULTIPROCESSING_POSIX
#  include <sys/resource.h>
#  include <sys/stat.h>
#  include <unistd.h>
#endif

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::eventually;
using test::Stranger;
using test::stream_family;
#if MULTIPROCESSING_POSIX
using test::Forked;
#endif

namespace {

std::error_code code_of(const auto& action) {
  try {
    action();
  } catch (const std::system_error& error) {
    return error.code();
  }
  return {};
}

// A listener of each family that this machine has.
std::vector<mp::ListenerOptions> every_place() {
  std::vector<mp::ListenerOptions> all;
  all.push_back({});
#if MULTIPROCESSING_POSIX
  all.push_back({.address = mp::Address{"listener.socket"}});
  all.push_back({.address = mp::Address{std::string{"\0multiprocessing-test", 21} +
                                        std::to_string(::getpid())}});
#else
  all.push_back({.address = mp::Address{R"(\\.\pipe\multiprocessing-test-)" +
                                        std::to_string(mp::current_process().pid())}});
#endif
  all.push_back({.family = mp::Family::af_inet});
  if (MULTIPROCESSING_WINDOWS || std::filesystem::exists("/proc/net/if_inet6"))
    all.push_back({.family = mp::Family::af_inet6});
  return all;
}

TEST(Address, KnowsItsFamily) {
  EXPECT_EQ(mp::Address{"/run/x"}.family(), mp::Family::af_unix);
  EXPECT_EQ(mp::Address{R"(\\.\pipe\x)"}.family(), mp::Family::af_pipe);
  EXPECT_EQ((mp::Address{"localhost", 6000}.family()), mp::Family::af_inet);
  EXPECT_EQ((mp::Address{"::1", 6000}.family()), mp::Family::af_inet6);
  EXPECT_EQ((mp::Address{"::1", 6000}.to_string()), "[::1]:6000");
  EXPECT_EQ((mp::Address{std::string{"\0name", 5}}.to_string()), "@name");
  EXPECT_EQ((mp::Address{"localhost", 6000}.port()), 6000);
  EXPECT_THROW(static_cast<void>(mp::Address{"/run/x"}.port()), std::logic_error);
  EXPECT_THROW(static_cast<void>(mp::Address{"localhost", 1}.path()), std::logic_error);
  EXPECT_NE((mp::Address{"localhost", 1}), (mp::Address{"localhost", 2}));
}

TEST(Listener, ConnectsWithAClientAtEveryKindOfPlace) {
  for (auto& options : every_place()) {
    for (const bool with_key : {false, true}) {
      if (with_key) options.authkey = "secret";
      mp::Listener listener{options};
      SCOPED_TRACE(listener.address().to_string());
      std::thread client{[&] {
        auto connection = mp::Client(listener.address(), {.authkey = options.authkey});
        connection.send(std::string{"hello"});
        EXPECT_EQ(connection.recv<int>(), 7);
      }};
      auto connection = listener.accept();
      EXPECT_EQ(connection.recv<std::string>(), "hello");
      connection.send(7);
      client.join();
      EXPECT_THROW(static_cast<void>(connection.recv_bytes()), mp::EOFError);
    }
  }
}

TEST(Listener, SaysWhereItListensAndWhoCame) {
  mp::Listener listener{{.address = mp::Address{"localhost", 0}}};
  EXPECT_EQ(listener.address().host(), "127.0.0.1");
  EXPECT_NE(listener.address().port(), 0);
  EXPECT_FALSE(listener.last_accepted());
  auto client = mp::Client(listener.address());
  auto connection = listener.accept();
  ASSERT_TRUE(listener.last_accepted());
  EXPECT_EQ(listener.last_accepted()->host(), "127.0.0.1");
  listener.close();
  EXPECT_NE(listener.address().port(), 0);

  mp::Listener local;
  auto other = mp::Client(local.address());
  auto accepted = local.accept();
  EXPECT_FALSE(local.last_accepted());
}

TEST(Listener, SecondAtThePlaceOfTheFirstThrows) {
  for (auto options : every_place()) {
    const mp::Listener first{options};
    options.address = first.address();
    options.family.reset();
    SCOPED_TRACE(first.address().to_string());
    EXPECT_EQ(code_of([&] { mp::Listener{options}; }), std::errc::address_in_use);
    auto client = mp::Client(first.address());  // the first is as before
  }
}

TEST(Listener, RefusesWhatIsNoPlace) {
#if MULTIPROCESSING_POSIX
  EXPECT_EQ(code_of([] { mp::Listener{{.address = mp::Address{std::string(200, 'x')}}}; }),
            std::errc::filename_too_long);
  EXPECT_EQ(code_of([] { mp::Listener{{.address = mp::Address{"no/such/folder"}}}; }),
            std::errc::no_such_file_or_directory);
#else
  EXPECT_EQ(code_of([] { mp::Listener{{.address = mp::Address{R"(\\elsewhere\pipe\x)"}}}; }),
            std::errc::invalid_argument);
#endif
  EXPECT_EQ(code_of([] {
              mp::Listener{{.address = mp::Address{"no such host", 1}}};  // nobody need be asked
            }).category(),
            std::generic_category());
  EXPECT_THROW(
      (mp::Listener{{.address = mp::Address{MULTIPROCESSING_WINDOWS ? R"(\\.\pipe\x)" : "x"},
                     .family = mp::Family::af_inet}}),
      std::invalid_argument);
  EXPECT_THROW((mp::Listener{{.backlog = -1}}), std::invalid_argument);
  EXPECT_FALSE(std::filesystem::exists("x"));
}

// CPython's ValueError for a family that this system has not.
TEST(Listener, AndClientRefuseAFamilyThatIsNotHere) {
  const mp::Address address{MULTIPROCESSING_WINDOWS ? "a.socket" : R"(\\.\pipe\x)"};
  const std::string name = MULTIPROCESSING_WINDOWS ? "AF_UNIX" : "AF_PIPE";
  const auto told = [&](const auto& action) -> std::string {
    try {
      action();
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "nothing";
  };
  const std::string why = ": the family " + name + " is not recognized on this system";
  EXPECT_EQ(told([&] { mp::Listener{{.address = address}}; }), "Listener" + why);
  EXPECT_EQ(told([&] { mp::Listener{{.family = address.family()}}; }), "Listener" + why);
  EXPECT_EQ(told([&] { static_cast<void>(mp::Client(address)); }), "Client" + why);
}

#if MULTIPROCESSING_POSIX  // not on Windows: no files for sockets
TEST(Listener, FileGoesWithCloseAndOnlyIfItIsStillItsOwn) {
  mp::Listener listener{{.address = mp::Address{"a.socket"}}};
  EXPECT_TRUE(std::filesystem::exists("a.socket"));
  const mp::Listener copy = listener;
  listener.close();
  EXPECT_FALSE(std::filesystem::exists("a.socket"));
  EXPECT_TRUE(copy.closed());
  listener.close();

  mp::Listener robbed{{.address = mp::Address{"b.socket"}}};
  std::filesystem::remove("b.socket");
  std::ofstream{"b.socket"} << "another's";
  robbed.close();
  EXPECT_TRUE(std::filesystem::exists("b.socket"));
  std::filesystem::remove("b.socket");
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(Listener, FileStaysWhenAForkedChildEndsAndGoesWithTheProcessThatIsKilled) {
  {
    const mp::Listener listener{{.address = mp::Address{"c.socket"}}};
    Forked child{[&] { mp::Listener{listener}.close(); }};
    EXPECT_EQ(child.join(), 0);
    EXPECT_TRUE(std::filesystem::exists("c.socket"));
  }
  EXPECT_FALSE(std::filesystem::exists("c.socket"));
  Forked child{[] {
    ::freopen("/dev/null", "w", stderr);
    const mp::Listener listener{{.address = mp::Address{"d.socket"}}};
    test::wait_for_ever();
  }};
  eventually([] { return std::filesystem::exists("d.socket"); });
  child.kill();
  eventually([] { return !std::filesystem::exists("d.socket"); });
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(Listener, ForkedChildAccepts) {
  for (const bool with_key : {false, true}) {
    mp::Listener listener{{.authkey = with_key ? std::optional<std::string>{"k"} : std::nullopt}};
    EXPECT_FALSE(listener.try_accept());  // makes what the child must not use
    Forked child{[&] { listener.accept().send(static_cast<int>(::getpid())); }};
    auto client = mp::Client(listener.address(),
                             {.authkey = with_key ? std::optional<std::string>{"k"} : std::nullopt,
                              .timeout = mp::forever});
    EXPECT_EQ(client.recv<int>(), child.pid());
    EXPECT_EQ(child.join(), 0);
  }
}
#endif

TEST(ListenerAccept, WaitsNoLongerThanItMay) {
  for (const bool with_key : {false, true}) {
    mp::Listener listener{{.authkey = with_key ? std::optional<std::string>{"k"} : std::nullopt}};
    EXPECT_THROW(static_cast<void>(listener.accept(0s)), mp::TimeoutError);
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_THROW(static_cast<void>(listener.accept(30ms)), mp::TimeoutError);
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 30ms);
    EXPECT_FALSE(listener.try_accept(1ms));
  }
}

TEST(ListenerAccept, IsWokenByClose) {
  for (const bool with_key : {false, true}) {
    mp::Listener listener{{.authkey = with_key ? std::optional<std::string>{"k"} : std::nullopt}};
    std::atomic<bool> began{false};
    std::thread waiting{[&] {
      began = true;
      EXPECT_THROW(static_cast<void>(listener.accept()), std::invalid_argument);
    }};
    eventually([&] { return began.load(); });
    listener.close();
    waiting.join();
    EXPECT_THROW(static_cast<void>(listener.accept()), std::invalid_argument);
    EXPECT_THROW(static_cast<void>(listener.fileno()), std::invalid_argument);
  }
}

TEST(Listener, IsClosedAtTheEndOfItsScope) {
  std::optional<mp::Address> address;
  {
    const mp::Listener listener;
    address = listener.address();
  }
  EXPECT_THROW(static_cast<void>(mp::Client(*address, {.timeout = 0s})), std::exception);
  const mp::Listener next{{.address = address}};
  EXPECT_EQ(next.address(), *address);
}

TEST(ListenerAccept, ManyThreadsTakeManyClients) {
  mp::Listener listener{{.backlog = 16, .authkey = "k"}};
  constexpr int count = 32;
  std::atomic<int> accepted{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < count / 4; ++n) {
        listener.accept().send(1);
        ++accepted;
      }
    });
    threads.emplace_back([&] {
      for (int n = 0; n < count / 4; ++n) {
        EXPECT_EQ(mp::Client(listener.address(), {.authkey = "k"}).recv<int>(), 1);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(accepted, count);
}

TEST(ListenerAccept, GoesOnWithAHundredClientsThatSayNothing) {
  mp::Listener listener{{.family = stream_family, .backlog = 8, .authkey = "k"}};
  std::vector<Stranger> silent;
  for (int i = 0; i < 100; ++i) {
    silent.emplace_back(listener.address());
    EXPECT_FALSE(listener.try_accept());
    if (i % 3 == 0) silent.back().say({"\0\0", 2});
  }
  std::thread client{[&] { mp::Client(listener.address(), {.authkey = "k"}).send(5); }};
  EXPECT_EQ(listener.accept().recv<int>(), 5);
  client.join();
}

TEST(ListenerAccept, SendsAwayTheSilentAfterTheirTimeAndTheOldestOfTooMany) {
  {
    mp::Listener listener{{.family = stream_family, .authkey = "k", .handshake_timeout = 20ms}};
    const Stranger silent{listener.address()};
    EXPECT_FALSE(listener.try_accept());
    EXPECT_EQ(silent.hear(4).size(), 4U);
    EXPECT_EQ(silent.hear(59).size(), 59U);
    std::thread driver{
        [&] { EXPECT_THROW(static_cast<void>(listener.accept()), std::invalid_argument); }};
    EXPECT_EQ(silent.hear(1), "");
    listener.close();
    driver.join();
  }
#if MULTIPROCESSING_POSIX
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const rlimit more{std::max<rlim_t>(before.rlim_cur, 2000), before.rlim_max};
  if (::setrlimit(RLIMIT_NOFILE, &more) != 0) GTEST_SKIP() << "few descriptors";
#endif
  {
    mp::Listener listener{{.family = stream_family, .backlog = 8, .authkey = "k"}};
    std::vector<Stranger> silent;
    for (int i = 0; i < 258; ++i) {
      silent.emplace_back(listener.address());
      EXPECT_FALSE(listener.try_accept());
    }
    EXPECT_EQ(silent[0].hear(100).size(), 63U);
    EXPECT_EQ(silent[1].hear(100).size(), 63U);
    EXPECT_EQ(silent[2].hear(63).size(), 63U);
  }
#if MULTIPROCESSING_POSIX
  ::setrlimit(RLIMIT_NOFILE, &before);
#endif
}

TEST(ListenerAccept, ForgetsClientsThatLeaveAndTellsOfThoseWithoutTheKey) {
  mp::Listener listener{
      {.family = stream_family, .authkey = "k", .handshake_timeout = mp::forever}};
  { const Stranger gone{listener.address()}; }
  EXPECT_FALSE(listener.try_accept());
  EXPECT_FALSE(listener.try_accept());
  {
    const Stranger gone{listener.address()};
    EXPECT_FALSE(listener.try_accept());
  }
  EXPECT_FALSE(listener.try_accept());
  for (const std::string_view words :
       {std::string_view{"\0\0\1\1", 4},                            // 257 bytes
        std::string_view{"\xff\xff\xff\xff\0\0\0\0\0\0\0\1x", 13},  // the long form
        std::string_view{"\x7f\xff\xff\xff", 4},                    // 2 GiB
        std::string_view{"\0\0\0\0", 4},                            // nothing
        std::string_view{"\0\0\0\x10"
                         "0123456789abcdef",
                         20},  // HMAC-MD5
        std::string_view{"\0\0\0\x13"
                         "{sha512}0123456789a",
                         23},  // no digest of theirs
        std::string_view{"\0\0\0\x0f"
                         "{sha256}0123456",
                         19},  // too short a digest
        std::string_view{"GET / HTTP/1.1\r\n", 16}}) {
    const Stranger stranger{listener.address()};
    stranger.say(words);
    const auto accept = [&] {
      while (!listener.try_accept(1s)) {
      }
    };
    EXPECT_THROW(accept(), mp::AuthenticationError) << words;
  }
  std::thread client{[&] { mp::Client(listener.address(), {.authkey = "k"}).send(1); }};
  EXPECT_EQ(listener.accept().recv<int>(), 1);
  client.join();
}

TEST(ListenerAccept, TakesAHandshakeByteByByte) {
  mp::Listener listener{
      {.family = stream_family, .authkey = "k", .handshake_timeout = mp::forever}};
  const Stranger slow{listener.address()};
  EXPECT_FALSE(listener.try_accept());
  const std::string challenge = slow.hear(63).substr(4 + 11);
  std::error_code ec;
  const std::string mac = mp::os::hmac("sha256", "k", challenge, ec);
  const std::string answer = mp::detail::BoundedFrame::framed("{sha256}" + mac);
  for (const char one : answer) {
    slow.say({&one, 1});
    EXPECT_FALSE(listener.try_accept());
  }
  EXPECT_EQ(slow.hear(13).substr(4), "#WELCOME#");
  slow.say(mp::detail::BoundedFrame::framed("#CHALLENGE#{sha256}" + std::string(40, 'x')));
  EXPECT_FALSE(listener.try_accept());
  EXPECT_EQ(slow.hear(44).substr(12),
            mp::os::hmac("sha256", "k", "{sha256}" + std::string(40, 'x'), ec));
  slow.say(mp::detail::BoundedFrame::framed("#WELCOME#"));
  slow.say(mp::detail::BoundedFrame::framed("first message"));
  const auto connection = listener.try_accept();
  ASSERT_TRUE(connection);
  mp::Connection end = *connection;
  EXPECT_EQ(end.recv_bytes().size(), 13U);
}

TEST(HandshakeFrame, RefusesALongMessageBeforeItsFirstByte) {
  mp::detail::BoundedFrame frame;
  const auto header = frame.wanted();
  ASSERT_EQ(header.size(), 4U);
  for (std::size_t i = 0; i < 4; ++i)
    header[i] = std::byte{i < 2 ? std::uint8_t{0} : std::uint8_t{1}};  // 257
  EXPECT_THROW(frame.took(4), mp::AuthenticationError);
}

TEST(Client, NeedsTheSameKey) {
  for (const auto& [ours, theirs] : {std::pair{"a", "b"}, std::pair{"", "b"}, std::pair{"a", ""}}) {
    mp::Listener listener{{.authkey = ours}};
    std::thread client{[&, key = std::string{theirs}] {
      EXPECT_THROW(static_cast<void>(mp::Client(listener.address(), {.authkey = key})),
                   mp::AuthenticationError);
    }};
    EXPECT_THROW(static_cast<void>(listener.accept()), mp::AuthenticationError);
    client.join();
  }
  mp::Listener listener{{.authkey = ""}};
  std::thread client{[&] { mp::Client(listener.address(), {.authkey = ""}).send(1); }};
  EXPECT_EQ(listener.accept().recv<int>(), 1);
  client.join();
}

TEST(Client, IsNotFooledByAListenerWithoutTheKey) {
  mp::Listener impostor;
  std::thread client{[&] {
    EXPECT_THROW(static_cast<void>(mp::Client(impostor.address(), {.authkey = "k"})),
                 mp::AuthenticationError);
  }};
  auto victim = impostor.accept();
  victim.send_bytes("#CHALLENGE#{sha256}" + std::string(40, 'x'));
  static_cast<void>(victim.recv_bytes());
  victim.send_bytes("#WELCOME#");
  static_cast<void>(victim.recv_bytes());
  victim.send_bytes("{sha256}" + std::string(32, 'x'));
  client.join();
}

TEST(Client, WaitsNoLongerThanItMay) {
  mp::Listener listener;
  EXPECT_THROW(static_cast<void>(mp::Client(listener.address(), {.authkey = "k", .timeout = 20ms})),
               mp::TimeoutError);
  // Until the backlog is full.
  std::vector<mp::Connection> waiting;
  try {
    for (;;) waiting.push_back(mp::Client(listener.address(), {.timeout = 20ms}));
  } catch (const mp::TimeoutError&) {
  }
  EXPECT_GE(waiting.size(), 1U);
}

TEST(Client, SaysThatNobodyListens) {
  const mp::Address nobody{MULTIPROCESSING_WINDOWS ? R"(\\.\pipe\nobody)" : "nobody.socket"};
  EXPECT_EQ(code_of([&] { static_cast<void>(mp::Client(nobody)); }),
            std::errc::no_such_file_or_directory);
  mp::Listener listener{{.family = mp::Family::af_inet}};
  const mp::Address address = listener.address();
  listener.close();
  EXPECT_EQ(code_of([&] { static_cast<void>(mp::Client(address)); }),
            std::errc::connection_refused);
}

TEST(Client, GetsEofWhenTheListenerClosesInTheHandshake) {
  mp::Listener listener;
  std::thread client{[&] {
    EXPECT_THROW(static_cast<void>(mp::Client(listener.address(), {.authkey = "k"})), mp::EOFError);
  }};
  listener.accept().close();
  client.join();
}

TEST(Listener, IsWaitedForTogetherWithOtherThings) {
  for (const bool with_key : {false, true}) {
    const auto key = with_key ? std::optional<std::string>{"k"} : std::nullopt;
    mp::Listener listener{{.authkey = key}};
    auto [one, other] = mp::Pipe();
    EXPECT_TRUE(mp::wait({listener, one}, 0s).empty());
    std::thread client{[&] {
      auto connection = mp::Client(listener.address(), {.authkey = key});
      EXPECT_EQ(connection.recv<int>(), 3);
    }};
    EXPECT_EQ(mp::wait({one, listener}), std::vector<std::size_t>{1});
    listener.accept(0s).send(3);
    client.join();
  }
}

TEST(Listener, AClientWithoutTheKeyMakesWaitReadyAndAcceptThrow) {
  mp::Listener listener{{.family = stream_family, .authkey = "k"}};
  const Stranger stranger{listener.address()};
  stranger.say("GET / HTTP/1.1\r\n");
  EXPECT_EQ(mp::wait({listener}), std::vector<std::size_t>{0});
  EXPECT_THROW(static_cast<void>(listener.accept(0s)), mp::AuthenticationError);
}

TEST(Listener, IsReadableWhenThereIsSomethingToDo) {
  mp::Listener listener{{.family = stream_family, .authkey = "k"}};
  std::thread client{[&] { mp::Client(listener.address(), {.authkey = "k"}).send(3); }};
  std::optional<mp::Connection> accepted;
  while (!accepted) {
    EXPECT_EQ(mp::wait({mp::Waitable{listener.fileno()}}).size(), 1U);
    accepted = listener.try_accept();
  }
  EXPECT_EQ(accepted->recv<int>(), 3);
  client.join();
}

#if MULTIPROCESSING_POSIX  // not on Windows: rlimit
TEST(Listener, OutOfDescriptorsSaysSoAndTheClientGoesOnWaiting) {
  mp::Listener listener;
  auto client = mp::Client(listener.address());
  client.send(9);
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{0, before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &none);
  const auto code = code_of([&] { static_cast<void>(listener.accept(0s)); });
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(code, std::errc::too_many_files_open);
  EXPECT_EQ(listener.accept().recv<int>(), 9);
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: rlimit
TEST(Listener, OutOfDescriptorsSendsTheOldestStrangerAwayForTheNext) {
  mp::Listener listener{{.family = stream_family, .backlog = 4, .authkey = "k"}};
  const Stranger first{listener.address()};
  EXPECT_FALSE(listener.try_accept());
  const Stranger second{listener.address()};
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const int lowest_free = ::dup(STDERR_FILENO);
  ::close(lowest_free);
  const rlimit as_many_as_are_open{static_cast<rlim_t>(lowest_free), before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &as_many_as_are_open);
  EXPECT_EQ(code_of([&] { EXPECT_FALSE(listener.try_accept()); }), std::error_code{});
  ::setrlimit(RLIMIT_NOFILE, &before);
  listener.close();
  EXPECT_EQ(first.hear(100).size(), 63U);
  EXPECT_EQ(second.hear(100).size(), 63U);
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: umask
TEST(Listener, WhereNobodySaidWhereIsForThisUserAlone) {
  const auto mode_of = [](const mp::Listener& listener) {
    struct ::stat status {};
    EXPECT_EQ(::stat(listener.address().path().c_str(), &status), 0);
    return status.st_mode & 0777U;
  };
  const mode_t before = ::umask(0);
  EXPECT_EQ(mode_of(mp::Listener{}), 0600U);
  EXPECT_EQ(mode_of(mp::Listener{{.address = mp::Address{"open.socket"}}}), 0777U);
  ::umask(before);
}
#endif

}  // namespace
