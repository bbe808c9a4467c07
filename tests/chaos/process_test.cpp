// SPDX-License-Identifier: BSL-1.0
// A parent is killed at every step of starting a daemon: nothing of it stays behind.
#include <multiprocessing.hpp>

#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <vector>

namespace mp = multiprocessing;

TEST(ProcessStopPoint, ParentKilledThereLeavesNoDaemonBehind) {
  const auto start_daemon = [](mp::Connection end) {
    mp::Process daemon{{.daemon = true}, [end] { (void)mp::Connection{end}.recv_bytes(); }};
    daemon.start();
  };
  const auto points = test::stop_points_in([&] {
    mp::Pipe pipe;
    mp::Process parent{[&] { start_daemon(pipe.second); }};
    parent.start();
    parent.join();
    ASSERT_EQ(parent.exitcode(), 0);
  });
  unsigned killed = 0;
  for (const std::string& point : points) {
    if (!point.starts_with("process.")) continue;
    SCOPED_TRACE(point);
    mp::Pipe pipe;
    mp::Process parent{[&] {
      test::stop_at(point, test::Stop::die);
      start_daemon(pipe.second);
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
