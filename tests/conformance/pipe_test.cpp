// SPDX-License-Identifier: BSL-1.0
// What a pipe is to processes, whichever way they were started.
#include <multiprocessing/connection.hpp>
#include <multiprocessing/process.hpp>

#include <support/line.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <conformance/connection_between.hpp>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::Line;

using namespace connection_between;

namespace {

class PipeBetween : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(PipeBetween);

template <bool Duplex>
std::pair<mp::Connection, mp::Connection> pipe_ends() {
  mp::Pipe pipe{Duplex};
  return {pipe.first, pipe.second};
}
INSTANTIATE_TEST_SUITE_P(
    Of,
    ConnectionBetween,
    testing::Combine(testing::ValuesIn(mp::get_all_start_methods()),
                     testing::Values(KindBetween{"duplex", pipe_ends<true>, true},
                                     KindBetween{"one_way", pipe_ends<false>, false})),
    name_of_kind);

TEST_P(PipeBetween, OneWayProcessesCarriesMessagesOfAnySize) {
  auto [in, out] = mp::Pipe(false);
  mp::Process process(
      [](mp::Connection to) {
        for (const std::size_t size : {0U, 1U, 5000U, 2'000'000U}) to.send(std::string(size, 'x'));
      },
      out);
  process.start();
  out.close();
  for (const std::size_t size : {0U, 1U, 5000U, 2'000'000U}) {
    EXPECT_EQ(in.recv<std::string>().size(), size);
  }
  EXPECT_THROW(static_cast<void>(in.recv<std::string>()), mp::EOFError);
  process.join();
}

TEST_P(PipeBetween, TakesConnectionsToAnotherProcess) {
  auto [ours, theirs] = mp::Pipe();
  mp::Process process(
      [](mp::Connection end) {
        auto sent = end.recv<mp::Connection>();
        sent.send(std::string{"through the other"});
      },
      theirs);
  process.start();
  auto [close_by, distant] = mp::Pipe();
  ours.send(distant);
  EXPECT_EQ(close_by.recv<std::string>(), "through the other");
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

}  // namespace
