// SPDX-License-Identifier: BSL-1.0
// What is logged of processes and in them, whichever way they were started.
#include <multiprocessing/logging.hpp>
#include <multiprocessing/process.hpp>

#include <support/captured.hpp>
#include <support/eventually.hpp>
#include <support/line.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#if MULTIPROCESSING_POSIX
#  include <sys/wait.h>
#endif
#include <unistd.h>

namespace mp = multiprocessing;
using test::Captured;
using test::Line;

namespace {

class Logging : public test::EveryStartMethod {
 protected:
  void TearDown() override {
    mp::log_to_stderr(mp::LogLevel::off);
    mp::set_log_sink({});
    EveryStartMethod::TearDown();
  }
};
TEST_EVERY_START_METHOD(Logging);

// The lines that one process logged, in their order.
std::string lines_of(const Captured& errors, const std::string& process) {
  std::istringstream all{errors.text()};
  std::string found;
  for (std::string line; std::getline(all, line);) {
    if (line.find("/" + process + "] ") != std::string::npos) found += line + "\n";
  }
  return found;
}

template <class... A>
std::string run_named(A&&... target) {
  mp::Process process({.name = "w"}, std::forward<A>(target)...);
  process.start();
  process.join();
  return std::to_string(process.pid().value());
}

TEST_P(Logging, OfNothingWhileItIsOff) {
  const Captured errors(STDERR_FILENO);
  run_named([] { mp::log(mp::LogLevel::error, "nobody reads this"); });
  EXPECT_EQ(errors.text(), "");
}

TEST_P(Logging, OfAProcessFromItsStartToItsEnd) {
  const Captured errors(STDERR_FILENO);
  mp::log_to_stderr(mp::LogLevel::debug);
  const auto pid = run_named([] { mp::log(mp::LogLevel::info, "at work"); });
  EXPECT_EQ(lines_of(errors, "w"),
            "[INFO/w] child process calling run()\n[INFO/w] at work\n"
            "[INFO/w] process exiting with code 0\n");
  EXPECT_EQ(lines_of(errors, "MainProcess"), "[DEBUG/MainProcess] started process w, pid " + pid +
                                                 ", by " + mp::to_string(GetParam()) + "\n");
}

TEST_P(Logging, OfTheCodeThatAProcessExitsWith) {
  const Captured errors(STDERR_FILENO);
  mp::log_to_stderr();
  run_named([] { throw mp::SystemExit(44); });
  run_named([] { ::_exit(5); });  // past every handler
  EXPECT_EQ(lines_of(errors, "w"),
            "[INFO/w] child process calling run()\n[INFO/w] process exiting with code 44\n"
            "[INFO/w] child process calling run()\n");
}

#if MULTIPROCESSING_POSIX  // not on Windows: exit handlers are not told the code there
TEST_P(Logging, OfTheCodeThatStdExitGot) {
  const Captured errors(STDERR_FILENO);
  mp::log_to_stderr();
  run_named([] { throw mp::SystemExit(300); });
  run_named([] { std::exit(4); });
  EXPECT_EQ(lines_of(errors, "w"),
            "[INFO/w] child process calling run()\n[INFO/w] process exiting with code 44\n"
            "[INFO/w] child process calling run()\n[INFO/w] process exiting with code 4\n");
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST_P(Logging, OfAnExitIsDoneByTheChildAndNotByItsCopies) {
  const Captured errors(STDERR_FILENO);
  mp::log_to_stderr();
  run_named([] {
    const pid_t copy = ::fork();
    if (copy == 0) std::exit(9);
    ::waitpid(copy, nullptr, 0);
  });
  EXPECT_EQ(lines_of(errors, "w"),
            "[INFO/w] child process calling run()\n[INFO/w] process exiting with code 0\n");
}
#endif

void have_a_daemon_and_a_child(const Line& line) {
  mp::Process daemon({.name = "daemon", .daemon = true}, [] { test::wait_for_ever(); });
  mp::Process child(
      {.name = "child"}, [](const Line& from) { static_cast<void>(from.hear()); }, line);
  daemon.start();
  child.start();
}

TEST_P(Logging, OfWhatBecomesOfTheChildrenAtExit) {
  const Captured errors(STDERR_FILENO);
  mp::log_to_stderr(mp::LogLevel::debug);
  const Line line;
  mp::Process process({.name = "w"}, have_a_daemon_and_a_child, line);
  process.start();
  const std::string at_exit =
      "[DEBUG/w] calling terminate() for daemon daemon\n"
      "[DEBUG/w] calling join() for process daemon\n"
      "[DEBUG/w] calling join() for process child\n";
  EXPECT_TRUE(test::eventually([&] { return lines_of(errors, "w").ends_with(at_exit); }));
  line.say("end");
  process.join();
  EXPECT_TRUE(lines_of(errors, "w").ends_with(at_exit + "[INFO/w] process exiting with code 0\n"));
}

void say_level(const Line& line, int depth) {
  line.say(std::to_string(static_cast<int>(mp::get_log_level())));
  if (depth == 0) return;
  mp::Process child(say_level, line, depth - 1);
  child.start();
  child.join();
}

TEST_P(Logging, LevelIsInherited) {
  const Captured errors(STDERR_FILENO);
  for (const auto level : {mp::LogLevel::off, mp::LogLevel::debug, mp::LogLevel::error}) {
    mp::log_to_stderr(level);
    const Line line;
    mp::Process process(say_level, line, 1);
    process.start();
    process.join();
    ASSERT_EQ(process.exitcode(), 0) << errors.text();
    const auto expected = std::to_string(static_cast<int>(level));
    EXPECT_EQ(line.hear(), expected);
    EXPECT_EQ(line.hear(), expected);
  }
}

TEST_P(Logging, SinkIsInheritedByForkAlone) {
  const Captured errors(STDERR_FILENO);
  const Line line;
  mp::set_log_sink([line](mp::LogLevel, std::string_view text) { line.say(text); });
  mp::set_log_level(mp::LogLevel::warning);
  run_named([] { mp::log(mp::LogLevel::warning, "in the child"); });
  line.say("end");
  if (forks()) {
    EXPECT_EQ(line.hear(), "in the child");
  }
  EXPECT_EQ(line.hear(), "end");
  EXPECT_EQ(errors.text(), "");
}

TEST_P(Logging, ToASinkOfItsOwnKeepsTheInheritedLevel) {
  const Line line;
  mp::log_to_stderr(mp::LogLevel::error);
  mp::Process process(
      [](const Line& to) {
        mp::set_log_sink([to](mp::LogLevel, std::string_view text) { to.say(text); });
        mp::log(mp::LogLevel::warning, "too low");
        mp::set_log_level(mp::LogLevel::warning);
        mp::log(mp::LogLevel::warning, "heard");
        mp::set_log_sink({});
      },
      line);
  const Captured errors(STDERR_FILENO);
  process.start();
  process.join();
  EXPECT_EQ(line.hear(), "heard");
}

}  // namespace
