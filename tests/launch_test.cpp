// SPDX-License-Identifier: BSL-1.0
// What is particular to one start method; conformance/ has what they share.
#include <multiprocessing/launch.hpp>
#include <multiprocessing/process.hpp>

#include <support/captured.hpp>
#include <support/codes.hpp>
#include <support/eventually.hpp>
#include <support/line.hpp>
#include <support/processes.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#if MULTIPROCESSING_POSIX
#  include <spawn.h>
#  include <sys/wait.h>
#endif
#include <unistd.h>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::Captured;
using test::Line;

namespace {

mp::ProcessOptions spawned(mp::ProcessOptions options = {}) {
  options.start_method = mp::StartMethod::spawn;
  return options;
}
#if MULTIPROCESSING_POSIX
mp::ProcessOptions forked(mp::ProcessOptions options = {}) {
  options.start_method = mp::StartMethod::fork;
  return options;
}
#endif

// By the method that costs least here.
mp::ProcessOptions quick(mp::ProcessOptions options = {}) {
  options.start_method = mp::get_all_start_methods().front();
  return options;
}

#if MULTIPROCESSING_POSIX
// The open descriptors as "number:cloexec", less that of the listing.
std::string descriptors() {
  std::set<int> numbers;
  for (const std::string& name : test::names_in("/proc/self/fd")) numbers.insert(std::stoi(name));
  std::string text;
  for (const int number : numbers) {
    const int flags = ::fcntl(number, F_GETFD);
    if (flags < 0) continue;
    text += std::to_string(number) + ((flags & FD_CLOEXEC) != 0 ? "c " : " ");
  }
  return text;
}
void say_descriptors(const Line& line) {
  line.say(descriptors());
}
void wait_until_told(const Line& line) {
  static_cast<void>(line.hear());
}
#endif

// ---- spawn ----

#if MULTIPROCESSING_POSIX  // not on Windows: descriptors
TEST(Spawn, ChildHoldsItsStateAndStreamsAndNothingElse) {
  const Line unrelated;
  const int inheritable = ::fcntl(STDIN_FILENO, F_DUPFD, 100);  // not close-on-exec
  const Line hold;
  std::vector<mp::Process<>> siblings;
  for (int i = 0; i < 4; ++i) {
    const Line line;
    siblings.emplace_back(spawned(), wait_until_told, hold);
    siblings.back().start();
    mp::Process process(spawned(), say_descriptors, line);
    process.start();
    EXPECT_EQ(line.hear(), "0 1 2 4c 5c 6c ");  // the lifeline and the line's two; 3 was the state
    process.join();
  }
  for (std::size_t i = 0; i < siblings.size(); ++i) hold.say("end");
  for (auto& sibling : siblings) sibling.join();
  ::close(inheritable);
}
#endif

void answer_all(const std::vector<Line>& lines) {
  for (const Line& line : lines) line.say(std::to_string(&line - lines.data()));
}

TEST(Spawn, PassesHandlesWhateverTheirNumbers) {
  // Handles on the very numbers that others get in the child: what travels is a copy, on a number
  // that has just become free.
  std::vector<Line> fillers(20);
  std::vector<Line> lines(20);
  std::ranges::reverse(lines);
  fillers.clear();
  mp::Process process(spawned(), answer_all, lines);
  process.start();
  for (std::size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(lines[i].hear(), std::to_string(i));
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

void compare_lines(const Line& one, const Line& same, const Line& other) {
  one.say(one.ear() == same.ear() && one.ear() != other.ear() ? "same" : "different");
}

TEST(Spawn, PassesAHandleThatIsNamedTwiceOnce) {
  const Line line;
  mp::Process process(spawned(), compare_lines, line, line, Line{});
  process.start();
  EXPECT_EQ(line.hear(), "same");
  process.join();
}

#if MULTIPROCESSING_POSIX  // not on Windows: /proc
TEST(Spawn, ChildIsShownUnderTheProgramsName) {
  const Line line;
  mp::Process process(
      spawned(), [](const Line& to) { to.say(test::first_line("/proc/self/comm")); }, line);
  process.start();
  EXPECT_EQ(line.hear(), test::first_line("/proc/self/comm"));
  process.join();
}
#endif

TEST(Spawn, ChildDoesNotPassItsOriginOn) {
  ASSERT_EQ(std::getenv("MULTIPROCESSING_CHILD"), nullptr);
  const Line line;
  mp::Process process(
      spawned(),
      [](const Line& to) {
        to.say(std::getenv("MULTIPROCESSING_CHILD") == nullptr ? "clean" : "marked");
      },
      line);
  process.start();
  EXPECT_EQ(line.hear(), "clean");
  process.join();
}

#if MULTIPROCESSING_POSIX  // not on Windows: there until freeze_support()
// What this program's static objects find.
const std::string found_at_birth = [] {
  const bool is_marked = std::getenv("MULTIPROCESSING_CHILD") != nullptr;
  std::string inherited;
  for (const std::string& name : test::names_in("/proc/self/fd")) {
    const int number = std::stoi(name);
    const int flags = number > STDERR_FILENO ? ::fcntl(number, F_GETFD) : -1;
    if (flags >= 0 && (flags & FD_CLOEXEC) == 0) inherited += " " + name;
  }
  return (is_marked ? "marked" : "clean") + inherited;
}();

TEST(Spawn, ChildsStaticObjectsPassNothingOn) {
  const Line line;
  mp::Process process(
      spawned(), [](const Line& to) { to.say(found_at_birth); }, line);
  process.start();
  EXPECT_EQ(line.hear(), "clean");
  process.join();
}
#endif

class Executable {  // another one, for a while
 public:
  explicit Executable(const std::filesystem::path& path) { mp::set_executable(path); }
  Executable(const Executable&) = delete;
  Executable& operator=(const Executable&) = delete;
  ~Executable() { mp::set_executable({}); }
};

TEST(Spawn, OfAProgramThatIsNotThereFailsAndNamesIt) {
  mp::Process process(spawned(), [] { throw mp::SystemExit(3); });
  {
    const Executable missing("/nowhere/program");
    try {
      process.start();
      FAIL() << "started";
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
      const auto name = std::filesystem::path{"/nowhere/program"}.make_preferred().string();
      EXPECT_NE(std::string{error.what()}.find(name), std::string::npos) << error.what();
      EXPECT_NE(std::string{error.what()}.find(process.name()), std::string::npos);
    }
  }
  EXPECT_FALSE(process.is_alive());
  EXPECT_TRUE(mp::active_children().empty());
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 3);
}

#if MULTIPROCESSING_POSIX  // not on Windows: /proc
TEST(Spawn, RunsTheProgramThatWasSet) {
  const Executable other(std::filesystem::read_symlink("/proc/self/exe"));
  const Line line;
  mp::Process process(
      spawned(),
      [](const Line& to) {
        mp::Process child(
            spawned(), [](const Line& up) { up.say("grandchild"); }, to);
        child.start();
        child.join();
      },
      line);
  process.start();
  EXPECT_EQ(line.hear(), "grandchild");
  process.join();

  const Executable no_child("/bin/true");  // runs, but is no program of ours
  mp::Process nothing_done(spawned(), [] { throw mp::SystemExit(3); });
  nothing_done.start();
  nothing_done.join();
  EXPECT_EQ(nothing_done.exitcode(), 0);
}
#endif

class Refuses {
 public:
  template <class Archive>
  void save(Archive&) const {}
  template <class Archive>
  void load(Archive&) {
    throw mp::SerializationError{"it cannot be decoded"};
  }
};

TEST(Spawn, ChildWhoseStateCannotBeDecodedSaysWhy) {
  const Captured errors(STDERR_FILENO);
  mp::Process process(
      spawned({.name = "w"}), [](Refuses) {}, Refuses{});
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 1);
  EXPECT_NE(errors.text().find("Process w:\nmultiprocessing::SerializationError"),
            std::string::npos)
      << errors.text();
  EXPECT_NE(errors.text().find("it cannot be decoded"), std::string::npos) << errors.text();
}

#if MULTIPROCESSING_POSIX  // not on Windows: another environment
// A run of this program with that variable, by somebody who is not start().
std::pair<int, std::string> run_with(const char* variable) {
  const Captured errors(STDERR_FILENO);
  std::string program = std::filesystem::read_symlink("/proc/self/exe");
  std::string entry = variable;
  char* arguments[] = {program.data(), nullptr};
  char* environment[] = {entry.data(), nullptr};
  pid_t pid = 0;
  EXPECT_EQ(::posix_spawn(&pid, program.c_str(), nullptr, nullptr, arguments, environment), 0);
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return {WEXITSTATUS(status), errors.text()};
}

TEST(Spawn, ProgramThatFindsNoStateSaysSo) {
  for (const char* variable : {"MULTIPROCESSING_CHILD=1", "MULTIPROCESSING_CHILD=",
                               "MULTIPROCESSING_CHILD=99999999999", "MULTIPROCESSING_CHILD=-1"}) {
    const auto [code, text] = run_with(variable);
    EXPECT_EQ(code, 1);
    EXPECT_NE(text.find("MULTIPROCESSING_CHILD"), std::string::npos) << text;
  }
}
#endif

class Inner : public mp::Process<Inner> {
 public:
  void run() override {}
  [[nodiscard]] auto reduce() const { return mp::arguments(); }
};

class Outer : public mp::Process<Outer> {
 public:
  explicit Outer(Line line) : line_{std::move(line)} {}
  void run() override { line_.say(name() + " " + inner_.name()); }
  [[nodiscard]] auto reduce() const { return mp::arguments(line_); }

 private:
  Line line_;
  Inner inner_;
};

TEST(Spawn, ProcessMadeAnewIsNotCountedItsMembersAre) {
  const Line line;
  Outer process(line);
  const std::string name = process.name();
  mp::set_start_method(mp::StartMethod::spawn, true);
  process.start();
  process.join();
  mp::set_start_method(mp::get_all_start_methods().front(), true);
  const std::string path = name.substr(name.find('-'));
  EXPECT_EQ(line.hear(), name + " Inner" + path + ":1");
}

// ---- fork ----

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(Fork, ChildHoldsNoneOfTheLibrarysDescriptorsOfOthers) {
  const Line hold;
  mp::Process first(forked(), wait_until_told, hold);
  first.start();
  const Line line;
  std::string expected;
  {
    mp::Process alone(forked(), say_descriptors, line);
    alone.start();
    expected = line.hear();
    alone.join();
  }
  std::vector<mp::Process<>> siblings;
  for (int i = 0; i < 5; ++i) {
    siblings.emplace_back(forked(), wait_until_told, hold);
    siblings.back().start();
  }
  mp::Process process(forked(), say_descriptors, line);
  process.start();
  const auto count = [](const std::string& text) { return std::ranges::count(text, ' '); };
  EXPECT_EQ(count(line.hear()), count(expected));
  process.join();
  for (int i = 0; i < 6; ++i) hold.say("end");
  first.join();
  for (auto& sibling : siblings) sibling.join();
}

TEST(Fork, ChildOfAThreadOutlivesTheThread) {
  const Line line;
  mp::Process process(
      forked(),
      [](const Line& both) {
        both.say(both.hear() + (mp::parent_process()->is_alive() ? " alive" : " dead"));
      },
      line);
  std::thread([&] { process.start(); }).join();
  EXPECT_TRUE(process.is_alive());
  EXPECT_TRUE(mp::active_children().size() == 1);
  process.kill();
  process.join();
  EXPECT_EQ(process.exitcode(), test::killed_code);
}
#endif

#if MULTIPROCESSING_POSIX
int count_descriptors() {
  mp::Process process(forked(), [] {
    throw mp::SystemExit(static_cast<int>(test::names_in("/proc/self/fd").size()));
  });
  process.start();
  process.join();
  return process.exitcode().value();
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(Fork, GrandchildHoldsNothingOfItsGrandparent) {
  const Line line;
  mp::Process process(
      forked(),
      [](const Line& to) {
        const int here = static_cast<int>(test::names_in("/proc/self/fd").size());
        to.say(here == count_descriptors() ? "the same" : "more");
      },
      line);
  process.start();
  EXPECT_EQ(line.hear(), "the same");
  process.join();
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: fork
// What one thread's start holds for a moment must not be in another's child.
TEST(Fork, StartsProcessesFromManyThreadsAtOnceWithoutMixingThem) {
  const int alone = count_descriptors();
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&right, alone] {
      for (int k = 0; k < 50; ++k) {
        if (count_descriptors() == alone) ++right;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(right, 200);
}
#endif

// While siblings come and go, a child must never hold another's lifeline: its parent's death would
// go unnoticed.
TEST(Launch, ChildrenOfManyThreadsAllSeeTheDeathOfTheirParent) {
  const Line line;
  mp::Process parent(
      quick(),
      [](const Line& out) {
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i) {
          threads.emplace_back([&out] {
            for (int k = 0; k < 10; ++k) {
              mp::Process(quick({.daemon = true}), [] { test::wait_for_ever(); }).start();
            }
            out.say("started");
          });
        }
        for (auto& thread : threads) thread.join();
        test::wait_for_ever();
      },
      line);
  parent.start();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(line.hear(), "started");
  parent.kill();
  parent.join();
  line.hang_up();
  EXPECT_EQ(line.hear(), "");  // none of the forty is left to hold the line
}

}  // namespace
