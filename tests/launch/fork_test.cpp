// SPDX-License-Identifier: BSL-1.0
// Forking a process that has threads: what works, what is said, what the threads leave.
// Not on Windows: fork
#include <multiprocessing/callable.hpp>
#include <multiprocessing/connection.hpp>
#include <multiprocessing/launch.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/wait.hpp>
#include <multiprocessing/process.hpp>
#include <multiprocessing/queues.hpp>

#include <support/captured.hpp>
#include <support/line.hpp>
#include <support/processes.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace mp = multiprocessing;
using test::Line;

namespace {

const mp::ProcessOptions forked{.start_method = mp::StartMethod::fork};

// Threads that repeat something until this ends.
class Busy {
 public:
  Busy() = default;
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
  ~Busy() {
    stop_ = true;
    for (auto& thread : threads_) thread.join();
  }
  void with(std::function<void()> work) {
    threads_.emplace_back([this, work = std::move(work)] {
      while (!stop_) work();
    });
  }

 private:
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

class Quiet {  // the error output, for a while
 public:
  Quiet() : before_{::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)} {
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    ::dup2(nowhere, STDERR_FILENO);
    ::close(nowhere);
  }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;
  ~Quiet() {
    ::dup2(before_, STDERR_FILENO);
    ::close(before_);
  }

 private:
  int before_;
};

class NoLog {  // in the end
 public:
  NoLog() = default;
  NoLog(const NoLog&) = delete;
  NoLog& operator=(const NoLog&) = delete;
  ~NoLog() {
    mp::log_to_stderr(mp::LogLevel::off);
    mp::set_log_sink({});
  }
};

void allocate() {
  std::vector<std::unique_ptr<char[]>> pieces;
  for (std::size_t size = 16; size <= 1U << 18U; size *= 2) {
    pieces.push_back(std::make_unique<char[]>(size));
  }
  std::ostringstream text;
  text << pieces.size() << ' ' << 3.25;
}

void put_and_get(mp::Queue<std::string>& queue) {
  queue.put(std::string(100, 'x'));
  if (queue.get() != std::string(100, 'x')) throw std::runtime_error{"another item"};
}

int start_and_join() {
  mp::Process process(forked, [] { throw mp::SystemExit(7); });
  process.start();
  process.join();
  return process.exitcode().value();
}

TEST(ForkOfThreads, GivesChildrenThatWorkWhateverTheThreadsWereDoing) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer's own allocator is not made for a fork while threads are in it";
#endif
  const Quiet quiet;
  const NoLog in_the_end;
  std::atomic<unsigned> heard{0};
  mp::set_log_sink([&](mp::LogLevel, std::string_view) { ++heard; });
  mp::log_to_stderr(mp::LogLevel::debug);
  mp::Queue<std::string> queue;
  Busy busy;
  busy.with(allocate);
  busy.with([&] { put_and_get(queue); });
  busy.with([] { start_and_join(); });
  busy.with([] { mp::log(mp::LogLevel::info, [] { return std::string(50, 'x'); }); });
  for (int round = 0; round < 60; ++round) {
    mp::Process process(forked, [&] {
      allocate();
      put_and_get(queue);
      mp::Queue<std::string> own;
      put_and_get(own);
      const unsigned before = heard;
      mp::log(mp::LogLevel::warning, "in a child");
      if (heard != before + 1) throw mp::SystemExit(8);
      throw mp::SystemExit(start_and_join());
    });
    process.start();
    process.join();
    ASSERT_EQ(process.exitcode(), 7) << "round " << round;
  }
}

void seven() {
  throw mp::SystemExit(7);
}

// To send a function is to look for its module, behind a lock of the loader's.
TEST(ForkOfThreads, GivesChildrenThatNameCodeWhateverTheThreadsWereNaming) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  // Its locks are held by threads that the child does not have, and nothing of ours can wait for
  // them: the child hangs in its first allocation.
  GTEST_SKIP() << "the sanitizer's own allocator is not made for a fork while threads are in it";
#endif
  Busy busy;
  for (int i = 0; i < 2; ++i) {
    busy.with([pipe = std::make_shared<mp::Pipe>()] {
      pipe->first.send(mp::Task{seven});
      static_cast<void>(pipe->second.recv<mp::Task>());
    });
  }
  for (int round = 0; round < 40; ++round) {
    mp::Process process(forked, [] {
      mp::Process other({.start_method = mp::StartMethod::spawn}, seven);
      other.start();
      other.join();
      throw mp::SystemExit(other.exitcode().value());
    });
    process.start();
    process.join();
    ASSERT_EQ(process.exitcode(), 7) << "round " << round;
  }
}

// ---- the warning ----

TEST(ForkOfThreads, IsLoggedOnceInAProcess) {
  const NoLog in_the_end;
  mp::detail::process_state().warned_of_threads = 0;  // by another test
  std::vector<std::string> warnings;
  mp::set_log_sink([&](mp::LogLevel level, std::string_view text) {
    if (level == mp::LogLevel::warning) warnings.emplace_back(text);
  });
  const auto count_in_child = [&] {
    mp::Process process(forked, [&] {
      warnings.clear();
      Busy busy;
      busy.with([] { std::this_thread::yield(); });
      start_and_join();
      start_and_join();
      throw mp::SystemExit(static_cast<int>(warnings.size()));
    });
    process.start();
    process.join();
    return process.exitcode().value();
  };
  if (mp::os::thread_count() == 1) {  // not with a sanitizer's own thread
    start_and_join();
    EXPECT_EQ(warnings.size(), 0U);
  }
  {
    Busy busy;
    busy.with([] { std::this_thread::yield(); });
    mp::set_log_level(mp::LogLevel::error);
    start_and_join();
    EXPECT_EQ(warnings.size(), 0U);
    mp::set_log_level(mp::LogLevel::warning);
    mp::Process other({.start_method = mp::StartMethod::spawn}, [] {});
    other.start();
    other.join();
    EXPECT_EQ(warnings.size(), 0U);
    const auto threads = std::to_string(mp::os::thread_count());
    start_and_join();
    start_and_join();
    ASSERT_EQ(warnings.size(), 1U);
    EXPECT_TRUE(warnings[0].starts_with("fork of a process with " + threads + " threads: "))
        << warnings[0];
  }
  EXPECT_EQ(count_in_child(), 1);  // that is another process
}

// ---- thread_local objects ----

struct LastWords {
  Line line;
  std::string what;
  LastWords(Line to, std::string that) : line{std::move(to)}, what{std::move(that)} {}
  LastWords(const LastWords&) = delete;
  LastWords& operator=(const LastWords&) = delete;
  ~LastWords() { line.say(what + (::getpid() == maker ? " in the parent" : " in the child")); }
  int maker = ::getpid();
};

TEST(ForkOfThreads, DestroysTheThreadLocalsOfTheStarterInTheChildTooAndOfNoOtherThread) {
  const Line line;
  const Line release;
  std::thread other([&] {
    thread_local const LastWords words{line, "other"};
    line.say(words.what.empty() ? "" : "made");
    static_cast<void>(release.hear());
  });
  EXPECT_EQ(line.hear(), "made");
  std::thread starter([&] {
    thread_local const LastWords words{line, "starter"};
    if (words.what.empty()) return;
    mp::Process process(forked, [&] { line.say("child"); });
    process.start();
    process.join();
  });
  starter.join();
  EXPECT_EQ(line.hear(), "child");
  EXPECT_EQ(line.hear(), "starter in the child");
  EXPECT_EQ(line.hear(), "starter in the parent");
  release.say("end");
  other.join();
  EXPECT_EQ(line.hear(), "other in the parent");
}

// Encoding it is when a test has its turn: what stands before it is on its way then.
struct Meanwhile {
  static inline std::function<void()> work;
  template <class Archive>
  void serialize(Archive&) {
    if (work) work();
  }
};

std::string what_is(int number) {
  std::error_code ec;
  return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(number), ec).string();
}
int how_many_are(const std::string& what) {
  int count = 0;
  for (const std::string& name : test::names_in("/proc/self/fd")) {
    count += what_is(std::stoi(name)) == what ? 1 : 0;
  }
  return count;
}

TEST(ForkMeanwhile, LeavesTheChildNothingThatIsOnItsWayToAnother) {
  mp::Pipe pipe(false);
  const std::string what = what_is(pipe.second.fileno());
  std::vector<std::optional<int>> kept;
  const auto fork_one = [&] {
    mp::Process process(forked, [&] {
      pipe.first.close();
      pipe.second.close();
      throw mp::SystemExit(how_many_are(what));
    });
    process.start();
    process.join();
    kept.push_back(process.exitcode());
  };
  Meanwhile::work = [&] {
    fork_one();                    // by the thread that starts the other
    std::thread{fork_one}.join();  // by another one
  };
  for (const auto method : {mp::StartMethod::spawn, mp::StartMethod::forkserver}) {
    mp::Process process(
        {.start_method = method}, [](const mp::Connection&, const Meanwhile&) {}, pipe.second,
        Meanwhile{});
    process.start();
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
  }
  auto [here, there] = mp::Pipe();
  here.send(std::pair{pipe.second, Meanwhile{}});
  Meanwhile::work = {};
  static_cast<void>(there.recv<std::pair<mp::Connection, Meanwhile>>());
  EXPECT_EQ(kept.size(), 6U);
  EXPECT_EQ(std::ranges::count(kept, 0), static_cast<std::ptrdiff_t>(kept.size()));
}

TEST(PassingHandles, LeadNowhereInAForkedChild) {
  mp::os::install_fork_handlers();
  std::error_code ec;
  mp::os::PassingHandles passing;
  const int first = passing.add_one([&] { return mp::os::make_event(ec); });
  const int second = passing.add_one([&] { return mp::os::make_event(ec); });
  const std::string what = what_is(first);
  EXPECT_EQ(passing.add_one([] { return mp::os::UniqueHandle{}; }), mp::os::invalid_handle);
  EXPECT_EQ(passing.get().size(), 2U);
  const mp::os::UniqueHandle taken = passing.take(second);
  mp::os::PassingHandles moved = std::move(passing);
  mp::Process process(forked, [&] {
    const bool is_right = what_is(first) == "/dev/null" && what_is(second) == what &&
                          ::fcntl(first, F_GETFD) == FD_CLOEXEC;
    throw mp::SystemExit(is_right ? 0 : 1);
  });
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  EXPECT_EQ(what_is(first), what);
  moved = {};
  EXPECT_EQ(what_is(first), "");
  EXPECT_EQ(what_is(second), what);
}

}  // namespace
