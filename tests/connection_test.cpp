// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/connection.hpp>

#include <support/asleep.hpp>

#include <connection/every_connection.hpp>
#if MULTIPROCESSING_POSIX
#  include <support/processes.hpp>

#  include <sys/stat.h>
#  include <sys/syscall.h>
#endif

using namespace every_connection;

namespace {

INSTANTIATE_TEST_SUITE_P(,
                         EveryConnection,
                         testing::Values(Kind{"duplex",
                                              [] {
                                                mp::Pipe pipe;
                                                return std::pair{pipe.first, pipe.second};
                                              }},
                                         Kind{"one_way",
                                              [] {
                                                mp::Pipe pipe{false};
                                                return std::pair{pipe.first, pipe.second};
                                              }}),
                         [](const auto& kind) { return std::string{kind.param.name}; });

}  // namespace

TEST(Pipe, AGivenUpLargeMessageLeavesNoTrace) {
  auto [receiving, sending] = mp::Pipe(false);
  EXPECT_FALSE(sending.try_send_bytes(pattern(2U << 20U)));
  EXPECT_FALSE(receiving.poll());
  EXPECT_EQ(receiving.try_recv_bytes(), std::nullopt);
  EXPECT_FALSE(sending.try_send_bytes(pattern(2U << 20U)));
  EXPECT_EQ(receiving.try_recv_bytes(), std::nullopt);
  sending.send(1);
  EXPECT_FALSE(sending.try_send_bytes(pattern(2U << 20U)));
  EXPECT_EQ(receiving.recv<int>(), 1);
  EXPECT_FALSE(receiving.poll());
  sending.send(2);
  EXPECT_TRUE(receiving.poll());
  EXPECT_EQ(receiving.recv<int>(), 2);
}

TEST(Pipe, SendsThatFoundNoRoomAreNotTakenForMessages) {
  auto [receiving, sending] = mp::Pipe(false);
  EXPECT_FALSE(sending.try_send_bytes(pattern(2U << 20U)));  // fills it
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(sending.try_send_bytes(pattern(70'000)));
  EXPECT_FALSE(receiving.poll());
  EXPECT_EQ(receiving.try_recv_bytes(), std::nullopt);
}

#if MULTIPROCESSING_POSIX  // not on Windows: nobody can be stopped
TEST(Pipe, AStoppedSenderThatWaitsForRoomHoldsNobodyUp) {
  auto [receiving, sending] = mp::Pipe(false);
  Child child{[](mp::Connection its) {
                for (;;) its.send_bytes("x");
              },
              sending};
  ASSERT_TRUE(eventually([&] { return test::sleeps_in_futex(child.pid()); }));
  ::kill(child.pid(), SIGSTOP);
  while (receiving.try_recv_bytes()) {
  }
  EXPECT_TRUE(sending.try_send(1, 10s));
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: a child that is a copy
TEST(Pipe, PollFindsWhatWaitHasSeen) {
  auto [receiving, sending] = mp::Pipe(false);
  auto [asked, asking] = mp::Pipe(false);
  Child child{[](mp::Connection its, mp::Connection go_on) {
                while (go_on.recv<bool>()) its.send(1);
              },
              sending, asked};
  for (int i = 0; i < 500; ++i) {
    asking.send(true);
    ASSERT_EQ(mp::wait({receiving}).size(), 1U);
    ASSERT_TRUE(receiving.poll()) << i;
    EXPECT_EQ(receiving.try_recv<int>(), 1);
  }
  asking.send(false);
}
#endif

TEST(Pipe, IsTwoWayUnlessToldOtherwise) {
  auto [first, second] = mp::Pipe();
  first.send(1);
  second.send(2);
  EXPECT_EQ(first.recv<int>(), 2);
  EXPECT_EQ(second.recv<int>(), 1);
  EXPECT_TRUE(first.readable() && first.writable() && second.readable() && second.writable());
}

TEST(Pipe, OneWayEndsKnowTheirDirection) {
  auto [receiving, sending] = mp::Pipe(false);
  EXPECT_TRUE(receiving.readable());
  EXPECT_FALSE(receiving.writable());
  EXPECT_FALSE(sending.readable());
  EXPECT_TRUE(sending.writable());
  EXPECT_THROW(receiving.send(1), std::invalid_argument);
  EXPECT_THROW(receiving.send_bytes("1"), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(sending.recv<int>()), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(sending.recv_bytes()), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(sending.poll()), std::invalid_argument);
}

#if MULTIPROCESSING_POSIX  // not on Windows: limits of resources
TEST(Pipe, SaysThatTheSystemHasNoHandlesLeft) {
  const DescriptorsLeft two{2};
  EXPECT_EQ(error_of([] { mp::Pipe pipe{false}; }), std::errc::too_many_files_open);
  mp::Pipe pipe;
}
#endif

TEST(Connection, SendsTextThatFillsItsArray) {
  mp::Pipe pipe;
  struct {
    char code[4] = {'a', 'b', 'c', 'd'};
    char behind[4] = {'e', 'f', 'g', 0};
  } text;
  pipe.first.send(text.code);
  pipe.first.send(text.behind);
  pipe.first.send("x\0y");
  EXPECT_EQ(pipe.second.recv<std::string>(), "abcd");
  EXPECT_EQ(pipe.second.recv<std::string>(), "efg");
  EXPECT_EQ(pipe.second.recv<std::string>(), "x");
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(Connection, IsClosedByAChildThatIsForkedWhileItIsBeingClosed) {
  // Its only call lasts until the test says so, and close() waits for it.
  class Slow : public mp::detail::ConnectionCore {
   public:
    std::atomic<bool> waits{false}, may_end{false};
    std::atomic<int> given_back{0};

   protected:
    [[nodiscard]] mp::native_handle_type handle() const noexcept override { return 0; }
    mp::os::Outcome do_wait(const mp::detail::Deadline&, std::error_code&) override {
      waits = true;
      while (!may_end) std::this_thread::yield();
      return mp::os::Outcome::done;
    }
    void do_close() noexcept override { ++given_back; }
  };
  Slow slow;
  std::thread caller{[&] { EXPECT_TRUE(slow.wait(mp::detail::Deadline{mp::forever})); }};
  EXPECT_TRUE(eventually([&] { return slow.waits.load(); }));
  std::thread closer{[&] { slow.close(); }};
  EXPECT_TRUE(eventually([&] { return slow.closed(); }));
  Forked child{[&] {
    EXPECT_TRUE(slow.closed());
    EXPECT_EQ(slow.given_back, 0);
    slow.close();
    EXPECT_EQ(slow.given_back, 1);
    slow.close();
    EXPECT_EQ(slow.given_back, 1);
  }};
  EXPECT_EQ(child.join(), 0);
  slow.close();  // the other thread does it, and nobody waits for that
  EXPECT_EQ(slow.given_back, 0);
  slow.may_end = true;
  caller.join();
  closer.join();
  EXPECT_EQ(slow.given_back, 1);
  Forked late{[&] {
    slow.close();
    EXPECT_EQ(slow.given_back, 1);
  }};
  EXPECT_EQ(late.join(), 0);
}
#endif

TEST(Connection, DeliversWhatCameBeforeThePeerClosedWithUnreadMessages) {
  auto [first, second] = mp::Pipe();
  first.send(1);
  second.send(2);
  second.close();  // with 1 unread
  EXPECT_TRUE(first.poll());
  EXPECT_EQ(first.recv<int>(), 2);
  EXPECT_THROW(static_cast<void>(first.recv<int>()), mp::EOFError);
  EXPECT_EQ(error_of([&, &connection = first] { connection.send(1); }), std::errc::broken_pipe);
}

TEST(Connection, TravelsThroughADuplexPipe) {
  auto [first, second] = mp::Pipe();
  for (const bool duplex : {true, false}) {
    mp::Pipe pipe{duplex};
    first.send(pipe.second);
    auto arrived = second.recv<mp::Connection>();
    pipe.second.close();
    EXPECT_EQ(arrived.readable(), duplex);
    EXPECT_TRUE(arrived.writable());
    arrived.send(5);
    arrived.send_bytes(pattern(5000));
    EXPECT_EQ(pipe.first.recv<int>(), 5);
    EXPECT_EQ(pipe.first.recv_bytes(), pattern(5000));
    first.send(std::vector<mp::Connection>{pipe.first, pipe.first});
    auto ends = second.recv<std::vector<mp::Connection>>();
    pipe.first.close();
    ends[0].close();
    EXPECT_TRUE(ends[1].closed()) << "copies there are copies here";
    EXPECT_EQ(error_of([&] { arrived.send(1); }), std::errc::broken_pipe);
  }
}

TEST(Connection, TravelsWithALargeMessage) {
  auto [first, second] = mp::Pipe();
  mp::Pipe pipe{false};
  first.send(std::pair{std::vector<int>(100'000, 3), pipe.second});
  auto [numbers, end] = second.recv<std::pair<std::vector<int>, mp::Connection>>();
  EXPECT_EQ(numbers, std::vector<int>(100'000, 3));
  end.send(1);
  EXPECT_EQ(pipe.first.recv<int>(), 1);
}

TEST(Connection, DoesNotTravelWhereHandlesCannot) {
  mp::Pipe pipe;
  mp::Pipe one_way{false};
  EXPECT_THROW(one_way.second.send(pipe.first), mp::SerializationError);
  EXPECT_FALSE(one_way.first.poll());
  EXPECT_THROW(static_cast<void>(mp::dumps(pipe.first)), mp::SerializationError);
  static_assert(mp::carries_handles<mp::Connection>);
  pipe.first.close();
  mp::Pipe duplex;
  EXPECT_THROW(duplex.first.send(pipe.first), std::invalid_argument);
}

TEST(Connection, RefusesMoreHandlesThanAMessageCanCarry) {
  auto [first, second] = mp::Pipe();
  std::vector<mp::Connection> ends;
  for (int i = 0; i < 127; ++i) {
    mp::Pipe pipe;
    ends.push_back(pipe.first);
    ends.push_back(pipe.second);
  }
  EXPECT_THROW(first.send(ends), mp::SerializationError);
  EXPECT_FALSE(second.poll());
  ends.erase(ends.begin() + 252, ends.end());
  first.send(ends);
  auto arrived = second.recv<std::vector<mp::Connection>>();
  ASSERT_EQ(arrived.size(), 252U);
  arrived[250].send(1);
  EXPECT_EQ(ends[251].recv<int>(), 1);
}

#if MULTIPROCESSING_POSIX  // not on Windows: limits of resources
TEST(Connection, SaysWhenThereIsNoRoomForTheHandlesThatCameAlong) {
  auto [first, second] = mp::Pipe();
  mp::Pipe other;
  mp::Pipe another{false};
  first.send(std::tuple{other.first, other.second, another.first, another.second});
  first.send(3);
  const DescriptorsLeft three{3};
  EXPECT_EQ(error_of([&end = second] {
              using Ends =
                  std::tuple<mp::Connection, mp::Connection, mp::Connection, mp::Connection>;
              static_cast<void>(end.recv<Ends>());
            }),
            std::errc::too_many_files_open);
  EXPECT_EQ(second.recv<int>(), 3);
  mp::Pipe still_room;
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: a message beyond 1 MiB waits for its receiver there
TEST(Connection, CarriesVeryLargeMessagesThatNobodyWaitsFor) {
  mp::Pipe pipe;
  const Bytes there = pattern(7U << 20U, 1);
  const Bytes back = pattern((5U << 20U) + 1, 2);
  for (int round = 0; round < 2; ++round) {
    pipe.first.send_bytes(there);
    pipe.second.send_bytes(back);
    EXPECT_TRUE(pipe.second.recv_bytes() == there);
    EXPECT_TRUE(pipe.first.recv_bytes() == back);
  }
}
#endif

TEST(Connection, CarriesLargeMessagesOfManyThreads) {
  mp::Pipe pipe;
  constexpr unsigned threads = 4;
  constexpr unsigned each = 10;
  const auto size = [](unsigned number) { return std::size_t{70'000} + number * 67'000; };
  std::vector<std::thread> senders;
  for (unsigned thread = 0; thread < threads; ++thread) {
    senders.emplace_back([&, thread] {
      for (unsigned i = 0; i < each; ++i) {
        const unsigned number = i * threads + thread;
        pipe.first.send_bytes(pattern(size(number), number));
      }
    });
  }
  std::vector<std::atomic<int>> got(std::size_t{threads} * each);
  std::vector<std::thread> receivers;
  for (unsigned thread = 0; thread < threads; ++thread) {
    receivers.emplace_back([&] {
      Bytes room(size(threads * each));
      for (unsigned i = 0; i < each; ++i) {
        const std::size_t received = pipe.second.recv_bytes_into(room);
        const auto number = static_cast<unsigned>((received - size(0)) / 67'000);
        const Bytes expected = pattern(size(number), number);
        EXPECT_TRUE(std::equal(expected.begin(), expected.end(), room.begin()));
        ++got[number];
      }
    });
  }
  for (auto& thread : senders) thread.join();
  for (auto& thread : receivers) thread.join();
  for (const auto& count : got) EXPECT_EQ(count, 1);
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(Connection, CarriesLargeMessagesOfForkedProcesses) {
  mp::Pipe pipe;
  constexpr unsigned each = 20;
  pipe.first.send_bytes(pattern(600'000, 0));  // children find what this message left behind
  EXPECT_TRUE(pipe.second.recv_bytes() == pattern(600'000, 0));
  std::vector<Forked> children;
  for (unsigned child = 1; child <= 3; ++child) {
    children.emplace_back([&, child] {
      for (unsigned i = 0; i < each; ++i) {
        pipe.first.send_bytes(pattern(child == 3 ? 3'000'000 : 600'000, child));
      }
    });
  }
  std::array<unsigned, 4> got{};
  for (unsigned i = 0; i < 3 * each; ++i) {
    const Bytes message = pipe.second.recv_bytes();
    const auto child = std::to_integer<unsigned>(message.front());
    ASSERT_TRUE(child >= 1 && child <= 3);
    EXPECT_TRUE(message == pattern(child == 3 ? 3'000'000 : 600'000, child));
    ++got[child];
  }
  EXPECT_EQ(got, (std::array<unsigned, 4>{0, each, each, each}));
  for (auto& child : children) EXPECT_EQ(child.join(), 0);
}

TEST(Connection, KeepsLittleMemoryForLargeMessages) {
  const auto shared = [] {  // KiB of this process's descriptors
    std::size_t blocks = 0;
    for (int descriptor = 0; descriptor < 1024; ++descriptor) {
      struct stat status {};
      if (::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink == 0) {
        blocks += static_cast<std::size_t>(status.st_blocks);
      }
    }
    return blocks / 2;
  };
  const std::size_t before = shared();
  std::vector<mp::Pipe> pipes(50);
  const Bytes large(1U << 20U);
  const Bytes very_large(3U << 20U);
  for (auto& pipe : pipes) {
    pipe.first.send_bytes(very_large);
    EXPECT_EQ(pipe.second.recv_bytes().size(), very_large.size());
    pipe.first.send_bytes(large);
    EXPECT_EQ(pipe.second.recv_bytes().size(), large.size());
  }
  EXPECT_GT(shared(), before);
  EXPECT_LE(shared() - before, 35U << 10U);
  pipes.clear();
  EXPECT_EQ(shared(), before);
}

TEST(Connection, SendsNothingOfAMessageWhoseRestTheSystemRefuses) {
  mp::Pipe pipe;
  Forked child{[&] {
    const rlimit limit{4U << 20U, 4U << 20U};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    EXPECT_EQ(error_of([&] { pipe.first.send_bytes(pattern(8U << 20U)); }),
              std::errc::file_too_large);
    EXPECT_EQ(pipe.second.try_recv_bytes(), std::nullopt);
    pipe.first.send_bytes(pattern(3U << 20U));
    EXPECT_TRUE(pipe.second.recv_bytes() == pattern(3U << 20U));
  }};
  EXPECT_EQ(child.join(), 0);
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(Connection, SendsNothingWhenTheSystemRefusesMemory) {
  mp::Pipe pipe;
  Forked child{[&] {  // SIGXFSZ has its default effect: raised, it would end this child
    const rlimit small{100'000, 100'000};
    ::setrlimit(RLIMIT_FSIZE, &small);
    EXPECT_EQ(error_of([&] { pipe.first.send_bytes(pattern(200'000)); }),
              std::errc::file_too_large);
    EXPECT_FALSE(pipe.second.poll());
    pipe.first.send_bytes(pattern(90'000));
    EXPECT_EQ(pipe.second.recv_bytes(), pattern(90'000));
  }};
  EXPECT_EQ(child.join(), 0);
}
#endif
