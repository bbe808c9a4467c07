// SPDX-License-Identifier: BSL-1.0
// Not on Windows: a crash leaves no trace there.
// Where a worker crashed, and that a worker which crashes still ends as it would without that.
#include <multiprocessing.hpp>

#include <support/pool_tasks.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <sys/mman.h>
#include <unistd.h>

namespace mp = multiprocessing;
namespace os = multiprocessing::os;
using test::square;

// With names, and not where the compiler may put them into others.
namespace crashes {

volatile int zero = 0;
int* volatile nowhere = reinterpret_cast<int*>(std::uintptr_t{16});
void (*volatile no_function)() = nullptr;

[[gnu::noinline]] int reads_nowhere(int x) {
  return *nowhere + x;
}
[[gnu::noinline]] int reads_behind_the_end_of_a_file(int x) {
  const int file = ::memfd_create("empty", MFD_CLOEXEC);
  const auto* const memory =
      static_cast<volatile int*>(::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file, 0));
  return *memory + x;
}
[[gnu::noinline]] int divides_by_zero(int x) {
  return x / zero;
}
[[gnu::noinline]] int runs_what_is_no_instruction(int /*x*/) {
  __builtin_trap();
}
[[gnu::noinline]] int gives_up(int /*x*/) {
  std::abort();
}
[[gnu::noinline]] void throw_it(int x) {
  throw x;
}
[[gnu::noinline]] int throws_where_nothing_may_be_thrown(int x) noexcept {
  throw_it(x);
  return x;
}
[[gnu::noinline]] int never_returns(int x) {
  std::array<char, 1000> much{};
  much[static_cast<std::size_t>(zero)] = static_cast<char>(x);
  return (zero == 0 ? never_returns(x + 1) : x) + much[0];
}
[[gnu::noinline]] int signals_itself(int x) {
  std::raise(SIGSEGV);
  return x;
}
[[gnu::noinline]] int calls_nothing(int x) {
  no_function();
  return x;
}
[[gnu::noinline]] int crashes_in_a_thread(int x) {
  int result = 0;
  std::thread thread{[&] { result = reads_nowhere(x); }};
  thread.join();
  return result;
}

}  // namespace crashes

namespace {

struct Death {
  std::string text;
  std::string trace;
};

template <class F, class... A>
Death death_of(mp::Pool& pool, F task, A... arguments) {
  try {
    pool.apply(task, arguments...);
  } catch (const mp::BrokenProcessPool& error) {
    return {error.what(), error.traceback()};
  }
  ADD_FAILURE() << "it lives";
  return {};
}

// A sanitizer has handlers of its own, which win as any other would.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool has_traces = false;
#else
constexpr bool has_traces = true;
#endif

class Crash : public test::EveryStartMethod {
 protected:
  void SetUp() override {
    EveryStartMethod::SetUp();
    if (!has_traces) GTEST_SKIP() << "a sanitizer handles these signals";
    pool.emplace(1U);
  }
  std::optional<mp::Pool> pool;
};
TEST_EVERY_START_METHOD(Crash);

struct Row {
  int (*task)(int);
  const char* signal;
  const char* function;
};

TEST_P(Crash, OfEachKindSaysWhereItHappened) {
  using namespace crashes;
  for (const Row& row : {
           Row{reads_nowhere, "SIGSEGV (signal 11)", "reads_nowhere"},
           Row{reads_behind_the_end_of_a_file, "SIGBUS (signal 7)", "reads_behind_the_end"},
           Row{divides_by_zero, "SIGFPE (signal 8)", "divides_by_zero"},
           Row{runs_what_is_no_instruction, "SIGILL (signal 4)", "runs_what_is_no_instruction"},
           Row{gives_up, "SIGABRT (signal 6)", "gives_up"},
           Row{throws_where_nothing_may_be_thrown, "SIGABRT (signal 6)", "throws_where_nothing"},
           Row{never_returns, "SIGSEGV (signal 11)", "never_returns"},
           Row{signals_itself, "SIGSEGV (signal 11)", "signals_itself"},
           Row{calls_nothing, "SIGSEGV (signal 11)", "calls_nothing"},
           Row{crashes_in_a_thread, "SIGSEGV (signal 11)", "reads_nowhere"},
       }) {
    const Death death = death_of(*pool, row.task, 3);
    EXPECT_NE(death.text.find(std::string{"was ended by "} + row.signal), std::string::npos)
        << death.text;
    EXPECT_NE(death.trace.find(row.function), std::string::npos) << row.function << death.text;
    EXPECT_TRUE(death.text.ends_with("\n" + death.trace)) << death.text;
    EXPECT_EQ(pool->apply(square, 3), 9);
  }
}

TEST_P(Crash, NamesTheMemoryAndEndsWhereTheLibraryBegins) {
  const std::string trace = death_of(*pool, crashes::reads_nowhere, 3).trace;
  EXPECT_NE(trace.find("memory address 0x10,"), std::string::npos) << trace;
  EXPECT_EQ(trace.find("  main"), std::string::npos) << trace;
  EXPECT_EQ(death_of(*pool, crashes::gives_up, 3).trace.find("memory"), std::string::npos);
}

TEST_P(Crash, NamesPlacesAsAddr2lineTakesThem) {
  const std::string trace = death_of(*pool, crashes::reads_nowhere, 3).trace;
  const std::string path = " (" + os::executable_path() + " + ";
  const auto at = trace.find(path);
  ASSERT_NE(at, std::string::npos) << trace;
  const std::string offset = trace.substr(at + path.size(), trace.find(')', at) - at - path.size());
  const std::string command =
      "addr2line -Cfe /proc/" + std::to_string(::getpid()) + "/exe " + offset;
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe{::popen(command.c_str(), "re"), &::pclose};
  std::array<char, 256> line{};
  if (std::fgets(line.data(), line.size(), pipe.get()) == nullptr) GTEST_SKIP() << "no addr2line";
  EXPECT_NE(std::string{line.data()}.find("reads_nowhere"), std::string::npos) << command;
}

TEST_P(Crash, HasNoTraceWhenItWasNone) {
  EXPECT_EQ(death_of(*pool, test::kill_itself, 1).trace, "");
  EXPECT_EQ(death_of(*pool, test::exit_with, 3).trace, "");
  EXPECT_EQ(death_of(*pool, [] { std::raise(SIGTERM); }).trace, "");
  EXPECT_EQ(mp::BrokenProcessPool{"text"}.traceback(), "");
}

TEST_P(Crash, IsLeftToAHandlerOfTheProgram) {
  EXPECT_NE(death_of(*pool, crashes::reads_nowhere, 1).trace, "");  // of the one before
  for (const bool is_default : {false, true}) {
    const Death death = death_of(
        *pool,
        [](bool defaults) {
          std::signal(
              SIGSEGV, defaults ? SIG_DFL : +[](int) { os::exit_now(77); });
          return crashes::reads_nowhere(1);
        },
        is_default);
    EXPECT_NE(death.text.find(is_default ? "SIGSEGV (signal 11)" : "with code 77"),
              std::string::npos)
        << death.text;
    EXPECT_EQ(death.trace, "");
  }
}

TEST_P(Crash, OfATasksOwnChildIsNotTheWorkers) {
  const Death death = death_of(*pool, [] {
    const pid_t child = ::fork();
    if (child == 0) crashes::reads_nowhere(1);
    std::error_code ec;
    const os::UniqueHandle process = os::open_process(child, ec);
    os::wait_ready(process.get(), mp::detail::Deadline{mp::forever});
    if (os::collect_process(process.get()).code != -SIGSEGV) os::exit_now(1);
    std::signal(SIGSEGV, SIG_DFL);
    std::raise(SIGSEGV);
  });
  EXPECT_NE(death.text.find("SIGSEGV (signal 11)"), std::string::npos) << death.text;
  EXPECT_EQ(death.trace, "");
}

TEST_P(Crash, OfAnInitializerSaysWhere) {
  mp::PoolOptions options;
  options.processes = 1;
  options.initializer = mp::Task{[] { crashes::reads_nowhere(1); }};
  mp::Pool other{std::move(options)};
  for (int i = 0; i < 2; ++i) {  // what waits, and what comes later
    const std::string trace = death_of(other, square, 1).trace;
    EXPECT_NE(trace.find("reads_nowhere"), std::string::npos) << trace;
  }
}

TEST_P(Crash, InAPoolOfAWorkerComesHomeInWords) {
  const Death death = death_of(*pool, [] {
    mp::Pool inner{1};
    return inner.apply(crashes::reads_nowhere, 1);
  });
  EXPECT_NE(death.text.find("reads_nowhere"), std::string::npos) << death.text;
  EXPECT_EQ(pool->stats().restarts, 0U);
}

TEST(CrashByFork, IsLeftToAHandlerThatWasThereBefore) {
  if (!has_traces) GTEST_SKIP() << "a sanitizer handles these signals";
  auto* const before = std::signal(
      SIGSEGV, +[](int) { os::exit_now(78); });
  {
    mp::Pool pool{{.processes = 1, .start_method = mp::StartMethod::fork}};
    const Death death = death_of(pool, crashes::reads_nowhere, 1);
    EXPECT_NE(death.text.find("with code 78"), std::string::npos) << death.text;
    EXPECT_EQ(death.trace, "");
    EXPECT_NE(death_of(pool, crashes::gives_up, 1).trace, "") << "of the other signals";
  }
  std::signal(SIGSEGV, before);
}

// ---- what the record of a process says that has written everywhere ----

TEST(ReadCrash, BelievesNothing) {
  const auto record = std::make_unique<os::CrashRecord>();
  auto* const bytes = reinterpret_cast<std::byte*>(record.get());
  for (const std::byte byte : {std::byte{0}, std::byte{1}, std::byte{0x7F}, std::byte{0xFF}}) {
    std::fill_n(bytes, sizeof *record, byte);
    record->code = -SIGSEGV;
    const auto trace = os::read_crash(*record, -SIGSEGV);
    ASSERT_EQ(trace.has_value(), byte != std::byte{0});
    EXPECT_FALSE(os::read_crash(*record, -SIGKILL));
    if (!trace) continue;
    EXPECT_LE(trace->frames.size(), os::CrashRecord::most_frames);
    EXPECT_FALSE(mp::detail::crash_text(*trace).empty());
  }
}

TEST(ReadCrash, NamesNoFunctionOfAnotherBuild) {
  const auto address = reinterpret_cast<std::uintptr_t>(&crashes::reads_nowhere);
  const os::Module module = os::module_of(address).value();
  os::CrashFrame frame{module.path, module.id, true, address - module.base};
  EXPECT_EQ(os::address_of(frame), address);
  const std::string where = " + " + mp::detail::hexadecimal(frame.offset) + ")\n";
  const std::string name = "  crashes::reads_nowhere(int) + 0x0 (" + frame.path + where;
  os::Symbols symbols;
  EXPECT_EQ(mp::detail::frame_text(frame, symbols), name);
  frame.is_program = false;
  EXPECT_EQ(mp::detail::frame_text(frame, symbols), name);
  frame.module.back() ^= std::byte{1};
  EXPECT_EQ(os::address_of(frame), 0U);
  EXPECT_EQ(mp::detail::frame_text(frame, symbols), "  ? (" + frame.path + where);
  frame.is_program = true;
  EXPECT_EQ(mp::detail::frame_text(frame, symbols), "  ? (its program" + where);
}

}  // namespace
