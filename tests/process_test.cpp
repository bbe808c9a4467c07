// SPDX-License-Identifier: BSL-1.0
// What does not depend on the start method; conformance/ has the rest.
#include <multiprocessing/process.hpp>

#include <support/eventually.hpp>
#include <support/line.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if MULTIPROCESSING_POSIX
#  include <sys/resource.h>
#  include <sys/wait.h>
#endif
#include <unistd.h>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::eventually;
using test::Line;

namespace {

void nothing() {}

// ---- types ----

TEST(ProcessType, IsOneForAllTargets) {
  mp::Process plain(nothing);
  mp::Process with_argument([](int) {}, 1);
  mp::Process with_options({.name = "w", .daemon = true}, [] {});
  static_assert(std::is_same_v<decltype(plain), mp::Process<>>);
  static_assert(std::is_same_v<decltype(with_argument), mp::Process<>>);
  static_assert(std::is_same_v<decltype(with_options), mp::Process<>>);
  static_assert(!std::is_copy_constructible_v<mp::Process<>>);
  EXPECT_EQ(with_options.name(), "w");
  EXPECT_TRUE(with_options.daemon());
}

TEST(ProcessType, CanBeMovedAlsoWhileItRuns) {
  const Line line;
  std::vector<mp::Process<>> processes;
  processes.emplace_back([](const Line& from) { static_cast<void>(from.hear()); }, line);
  processes[0].start();
  mp::Process moved = std::move(processes[0]);
  EXPECT_THROW(static_cast<void>(processes[0].is_alive()), std::invalid_argument);
  EXPECT_TRUE(moved.is_alive());
  processes[0] = std::move(moved);
  EXPECT_TRUE(processes[0].is_alive());
  line.say("end");
  EXPECT_TRUE(processes[0].join());
  EXPECT_EQ(processes[0].exitcode(), 0);
}

TEST(ProcessType, KeepsWhatCanOnlyBeMoved) {
  mp::Process process([](std::unique_ptr<int> x) { throw mp::SystemExit(*x); },
                      std::make_unique<int>(5));
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 5);
}

// ---- names ----

class Worker : public mp::Process<Worker> {
 public:
  explicit Worker(mp::ProcessOptions options = {}) : Process(std::move(options)) {}
  void run() override {}
  [[nodiscard]] auto reduce() const { return mp::arguments(); }
};
template <class T>
class Typed : public mp::Process<Typed<T>> {
 public:
  void run() override {}
  [[nodiscard]] auto reduce() const { return mp::arguments(); }
};

unsigned number_of(const mp::BaseProcess& process) {
  const std::string name = process.name();
  return static_cast<unsigned>(std::stoul(name.substr(name.rfind('-') + 1)));
}

TEST(ProcessName, IsTheClassAndANumberThatCountsAllProcesses) {
  const mp::Process first(nothing);
  const Worker second;
  const mp::Process named({.name = "third"}, nothing);
  const Typed<std::pair<int, Worker>> fourth;
  struct Local : mp::Process<Local> {
    void run() override {}
    [[nodiscard]] auto reduce() const { return mp::arguments(); }
  };
  const Local fifth;
  const unsigned number = number_of(first);
  EXPECT_EQ(first.name(), "Process-" + std::to_string(number));
  EXPECT_EQ(second.name(), "Worker-" + std::to_string(number + 1));
  EXPECT_EQ(named.name(), "third");
  EXPECT_EQ(fourth.name(), "Typed-" + std::to_string(number + 3));
  EXPECT_EQ(fifth.name(), "Local-" + std::to_string(number + 4));
}

TEST(ProcessName, CanBeChangedAtAnyTime) {
  const Line line;
  Worker process({.name = "one"});
  EXPECT_EQ(process.name(), "one");
  process.set_name("two");
  process.start();
  process.set_name("three");
  EXPECT_EQ(process.name(), "three");
  for (const auto& child : mp::active_children()) EXPECT_EQ(child.name(), "three");
  process.join();
  process.close();
  EXPECT_EQ(process.name(), "three");
}

// ---- this process ----

TEST(CurrentProcess, InMainIsTheMainProcess) {
  const auto current = mp::current_process();
  EXPECT_EQ(current.name(), "MainProcess");
  EXPECT_EQ(current.pid(), ::getpid());
  EXPECT_EQ(current.ident(), ::getpid());
  EXPECT_FALSE(current.daemon());
  EXPECT_EQ(current.authkey().size(), 32U);
  EXPECT_NE(current.authkey(), std::string(32, '\0'));
  EXPECT_EQ(current.authkey(), mp::current_process().authkey());
  EXPECT_FALSE(mp::parent_process().has_value());
}

TEST(CpuCount, IsAtLeastOne) {
  EXPECT_GE(mp::cpu_count(), 1U);
  EXPECT_GE(mp::process_cpu_count(), 1U);
}

// ---- wrong use ----

TEST(ProcessUse, BeforeTheStartIsRefused) {
  mp::Process process(nothing);
  EXPECT_THROW(process.join(), std::logic_error);
  EXPECT_THROW(process.terminate(), std::logic_error);
  EXPECT_THROW(static_cast<void>(process.sentinel()), std::invalid_argument);
  EXPECT_FALSE(process.is_alive());
  process.set_daemon(true);
  EXPECT_TRUE(process.daemon());
  process.close();
  EXPECT_THROW(process.set_daemon(false), std::invalid_argument);
  EXPECT_THROW(process.start(), std::invalid_argument);
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(ProcessUse, ByAnotherProcessIsRefused) {
  const Line line;
  mp::Process sleeper([] { test::wait_for_ever(); });
  mp::Process unstarted(nothing);
  sleeper.start();
  // The child holds copies of both objects.
  mp::Process judge([&sleeper, &unstarted] {
    int wrong = 0;
    const auto refused = [&wrong](auto use) {
      try {
        use();
        ++wrong;
      } catch (const std::invalid_argument&) {
        ++wrong;
      } catch (const std::logic_error&) {
      }
    };
    refused([&] { sleeper.join(); });
    refused([&] { static_cast<void>(sleeper.is_alive()); });
    refused([&] { sleeper.terminate(); });
    refused([&] { static_cast<void>(sleeper.sentinel()); });
    refused([&] { unstarted.start(); });
    if (sleeper.exitcode() || !sleeper.pid() || !mp::active_children().empty()) wrong += 100;
    throw mp::SystemExit(wrong);
  });
  judge.start();
  judge.join();
  EXPECT_EQ(judge.exitcode(), 0);
  EXPECT_TRUE(sleeper.is_alive());
  sleeper.kill();
  sleeper.join();
}
#endif

TEST(ProcessUse, OfAClassDerivedFromATargetProcessIsRefused) {
  struct Sliced : mp::Process<> {
    using Process::Process;
  };
  Sliced process(nothing);
  EXPECT_THROW(process.start(), std::logic_error);
}

// ---- start methods ----

class StartMethod : public testing::Test {
 protected:
  void SetUp() override { forget(); }
  void TearDown() override { forget(); }

 private:
  static void forget() {
    auto& state = mp::detail::process_state();
    const std::lock_guard lock{state.mutex};
    state.start_method.reset();
  }
};

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST_F(StartMethod, IsForkUntilItIsSet) {
  EXPECT_EQ(mp::get_start_method(true), std::nullopt);
  mp::set_start_method(mp::StartMethod::spawn);
  EXPECT_EQ(mp::get_start_method(), mp::StartMethod::spawn);
  EXPECT_THROW(mp::set_start_method(mp::StartMethod::fork), std::logic_error);
  EXPECT_EQ(mp::get_start_method(), mp::StartMethod::spawn);
  mp::set_start_method(mp::StartMethod::fork, true);
  EXPECT_EQ(mp::get_start_method(), mp::StartMethod::fork);
}
#endif

TEST_F(StartMethod, IsFixedByWhoAsksForIt) {
  EXPECT_EQ(mp::get_start_method(), mp::get_all_start_methods().front());
  EXPECT_THROW(mp::set_start_method(mp::StartMethod::spawn), std::logic_error);
}

TEST_F(StartMethod, IsFixedByTheFirstProcessThatIsStartedWithIt) {
  mp::Process process(nothing);
  process.start();
  process.join();
  EXPECT_THROW(mp::set_start_method(mp::StartMethod::spawn), std::logic_error);
}

TEST_F(StartMethod, IsNotFixedByFreezeSupport) {
  mp::freeze_support();
  EXPECT_EQ(mp::get_start_method(true), std::nullopt);
}

TEST_F(StartMethod, IsOneOfThoseThatThisSystemHas) {
#if MULTIPROCESSING_POSIX
  const std::vector available{mp::StartMethod::fork, mp::StartMethod::spawn,
                              mp::StartMethod::forkserver};
#else
  const std::vector available{mp::StartMethod::spawn};
  EXPECT_THROW(mp::set_start_method(mp::StartMethod::fork), std::invalid_argument);
  EXPECT_THROW(mp::set_start_method(mp::StartMethod::forkserver), std::invalid_argument);
#endif
  EXPECT_EQ(mp::get_all_start_methods(), available);
  constexpr auto none = static_cast<mp::StartMethod>(7);
  EXPECT_THROW(mp::set_start_method(none), std::invalid_argument);
  EXPECT_EQ(mp::get_start_method(true), std::nullopt);
  mp::Process process({.start_method = none}, nothing);
  EXPECT_THROW(process.start(), std::invalid_argument);
  EXPECT_FALSE(process.is_alive());
}

TEST_F(StartMethod, CanBeSetByItsName) {
  for (const auto method : mp::get_all_start_methods()) {
    mp::set_start_method(mp::to_string(method), true);
    EXPECT_EQ(mp::get_start_method(), method);
  }
  EXPECT_THROW(mp::set_start_method("spoon", true), std::invalid_argument);
  EXPECT_THROW(mp::set_start_method("fork"), std::logic_error);
}

// ---- a bare fork() ----

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(BareFork, ChildIsNobodysProcessAndMayHaveChildren) {
  const Line line;
  mp::Process sleeper([] { test::wait_for_ever(); });
  sleeper.start();
  const int sentinel = sleeper.sentinel();
  const pid_t pid = ::fork();
  if (pid == 0) {
    const bool closed = ::fcntl(sentinel, F_GETFD) < 0;
    mp::Process child([] { throw mp::SystemExit(3); });
    child.start();
    child.join();
    const bool fine = closed && child.exitcode() == 3 && mp::active_children().empty() &&
                      mp::current_process().name() == "MainProcess" && !mp::parent_process();
    ::_exit(fine ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(sleeper.is_alive());
  sleeper.kill();
  sleeper.join();
}

TEST(BareFork, OfAChildLeavesTheChildsCodeToItsParent) {
  mp::Process process([] {
    const pid_t pid = ::fork();
    if (pid == 0) std::exit(9);  // our child's exit handlers run here too
    int status = 0;
    ::waitpid(pid, &status, 0);
    throw mp::SystemExit(WIFEXITED(status) && WEXITSTATUS(status) == 9 ? 4 : 5);
  });
  process.start();
  ASSERT_EQ(::waitpid(*process.pid(), nullptr, 0), process.pid());  // only the report is left
  process.join();
  EXPECT_EQ(process.exitcode(), 4);
}

TEST(BareFork, DoesNotKeepDaemonsOfADeadParentAlive) {
  const Line line;
  const Line release;
  mp::Process parent(
      [](const Line& out, const Line& in) {
        mp::Process daemon(
            {.daemon = true},
            [](const Line& to) {
              to.say("daemon");
              test::wait_for_ever();
            },
            out);
        daemon.start();
        if (::fork() == 0) {
          out.hang_up();
          static_cast<void>(in.hear());
          ::_exit(0);
        }
        test::wait_for_ever();
      },
      line, release);
  parent.start();
  EXPECT_EQ(line.hear(), "daemon");
  parent.kill();
  parent.join();
  line.hang_up();
  EXPECT_EQ(line.hear(), "");  // the daemon has gone; the bare child still waits
  release.say("end");
}
#endif

// ---- scarcity ----

#if MULTIPROCESSING_POSIX
class Scarce {  // descriptors up to the one that is open now
 public:
  explicit Scarce(unsigned more) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit limit = before_;
    const int next = ::fcntl(0, F_DUPFD_CLOEXEC, 3);
    ::close(next);
    limit.rlim_cur = static_cast<rlim_t>(next) + more;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  Scarce(const Scarce&) = delete;
  Scarce& operator=(const Scarce&) = delete;
  ~Scarce() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: limits of resources
TEST(Scarcity, OfDescriptorsFailsTheStartAndNothingElse) {
  for (const auto method : mp::get_all_start_methods()) {
    int failures = 0;
    int successes = 0;
    for (unsigned more = 0; more < 20; ++more) {
      mp::Process process({.start_method = method}, nothing);
      bool started = true;
      {
        const Scarce scarce(more);
        try {
          process.start();
        } catch (const std::system_error& error) {
          started = false;
          EXPECT_EQ(error.code(), std::errc::too_many_files_open) << error.what();
        }
      }
      if (!started) {
        ++failures;
        EXPECT_FALSE(process.is_alive());
        process.start();  // there is room now
      } else {
        ++successes;
      }
      EXPECT_TRUE(process.join());
      if (!started) {
        EXPECT_EQ(process.exitcode(), 0);
      }
    }
    EXPECT_GT(failures, 0);
    EXPECT_GT(successes, 0);
  }
}
#endif

// ---- tasks ----

std::vector<int> seen;

TEST(Task, CallsItsFunctionWithItsArgumentsEveryTime) {
  seen.clear();
  const mp::Task task(
      [](int x, std::vector<int> more) {
        seen.push_back(x);
        seen.insert(seen.end(), more.begin(), more.end());
      },
      1, std::vector{2, 3});
  EXPECT_TRUE(static_cast<bool>(task));
  task();
  task();
  EXPECT_EQ(seen, (std::vector{1, 2, 3, 1, 2, 3}));
  const mp::Task none;
  EXPECT_FALSE(static_cast<bool>(none));
  none();
}

TEST(Task, ThatCannotBeCopiedIsCalledOnce) {
  mp::Task task([](std::unique_ptr<int> x) { seen.assign(1, *x); }, std::make_unique<int>(8));
  EXPECT_THROW(task(), std::logic_error);
  task.call_once();
  EXPECT_EQ(seen, std::vector{8});
  EXPECT_FALSE(static_cast<bool>(task));
}

TEST(Task, IsEmptyOnceItWasCalledOnce) {
  seen.clear();
  mp::Task plain([](int x) { seen.push_back(x); }, 1);
  plain.call_once();
  EXPECT_FALSE(static_cast<bool>(plain));
  plain.call_once();
  plain();
  EXPECT_EQ(seen, std::vector{1});

  const auto argument = std::make_shared<int>(2);
  mp::Task holding([](const std::shared_ptr<int>& x) { seen.push_back(*x); }, argument);
  EXPECT_EQ(argument.use_count(), 2);
  holding.call_once();
  EXPECT_FALSE(static_cast<bool>(holding));
  EXPECT_EQ(argument.use_count(), 1);
}

TEST(Task, LetsGoOfItsArgumentsWhenItThrows) {
  const auto argument = std::make_shared<int>(3);
  mp::Task task([](const std::shared_ptr<int>&) { throw std::runtime_error{"no"}; }, argument);
  EXPECT_THROW(task.call_once(), std::runtime_error);
  EXPECT_EQ(argument.use_count(), 1);
}

TEST(Task, TravelsWhenWhatItHoldsDoes) {
  seen.clear();
  const mp::Task task([](std::string text) { seen.push_back(static_cast<int>(text.size())); },
                      std::string{"four"});
  mp::Transit own_tree;
  const auto bytes = mp::dumps(task, &own_tree);
  mp::loads<mp::Task>(bytes, &own_tree)();
  EXPECT_EQ(seen, std::vector{4});
  EXPECT_THROW(static_cast<void>(mp::loads<mp::Task>(bytes)), mp::SerializationError);
  EXPECT_FALSE(static_cast<bool>(mp::loads<mp::Task>(mp::dumps(mp::Task{}))));
  int here = 0;
  const mp::Task stuck([&here] { ++here; });
  EXPECT_THROW(mp::dumps(stuck), mp::SerializationError);
}

}  // namespace
