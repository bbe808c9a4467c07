// SPDX-License-Identifier: BSL-1.0
// What a process is and does, whichever way it was started.
#include <multiprocessing/process.hpp>

#include <support/codes.hpp>
#include <support/eventually.hpp>
#include <support/line.hpp>
#include <support/processes.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if MULTIPROCESSING_POSIX
#  include <poll.h>
#  include <sys/wait.h>
#endif
#include <unistd.h>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::eventually;
using test::Line;

namespace {

void nothing() {}
void wait_for_ever() {
  test::wait_for_ever();
}
[[noreturn]] void say_and_wait_for_ever(const Line& line) {
  line.say("ready");
  test::wait_for_ever();
}
bool is_ready(mp::native_handle_type handle) {
  return mp::os::wait_ready(handle, mp::detail::Deadline{0s});
}
bool is_active(int pid) {
  const auto active = mp::active_children();
  return std::ranges::any_of(active, [&](const auto& child) { return child.pid() == pid; });
}

class Process : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(Process);

// ---- a life ----

void describe_yourself(const Line& line, int number, const std::string& text) {
  const auto current = mp::current_process();
  line.say(current.name() + " " + std::to_string(current.pid()) + " " + std::to_string(number) +
           " " + text + (current.daemon() ? " daemon" : " no daemon"));
  line.say(current.authkey());
}

TEST_P(Process, LivesFromStartToItsExitCode) {
  const Line line;
  mp::Process process(describe_yourself, line, 7, std::string{"seven"});
  const std::string name = process.name();
  EXPECT_FALSE(process.is_alive());
  EXPECT_EQ(process.exitcode(), std::nullopt);
  EXPECT_EQ(process.pid(), std::nullopt);
  EXPECT_FALSE(process.daemon());

  process.start();
  const int pid = process.pid().value();
  EXPECT_EQ(process.ident(), pid);
  EXPECT_EQ(line.hear(), name + " " + std::to_string(pid) + " 7 seven no daemon");
  EXPECT_EQ(line.hear(), mp::current_process().authkey());
  EXPECT_TRUE(process.join());
  EXPECT_FALSE(process.is_alive());
  EXPECT_EQ(process.exitcode(), 0);
  EXPECT_EQ(process.pid(), pid);
  EXPECT_FALSE(is_active(pid));
  EXPECT_TRUE(process.join());
}

TEST_P(Process, IsActiveFromStartToJoin) {
  mp::Process process({.name = "sleeper"}, wait_for_ever);
  EXPECT_TRUE(mp::active_children().empty());
  process.start();
  const auto children = mp::active_children();
  ASSERT_EQ(children.size(), 1U);
  const mp::ChildProcess child = children.front();
  EXPECT_EQ(child.name(), "sleeper");
  EXPECT_EQ(child.pid(), process.pid());
  EXPECT_TRUE(child.is_alive());
  EXPECT_EQ(child.exitcode(), std::nullopt);
  EXPECT_FALSE(child.join(0s));
  EXPECT_FALSE(is_ready(child.sentinel()));
  child.terminate();
  EXPECT_TRUE(child.join());
  EXPECT_TRUE(is_ready(child.sentinel()));
  EXPECT_EQ(child.exitcode(), -SIGTERM);
  EXPECT_EQ(process.exitcode(), -SIGTERM);
  EXPECT_TRUE(mp::active_children().empty());
}

TEST_P(Process, IsKeptByTheLibraryWhenItsObjectHasGone) {
  const Line line;
  { mp::Process({.name = "orphan"}, say_and_wait_for_ever, line).start(); }
  EXPECT_EQ(line.hear(), "ready");
  const auto children = mp::active_children();
  ASSERT_EQ(children.size(), 1U);
  EXPECT_EQ(children[0].name(), "orphan");
  children[0].kill();
  EXPECT_TRUE(children[0].join());
  EXPECT_EQ(children[0].exitcode(), test::killed_code);
}

TEST_P(Process, CanBeTerminatedKilledAndInterrupted) {
  const std::pair<void (mp::BaseProcess::*)(), int> ways[] = {
      {&mp::BaseProcess::terminate, -SIGTERM},
      {&mp::BaseProcess::kill, test::killed_code},
      {&mp::BaseProcess::interrupt, test::interrupted_code}};
  for (const auto& [way, code] : ways) {
    const Line line;
    mp::Process process(say_and_wait_for_ever, line);
    process.start();
    EXPECT_EQ(line.hear(), "ready");
    EXPECT_TRUE(process.is_alive());
    EXPECT_FALSE(process.join(0s));
    EXPECT_FALSE(process.join(-1s));
    EXPECT_FALSE(process.join(1ms));
    (process.*way)();
    EXPECT_TRUE(process.join());
    EXPECT_EQ(process.exitcode(), code);
    (process.*way)();  // it does not hear it
  }
}

#if MULTIPROCESSING_POSIX  // not on Windows: signals
TEST_P(Process, IsAliveWhileItIsStopped) {
  const Line line;
  mp::Process process(say_and_wait_for_ever, line);
  process.start();
  EXPECT_EQ(line.hear(), "ready");
  ASSERT_EQ(::kill(*process.pid(), SIGSTOP), 0);
  const std::string status = "/proc/" + std::to_string(*process.pid()) + "/stat";
  ASSERT_TRUE(
      test::eventually([&] { return test::first_line(status).find(") T ") != std::string::npos; }));
  EXPECT_TRUE(process.is_alive());
  EXPECT_FALSE(process.join(10ms));
  EXPECT_EQ(process.exitcode(), std::nullopt);
  ASSERT_EQ(::kill(*process.pid(), SIGCONT), 0);
  EXPECT_TRUE(process.is_alive());
  process.kill();
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), test::killed_code);
}
#endif

void wait_until_told(const Line& line) {
  static_cast<void>(line.hear());
}

TEST_P(Process, HasASentinelThatIsReadyAfterItsEnd) {
  const Line line;
  mp::Process process(wait_until_told, line);
  EXPECT_THROW(static_cast<void>(process.sentinel()), std::invalid_argument);
  process.start();
  const auto sentinel = process.sentinel();
  EXPECT_FALSE(is_ready(sentinel));
  line.say("end");
  EXPECT_TRUE(process.join());
  EXPECT_TRUE(is_ready(sentinel));
  EXPECT_EQ(process.sentinel(), sentinel);
}

#if MULTIPROCESSING_POSIX  // not on Windows: /proc
TEST_P(Process, CostsItsParentFewDescriptorsThenOneThenNone) {
  const auto count = [] { return test::names_in("/proc/self/fd").size(); };
  const Line line;
  mp::Process first([] {});  // a fork server is there from now on
  first.start();
  first.join();
  first.close();
  const auto before = count();
  mp::Process process(wait_until_told, line);
  process.start();
  // Lifeline and sentinel, and the word of a fork server.
  EXPECT_EQ(count(), before + (GetParam() == mp::StartMethod::forkserver ? 3 : 2));
  line.say("end");
  process.join();
  EXPECT_EQ(count(), before + 1);
  process.close();
  EXPECT_EQ(count(), before);
}
#endif

TEST_P(Process, CanBeClosedOnceItHasEnded) {
  const Line line;
  mp::Process process({.name = "closed"}, wait_until_told, line);
  process.start();
  EXPECT_THROW(process.close(), std::invalid_argument);
  EXPECT_TRUE(process.is_alive());
  line.say("end");
  EXPECT_TRUE(process.join());
  process.close();
  process.close();
  EXPECT_EQ(process.name(), "closed");
  EXPECT_THROW(static_cast<void>(process.is_alive()), std::invalid_argument);
  EXPECT_THROW(process.join(), std::invalid_argument);
  EXPECT_THROW(process.terminate(), std::invalid_argument);
  EXPECT_THROW(process.kill(), std::invalid_argument);
  EXPECT_THROW(process.interrupt(), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(process.exitcode()), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(process.pid()), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(process.sentinel()), std::invalid_argument);
  EXPECT_THROW(process.start(), std::invalid_argument);
}

TEST_P(Process, StartsOnce) {
  mp::Process process(nothing);
  process.start();
  EXPECT_THROW(process.start(), std::logic_error);
  EXPECT_TRUE(process.join());
  EXPECT_THROW(process.start(), std::logic_error);
  EXPECT_THROW(process.set_daemon(true), std::logic_error);
}

TEST_P(Process, RunsBesideManyOthers) {
  const int count = forks() ? 100 : 5;
  for (const bool terminated : {false, true}) {
    std::vector<mp::Process<>> processes;
    for (int i = 0; i < count; ++i) {
      terminated ? processes.emplace_back(wait_for_ever) : processes.emplace_back(nothing);
    }
    for (auto& process : processes) process.start();
    for (auto& process : processes) {
      if (terminated) process.terminate();
    }
    for (auto& process : processes) EXPECT_TRUE(process.join());
    for (auto& process : processes) EXPECT_EQ(process.exitcode(), terminated ? -SIGTERM : 0);
  }
}

// ---- what it is given ----

struct Point {
  int x = 0;
  std::string label;
};

void check_arguments(const std::vector<int>& numbers,
                     const std::map<std::string, double>& table,
                     const Point& point,
                     std::unique_ptr<int> owned) {
  const bool right = numbers == std::vector{1, 2, 3} && table.at("pi") == 3.14 && point.x == 5 &&
                     point.label == "five" && *owned == 9;
  throw mp::SystemExit(right ? 40 : 41);
}

TEST_P(Process, GetsItsArgumentsUnchanged) {
  mp::Process process(check_arguments, std::vector{1, 2, 3},
                      std::map<std::string, double>{{"pi", 3.14}}, Point{5, "five"},
                      std::make_unique<int>(9));
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 40);
}

void check_text(const std::string& text, const char* where) {
  throw mp::SystemExit(text == "text" && std::string{where} == "here" ? 0 : 9);
}

TEST_P(Process, GetsTextAsAString) {
  mp::Process process([](std::string text) { throw mp::SystemExit(text == "text" ? 0 : 9); },
                      "text");
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);

  mp::Process wants_a_pointer(check_text, "text", "here");  // which only fork can give
  if (!forks()) {
    EXPECT_THROW(wants_a_pointer.start(), mp::SerializationError);
    return;
  }
  wants_a_pointer.start();
  wants_a_pointer.join();
  EXPECT_EQ(wants_a_pointer.exitcode(), 0);
}

struct Plant {
  int height = 0;
  void grow(int by) const { throw mp::SystemExit(height + by); }
};
struct Adder {
  int base = 0;
  void operator()(int more) const { throw mp::SystemExit(base + more); }
};
void add(int a, int b) {
  throw mp::SystemExit(a + b);
}

TEST_P(Process, TakesEveryKindOfTarget) {
  const auto lambda = [](int a, int b) { throw mp::SystemExit(a + b); };
  std::vector<mp::Process<>> processes;
  processes.emplace_back(add, 40, 2);
  processes.emplace_back(&add, 40, 2);
  processes.emplace_back(&Plant::grow, Plant{40}, 2);
  processes.emplace_back(lambda, 40, 2);
  processes.emplace_back([](int x) { throw mp::SystemExit(x); }, 42);
  processes.emplace_back(Adder{40}, 2);
  for (auto& process : processes) {
    process.start();
    process.join();
    EXPECT_EQ(process.exitcode(), 42);
  }
}

TEST_P(Process, ThatCannotTravelIsRefusedByStartExceptUnderFork) {
  int here = 42;
  int* const pointer = &here;
  mp::Process capturing([pointer] { throw mp::SystemExit(*pointer); });
  mp::Process referring([](std::reference_wrapper<int> x) { throw mp::SystemExit(x); },
                        std::ref(here));
  for (auto* const process : {&capturing, &referring}) {
    if (forks()) {
      process->start();
      process->join();
      EXPECT_EQ(process->exitcode(), 42);
      continue;
    }
    try {
      process->start();
      FAIL() << "started";
    } catch (const mp::SerializationError& error) {
      const std::string what = error.what();
      const bool names = what.find("lambda") != std::string::npos ||
                         what.find("reference_wrapper<int>") != std::string::npos;
      EXPECT_TRUE(names) << what;
      EXPECT_NE(what.find("fork"), std::string::npos) << what;
    }
    EXPECT_EQ(process->pid(), std::nullopt);
    EXPECT_FALSE(process->is_alive());
  }
  EXPECT_TRUE(mp::active_children().empty());
}

void drop(const std::shared_ptr<int>&, const Line&) {}

TEST_P(Process, ReleasesTargetAndArgumentsAfterItsStart) {
  auto held = std::make_shared<int>(1);
  const std::weak_ptr<int> seen = held;
  mp::Process process(drop, std::move(held), Line{});
  EXPECT_FALSE(seen.expired());
  process.start();
  EXPECT_TRUE(seen.expired());
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

void expect_size(const std::string& text) {
  throw mp::SystemExit(text.size() == (8U << 20U) && text.back() == 'x' ? 0 : 9);
}

TEST_P(Process, GetsLargeArgumentsWithoutWaitingForTheChild) {
  mp::Process process(expect_size, std::string(8U << 20U, 'x'));
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

// ---- classes ----

class UpperCaser : public mp::Process<UpperCaser> {
 public:
  UpperCaser(Line requests, Line answers)
      : requests_{std::move(requests)}, answers_{std::move(answers)} {}
  void run() override {
    requests_.hang_up();
    for (std::string text = requests_.hear(); !text.empty(); text = requests_.hear()) {
      for (char& c : text) c = static_cast<char>(std::toupper(c));
      answers_.say(text);
    }
  }
  [[nodiscard]] auto reduce() const { return mp::arguments(requests_, answers_); }

 private:
  Line requests_;
  Line answers_;
};

TEST_P(Process, SubclassServesUntilItsClientHangsUp) {
  const Line requests;
  const Line answers;
  UpperCaser server(requests, answers);
  server.start();
  requests.say("hello");
  EXPECT_EQ(answers.hear(), "HELLO");
  requests.say("world");
  EXPECT_EQ(answers.hear(), "WORLD");
  requests.hang_up();
  EXPECT_TRUE(server.join());
  EXPECT_EQ(server.exitcode(), 0);
}

class SelfAware : public mp::Process<SelfAware> {
 public:
  explicit SelfAware(Line line) : Process({.name = "ego"}), line_{std::move(line)} {}
  void run() override {
    line_.say(name() + (is_alive() ? " alive " : " dead ") + std::to_string(*pid()) +
              (exitcode() ? " ended" : " running") + (daemon() ? " daemon" : ""));
    try {
      join();
    } catch (const std::logic_error&) {
      line_.say("cannot join myself");
    }
    try {
      start();
    } catch (const std::logic_error&) {
      line_.say("cannot start myself");
    }
    set_name("id");
    line_.say(mp::current_process().name());
  }
  [[nodiscard]] auto reduce() const { return mp::arguments(line_); }

 private:
  Line line_;
};

TEST_P(Process, ObjectIsTheCurrentProcessInTheChild) {
  const Line line;
  SelfAware process(line);
  process.set_name("super-ego");
  process.set_daemon(true);
  process.start();
  EXPECT_EQ(line.hear(), "super-ego alive " + std::to_string(*process.pid()) + " running daemon");
  EXPECT_EQ(line.hear(), "cannot join myself");
  EXPECT_EQ(line.hear(), "cannot start myself");
  EXPECT_EQ(line.hear(), "id");
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 0);
  EXPECT_EQ(process.name(), "super-ego");
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
class Silent : public mp::Process<Silent> {
  void run() override {}
};

TEST_P(Process, SubclassWithoutReduceCanOnlyBeForked) {
  Silent process;
  if (forks()) {
    process.start();
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
    return;
  }
  try {
    process.start();
    FAIL() << "started";
  } catch (const mp::SerializationError& error) {
    const std::string what = error.what();
    EXPECT_NE(what.find("Silent"), std::string::npos) << what;
    EXPECT_NE(what.find("auto reduce() const"), std::string::npos) << what;
  }
  EXPECT_FALSE(process.is_alive());
}
#endif

class Derived : public UpperCaser {
 public:
  using UpperCaser::UpperCaser;
};

TEST_P(Process, OfAClassThatWouldBeSlicedIsRefused) {
  Derived process(Line{}, Line{});
  try {
    process.start();
    FAIL() << "started";
  } catch (const std::logic_error& error) {
    const std::string what = error.what();
    EXPECT_NE(what.find("UpperCaser"), std::string::npos) << what;
    EXPECT_NE(what.find("Derived"), std::string::npos) << what;
  }
}

template <class D>
class Base : public mp::Process<D> {
 public:
  void run() override { throw mp::SystemExit(static_cast<D*>(this)->code()); }
};
class Seven : public Base<Seven> {
 public:
  [[nodiscard]] int code() const { return 7; }
  [[nodiscard]] auto reduce() const { return mp::arguments(); }
};

TEST_P(Process, ClassesMayHaveABaseThatPassesTheParameterOn) {
  Seven process;
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 7);
}

// ---- relatives ----

void name_yourself(const Line& line, int depth, int parent) {
  line.say(mp::current_process().name() + " < " + mp::parent_process()->name() +
           (mp::parent_process()->pid() == parent ? "" : " wrong pid") +
           (mp::parent_process()->is_alive() ? "" : " dead"));
  if (depth == 0) return;
  for (int i = 0; i < 2; ++i) {
    mp::Process child(name_yourself, line, depth - 1, ::getpid());
    child.start();
    child.join();
  }
}

TEST_P(Process, MayHaveChildrenDownToAnyDepth) {
  EXPECT_EQ(mp::parent_process().has_value(), false);
  EXPECT_EQ(mp::current_process().name(), "MainProcess");
  const Line line;
  mp::Process process(name_yourself, line, 2, ::getpid());
  const std::string root = process.name();
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  EXPECT_EQ(line.hear(), root + " < MainProcess");
  EXPECT_EQ(line.hear(), root + ":1 < " + root);
  EXPECT_EQ(line.hear(), root + ":1:1 < " + root + ":1");
  EXPECT_EQ(line.hear(), root + ":1:2 < " + root + ":1");
  EXPECT_EQ(line.hear(), root + ":2 < " + root);
  EXPECT_EQ(line.hear(), root + ":2:1 < " + root + ":2");
  EXPECT_EQ(line.hear(), root + ":2:2 < " + root + ":2");
}

void watch_parent(const Line& line) {
  const auto parent = mp::parent_process();
  line.say(parent->is_alive() && !parent->join(0s) && !is_ready(parent->sentinel()) ? "alive"
                                                                                    : "dead");
  parent->join();
  line.say(!parent->is_alive() && parent->join(0s) && is_ready(parent->sentinel()) ? "dead"
                                                                                   : "alive");
}
void have_child_that_watches(const Line& line) {
  mp::Process child(watch_parent, line);
  child.start();
  wait_for_ever();
}

TEST_P(Process, SeesTheDeathOfItsParent) {
  for (const auto end : {&mp::BaseProcess::terminate, &mp::BaseProcess::kill}) {
    const Line line;
    mp::Process process(have_child_that_watches, line);
    process.start();
    EXPECT_EQ(line.hear(), "alive");
    (process.*end)();
    EXPECT_EQ(line.hear(), "dead");
    process.join();
    line.hang_up();
    EXPECT_EQ(line.hear(), "");  // the grandchild has ended too
  }
}

void say_start_method(const Line& line) {
  const auto fixed = mp::get_start_method(true);
  line.say(!fixed ? "none" : *fixed == mp::StartMethod::fork ? "fork" : "spawn");
}

TEST_P(Process, InheritsTheDefaultStartMethod) {
  const Line line;
  mp::Process process(say_start_method, line);
  process.start();
  EXPECT_EQ(line.hear(), forks() ? "fork" : "spawn");
  process.join();
}

TEST_P(Process, StartMethodOfItsOwnFixesNoDefault) {
  TearDown();
  const Line line;
  mp::Process process({.start_method = GetParam()}, say_start_method, line);
  process.start();
  EXPECT_EQ(line.hear(), "none");
  process.join();
  EXPECT_EQ(mp::get_start_method(true), std::nullopt);
}

}  // namespace
