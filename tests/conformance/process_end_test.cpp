// SPDX-License-Identifier: BSL-1.0
// How a process ends and what it leaves on its streams, whichever way it was started.
#include <multiprocessing/process.hpp>

#include <support/captured.hpp>
#include <support/codes.hpp>
#include <support/eventually.hpp>
#include <support/line.hpp>
#include <support/processes.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#if MULTIPROCESSING_POSIX
#  include <pthread.h>
#  include <sys/wait.h>
#else
#  include <io.h>
#endif
#include <unistd.h>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::Captured;
using test::eventually;
using test::Line;

namespace {

class ProcessEnd : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(ProcessEnd);

template <class... A>
int code_of(A&&... target) {
  mp::Process process(std::forward<A>(target)...);
  process.start();
  process.join();
  return process.exitcode().value();
}

// ---- exit codes ----

TEST_P(ProcessEnd, CodeIsWhatItExitsWith) {
  EXPECT_EQ(code_of([] {}), 0);
  EXPECT_EQ(code_of([] { throw mp::SystemExit(); }), 0);
  EXPECT_EQ(code_of([] { throw mp::SystemExit(3); }), 3);
#if MULTIPROCESSING_POSIX
  EXPECT_EQ(code_of([] { throw mp::SystemExit(300); }), 300 & 0xFF);
  EXPECT_EQ(code_of([] { throw mp::SystemExit(-1); }), 255);
#else
  EXPECT_EQ(code_of([] { throw mp::SystemExit(300); }), 300);
  EXPECT_EQ(code_of([] { throw mp::SystemExit(-1); }), -1);
  EXPECT_EQ(code_of([] { throw mp::SystemExit(259); }), 259);  // the system's "still active"
  EXPECT_EQ(code_of([] { std::exit(259); }), 259);
  EXPECT_EQ(code_of([] { std::_Exit(259); }), 259);
#endif
  EXPECT_EQ(code_of([] { std::exit(4); }), 4);
  EXPECT_EQ(code_of([] { std::_Exit(5); }), 5);
  EXPECT_EQ(code_of([] { std::abort(); }), test::aborted_code);
#if MULTIPROCESSING_POSIX
  EXPECT_EQ(code_of([] { ::raise(SIGKILL); }), test::killed_code);
#endif
}

TEST_P(ProcessEnd, CodeOfACrashIsTheSystems) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  // Its handler of SIGSEGV prints a report and exits with a code of its own, by design.
  GTEST_SKIP() << "a sanitizer ends it in its own way";
#endif
  EXPECT_EQ(code_of([] {
              int* volatile nowhere = nullptr;
              *nowhere = 1;
            }),
            test::crashed_code);
}

TEST_P(ProcessEnd, ByAnExceptionIsReportedAndHasCode1) {
  const Captured errors(STDERR_FILENO);
  EXPECT_EQ(
      code_of(mp::ProcessOptions{.name = "worker"}, [] { throw std::out_of_range("too far"); }), 1);
  EXPECT_EQ(errors.text(), "Process worker:\nstd::out_of_range: too far\n");
}

TEST_P(ProcessEnd, ByAnExceptionOfAnyTypeIsReportedAndHasCode1) {
  const Captured errors(STDERR_FILENO);
  EXPECT_EQ(code_of(mp::ProcessOptions{.name = "n"}, [] { throw 42; }), 1);
  EXPECT_EQ(code_of(mp::ProcessOptions{.name = "s"}, [] { throw "text"; }), 1);
  EXPECT_EQ(errors.text(), "Process n:\nint: 42\nProcess s:\nchar const*: text\n");
}

#if MULTIPROCESSING_POSIX  // not on Windows: the end of a main thread is no exception there
TEST_P(ProcessEnd, ByTheEndOfItsThreadHasCode1) {
  const Captured errors(STDERR_FILENO);
  EXPECT_EQ(code_of([] { ::pthread_exit(nullptr); }), 1);
  EXPECT_TRUE(errors.text().ends_with(":\nunknown\n")) << errors.text();
}
#endif

TEST_P(ProcessEnd, BySystemExitWithATextPrintsThat) {
  const Captured errors(STDERR_FILENO);
  EXPECT_EQ(code_of([] { throw mp::SystemExit("disk full"); }), 1);
  EXPECT_EQ(errors.text(), "disk full\n");
}

struct LongError : std::exception {
  [[nodiscard]] const char* what() const noexcept override {
    static const std::string text(1U << 20U, 'e');
    return text.c_str();
  }
};

#if MULTIPROCESSING_POSIX  // not on Windows: descriptors
TEST_P(ProcessEnd, ReportIsWholeAlsoWhenStderrIsAPipeThatIsFull) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  std::string report;
  mp::Process process([] {
    ::fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK);
    throw LongError{};
  });
  {
    const Captured errors(STDERR_FILENO);
    ::dup2(ends[1], STDERR_FILENO);
    process.start();
  }
  ::close(ends[1]);
  std::array<char, 4096> piece{};
  for (;;) {
    const auto got = ::read(ends[0], piece.data(), piece.size());
    if (got <= 0) break;
    report.append(piece.data(), static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  process.join();
  EXPECT_EQ(process.exitcode(), 1);
  EXPECT_TRUE(report.ends_with(std::string(1U << 20U, 'e') + "\n")) << report.size();
}
#endif

// ---- handlers ----

const Line* handlers_line = nullptr;

struct Announced {
  const char* what;
  explicit Announced(const char* that) : what{that} {}
  Announced(const Announced&) = delete;
  Announced& operator=(const Announced&) = delete;
  ~Announced() {
    if (handlers_line != nullptr) handlers_line->say(what);
  }
};

void register_handlers(const Line& line) {
  static const Line kept = line;
  handlers_line = &kept;
  static const Announced object{"static object"};
  static_cast<void>(std::atexit([] { handlers_line->say("atexit"); }));
}

void register_all_handlers(const Line& line) {
  register_handlers(line);
  thread_local const Announced local{"thread_local object"};
  static_cast<void>(local.what);
}

TEST_P(ProcessEnd, RunsTheHandlersThatItRegistered) {
  const Line line;
  EXPECT_EQ(code_of(register_all_handlers, line), 0);
  EXPECT_EQ(line.hear(), "thread_local object");
  EXPECT_EQ(line.hear(), "atexit");
  EXPECT_EQ(line.hear(), "static object");
}

TEST_P(ProcessEnd, RunsNoHandlersOfItsParent) {
  const Line line;
  // A parent whose handlers would be seen.
  mp::Process parent(
      [](const Line& out, mp::StartMethod method) {
        register_handlers(out);
        mp::Process child(
            {.start_method = method}, [](const Line& to) { to.say("child"); }, out);
        child.start();
        child.join();
        out.say("parent");
      },
      line, GetParam());
  parent.start();
  parent.join();
  line.hang_up();
  EXPECT_EQ(line.hear(), "child");
  EXPECT_EQ(line.hear(), "parent");
  EXPECT_EQ(line.hear(), "atexit");
  EXPECT_EQ(line.hear(), "static object");
  EXPECT_EQ(line.hear(), "");
}

TEST_P(ProcessEnd, WaitsForItsChildrenAndTerminatesItsDaemons) {
  const Line line;
  mp::Process process(
      [](const Line& out) {
        mp::Process patient(
            [](const Line& to) {
              to.say(mp::parent_process()->join(50ms) ? "parent has gone" : "parent waits");
            },
            out);
        mp::Process daemon({.daemon = true}, [] { test::wait_for_ever(); });
        patient.start();
        daemon.start();
      },
      line);
  process.start();
  EXPECT_EQ(line.hear(), "parent waits");
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 0);
  line.hang_up();
  EXPECT_EQ(line.hear(), "");
}

// ---- streams ----

TEST_P(ProcessEnd, OutputThatWasBufferedAppearsOnce) {
  const Captured output(STDOUT_FILENO);
  std::cout << "1 parent cout;";
  std::fputs("2 parent stdout;", stdout);
  EXPECT_EQ(code_of([] {
              std::cout << "3 child cout;";
              std::fputs("4 child stdout;", stdout);
            }),
            0);
  std::cout << "5 parent again;" << std::flush;
  EXPECT_EQ(output.text(),
            "1 parent cout;2 parent stdout;3 child cout;4 child stdout;5 parent again;");
}

TEST_P(ProcessEnd, OutputOfAChildThatThrowsComesBeforeItsReport) {
  const Captured output(STDERR_FILENO);
  EXPECT_EQ(code_of(mp::ProcessOptions{.name = "w"},
                    [] {
                      std::clog << "log;";
                      std::cerr << "error;";
                      throw std::runtime_error("boom");
                    }),
            1);
  EXPECT_EQ(output.text(), "log;error;Process w:\nstd::runtime_error: boom\n");
}

bool make_pipe(std::array<int, 2>& ends) {
#if MULTIPROCESSING_POSIX
  return ::pipe2(ends.data(), O_CLOEXEC) == 0;
#else
  return ::_pipe(ends.data(), 4096, _O_BINARY | _O_NOINHERIT) == 0;
#endif
}

TEST_P(ProcessEnd, StandardInputOfAChildIsEmpty) {
  std::array<int, 2> ends{};
  ASSERT_TRUE(make_pipe(ends));
  ASSERT_EQ(::write(ends[1], "first\nsecond\n", 13), 13);
  const int before = test::detail::keep_aside(STDIN_FILENO);
  ASSERT_GE(::dup2(ends[0], STDIN_FILENO), 0);
  std::array<char, 64> text{};
  ASSERT_NE(std::fgets(text.data(), text.size(), stdin), nullptr);  // the rest is in its buffer
  EXPECT_EQ(code_of([] {
              std::string line;
              const bool got = std::getline(std::cin, line) || std::getchar() != EOF;
              char byte = 0;
              throw mp::SystemExit(got || ::read(STDIN_FILENO, &byte, 1) != 0 ? 9 : 0);
            }),
            0);
  ASSERT_NE(std::fgets(text.data(), text.size(), stdin), nullptr);
  EXPECT_STREQ(text.data(), "second\n");
  before < 0 ? ::close(STDIN_FILENO) : ::dup2(before, STDIN_FILENO);
  for (const int fd : {before, ends[0], ends[1]}) ::close(fd);
}

class Closed {  // a standard stream, for a while
 public:
  explicit Closed(int number) : number_{number}, before_{kept(number)} { ::close(number); }
  Closed(const Closed&) = delete;
  Closed& operator=(const Closed&) = delete;
  ~Closed() {
    if (before_ < 0) return;
    ::dup2(before_, number_);
    ::close(before_);
  }

 private:
  static int kept(int number) {
#if MULTIPROCESSING_POSIX
    return ::fcntl(number, F_DUPFD_CLOEXEC, 100);
#else
    const int copy = ::_dup(number);
    if (copy < 0 || copy > STDERR_FILENO) return copy;
    const int higher = kept(number);  // that was the place of one that is closed
    ::close(copy);
    return higher;
#endif
  }

  int number_;
  int before_;
};

bool is_open(int number) {
#if MULTIPROCESSING_POSIX
  return ::fcntl(number, F_GETFD) >= 0;
#else
  return ::_get_osfhandle(number) >= 0;
#endif
}

TEST_P(ProcessEnd, StandardStreamsThatAreClosedStaySo) {
  const Line line;
  int code = 0;
  {
    const Closed in(STDIN_FILENO);
    const Closed out(STDOUT_FILENO);
    const Closed err(STDERR_FILENO);
    code = code_of(
        [](const Line& to) {
          std::cout << "nobody reads this" << std::endl;
          char byte = 0;
          const bool empty = ::read(STDIN_FILENO, &byte, 1) == 0;
          to.say(std::string{empty ? "empty" : "no input"} + (is_open(1) ? " open" : " closed") +
                 (is_open(2) ? " open" : " closed"));
          throw std::runtime_error("nobody reads that");
        },
        line);
    std::cout.clear();
  }
  EXPECT_EQ(code, 1);
  EXPECT_EQ(line.hear(), "empty closed closed");
}

// ---- codes that somebody else took ----

#if MULTIPROCESSING_POSIX
class Disposition {  // of SIGCHLD, for a while
 public:
  Disposition(void (*handler)(int), int flags) {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = flags;
    ::sigaction(SIGCHLD, &action, &before_);
  }
  Disposition(const Disposition&) = delete;
  Disposition& operator=(const Disposition&) = delete;
  ~Disposition() { ::sigaction(SIGCHLD, &before_, nullptr); }

 private:
  struct sigaction before_ {};
};
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: signals
TEST_P(ProcessEnd, IsKnownAlsoWhenSigchldIsIgnored) {
  for (const auto& [handler, flags] : {std::pair{SIG_IGN, 0}, std::pair{SIG_DFL, SA_NOCLDWAIT}}) {
    const Disposition disposition(handler, flags);
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(code_of([] {}), 0);
      EXPECT_EQ(code_of([] { throw mp::SystemExit(7); }), 7);
    }
    const Line line;
    mp::Process process(
        [](const Line& to) {
          to.say("ready");
          test::wait_for_ever();
        },
        line);
    process.start();
    EXPECT_EQ(line.hear(), "ready");
    EXPECT_TRUE(process.is_alive());
    process.terminate();
    EXPECT_TRUE(process.join());
    EXPECT_FALSE(process.is_alive());
    // Before Linux 6.15 nobody remembers the signal.
    EXPECT_TRUE(process.exitcode() == -SIGTERM || process.exitcode() == 255) << *process.exitcode();
  }
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: waiting for children that are not known
TEST_P(ProcessEnd, IsKnownAlsoWhenTheProgramWaitsForAllItsChildren) {
  for (int i = 0; i < 20; ++i) {
    mp::Process process([] { throw mp::SystemExit(7); });
    process.start();
    if (GetParam() == mp::StartMethod::forkserver) {  // its server is a child, and lives
      EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), 0);
    } else {
      EXPECT_EQ(::waitpid(-1, nullptr, 0), process.pid());
    }
    EXPECT_TRUE(process.join());
    EXPECT_FALSE(process.is_alive());
    EXPECT_EQ(process.exitcode(), 7);
    EXPECT_TRUE(mp::active_children().empty());
  }
}
#endif

TEST_P(ProcessEnd, IsSeenByAllThreadsThatWaitForIt) {
  for (int round = 0; round < 20; ++round) {
    const Line line;
    mp::Process process(
        [](const Line& from) {
          static_cast<void>(from.hear());
          throw mp::SystemExit(7);
        },
        line);
    process.start();
    std::vector<std::thread> threads;
    std::atomic<int> right{0};
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        if (process.join() && process.exitcode() == 7 && !process.is_alive()) ++right;
      });
    }
    line.say("end");
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(right, 8);
  }
}

// ---- daemons ----

void start_daemon_and_wait(const Line& line, bool from_thread) {
  const Line ready;
  const Line answer;
  mp::Process daemon(
      {.daemon = true},
      [](const Line& to, const Line& up, const Line& from) {
        up.say("ready");
        to.say(mp::current_process().daemon() ? "daemon" : "no daemon");
        to.say(from.hear());
        test::wait_for_ever();
      },
      line, ready, answer);
  const auto start = [&] {
    daemon.start();
    static_cast<void>(ready.hear());  // it is tied to its parent
  };
  if (from_thread) {
    const auto threads = test::own_threads().size();
    std::thread{start}.join();
    // Joined is not gone yet.
    test::eventually([&] { return test::own_threads().size() <= threads; });
  } else {
    start();
  }
  answer.say("lives");
  test::wait_for_ever();
}

TEST_P(ProcessEnd, OfAParentIsThatOfItsDaemonsHoweverItDies) {
#if MULTIPROCESSING_POSIX
  constexpr int signals[] = {SIGKILL, SIGTERM, SIGHUP};
#else
  constexpr int signals[] = {SIGTERM};
#endif
  for (const int signal : signals) {
    for (const bool from_thread : {false, true}) {
      const Line line;
      mp::Process parent(start_daemon_and_wait, line, from_thread);
      parent.start();
      EXPECT_EQ(line.hear(), "daemon");
      EXPECT_EQ(line.hear(), "lives");
#if MULTIPROCESSING_POSIX
      ASSERT_EQ(::kill(*parent.pid(), signal), 0);
#else
      parent.terminate();
      EXPECT_EQ(signal, SIGTERM);
#endif
      parent.join();
      line.hang_up();
      EXPECT_EQ(line.hear(), "");  // the daemon was the last that could speak
    }
  }
}

#if MULTIPROCESSING_POSIX  // not on Windows: signals
TEST_P(ProcessEnd, EndsDaemonsThatDoNotEndWhenTheyAreAskedTo) {
  const Line line;
  mp::Process parent(
      [](const Line& to) {
        for (const int signal : {SIGTERM, SIGSTOP}) {
          mp::Process daemon(
              {.daemon = true},
              [](const Line& up, int which) {
                if (which == SIGTERM) {
                  static_cast<void>(std::signal(SIGTERM, SIG_IGN));
                } else {
                  ::raise(which);
                }
                up.say("daemon");
                test::wait_for_ever();
              },
              to, signal);
          daemon.start();
          if (signal == SIGTERM) static_cast<void>(to.hear());
        }
      },
      line);
  parent.start();
  parent.join();
  EXPECT_EQ(parent.exitcode(), 0);
  line.hang_up();
  EXPECT_EQ(line.hear(), "");
}
#endif

void end_with_a_daemon(const Line& line, int way) {
  mp::Process daemon(
      {.daemon = true},
      [](const Line& to) {
        to.say("daemon");
        test::wait_for_ever();
      },
      line);
  std::thread([&] { daemon.start(); }).join();
  static_cast<void>(line.hear());
  if (way == 0) ::_exit(0);
  if (way == 2) std::abort();
  if (way == 3) std::exit(0);
#if MULTIPROCESSING_POSIX
  if (way == 1) std::quick_exit(0);
  if (way == 4) ::execl("/bin/sh", "sh", "-c", ":", nullptr);
#endif
}

TEST_P(ProcessEnd, OfAParentIsThatOfItsDaemonsAlsoWithoutAnySignal) {
  for (int way = 0; way <= 5; ++way) {  // the last returns
    const Line line;
    mp::Process parent(end_with_a_daemon, line, way);
    parent.start();
    parent.join();
    EXPECT_EQ(parent.exitcode(), way == 2 ? test::aborted_code : 0);
    line.hang_up();
    EXPECT_EQ(line.hear(), "");
  }
}

// A daemon, a child, and so on; says what it started.
void have_daemons_down_to(const Line& line, int depth) {
  mp::Process daemon(
      {.name = "daemon " + std::to_string(depth), .daemon = true},
      [](const Line& to) {
        to.say(mp::current_process().name());
        test::wait_for_ever();
      },
      line);
  daemon.start();
  mp::Process child({.name = "child"}, have_daemons_down_to, line, depth - 1);
  if (depth > 0) child.start();
  line.say("pid " + std::to_string(::getpid()) + " of daemon " + std::to_string(*daemon.pid()));
  test::wait_for_ever();
}

#if MULTIPROCESSING_POSIX
bool runs(int pid) {
  const std::string state = test::first_line("/proc/" + std::to_string(pid) + "/stat");
  return !state.empty() && state.find(") Z ") == std::string::npos;
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: signals
TEST_P(ProcessEnd, OfADaemonIsThatOfItsOwnParentAndNoOther) {
  const Line line;
  mp::Process parent(have_daemons_down_to, line, 1);
  parent.start();
  std::map<int, int> daemons;  // by their parents
  for (int i = 0; i < 4; ++i) {
    int pid = 0;
    int daemon = 0;
    if (std::sscanf(line.hear().c_str(), "pid %d of daemon %d", &pid, &daemon) == 2) {
      daemons[pid] = daemon;
    }
  }
  ASSERT_EQ(daemons.size(), 2U);
  const int first = daemons.at(*parent.pid());
  daemons.erase(*parent.pid());
  const auto [child, second] = *daemons.begin();
  parent.kill();
  parent.join();
  EXPECT_TRUE(eventually([first = first] { return !runs(first); }));
  EXPECT_TRUE(runs(child));
  EXPECT_TRUE(runs(second));
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  line.hang_up();
  EXPECT_EQ(line.hear(), "");
}
#endif

void try_to_have_a_child(const Line& line) {
  mp::Process child([] {});
  try {
    child.start();
    line.say("started");
  } catch (const std::logic_error& error) {
    line.say(error.what());
  }
}

TEST_P(ProcessEnd, DaemonsMayNotHaveChildren) {
  const Line line;
  mp::Process daemon({.daemon = true}, try_to_have_a_child, line);
  daemon.start();
  EXPECT_NE(line.hear().find("daemon"), std::string::npos);
  daemon.join();
}

}  // namespace
