// SPDX-License-Identifier: BSL-1.0
// What a stream is to processes, whichever way they were started: as a pipe.
#include <multiprocessing/network.hpp>

#include <conformance/connection_between.hpp>
#include <network/connected.hpp>

using namespace connection_between;
using test::connected;
using test::local_family;

namespace {

INSTANTIATE_TEST_SUITE_P(
    Of,
    ConnectionBetween,
    testing::Combine(testing::ValuesIn(mp::get_all_start_methods()),
                     testing::Values(KindBetween{local_family, [] { return connected({}); }, true},
                                     KindBetween{
                                         "af_inet",
                                         [] { return connected({.family = mp::Family::af_inet}); },
                                         true})),
    name_of_kind);

TEST_P(ConnectionBetween, TravelsThroughADuplexPipe) {
  auto [ours, theirs] = mp::Pipe();
  mp::Process process(
      [](mp::Connection end) {
        auto sent = end.recv<std::pair<mp::Connection, mp::Connection>>();
        sent.first.send(std::string{"through the other"});
        sent.second.close();
        EXPECT_TRUE(sent.first.closed()) << "copies there are copies here";
      },
      theirs);
  process.start();
  auto [close_by, distant] = make();
  ours.send(std::pair{distant, distant});
  distant.close();
  EXPECT_EQ(close_by.recv<std::string>(), "through the other");
  EXPECT_THROW(static_cast<void>(close_by.recv_bytes()), mp::EOFError);
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

}  // namespace
