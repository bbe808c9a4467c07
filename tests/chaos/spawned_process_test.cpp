// SPDX-License-Identifier: BSL-1.0
// A parent that was spawned dies at every step of starting a daemon: nothing of that stays behind.
#include <multiprocessing.hpp>

#include <support/codes.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace mp = multiprocessing;

namespace {

const mp::ProcessOptions spawned{.start_method = mp::StartMethod::spawn};

void hold_an_end(mp::Connection end) {
  static_cast<void>(end.recv_bytes());
}
void start_a_daemon(const mp::Connection& end) {
  mp::Process daemon{{.daemon = true, .start_method = mp::StartMethod::spawn}, hold_an_end, end};
  daemon.start();
}
void tell_points_of_a_start(const mp::Connection& end, mp::Queue<std::vector<std::string>> to) {
  test::record_stop_points();
  start_a_daemon(end);
  to.put(test::recorded_stop_points());
}
void be_killed_in_a_start(const mp::Connection& end, const std::string& point) {
  test::stop_at(point, test::Stop::die);
  start_a_daemon(end);
}

// Nobody has the other end any more.
void expect_end(mp::Pipe& pipe) {
  pipe.second.close();
  EXPECT_THROW(static_cast<void>(pipe.first.recv_bytes()), mp::EOFError);
}

}  // namespace

TEST(SpawnedParent, KilledAtAnyStepOfAStartLeavesNoDaemonBehind) {
  mp::Queue<std::vector<std::string>> told;
  mp::Pipe of_the_first;
  mp::Process first{spawned, tell_points_of_a_start, of_the_first.second, told};
  first.start();
  first.join();
  ASSERT_EQ(first.exitcode(), 0);
  expect_end(of_the_first);
  const auto points = told.get();
  for (const char* const one : {"process.start.spawn", "process.start.spawned"}) {
    EXPECT_NE(std::ranges::find(points, one), points.end()) << one;
  }
  for (const std::string& point : points) {
    SCOPED_TRACE(point);
    mp::Pipe pipe;
    mp::Process parent{spawned, be_killed_in_a_start, pipe.second, point};
    parent.start();
    parent.join();
    EXPECT_EQ(parent.exitcode(), test::killed_code);
    expect_end(pipe);
  }
}
