// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/os/streams.hpp>

#include <support/captured.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>

#include <fcntl.h>
#if MULTIPROCESSING_POSIX
#  include <sys/wait.h>
#endif
#include <unistd.h>

namespace os = multiprocessing::os;
using test::Captured;

namespace {

#if MULTIPROCESSING_POSIX
// A child in which the standard streams may be spoilt.
template <class Work>
int code_of(Work work) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(work());
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
#else
template <class Work>
int code_of(Work work) {
  return work();
}
#endif

TEST(FlushStreams, WritesWhatIsBuffered) {
  const Captured output(STDOUT_FILENO);
  const Captured errors(STDERR_FILENO);
  EXPECT_EQ(code_of([] {
              std::cout << "cout;";
              std::fputs("stdout;", stdout);
              std::clog << "clog;";
              os::flush_streams();
              return 0;
            }),
            0);
  EXPECT_EQ(output.text(), "cout;stdout;");
  EXPECT_EQ(errors.text(), "clog;");
}

TEST(FlushStreams, WritesWhatTheCppStreamsBufferThemselves) {
  const Captured output(STDOUT_FILENO);
  const Captured errors(STDERR_FILENO);
  EXPECT_EQ(code_of([] {
              std::ios_base::sync_with_stdio(false);
              std::cout << "cout;";
              std::clog << "clog;";
              os::flush_streams();
              return 0;
            }),
            0);
  EXPECT_EQ(output.text(), "cout;");
  EXPECT_EQ(errors.text(), "clog;");
}

TEST(FlushStreams, FlushesTheProgramsOwnBuffers) {
  struct Counts : std::stringbuf {
    int syncs = 0;
    int sync() override { return ++syncs, 0; }
  };
  Counts counts;
  auto* const before = std::cout.rdbuf(&counts);
  os::flush_streams();
  std::cout.rdbuf(before);
  EXPECT_GE(counts.syncs, 1);
}

#if MULTIPROCESSING_POSIX  // not on Windows: descriptors
TEST(FlushStreams, IsNotStoppedByAStreamThatThrows) {
  EXPECT_EQ(code_of([] {
              ::close(STDOUT_FILENO);
              std::ios_base::sync_with_stdio(false);
              std::cout << "nobody reads this";
              std::cout.exceptions(std::ios_base::badbit | std::ios_base::failbit);
              os::flush_streams();
              return 0;
            }),
            0);
}

TEST(WriteError, WaitsForAPipeThatIsFull) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
  const std::string text(1U << 20U, 'x');
  std::string got;
  std::thread reader([&] {
    std::array<char, 65536> piece{};
    while (got.size() < text.size()) {
      const auto read = ::read(ends[0], piece.data(), piece.size());
      if (read > 0) got.append(piece.data(), static_cast<std::size_t>(read));
    }
  });
  {
    const Captured errors(STDERR_FILENO);
    ::dup2(ends[1], STDERR_FILENO);
    os::write_error(text);
  }
  reader.join();
  ::close(ends[0]);
  ::close(ends[1]);
  EXPECT_EQ(got, text);
}

TEST(WriteError, RaisesNoSignalWhenNobodyReads) {
  EXPECT_EQ(code_of([] {
              std::array<int, 2> ends{};
              if (::pipe2(ends.data(), O_CLOEXEC) != 0) return 1;
              ::dup2(ends[1], STDERR_FILENO);
              ::close(ends[0]);
              os::write_error("nobody reads this");
              os::write_error_line("nor this");
              return 0;
            }),
            0);
}

TEST(WriteError, LosesWhatCannotBeWritten) {
  EXPECT_EQ(code_of([] {
              ::close(STDERR_FILENO);
              os::write_error("nobody reads this");
              return 0;
            }),
            0);
}
#endif

// ---- standard input ----

#if MULTIPROCESSING_POSIX  // not on Windows: fork
int with_input(bool synchronised) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0 || ::write(ends[1], "first\nsecond\n", 13) != 13) return 1;
  ::close(ends[1]);
  ::dup2(ends[0], STDIN_FILENO);
  std::ios_base::sync_with_stdio(synchronised);
  std::string line;
  std::getline(std::cin, line);
  if (line != "first") return 2;
  os::silence_stdin(os::standard_input());
  if (std::getline(std::cin, line)) return 3;
  if (std::getchar() != EOF) return 4;
  char byte = 0;
  return ::read(STDIN_FILENO, &byte, 1) == 0 ? 0 : 5;
}

TEST(SilenceStdin, LeavesNothingToRead) {
  EXPECT_EQ(code_of([] { return with_input(true); }), 0);
  EXPECT_EQ(code_of([] { return with_input(false); }), 0);
}

TEST(SilenceStdin, OpensOneThatIsClosed) {
  EXPECT_EQ(code_of([] {
              ::close(STDIN_FILENO);
              os::silence_stdin(os::standard_input());
              char byte = 0;
              return ::read(STDIN_FILENO, &byte, 1) == 0 ? 0 : 1;
            }),
            0);
}

TEST(SilenceStdin, LeavesAHandleThatGotTheNumberAlone) {
  EXPECT_EQ(code_of([] {
              std::array<int, 2> ends{};
              ::close(STDIN_FILENO);
              if (::pipe2(ends.data(), O_CLOEXEC) != 0 || ends[0] != STDIN_FILENO) return 1;
              if (::write(ends[1], "x", 1) != 1) return 2;
              os::silence_stdin(os::standard_input());
              char byte = 0;
              return ::read(ends[0], &byte, 1) == 1 && byte == 'x' ? 0 : 3;
            }),
            0);
}
#endif

}  // namespace
