// SPDX-License-Identifier: BSL-1.0
// The fork server as a process: one for a tree, its start and end, what its children see of it.
// Not on Windows: the fork server
#include <multiprocessing/launch.hpp>
#include <multiprocessing/process.hpp>

#include <support/captured.hpp>
#include <support/eventually.hpp>
#include <support/line.hpp>
#include <support/processes.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace mp = multiprocessing;
using test::Line;

namespace {

mp::ProcessOptions served(mp::ProcessOptions options = {}) {
  options.start_method = mp::StartMethod::forkserver;
  return options;
}

class ForkServer : public testing::Test {
 protected:
  void TearDown() override { mp::set_forkserver_preload({}); }
};

void say_parent(const Line& line) {
  line.say(std::to_string(::getppid()));
}
void wait_until_told(const Line& line) {
  static_cast<void>(line.hear());
}

// The pid of the server that serves this process.
int server() {
  const Line line;
  mp::Process process(served(), say_parent, line);
  process.start();
  const int pid = std::stoi(line.hear());
  process.join();
  return pid;
}

bool is_gone(int pid) {
  const std::string stat = test::first_line("/proc/" + std::to_string(pid) + "/stat");
  return stat.empty() || stat.find(") Z ") != std::string::npos;
}

void say_servers_down_to(int depth, const Line& line) {
  say_parent(line);
  if (depth == 0) return;
  for (const auto method : mp::get_all_start_methods()) {
    mp::Process process({.start_method = method}, say_servers_down_to, depth - 1, line);
    process.start();
    process.join();
  }
  line.say("at " + std::to_string(server()));
}

TEST_F(ForkServer, IsOneForAWholeTree) {
  const int ours = server();
  EXPECT_NE(ours, ::getpid());
  const Line line;
  mp::Process process(served(), say_servers_down_to, 2, line);
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  line.hang_up();
  std::set<std::string> servers;
  for (std::string text = line.hear(); !text.empty(); text = line.hear()) {
    if (text.starts_with("at ")) servers.insert(text);
  }
  EXPECT_EQ(servers, std::set<std::string>{"at " + std::to_string(ours)});
  EXPECT_EQ(server(), ours);
}

TEST_F(ForkServer, ChildHoldsItsStateAndStreamsAndNothingElse) {
  const Line unrelated;
  const Line hold;
  std::vector<mp::Process<>> siblings;
  for (int i = 0; i < 4; ++i) {
    const Line line;
    siblings.emplace_back(served(), wait_until_told, hold);
    siblings.back().start();
    mp::Process process(
        served(),
        [](const Line& to) { to.say(std::to_string(test::names_in("/proc/self/fd").size())); },
        line);
    process.start();
    // Three streams, the lifeline, the way to the server, the line's two, and the listing itself.
    EXPECT_EQ(line.hear(), "8");
    process.join();
  }
  for (std::size_t i = 0; i < siblings.size(); ++i) hold.say("end");
  for (auto& sibling : siblings) sibling.join();
}

TEST_F(ForkServer, ChildHasTheParentThatStartedIt) {
  const Line line;
  mp::Process process(
      served(), [](const Line& to) { to.say(std::to_string(mp::parent_process()->pid())); }, line);
  process.start();
  EXPECT_EQ(line.hear(), std::to_string(::getpid()));
  process.join();
}

TEST_F(ForkServer, ChildSeesTheFolderAndTheOutputsOfThatMoment) {
  server();
  const test::Captured out(STDOUT_FILENO);
  std::filesystem::create_directory("elsewhere");
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path("elsewhere");
  mp::Process process(served(),
                      [] { std::puts(std::filesystem::current_path().filename().c_str()); });
  process.start();
  process.join();
  std::filesystem::current_path(before);
  std::filesystem::remove("elsewhere");
  EXPECT_EQ(out.text(), "elsewhere\n");
}

TEST_F(ForkServer, ChildHasNothingOfItsParentsMemory) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizers reserve more memory than the parent here";
#endif
  constexpr std::size_t size = std::size_t{1} << 30U;
  void* const large =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(large, MAP_FAILED);
  const Line line;
  mp::Process process(
      served(), [](const Line& to) { to.say(test::first_line("/proc/self/statm")); }, line);
  process.start();
  const auto pages = std::stoull(line.hear());
  process.join();
  EXPECT_LT(pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), size);
  ::munmap(large, size);
}

TEST_F(ForkServer, ThatIsKilledHarmsNoChildAndIsReplaced) {
  const int first = server();
  const Line line;
  mp::Process child(
      served(), [](const Line& from) { throw mp::SystemExit(from.hear() == "go on" ? 7 : 1); },
      line);
  mp::Process killed(served(), wait_until_told, line);
  child.start();
  killed.start();
  ::kill(first, SIGKILL);
  EXPECT_NE(server(), first);
  EXPECT_TRUE(child.is_alive());
  killed.kill();
  killed.join();
  // The kernel tells since Linux 6.15; before that nobody knows.
  EXPECT_TRUE(killed.exitcode() == -SIGKILL || killed.exitcode() == 255) << *killed.exitcode();
  line.say("go on");
  child.join();
  EXPECT_EQ(child.exitcode(), 7);  // its own last word
}

TEST_F(ForkServer, ThatIsKilledIsReplacedAlsoByAChild) {
  const int first = server();
  const Line line;
  const Line go;
  mp::Process child(
      served(),
      [](const Line& from, const Line& to) {
        static_cast<void>(from.hear());
        to.say(std::to_string(server()));
      },
      go, line);
  child.start();
  ::kill(first, SIGKILL);
  go.say("go on");
  const int second = std::stoi(line.hear());
  EXPECT_NE(second, first);
  child.join();
  EXPECT_EQ(child.exitcode(), 0);
  test::eventually([&] { return is_gone(second); });  // it was the child's
}

void outlive_the_server(const Line& line) {
  const int server = ::getppid();
  line.say("here");
  test::eventually([&] { return ::getppid() != server; });
}

TEST_F(ForkServer, ThatIsKilledLeavesNoDeadChildToWhoInheritsItsChildren) {
  mp::Process heir({.start_method = mp::StartMethod::spawn}, [] {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    const int pid = server();
    const Line line;
    mp::Process child(served(), outlive_the_server, line);
    child.start();
    static_cast<void>(line.hear());
    ::kill(pid, SIGKILL);
    child.join();
    throw mp::SystemExit(::kill(*child.pid(), 0) != 0 ? *child.exitcode() : 1);
  });
  heir.start();
  heir.join();
  EXPECT_EQ(heir.exitcode(), 0);
}

TEST_F(ForkServer, EndsWithItsParentHoweverThatEnds) {
  for (const bool killed : {true, false}) {
    const Line line;
    const Line go;
    mp::Process parent(
        {.start_method = mp::StartMethod::spawn},
        [](const Line& to, const Line& from) {
          to.say(std::to_string(server()));
          static_cast<void>(from.hear());
        },
        line, go);
    parent.start();
    const int pid = std::stoi(line.hear());
    EXPECT_FALSE(is_gone(pid));
    if (killed) parent.kill();
    if (!killed) go.say("end");
    parent.join();
    test::eventually([&] { return is_gone(pid); });
  }
}

TEST_F(ForkServer, DoesNotHearCtrlC) {
  const int pid = server();
  const Line end;
  mp::Process running(served(), wait_until_told, end);
  running.start();
  ::kill(pid, SIGINT);
  EXPECT_EQ(server(), pid);
  end.say("now");
  running.join();
  EXPECT_EQ(running.exitcode(), 0);
  const Line line;
  mp::Process child(
      served(),
      [](const Line& to, const Line& from) {
        to.say("here");
        static_cast<void>(from.hear());
      },
      line, Line{});
  child.start();
  EXPECT_EQ(line.hear(), "here");
  child.interrupt();  // but its children do
  child.join();
  EXPECT_EQ(child.exitcode(), -SIGINT);
}

int table = 0;

TEST_F(ForkServer, DoesItsPreloadOnceBeforeItForks) {
  const test::Captured out(STDOUT_FILENO);
  mp::set_forkserver_preload(mp::Task{[](int value) {
                                        table = value;
                                        std::fputs("preloaded\n", stdout);
                                      },
                                      42});
  for (int i = 0; i < 3; ++i) {
    mp::Process process(served(), [] { throw mp::SystemExit(table); });
    process.start();
    process.join();
    EXPECT_EQ(process.exitcode(), 42);
  }
  EXPECT_EQ(table, 0);
  EXPECT_EQ(out.text(), "preloaded\n");
}

TEST_F(ForkServer, LosesNoInterruptOfItsChildsFirstMoment) {
  mp::set_forkserver_preload(mp::Task{[] {
    if (::pthread_atfork(nullptr, nullptr, [] { ::raise(SIGINT); }) != 0) {
      throw std::runtime_error{"pthread_atfork"};
    }
  }});
  mp::Process process(served(), [] { throw mp::SystemExit(5); });
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), -SIGINT);
}

TEST_F(ForkServer, LeavesItsPreloadsHandlersToItsChildrenAndIgnoresInterruptsItself) {
  mp::set_forkserver_preload(mp::Task{[] {
    for (const int signal : {SIGINT, SIGCHLD}) {
      if (std::signal(signal, [](int number) { ::_exit(number + 100); }) == SIG_ERR) {
        throw std::runtime_error{"signal"};
      }
    }
  }});
  const int number = server();
  ASSERT_EQ(::kill(number, SIGINT), 0);
  for (const int signal : {SIGINT, SIGCHLD}) {
    mp::Process process(
        served(), [](int which) { ::raise(which); }, signal);
    process.start();
    process.join();
    EXPECT_EQ(process.exitcode(), signal + 100);
  }
  EXPECT_EQ(server(), number);
}

TEST_F(ForkServer, GivesItsChildNoHandleThatLiesWhereAnOutputWasClosed) {
  const Line line;
  const int before = ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  const int other = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(::dup3(other, STDOUT_FILENO, O_CLOEXEC), STDOUT_FILENO);
  std::vector<std::string> found;
  for (const auto method : {mp::StartMethod::spawn, mp::StartMethod::forkserver}) {
    mp::Process process(
        {.start_method = method},
        [](const Line& to) {
          to.say(::fcntl(STDOUT_FILENO, F_GETFD) < 0 ? "nothing" : "something");
        },
        line);
    process.start();
    found.push_back(line.hear());
    process.join();
  }
  ::dup2(before, STDOUT_FILENO);
  ::close(before);
  ::close(other);
  EXPECT_EQ(found, (std::vector<std::string>{"nothing", "nothing"}));
}

void fork_one_that_stays() {
  const int pid = ::fork();
  if (pid == 0) {
    for (;;) ::pause();
  }
  std::ofstream{"stays"} << pid;
}

TEST_F(ForkServer, ThatIsKilledIsReplacedAlsoWhenItsPreloadForked) {
  mp::set_forkserver_preload(mp::Task{fork_one_that_stays});
  const int first = server();
  int stays = 0;
  std::ifstream{"stays"} >> stays;
  mp::set_forkserver_preload({});
  ::kill(first, SIGKILL);
  EXPECT_NE(server(), first);
  EXPECT_FALSE(is_gone(stays));
  ::kill(stays, SIGKILL);
  std::filesystem::remove("stays");
  test::eventually([&] { return is_gone(stays); });
}

TEST_F(ForkServer, WhosePreloadStartsProcessesLeavesItsChildrenNothingOfThem) {
  mp::set_forkserver_preload(mp::Task{[] {
    mp::Process process(served(), [] {});
    process.start();
    process.join();
  }});
  mp::Process process(served(), [] {
    throw mp::SystemExit(static_cast<int>(test::names_in("/proc/self/fd").size()));
  });
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 6);  // three streams, the lifeline, the server, the listing
}

std::string refusal(mp::Task preload) {
  mp::set_forkserver_preload(std::move(preload));
  mp::Process process(served(), [] {});
  try {
    process.start();
  } catch (const std::exception& error) {
    EXPECT_FALSE(process.is_alive());
    return error.what();
  }
  process.join();
  return "it started";
}

TEST_F(ForkServer, WhosePreloadFailsSaysSo) {
  const std::string text = refusal(mp::Task{[] { throw std::runtime_error("no such table"); }});
  EXPECT_NE(text.find("no such table"), std::string::npos) << text;
}

TEST_F(ForkServer, WithMoreThanOneThreadRefuses) {
  const std::string text = refusal(mp::Task{[] { std::thread{[] { ::pause(); }}.detach(); }});
  EXPECT_NE(text.find("more than one thread"), std::string::npos) << text;
}

TEST_F(ForkServer, ThatCannotBeginIsNotTriedForEver) {
  const std::string text = refusal(mp::Task{[] { ::_exit(3); }});
  EXPECT_NE(text.find("ended each time"), std::string::npos) << text;
  EXPECT_NE(text.find("exit code 3"), std::string::npos) << text;
}

TEST_F(ForkServer, KeepsNoFileSystem) {
  EXPECT_EQ(std::filesystem::read_symlink("/proc/" + std::to_string(server()) + "/cwd"), "/");
}

// Its child's rights, as a line of /proc, and whether it may get more.
void say_rights(const Line& line) {
  std::ifstream status{"/proc/self/status"};
  std::string all;
  for (std::string text; std::getline(status, text);) {
    for (const char* const what : {"Uid:", "Gid:", "Groups:", "NoNewPrivs:"}) {
      if (text.starts_with(what)) all += text + ";";
    }
  }
  line.say(all);
}
std::string rights_of_a_child(mp::StartMethod method) {
  const Line line;
  mp::Process process({.start_method = method}, say_rights, line);
  process.start();
  std::string rights = line.hear();
  process.join();
  return rights;
}

void expect_dropped_rights_to_stay_dropped(const std::function<void()>& drop) {
  mp::Process process({.start_method = mp::StartMethod::fork}, [&] {
    const std::string before = rights_of_a_child(mp::StartMethod::forkserver);
    drop();
    const std::string ours = rights_of_a_child(mp::StartMethod::fork);
    if (ours == before) throw mp::SystemExit("nothing was dropped: " + ours);
    for (int i = 0; i < 2; ++i) {
      const std::string served = rights_of_a_child(mp::StartMethod::forkserver);
      if (served != ours) throw mp::SystemExit("a child has " + served + " instead of " + ours);
    }
  });
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

TEST_F(ForkServer, GivesNoRightsBackThatItsStarterHasGivenUp) {
  expect_dropped_rights_to_stay_dropped([] { ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); });
}

TEST_F(ForkServer, ActsAsTheUserThatItsStarterHasBecome) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  constexpr unsigned nobody = 65534;
  expect_dropped_rights_to_stay_dropped([] {
    if (::setgroups(0, nullptr) != 0 || ::setresgid(nobody, nobody, nobody) != 0 ||
        ::setresuid(nobody, nobody, nobody) != 0) {
      throw mp::SystemExit("cannot become nobody");
    }
  });
  expect_dropped_rights_to_stay_dropped([] {
    const gid_t group = 1;
    if (::setgroups(1, &group) != 0) throw mp::SystemExit("cannot change groups");
  });
}

TEST_F(ForkServer, ThatIsStoppedHoldsUpNobodyElse) {
  const int pid = server();
  mp::Process process(served(), [] {
    for (;;) ::pause();
  });
  process.start();
  ::kill(pid, SIGSTOP);
  process.kill();  // and nobody says how it ended
  std::thread waiting{[&] { process.join(); }};
  // Who waited with the state's mutex held, for 50 of each 51 ms, made nearly each one wait.
  constexpr int asked = 100;
  int quick = 0;
  for (int i = 0; i < asked; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    static_cast<void>(mp::current_process().name());
    if (std::chrono::steady_clock::now() - begin < std::chrono::milliseconds{10}) ++quick;
    mp::os::pause_for(std::chrono::milliseconds{1}, {});
  }
  EXPECT_GT(quick, asked / 2);
  ::kill(pid, SIGCONT);
  waiting.join();
  EXPECT_EQ(process.exitcode(), -SIGKILL);
}

TEST_F(ForkServer, TakesMoreHandlesThanOnePacketCarries) {
  constexpr int many = 300;
  std::vector<Line> lines(many);
  mp::Process process(
      served(),
      [](const std::vector<Line>& all) {
        for (const Line& line : all) line.say("here");
      },
      lines);
  process.start();
  for (const Line& line : lines) EXPECT_EQ(line.hear(), "here");
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

TEST_F(ForkServer, ServesManyThreadsAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 10; ++round) {
        mp::Process process(
            served(), [](int code) { throw mp::SystemExit(code); }, i);
        process.start();
        process.join();
        if (process.exitcode() == i) ++right;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(right, 80);
}

}  // namespace
