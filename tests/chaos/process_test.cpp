// SPDX-License-Identifier: BSL-1.0
// A parent is killed at every step of starting a daemon: nothing of it stays behind.
// Not on Windows: fork; see spawned_process_test.cpp
#include <multiprocessing.hpp>

#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <vector>

namespace mp = multiprocessing;

namespace {

void hold(mp::Connection end) {
  static_cast<void>(end.recv_bytes());
}

void start_daemon(mp::StartMethod method, const mp::Connection& end) {
  mp::Process daemon{{.daemon = true, .start_method = method}, hold, end};
  daemon.start();
}

const mp::ProcessOptions forked{.start_method = mp::StartMethod::fork};

class ProcessStopPoint : public testing::TestWithParam<mp::StartMethod> {};

TEST_P(ProcessStopPoint, ParentKilledThereLeavesNoDaemonBehind) {
  const auto points = test::stop_points_in([&] {
    mp::Pipe pipe;
    mp::Process parent{forked, [&] { start_daemon(GetParam(), pipe.second); }};
    parent.start();
    parent.join();
    ASSERT_EQ(parent.exitcode(), 0);
  });
  unsigned killed = 0;
  for (const std::string& point : points) {
    if (!point.starts_with("process.") && !point.starts_with("forkserver.")) continue;
    const bool of_the_parents_start = point.starts_with("process.start.fork");
    if (of_the_parents_start && GetParam() != mp::StartMethod::fork) continue;
    SCOPED_TRACE(point);
    mp::Pipe pipe;
    mp::Process parent{forked, [&] {
                         test::stop_at(point, test::Stop::die);
                         start_daemon(GetParam(), pipe.second);
                       }};
    parent.start();
    parent.join();
    pipe.second.close();
    EXPECT_EQ(parent.exitcode(), -SIGKILL);
    EXPECT_THROW((void)pipe.first.recv_bytes(),
                 mp::EOFError);  // the last holder of the other end is gone
    ++killed;
  }
  EXPECT_GE(killed, 2U);
}
TEST_EVERY_START_METHOD(ProcessStopPoint);

}  // namespace
