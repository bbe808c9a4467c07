// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/connection.hpp>

#include <connection/every_connection.hpp>
#if MULTIPROCESSING_POSIX
#  include <support/processes.hpp>

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
  const std::string call = "/proc/" + std::to_string(child.pid()) + "/syscall";
  ASSERT_TRUE(eventually([&] {
    const std::string number = test::first_line(call);
    return number.starts_with(std::to_string(SYS_ppoll) + ' ') ||
           number.starts_with(std::to_string(SYS_poll) + ' ');
  }));
  ::kill(child.pid(), SIGSTOP);
  while (receiving.try_recv_bytes()) {
  }
  EXPECT_TRUE(sending.try_send(1, 10s));
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
