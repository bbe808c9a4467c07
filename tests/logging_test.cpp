// SPDX-License-Identifier: BSL-1.0
// Levels, lines and sinks in one process; conformance/ has what children make of them.
#include <multiprocessing/logging.hpp>
#include <multiprocessing/process.hpp>

#include <support/captured.hpp>
#if MULTIPROCESSING_POSIX
#  include <support/forked.hpp>
#endif
#include <support/eventually.hpp>
#include <support/line.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#if MULTIPROCESSING_POSIX
#  include <sys/socket.h>
#endif
#include <unistd.h>

namespace mp = multiprocessing;
using test::Captured;

namespace {

class Logging : public testing::Test {
 protected:
  void TearDown() override {
    mp::log_to_stderr(mp::LogLevel::off);
    mp::set_log_sink({});
  }
};

using Texts = std::vector<std::pair<mp::LogLevel, std::string>>;

// ---- levels ----

TEST_F(Logging, IsOffUntilItIsAskedFor) {
  const Captured errors(STDERR_FILENO);
  EXPECT_EQ(mp::get_log_level(), mp::LogLevel::off);
  mp::log(mp::LogLevel::error, "nobody reads this");
  EXPECT_EQ(errors.text(), "");
}

TEST_F(Logging, LetsItsLevelThroughAndWhatIsAbove) {
  const Captured errors(STDERR_FILENO);
  mp::log_to_stderr(mp::LogLevel::warning);
  EXPECT_EQ(mp::get_log_level(), mp::LogLevel::warning);
  mp::log(mp::LogLevel::debug, "d");
  mp::log(mp::LogLevel::info, "i");
  mp::log(mp::LogLevel::warning, "w");
  mp::log(mp::LogLevel::error, "e");
  mp::log(mp::LogLevel::off, "no level of a text");
  mp::set_log_level(mp::LogLevel::debug);
  mp::log(mp::LogLevel::debug, "d");
  mp::log(static_cast<mp::LogLevel>(25), "between");
  mp::log_to_stderr();
  EXPECT_EQ(mp::get_log_level(), mp::LogLevel::info);
  mp::log_to_stderr(mp::LogLevel::off);
  mp::log(mp::LogLevel::error, "e");
  EXPECT_EQ(errors.text(),
            "[WARNING/MainProcess] w\n[ERROR/MainProcess] e\n[DEBUG/MainProcess] d\n"
            "[Level 25/MainProcess] between\n");
}

TEST_F(Logging, HasPythonsLevels) {
  const Captured errors(STDERR_FILENO);
  mp::log_to_stderr(mp::LogLevel::subwarning);
  mp::log(mp::LogLevel::subdebug, "sd");
  mp::log(mp::LogLevel::info, "i");
  mp::log(mp::LogLevel::subwarning, "sw");
  mp::log(mp::LogLevel::critical, "c");
  mp::set_log_level(mp::LogLevel::subdebug);
  mp::log(mp::LogLevel::subdebug, "sd");
  mp::log(static_cast<mp::LogLevel>(4), "below");
  mp::log_to_stderr(mp::LogLevel::off);
  EXPECT_EQ(errors.text(),
            "[Level 25/MainProcess] sw\n[CRITICAL/MainProcess] c\n[Level 5/MainProcess] sd\n");
}

TEST_F(Logging, MakesNoTextThatNobodyTakes) {
  int made = 0;
  const auto make = [&made] {
    ++made;
    return std::string{"text"};
  };
  mp::log(mp::LogLevel::error, make);
  mp::set_log_level(mp::LogLevel::debug);  // but there is neither a sink nor the error output
  mp::log(mp::LogLevel::error, make);
  mp::set_log_sink([](mp::LogLevel, std::string_view) {});
  mp::set_log_level(mp::LogLevel::warning);
  mp::log(mp::LogLevel::info, make);
  EXPECT_EQ(made, 0);
  mp::log(mp::LogLevel::warning, make);
  EXPECT_EQ(made, 1);
  mp::set_log_sink({});
  mp::log(mp::LogLevel::warning, make);
  EXPECT_EQ(made, 1);
}

TEST_F(Logging, DropsALineWhoseTextCannotBeMade) {
  const Captured errors(STDERR_FILENO);
  mp::log_to_stderr();
  mp::log(mp::LogLevel::error, []() -> std::string { throw std::runtime_error{"no text"}; });
  mp::log(mp::LogLevel::error, [] { return "next"; });
  EXPECT_EQ(errors.text(), "[ERROR/MainProcess] next\n");
}

// ---- lines ----

#if MULTIPROCESSING_POSIX
class ErrorPackets {  // the error output, one packet for each write
 public:
  ErrorPackets() : before_{::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)} {
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends_.data()), 0);
    EXPECT_EQ(::dup2(ends_[1], STDERR_FILENO), STDERR_FILENO);
  }
  ErrorPackets(const ErrorPackets&) = delete;
  ErrorPackets& operator=(const ErrorPackets&) = delete;
  ~ErrorPackets() {
    ::dup2(before_, STDERR_FILENO);
    for (const int fd : {before_, ends_[0], ends_[1]}) ::close(fd);
  }
  [[nodiscard]] std::string next() const {
    std::string text(1U << 16U, '\0');
    const auto got = ::recv(ends_[0], text.data(), text.size(), MSG_DONTWAIT);
    text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return text;
  }

 private:
  int before_;
  std::array<int, 2> ends_{-1, -1};
};
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: descriptors
TEST_F(Logging, WritesALineInOneCall) {
  const std::string text(10'000, 'x');
  std::string first;
  std::string second;
  {
    const ErrorPackets packets;
    mp::log_to_stderr();
    mp::log(mp::LogLevel::info, text);
    mp::log(mp::LogLevel::warning, "short");
    first = packets.next();
    second = packets.next();
  }
  EXPECT_EQ(first, "[INFO/MainProcess] " + text + "\n");
  EXPECT_EQ(second, "[WARNING/MainProcess] short\n");
}
#endif

TEST_F(Logging, ShowsNoControlCharacterOfATextOrAName) {
  const Captured errors(STDERR_FILENO);
  mp::log_to_stderr();
  mp::log(mp::LogLevel::info,
          "one\n[INFO/MainProcess] forged\r\x1b[2J\x7f\ttab, Gr\xc3\xbc\xc3\x9f");
  mp::current_process().set_name("a]\n[b");
  mp::log(mp::LogLevel::info, "");
  mp::current_process().set_name("");
  mp::log(mp::LogLevel::info, "nameless");
  mp::current_process().set_name("MainProcess");
  EXPECT_EQ(errors.text(),
            "[INFO/MainProcess] one\\n[INFO/MainProcess] forged\\x0d\\x1b[2J\\x7f\ttab, "
            "Gr\xc3\xbc\xc3\x9f\n[INFO/a]\\n[b] \n[INFO/] nameless\n");
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST_F(Logging, KeepsLinesOfManyProcessesAndThreadsApart) {
  constexpr int processes = 4;
  constexpr int threads = 2;
  constexpr int lines = 200;
  const Captured errors(STDERR_FILENO);
  mp::log_to_stderr();
  {
    std::vector<test::Forked> forked;
    for (int i = 0; i < processes; ++i) {
      forked.emplace_back([] {
        std::vector<std::thread> speakers;
        for (int k = 0; k < threads; ++k) {
          speakers.emplace_back([k] {
            const std::string text(static_cast<std::size_t>(500 + k), static_cast<char>('a' + k));
            for (int line = 0; line < lines; ++line) mp::log(mp::LogLevel::info, text);
          });
        }
        for (auto& speaker : speakers) speaker.join();
      });
    }
    for (auto& child : forked) EXPECT_EQ(child.join(), 0);
  }
  std::istringstream text{errors.text()};
  int right = 0;
  for (std::string line; std::getline(text, line);) {
    const std::string prefix = "[INFO/MainProcess] ";
    ASSERT_TRUE(line.starts_with(prefix)) << line;
    line.erase(0, prefix.size());
    const auto k = static_cast<std::size_t>(line.at(0) - 'a');
    ASSERT_EQ(line, std::string(500 + k, static_cast<char>('a' + k)));
    ++right;
  }
  EXPECT_EQ(right, processes * threads * lines);
}

TEST_F(Logging, IsNotStoppedByAnErrorOutputThatNobodyReads) {
  test::Forked speaker([] {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[0]);
    mp::log_to_stderr();
    mp::log(mp::LogLevel::info, "nobody reads this");
  });
  EXPECT_EQ(speaker.join(), 0);
}
#endif

// ---- sinks ----

TEST_F(Logging, GivesASinkTheTextAsItIs) {
  const Captured errors(STDERR_FILENO);
  Texts texts;
  mp::set_log_sink(
      [&](mp::LogLevel level, std::string_view text) { texts.emplace_back(level, text); });
  EXPECT_EQ(mp::get_log_level(), mp::LogLevel::info);
  mp::log(mp::LogLevel::debug, "too low");
  mp::log(mp::LogLevel::info, "two\nlines");
  mp::log_to_stderr(mp::LogLevel::debug);
  mp::log(mp::LogLevel::debug, "both");
  mp::set_log_sink({});
  mp::log(mp::LogLevel::debug, "one");
  const Texts expected{{mp::LogLevel::info, "two\nlines"}, {mp::LogLevel::debug, "both"}};
  EXPECT_EQ(texts, expected);
  EXPECT_EQ(errors.text(), "[DEBUG/MainProcess] both\n[DEBUG/MainProcess] one\n");
}

TEST_F(Logging, SurvivesASinkThatThrows) {
  int calls = 0;
  mp::set_log_sink([&](mp::LogLevel, std::string_view) {
    ++calls;
    throw 42;
  });
  mp::log(mp::LogLevel::info, "one");
  mp::log(mp::LogLevel::info, "two");
  EXPECT_EQ(calls, 2);
}

TEST_F(Logging, LetsASinkUseTheLibraryAndLog) {
  const Captured errors(STDERR_FILENO);
  int calls = 0;
  mp::log_to_stderr();
  mp::set_log_sink([&calls](mp::LogLevel, std::string_view text) {
    if (++calls > 3) return;  // enough has been seen
    mp::log(mp::LogLevel::info, "heard " + std::string{text});
    mp::Process child(
        {.name = "child", .start_method = mp::get_all_start_methods().front()},
        [](int code) { throw mp::SystemExit(code); }, calls);
    child.start();
    child.join();
    EXPECT_EQ(child.exitcode(), 1);
  });
  mp::log(mp::LogLevel::warning, "hello");
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(errors.text(),
            "[WARNING/MainProcess] hello\n[INFO/MainProcess] heard hello\n"
            "[INFO/child] child process calling run()\n[INFO/child] process exiting with code 1\n");
}

TEST_F(Logging, LetsASinkTakeItselfAway) {
  const auto alive = std::make_shared<int>(1);
  std::weak_ptr<int> seen = alive;
  bool lived_on = false;
  mp::set_log_sink(
      [kept = std::make_shared<int>(2), &seen, &lived_on](mp::LogLevel, std::string_view) {
        seen = kept;
        mp::set_log_sink({});
        lived_on = !seen.expired();
      });
  mp::log(mp::LogLevel::info, "last");
  EXPECT_TRUE(lived_on);
  EXPECT_TRUE(seen.expired());
}

TEST_F(Logging, LetsASinkUseTheLibraryAsItEnds) {
  class AtItsEnd {
   public:
    explicit AtItsEnd(std::string& name) : name_{name} {}
    AtItsEnd(const AtItsEnd&) = delete;
    AtItsEnd& operator=(const AtItsEnd&) = delete;
    ~AtItsEnd() { name_ = mp::current_process().name(); }

   private:
    std::string& name_;
  };
  std::string name;
  mp::set_log_sink([end = std::make_shared<AtItsEnd>(name)](mp::LogLevel, std::string_view) {});
  mp::set_log_sink({});
  EXPECT_EQ(name, "MainProcess");
}

TEST_F(Logging, CallsASinkFromSeveralThreadsAtOnce) {
  std::atomic<int> inside{0};
  mp::set_log_sink([&](mp::LogLevel, std::string_view) {
    ++inside;
    EXPECT_TRUE(test::eventually([&] { return inside == 2; }));
  });
  std::thread other([] { mp::log(mp::LogLevel::info, "other"); });
  mp::log(mp::LogLevel::info, "one");
  other.join();
}

}  // namespace
