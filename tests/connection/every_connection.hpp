// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file every_connection.hpp
/// @brief What holds for every kind of Connection within a process and its forks: the suite
/// EveryConnection, which each program that includes this instantiates with its kinds.
#include <multiprocessing/connection.hpp>
#include <multiprocessing/os/process_wide.hpp>

#include <support/asleep.hpp>
#include <support/child.hpp>
#include <support/eventually.hpp>
#if MULTIPROCESSING_POSIX
#  include <support/forked.hpp>
#endif

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <fcntl.h>
#if MULTIPROCESSING_POSIX
#  include <sys/resource.h>
#  include <sys/time.h>
#endif

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::Child;
using test::eventually;
#if MULTIPROCESSING_POSIX
using test::Forked;
#endif

namespace every_connection {

using Bytes = std::vector<std::byte>;

inline Bytes pattern(std::size_t size, unsigned seed = 1) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(seed + i * 7 + i / 253);
  return bytes;
}
inline Bytes bytes_of(std::string_view text) {
  const auto span = std::as_bytes(std::span{text});
  return {span.begin(), span.end()};
}

struct Point {
  int x = 0;
  std::string name;
  bool operator==(const Point&) const = default;
};

struct Refuses {
  bool fails = true;
  template <class Archive>
  void save(Archive& archive) const {
    archive(std::string(100, 'x'));
    if (fails) throw mp::SerializationError{"refused"};
  }
  template <class Archive>
  void load(Archive& archive) {
    std::string text;
    archive(text);
  }
};

/// A kind of connection: `first` receives what `second` sends.
struct Kind {
  const char* name;
  std::pair<mp::Connection, mp::Connection> (*make)();
  bool is_stream = false;  ///< Takes large messages in part; gives objects as they came.
  bool is_far = false;     ///< The other end has buffers of its own: what it takes is not yet read.
};

class EveryConnection : public testing::TestWithParam<Kind> {
 protected:
  [[nodiscard]] static bool is_stream() { return GetParam().is_stream; }
  std::pair<mp::Connection, mp::Connection> ends_ = GetParam().make();
  mp::Connection receiving = ends_.first;
  mp::Connection sending = ends_.second;
};

// Runs `work` in a thread and waits until that thread sleeps in the system.
class Blocked {
 public:
  template <class Work>
  explicit Blocked(Work work)
      : thread_{[this, work] {
          id_ = test::thread_id();
          work();
        }} {
    eventually([this] { return id_ != 0 && state() == 'S'; });
  }
  ~Blocked() { thread_.join(); }
  Blocked(const Blocked&) = delete;
  Blocked& operator=(const Blocked&) = delete;
  [[nodiscard]] int id() const { return id_; }

 private:
#if MULTIPROCESSING_POSIX
  [[nodiscard]] char state() const {
    const std::string path = "/proc/self/task/" + std::to_string(id_) + "/stat";
    std::array<char, 256> text{};
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return 'S';  // has ended
    const auto size = ::read(file, text.data(), text.size() - 1);
    ::close(file);
    const std::string_view line{text.data(), size > 0 ? static_cast<std::size_t>(size) : 0};
    const auto end = line.rfind(')');
    return end == std::string_view::npos ? 'S' : line[end + 2];
  }
#else
  [[nodiscard]] char state() const {
    return test::sleeps_in_futex(id_) ? 'S' : 'R';
  }
#endif

  std::atomic<int> id_{0};
  std::thread thread_;
};

#if MULTIPROCESSING_POSIX
// Leaves this process room for so many more descriptors.
class DescriptorsLeft {
 public:
  explicit DescriptorsLeft(int free) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlim_t limit = 0;
    for (int descriptor = 0; free > 0; ++descriptor, ++limit) {
      if (::fcntl(descriptor, F_GETFD) < 0) --free;
    }
    const rlimit now{limit, before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &now);
  }
  DescriptorsLeft(const DescriptorsLeft&) = delete;
  DescriptorsLeft& operator=(const DescriptorsLeft&) = delete;
  ~DescriptorsLeft() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};
#endif

template <class Work>
std::errc error_of(Work work) {
  try {
    work();
  } catch (const std::system_error& error) {
    EXPECT_TRUE(error.code().category() == std::system_category() ||
                error.code().category() == std::generic_category());
    return static_cast<std::errc>(error.code().value());
  }
  return std::errc{};
}

template <class Error, class Work>
std::string text_of(Work work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST_P(EveryConnection, CarriesBytesOfAnySize) {
  constexpr std::array<std::size_t, 22> sizes{
      0,         1,    63,    64,    65,    991,       992,
      993,       1023, 1024,  1025,  4063,  4064,      4065,
      8128,      8129, 65535, 65536, 65537, 1U << 20U, (1U << 20U) + 1,
      64U << 20U};
  std::thread sender{[&] {
    for (const std::size_t size : sizes) sending.send_bytes(pattern(size));
  }};
  for (const std::size_t size : sizes) {
    const Bytes got = receiving.recv_bytes();
    EXPECT_TRUE(got == pattern(size)) << size << " bytes came as " << got.size();
  }
  sender.join();
  EXPECT_FALSE(receiving.poll());
}

TEST_P(EveryConnection, CarriesObjects) {
  sending.send(42);
  EXPECT_EQ(receiving.recv<int>(), 42);
  sending.send(Point{3, "three"});
  EXPECT_EQ(receiving.recv<Point>(), (Point{3, "three"}));
  const std::map<std::string, std::vector<double>> map{{"a", {1, 2}}, {"b", {}}};
  sending.send(map);
  EXPECT_EQ((receiving.recv<std::map<std::string, std::vector<double>>>()), map);
  const std::vector<int> large(100'000, 7);
  std::thread sender{[&] { sending.send(large); }};
  EXPECT_EQ(receiving.recv<std::vector<int>>(), large);
  sender.join();
}

TEST_P(EveryConnection, SendsLiteralsAsStrings) {
  sending.send("hello");
  EXPECT_EQ(receiving.recv<std::string>(), "hello");
  sending.send_bytes("text");
  EXPECT_EQ(receiving.recv_bytes(), bytes_of("text"));
}

TEST_P(EveryConnection, SaysWhatAMessageIsWhenItIsNotWhatWasAskedFor) {
  sending.send(std::string{"text"});
  sending.send_bytes("bytes");
  sending.send(1.5);
  const std::string first =
      text_of<mp::SerializationError>([&] { static_cast<void>(receiving.recv<int>()); });
  EXPECT_NE(first.find("no int"), std::string::npos) << first;
  EXPECT_NE(first.find("string"), std::string::npos) << first;
  const std::string second =
      text_of<mp::SerializationError>([&] { static_cast<void>(receiving.recv<int>()); });
  EXPECT_NE(second.find("recv_bytes"), std::string::npos) << second;
  EXPECT_EQ(receiving.recv<double>(), 1.5);
}

TEST_P(EveryConnection, GivesTheEncodedBytesOfAnObject) {
  if (is_stream()) GTEST_SKIP() << "all that came";
  const Point point{1, "one"};
  sending.send(point);
  EXPECT_EQ(receiving.recv_bytes(), mp::dumps(point));
  sending.send(point);
  Bytes room(1000);
  EXPECT_EQ(receiving.recv_bytes_into(room), mp::dumps(point).size());
}

TEST_P(EveryConnection, SendsNothingWhenEncodingFails) {
  EXPECT_THROW(sending.send(Refuses{}), mp::SerializationError);
  EXPECT_FALSE(receiving.poll());
  sending.send(5);
  EXPECT_EQ(receiving.recv<int>(), 5);
}

TEST_P(EveryConnection, EndsWhenTheOtherEndIsClosed) {
  sending.send(1);
  sending.send_bytes("");
  sending.close();
  EXPECT_TRUE(receiving.poll());
  EXPECT_EQ(receiving.recv<int>(), 1);
  EXPECT_TRUE(receiving.recv_bytes().empty());
  EXPECT_TRUE(receiving.poll());
  EXPECT_TRUE(receiving.poll(mp::forever));
  EXPECT_THROW(static_cast<void>(receiving.recv<int>()), mp::EOFError);
  EXPECT_THROW(static_cast<void>(receiving.recv_bytes()), mp::EOFError);
  EXPECT_THROW(static_cast<void>(receiving.try_recv<int>()), mp::EOFError);
}

TEST_P(EveryConnection, EndsWhenTheLastProcessWithTheOtherEndDies) {
  Child child{[](mp::Connection its_receiving, mp::Connection its_sending) {
                its_receiving.close();
                its_sending.send(1);
                test::wait_for_ever();
              },
              receiving, sending};
  sending.close();
  EXPECT_EQ(receiving.recv<int>(), 1);
  std::atomic<bool> ended{false};
  {
    const Blocked reader{[&] {
      EXPECT_THROW(static_cast<void>(receiving.recv<int>()), mp::EOFError);
      ended = true;
    }};
    EXPECT_FALSE(ended);
    child.kill();
  }
  EXPECT_TRUE(ended);
}

TEST_P(EveryConnection, CannotSendWhenNobodyCanReceive) {
  receiving.close();  // SIGPIPE has its default effect: raised, it would end this program
  if (GetParam().is_far)
    eventually([&] { return error_of([&] { sending.send(1); }) != std::errc{}; });
  EXPECT_EQ(error_of([&] { sending.send(1); }), std::errc::broken_pipe);
  EXPECT_EQ(error_of([&] { sending.send_bytes(pattern(1U << 20U)); }), std::errc::broken_pipe);
  EXPECT_EQ(error_of([&] { static_cast<void>(sending.try_send(1)); }), std::errc::broken_pipe);
}

TEST_P(EveryConnection, ReceivesIntoABuffer) {
  Bytes room(10, std::byte{'.'});
  sending.send_bytes("abc");
  EXPECT_EQ(receiving.recv_bytes_into(room), 3U);
  sending.send_bytes("de");
  EXPECT_EQ(receiving.recv_bytes_into(room, 8), 2U);
  EXPECT_EQ(room, bytes_of("abc.....de"));
  sending.send_bytes("");
  EXPECT_EQ(receiving.recv_bytes_into(room, 10), 0U);
  EXPECT_THROW(receiving.recv_bytes_into(room, 11), std::invalid_argument);
  EXPECT_EQ(receiving.try_recv_bytes_into(room), std::nullopt);
  EXPECT_EQ(receiving.try_recv_bytes_into(room, std::chrono::milliseconds{1}, 4), std::nullopt);
  EXPECT_TRUE(sending.try_send_bytes("fg", mp::forever));
  EXPECT_EQ(receiving.try_recv_bytes_into(room, mp::forever, 4), 2U);
  EXPECT_EQ(room, bytes_of("abc.fg..de"));
}

TEST_P(EveryConnection, ReceivesLargeMessagesIntoABuffer) {
  constexpr std::array<std::size_t, 6> sizes{70'000,          1U << 20U,       (2U << 20U) - 1,
                                             (2U << 20U) + 1, (5U << 20U) + 7, 70'000};
  Bytes room((5U << 20U) + 20);
  for (const std::size_t size : sizes) {
    std::fill(room.begin(), room.end(), std::byte{'.'});
    std::thread sender{[&] { sending.send_bytes(pattern(size)); }};
    ASSERT_EQ(receiving.recv_bytes_into(room, 5), size);
    sender.join();
    Bytes expected(room.size(), std::byte{'.'});
    const Bytes sent = pattern(size);
    std::copy(sent.begin(), sent.end(), expected.begin() + 5);
    EXPECT_TRUE(room == expected) << size << " bytes";
  }
  if (is_stream()) return;
  const std::string text(300'000, 'x');  // of whose message more than the value's bytes travels
  std::fill(room.begin(), room.end(), std::byte{'.'});
  std::thread sender{[&] { sending.send(text); }};
  const Bytes encoded = mp::dumps(text);
  ASSERT_EQ(receiving.recv_bytes_into(room, 5), encoded.size());
  sender.join();
  EXPECT_TRUE(std::equal(encoded.begin(), encoded.end(), room.begin() + 5));
  EXPECT_TRUE(std::all_of(room.begin() + 5 + static_cast<std::ptrdiff_t>(encoded.size()),
                          room.end(), [](std::byte one) { return one == std::byte{'.'}; }));
}

TEST_P(EveryConnection, KeepsAMessageThatIsTooLongForABuffer) {
  Bytes room(4);
  for (const std::size_t size :
       {std::size_t{4}, std::size_t{5}, std::size_t{5000}, std::size_t{300'000}}) {
    std::thread sender{[&] { sending.send_bytes(pattern(size)); }};
    try {
      receiving.recv_bytes_into(room, 1);
      ADD_FAILURE() << "it fits";
    } catch (const mp::BufferTooShort& error) {
      EXPECT_EQ(error.message, pattern(size));
    }
    sender.join();
  }
  sending.send_bytes("abc");
  EXPECT_EQ(receiving.recv_bytes_into(room, 1), 3U);
}

TEST_P(EveryConnection, ClosesWhenAMessageIsLongerThanAllowed) {
  sending.send_bytes("12345");
  EXPECT_EQ(receiving.recv_bytes(5).size(), 5U);
  sending.send_bytes("12345");
  EXPECT_EQ(error_of([&] { static_cast<void>(receiving.recv_bytes(4)); }), std::errc::message_size);
  EXPECT_TRUE(receiving.closed());
  EXPECT_THROW(static_cast<void>(receiving.recv_bytes()), std::invalid_argument);
}

TEST_P(EveryConnection, PollSeesAnEmptyMessageUntilItIsReceived) {
  EXPECT_FALSE(receiving.poll());
  sending.send_bytes("");
  EXPECT_TRUE(receiving.poll());
  EXPECT_TRUE(receiving.poll());
  EXPECT_TRUE(receiving.recv_bytes().empty());
  EXPECT_FALSE(receiving.poll());
}

TEST_P(EveryConnection, PollTakesNothingAndKeepsMessagesApart) {
  const std::vector<std::string> texts{"hello", "", "a", "", "", "b", "", "bye", "", "lop"};
  for (const auto& text : texts) sending.send_bytes(text);
  for (const auto& text : texts) {
    EXPECT_TRUE(receiving.poll());
    EXPECT_TRUE(receiving.poll(1h));
    EXPECT_EQ(receiving.recv_bytes(), bytes_of(text));
  }
  EXPECT_FALSE(receiving.poll());
}

TEST_P(EveryConnection, PollWaitsForAsLongAsItWasTold) {
  const auto before = std::chrono::steady_clock::now();
  EXPECT_FALSE(receiving.poll(30ms));
  EXPECT_GE(std::chrono::steady_clock::now() - before, 30ms);
  EXPECT_FALSE(receiving.poll(-1s));
  const Blocked reader{[&] { EXPECT_TRUE(receiving.poll(mp::forever)); }};
  sending.send(1);
}

TEST_P(EveryConnection, PollInAnotherProcessTakesNoPartOfAMessage) {
  Child child{[](mp::Connection its) {
                for (int i = 0; i < 200; ++i) static_cast<void>(its.poll(1ms));
              },
              receiving};
  const std::vector<std::size_t> sizes{0, 5, 4064, 4065, 100'000};
  for (int round = 0; round < 20; ++round) {
    for (const std::size_t size : sizes) {
      std::thread sender{[&] { sending.send_bytes(pattern(size)); }};
      EXPECT_EQ(receiving.recv_bytes(), pattern(size));
      sender.join();
    }
  }
  EXPECT_EQ(child.join(), 0);
}

TEST_P(EveryConnection, TriesWithoutWaiting) {
  EXPECT_EQ(receiving.try_recv<int>(), std::nullopt);
  EXPECT_EQ(receiving.try_recv_bytes(), std::nullopt);
  int sent = 0;
  // A far end is full when its kernel has moved all that it takes, which goes on behind a send.
  while (sending.try_send(sent, GetParam().is_far ? 400ms : 0ms)) ++sent;
  EXPECT_GT(sent, 10);
  auto before = std::chrono::steady_clock::now();
  while (sending.try_send(sent, 20ms)) {  // nor has it always done so after any given time
    ASSERT_TRUE(GetParam().is_far);
    ++sent;
    before = std::chrono::steady_clock::now();
  }
  EXPECT_GE(std::chrono::steady_clock::now() - before, 20ms);
  if (!GetParam().is_far) {
    EXPECT_FALSE(sending.try_send_bytes(pattern(1U << 20U), 20ms));
    EXPECT_GE(std::chrono::steady_clock::now() - before, 40ms);
  }
  for (int i = 0; i < sent; ++i) EXPECT_EQ(receiving.try_recv<int>(1h), i);
  EXPECT_EQ(receiving.try_recv<int>(), std::nullopt);
  EXPECT_TRUE(sending.try_send(5, GetParam().is_far ? 1h : 0h));
  EXPECT_EQ(receiving.recv<int>(), 5);
}

TEST_P(EveryConnection, HoldsASenderUpWhileLargeMessagesAreUnread) {
  if (is_stream()) GTEST_SKIP() << "a large message that has begun goes on";
  const Bytes large = pattern(3U << 20U);
  int sent = 0;
  while (sent < 10 && sending.try_send_bytes(large)) ++sent;
  EXPECT_LE(sent, 1);
  std::thread sender{[&] {
    for (int i = 0; i < 5; ++i) sending.send_bytes(large);
  }};
  for (int i = 0; i < 5 + sent; ++i) EXPECT_TRUE(receiving.recv_bytes() == large);
  sender.join();
}

TEST_P(EveryConnection, CloseIsForAllCopiesHere) {
  mp::Connection copy = receiving;
  EXPECT_FALSE(copy.closed());
  receiving.close();
  receiving.close();
  EXPECT_TRUE(copy.closed());
  EXPECT_THROW(static_cast<void>(copy.recv<int>()), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(copy.recv_bytes()), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(copy.poll()), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(copy.fileno()), std::invalid_argument);
  sending.close();
  EXPECT_THROW(sending.send(1), std::invalid_argument);
  EXPECT_THROW(sending.send_bytes("1"), std::invalid_argument);
}

TEST_P(EveryConnection, CloseHereLeavesTheEndOpenInOtherProcesses) {
  auto [done, tell] = mp::Pipe();
  Child child{[](mp::Connection parents, mp::Connection told, mp::Connection its_sending) {
                parents.close();
                static_cast<void>(told.recv<int>());
                its_sending.send(7);
              },
              done, tell, sending};
  sending.close();
  done.send(1);
  EXPECT_EQ(receiving.recv<int>(), 7);
  EXPECT_EQ(child.join(), 0);
  EXPECT_THROW(static_cast<void>(receiving.recv<int>()), mp::EOFError);
}

TEST_P(EveryConnection, CloseWakesWhoIsBlockedInIt) {
  std::atomic<int> woken{0};
  {
    const auto expect_closed = [&](auto work) {
      return [&woken, work] {
        EXPECT_THROW(work(), std::invalid_argument);
        ++woken;
      };
    };
    const Blocked first{expect_closed([&] { static_cast<void>(receiving.recv<int>()); })};
    const Blocked second{expect_closed([&] { static_cast<void>(receiving.recv_bytes()); })};
    const Blocked third{expect_closed([&] { static_cast<void>(receiving.poll(mp::forever)); })};
    receiving.close();
    EXPECT_THROW(static_cast<void>(receiving.poll()), std::invalid_argument);
  }
  EXPECT_EQ(woken, 3);
}

TEST_P(EveryConnection, CloseWakesWhoWaitsForRoom) {
  const auto send_for_ever = [&](std::size_t size) {
    for (;;) sending.send_bytes(pattern(size));
  };
  const Blocked small{[&] { EXPECT_THROW(send_for_ever(10), std::invalid_argument); }};
  const Blocked large{[&] { EXPECT_THROW(send_for_ever(1U << 20U), std::invalid_argument); }};
  sending.close();
}

TEST_P(EveryConnection, CloseDoesNotDisturbOtherConnections) {
  auto other = GetParam().make();
  const Blocked undisturbed{[&] { EXPECT_EQ(other.first.recv<int>(), 9); }};
  for (int i = 0; i < 50; ++i) {
    auto one = GetParam().make();
    const Blocked reader{
        [&] { EXPECT_THROW(static_cast<void>(one.first.recv<int>()), std::invalid_argument); }};
    one.first.close();
  }
  other.second.send(9);
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST_P(EveryConnection, AChildOfAForkMayCloseWhatAThreadOfTheParentIsBlockedIn) {
#  if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer ends a forked child whose thread gets the address of one that the "
                  "parent had";
#  endif
  const Blocked blocked{[&] { EXPECT_EQ(receiving.recv<int>(), 3); }};
  Forked child{[&] {
    receiving.close();
    EXPECT_THROW(static_cast<void>(receiving.poll()), std::invalid_argument);
    auto own = GetParam().make();
    const Blocked in_child{
        [&] { EXPECT_THROW(static_cast<void>(own.first.recv<int>()), std::invalid_argument); }};
    own.first.close();
  }};
  EXPECT_EQ(child.join(), 0);
  sending.send(3);
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: signals
TEST_P(EveryConnection, InterruptedCallsGoOn) {
  struct sigaction counting {};
  struct sigaction before {};
  static std::atomic<int> signals;
  signals = 0;
  counting.sa_handler = [](int) { ++signals; };  // without SA_RESTART
  sigaction(SIGUSR1, &counting, &before);
  const auto disturb = [](const Blocked& blocked) {
    for (int i = 0; i < 20; ++i) {
      const int seen = signals;
      ::tgkill(::getpid(), blocked.id(), SIGUSR1);
      eventually([&] { return signals > seen; });
    }
  };
  {
    const Blocked reader{[&] { EXPECT_EQ(receiving.recv<int>(), 4); }};
    disturb(reader);
    sending.send(4);
  }
  {
    const Blocked poller{[&] { EXPECT_TRUE(receiving.poll(mp::forever)); }};
    disturb(poller);
    sending.send(5);
  }
  EXPECT_EQ(receiving.recv<int>(), 5);
  constexpr int messages = 1000;
  {
    const Blocked writer{[&] {
      for (int i = 0; i < messages; ++i) sending.send(std::vector<int>(5000, i));
    }};
    disturb(writer);
    for (int i = 0; i < messages; ++i) {
      EXPECT_EQ(receiving.recv<std::vector<int>>(), std::vector<int>(5000, i));
    }
  }
  sigaction(SIGUSR1, &before, nullptr);
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: signals
TEST_P(EveryConnection, KeepsATimeLimitWhileSignalsKeepComing) {
  struct sigaction counting {};
  struct sigaction before {};
  counting.sa_handler = [](int) {};
  counting.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &counting, &before);
  const itimerval often{{0, 5000}, {0, 5000}};
  const itimerval never{};
  setitimer(ITIMER_REAL, &often, nullptr);
  EXPECT_EQ(receiving.try_recv<int>(150ms), std::nullopt);
  EXPECT_FALSE(receiving.poll(150ms));
  setitimer(ITIMER_REAL, &never, nullptr);
  sigaction(SIGALRM, &before, nullptr);
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: descriptors
TEST_P(EveryConnection, EveryDescriptorIsClosedOnExec) {
  EXPECT_NE(::fcntl(receiving.fileno(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_NE(::fcntl(sending.fileno(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_FALSE(receiving.poll(1ms));  // makes the event
  const auto event = static_cast<int>(mp::detail::process_state().interrupt.load());
  EXPECT_NE(::fcntl(event, F_GETFD) & FD_CLOEXEC, 0);
}
#endif

// Messages of a writer carry their size and a pattern; what readers got goes home as a note.
struct Note {
  unsigned writer = 0;
  unsigned number = 0;
  bool operator<(const Note& other) const {
    return writer != other.writer ? writer < other.writer : number < other.number;
  }
};

TEST_P(EveryConnection, IsSharedByManyProcessesAtBothEnds) {
  constexpr unsigned writers = 3;
  constexpr unsigned readers = 3;
  static constexpr unsigned messages = MULTIPROCESSING_WINDOWS ? 60 : 400;
  static constexpr std::array<std::size_t, 8> sizes{0,    1,      100,     4064,
                                                    4065, 70'000, 200'000, 1U << 20U};
  mp::Pipe notes;
  std::vector<Child> children;
  const auto write = [](mp::Connection in, mp::Connection out, unsigned writer) {
    in.close();
    for (unsigned number = 0; number < messages; ++number) {
      const std::size_t size = sizes[(number * 13 + writer) % sizes.size()];
      Bytes message(sizeof(Note));
      const Note note{writer, number};
      std::memcpy(message.data(), &note, sizeof note);
      const Bytes rest = pattern(size, writer * 31 + number);
      message.insert(message.end(), rest.begin(), rest.end());
      out.send_bytes(message);
    }
  };
  const auto read = [](mp::Connection in, mp::Connection out, mp::Connection collecting,
                       mp::Connection noting) {
    out.close();
    collecting.close();
    try {
      for (;;) {
        const Bytes message = in.recv_bytes();
        Note note;
        ASSERT_GE(message.size(), sizeof note);
        std::memcpy(&note, message.data(), sizeof note);
        const std::size_t size = sizes[(note.number * 13 + note.writer) % sizes.size()];
        const Bytes rest(message.begin() + sizeof note, message.end());
        ASSERT_TRUE(rest == pattern(size, note.writer * 31 + note.number));
        noting.send(note);
      }
    } catch (const mp::EOFError&) {
    }
  };
  for (unsigned writer = 0; writer < writers; ++writer) {
    children.emplace_back(write, receiving, sending, writer);
  }
  for (unsigned reader = 0; reader < readers; ++reader) {
    children.emplace_back(read, receiving, sending, notes.first, notes.second);
  }
  sending.close();
  receiving.close();
  notes.second.close();
  std::map<Note, int> seen;
  try {
    for (;;) ++seen[notes.first.recv<Note>()];
  } catch (const mp::EOFError&) {
  }
  EXPECT_EQ(seen.size(), writers * messages);
  for (const auto& [note, times] : seen) EXPECT_EQ(times, 1);
  for (auto& child : children) EXPECT_EQ(child.join(), 0);
}

}  // namespace every_connection
