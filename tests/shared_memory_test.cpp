// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/logging.hpp>
#include <multiprocessing/shared_memory.hpp>

#include <support/captured.hpp>
#include <support/child.hpp>
#include <support/eventually.hpp>
#if MULTIPROCESSING_POSIX
#  include <support/forked.hpp>
#endif

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include <signal.h>
#if MULTIPROCESSING_POSIX
#  include <sys/wait.h>
#endif
#include <unistd.h>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using namespace std::string_literals;
using test::Child;
using test::eventually;
#if MULTIPROCESSING_POSIX
using test::Forked;
#endif

namespace {

std::string unique(const std::string& text) {
  return "mp-test-" + std::to_string(::getpid()) + "-" + text;
}

template <class Call>
int error_of(Call call) {
  try {
    call();
    return 0;
  } catch (const std::system_error& error) {
    return error.code().value();
  }
}
mp::SharedMemory created(std::size_t size, std::optional<std::string> name = {}) {
  return mp::SharedMemory{{.name = std::move(name), .create = true, .size = size}};
}
mp::SharedMemory attached(const std::string& name) {
  return mp::SharedMemory{{.name = name}};
}
bool exists(const std::string& name) {
#if MULTIPROCESSING_POSIX
  return std::filesystem::exists("/dev/shm/" + name);
#else
  return error_of([&] { attached(name); }) == 0;
#endif
}

#if MULTIPROCESSING_POSIX
// Runs Python code; what it printed.
std::string python(const std::string& code) {
  const std::string file = "script.py";
  // Before 3.13, Python tracks, and removes, what it attaches to.
  std::ofstream{file} << "from multiprocessing import shared_memory, resource_tracker\n"
                         "resource_tracker.register = lambda *names: None\n"
                         "resource_tracker.unregister = lambda *names: None\n"
                      << code;
  std::FILE* const out = ::popen(("python3 -B " + file + " 2>&1").c_str(), "r");
  std::string text;
  for (int c = std::fgetc(out); c != EOF; c = std::fgetc(out)) text += static_cast<char>(c);
  EXPECT_EQ(::pclose(out), 0) << text;
  std::filesystem::remove(file);
  return text;
}
#endif

std::vector<std::byte> bytes(std::string_view text) {
  const auto span = std::as_bytes(std::span{text});
  return {span.begin(), span.end()};
}

#if MULTIPROCESSING_POSIX
// A process that has the segment's name ready in a pipe, and is then killed.
class Creator {
 public:
  template <class Work>
  explicit Creator(Work work)
      : process_{[&] {
          work();
          test::wait_for_ever();
        }} {}
  void kill() { process_.kill(); }
  [[nodiscard]] int pid() const { return process_.pid(); }

 private:
  Forked process_;
};

std::vector<int> trackers_of(int creator) {
  std::vector<int> found;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
    std::ifstream file{entry.path() / "environ"};
    const std::string text{std::istreambuf_iterator<char>{file}, {}};
    const std::string variable = "MULTIPROCESSING_TRACKER=" + std::to_string(creator);
    if (text.find(variable + '\0') != std::string::npos) {
      found.push_back(std::stoi(entry.path().filename()));
    }
  }
  return found;
}
#endif

}  // namespace

TEST(SharedMemory, IsTheSameForAllWhoKnowItsName) {
  const std::string name = unique("basics");
  mp::SharedMemory first = created(512, name);
  EXPECT_EQ(first.name(), name);
  const std::size_t size = MULTIPROCESSING_WINDOWS ? 4096 : 512;  // Windows counts in pages
  EXPECT_EQ(first.buf().size(), first.size());
  EXPECT_TRUE(std::ranges::all_of(first.buf(), [](std::byte b) { return b == std::byte{0}; }));
  first.buf()[511] = std::byte{7};
  mp::SharedMemory second{{.name = name, .size = 5}};  // its size is what it is
  EXPECT_EQ(second.size(), size);
  EXPECT_EQ(second.buf()[511], std::byte{7});
  EXPECT_EQ(
      (Child{[](const std::string& its) { attached("/" + its).buf()[0] = std::byte{9}; }, name}
           .join()),
      0);
  EXPECT_EQ(first.buf()[0], std::byte{9});
  second.close();
  second.close();
  EXPECT_THROW(static_cast<void>(second.buf()), std::invalid_argument);
  EXPECT_EQ(second.name(), name);
  EXPECT_EQ(second.size(), size);
  EXPECT_TRUE(exists(name));
  first.unlink();
  EXPECT_EQ(exists(name), MULTIPROCESSING_WINDOWS != 0);  // there it goes with its last user
  EXPECT_EQ(first.buf()[511], std::byte{7});
#if MULTIPROCESSING_POSIX
  EXPECT_EQ(error_of([&] { first.unlink(); }), ENOENT);
#endif
  first.close();
  EXPECT_EQ(error_of([&] { attached(name); }), ENOENT);
}

TEST(SharedMemory, RefusesMisuseAsPythonDoes) {
  using Options = mp::SharedMemoryOptions;
  const auto make = [](const Options& options) { return mp::SharedMemory{options}; };
  EXPECT_THROW(make({}), std::invalid_argument);
  EXPECT_THROW(make({.create = true}), std::invalid_argument);
  EXPECT_THROW(make({.create = true, .size = static_cast<std::size_t>(-1)}), std::invalid_argument);
  EXPECT_THROW(make({.name = "with\0nul"s}), std::invalid_argument);
  EXPECT_THROW(make({.name = "with\0nul"s, .create = true, .size = 1}), std::invalid_argument);
  const auto error = [&](const Options& options) { return error_of([&] { make(options); }); };
  EXPECT_EQ(error({.name = unique("missing")}), ENOENT);
  EXPECT_EQ(error({.name = "a/b", .create = true, .size = 1}), EINVAL);
#if MULTIPROCESSING_POSIX
  EXPECT_EQ(error({.name = ".."}), EINVAL);
#endif
  EXPECT_EQ(error({.name = "", .create = true, .size = 1}), EINVAL);
  EXPECT_EQ(error({.name = std::string(256, 'x'), .create = true, .size = 1}), ENAMETOOLONG);
  EXPECT_NE(error({.create = true, .size = std::size_t{1} << 60U}), 0);
  const std::string name = unique("twice");
  const auto first = created(1, name);
  EXPECT_EQ(error({.name = name, .create = true, .size = 1}), EEXIST);
  EXPECT_TRUE(exists(name));
}

TEST(SharedMemoryName, IsMadeUpWhenNoneIsGiven) {
  const auto first = created(10);
  const auto second = created(10);
  EXPECT_NE(first.name(), second.name());
  EXPECT_EQ(first.name().size(), 12U);
  EXPECT_TRUE(first.name().starts_with("psm_"));
}

TEST(SharedMemoryName, MayHaveAnyCharactersButTwo) {
  const std::string odd = unique("a:b\nc d\xFF*");
  {
    const auto first = created(10, odd);
    EXPECT_EQ(attached(odd).size(), first.size());
  }
  EXPECT_FALSE(exists(odd));
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(SharedMemoryName, GoesWithItsCreatorsLastCopyOnly) {
  const std::string name = unique("owner");
  {
    std::optional<mp::SharedMemory> first{created(10, name)};
    const mp::SharedMemory copy{*first};
    first.reset();
    EXPECT_EQ(attached(name).size(), 10U);
    EXPECT_EQ(Forked{[] {}}.join(), 0);
    EXPECT_EQ(Forked{[&] {
                attached(name);
                mp::SharedMemory{copy}.close();
              }}.join(),
              0);
    EXPECT_TRUE(exists(name));
  }
  EXPECT_FALSE(exists(name));
  {
    std::optional<mp::SharedMemory> only{created(10, name)};
    EXPECT_EQ(Forked{[&] { only.reset(); }}.join(), 0);  // the last one there, which owns nothing
    EXPECT_TRUE(exists(name));
  }
  EXPECT_FALSE(exists(name));
  { mp::SharedMemory kept{{.name = name, .create = true, .size = 10, .track = false}}; }
  EXPECT_TRUE(exists(name));
  attached(name).unlink();
  EXPECT_FALSE(exists(name));
}
#endif

#if MULTIPROCESSING_WINDOWS
TEST(SharedMemoryName, GoesWithItsLastUser) {
  const std::string name = unique("user");
  std::optional<mp::SharedMemory> first{created(10, name)};
  std::optional<mp::SharedMemory> second{attached(name)};
  first.reset();
  EXPECT_TRUE(exists(name));
  second.reset();
  EXPECT_FALSE(exists(name));
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: names go with their last user
TEST(SharedMemoryName, OfAnotherMemoryIsLeftAlone) {
  const std::string name = unique("another");
  std::optional<mp::SharedMemory> first{created(10, name)};
  attached(name).unlink();
  const auto second = created(20, name);
  EXPECT_EQ(error_of([&] { first->unlink(); }), ENOENT);
  first.reset();
  EXPECT_EQ(attached(name).size(), 20U);
}
#endif

TEST(SharedMemoryTransit, AttachesByName) {
  mp::SharedMemory memory = created(10);
  const auto sent = mp::dumps(memory);
  mp::loads<mp::SharedMemory>(sent).buf()[3] = std::byte{4};
  EXPECT_EQ(memory.buf()[3], std::byte{4});
  memory.buf()[3] = std::byte{5};
  EXPECT_EQ(mp::loads<mp::SharedMemory>(sent).buf()[3], std::byte{5});
  mp::ShareableList list{1, "x"};
  const auto list_sent = mp::dumps(list);
  mp::loads<mp::ShareableList>(list_sent).set(0, 5);
  EXPECT_EQ(list[0], mp::ShareableItem{5});
  list.set(1, "y");
  EXPECT_EQ(mp::loads<mp::ShareableList>(list_sent)[1], mp::ShareableItem{"y"});
  const mp::ShareableList long_list{std::vector<mp::ShareableItem>(1000, mp::ShareableItem{1})};
  EXPECT_EQ(mp::dumps(long_list).size(), list_sent.size());  // it is the name that travels
  memory.unlink();
  list.shm().unlink();
  memory.close();
  list.shm().close();
  EXPECT_EQ(error_of([&] { static_cast<void>(mp::loads<mp::SharedMemory>(sent)); }), ENOENT);
  EXPECT_EQ(error_of([&] { static_cast<void>(mp::loads<mp::ShareableList>(list_sent)); }), ENOENT);
}

#if MULTIPROCESSING_POSIX  // not on Windows: a section has pages
TEST(SharedMemoryName, OfNothingIsRefused) {
  const std::string name = unique("empty");
  { const std::ofstream nothing{"/dev/shm/" + name}; }
  try {
    static_cast<void>(attached(name));
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_EQ(error.what(), "the shared memory \"" + name + "\" in /dev/shm is empty");
  }
  EXPECT_TRUE(std::filesystem::remove("/dev/shm/" + name));  // it was not this process's to remove
}
#endif

// ---- the tracker ----

#if MULTIPROCESSING_POSIX  // not on Windows: signals
TEST(ResourceTracker, RemovesWhatAKilledCreatorLeftAndSaysSoOnce) {
  const std::string first = unique("first");
  const std::string second = unique("second");
  test::Captured errors{STDERR_FILENO};
  Creator creator{[&] {
    const auto temporary = created(10, second + "-gone");
    static_cast<void>(temporary);
    new mp::SharedMemory{created(10, first)};
    new mp::SharedMemory{created(10, second)};
  }};
  ASSERT_TRUE(eventually([&] { return exists(second) && !exists(second + "-gone"); }));
  const int pid = creator.pid();
  ASSERT_EQ(trackers_of(pid).size(), 1U);
  const int tracker = trackers_of(pid).front();
  EXPECT_TRUE(eventually([&] {  // nobody waits for it to come that far
    return std::filesystem::read_symlink("/proc/" + std::to_string(tracker) + "/cwd") == "/";
  }));
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1}) ::kill(tracker, signal);
  creator.kill();
  ASSERT_TRUE(eventually([&] { return !exists(first) && !exists(second); }));
  ASSERT_TRUE(eventually([&] { return trackers_of(pid).empty(); }));
  const std::string said = errors.text();
  const std::string expected =
      "multiprocessing: process " + std::to_string(pid) +
      " has ended and left 2 shared memory segments, which are removed: " + first + ", " + second +
      "\n";
  EXPECT_EQ(said, expected);
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(ResourceTracker, RemovesANameOfAnyCharacters) {
  const std::string odd = unique("a:b\nc d\xFF*");
  {
    test::Captured errors{STDERR_FILENO};
    Forked creator{[&] { EXPECT_EQ(created(10, odd).size(), 10U); }};
    const int pid = creator.pid();
    EXPECT_EQ(creator.join(), 0);
    EXPECT_FALSE(exists(odd));
    eventually([&] { return trackers_of(pid).empty(); });
    EXPECT_EQ(errors.text(), "");
  }
  test::Captured errors{STDERR_FILENO};
  Creator creator{[&] { new mp::SharedMemory{created(10, odd)}; }};
  ASSERT_TRUE(eventually([&] { return exists(odd); }));
  const int pid = creator.pid();
  creator.kill();
  ASSERT_TRUE(eventually([&] { return !exists(odd); }));
  ASSERT_TRUE(eventually([&] { return trackers_of(pid).empty(); }));
  EXPECT_NE(errors.text().find("left 1 shared memory segment"), std::string::npos) << errors.text();
  EXPECT_NE(errors.text().find("a:b"), std::string::npos) << errors.text();
}

TEST(ResourceTracker, SaysNothingWhenAllIsRemoved) {
  test::Captured errors{STDERR_FILENO};
  int pid = 0;
  {
    Forked creator{[] {
      const auto memory = created(10);
      mp::SharedMemory second = created(10);
      second.unlink();
      mp::SharedMemoryManager manager;
      manager.start();
      static_cast<void>(manager.SharedMemory(10));
      static_cast<void>(manager.ShareableList({1}));
    }};
    pid = creator.pid();
    EXPECT_EQ(creator.join(), 0);
  }
  ASSERT_TRUE(eventually([&] { return trackers_of(pid).empty(); }));
  EXPECT_EQ(errors.text(), "");
}

TEST(ResourceTracker, IsNotHeldUpByAChildThatOutlivesTheCreator) {
  const std::string name = unique("grandchild");
  std::array<int, 2> line{};
  ASSERT_EQ(::pipe2(line.data(), O_CLOEXEC), 0);
  test::Captured errors{STDERR_FILENO};
  Creator creator{[&] {
    new mp::SharedMemory{created(10, name)};
    if (::fork() == 0) {
      char byte = 0;
      ::close(line[1]);
      ::_exit(::read(line[0], &byte, 1) == 0 ? 0 : 1);
    }
  }};
  ASSERT_TRUE(eventually([&] { return exists(name); }));
  creator.kill();
  ASSERT_TRUE(eventually([&] { return !exists(name); }));
  ::close(line[0]);
  ::close(line[1]);
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(ResourceTracker, IsReachedByAForkedChildWhateverAThreadWasTelling) {
  std::atomic<bool> stop{false};
  std::thread busy{[&] {
    // EAGAIN: the tracker has stood still for a second.
    while (!stop) static_cast<void>(error_of([] { static_cast<void>(created(10)); }));
  }};
  for (int round = 0; round < 20; ++round) {
    EXPECT_EQ(Forked{[] { static_cast<void>(created(10)); }}.join(), 0);
  }
  stop = true;
  busy.join();
}
#endif

#if MULTIPROCESSING_POSIX  // not on Windows: signals
TEST(ResourceTracker, ThatDiedIsStartedAgainAndToldEverything) {
  const std::string name = unique("restarted");
  test::Captured errors{STDERR_FILENO};
  Creator creator{[&] {
    mp::log_to_stderr(mp::LogLevel::warning);
    new mp::SharedMemory{created(10, name)};
    const int old = trackers_of(::getpid()).at(0);
    ::kill(old, SIGKILL);
    eventually([&] { return trackers_of(::getpid()).empty(); });
    new mp::SharedMemory{created(10, name + "2")};
  }};
  ASSERT_TRUE(eventually([&] { return exists(name + "2"); }));
  ASSERT_TRUE(eventually([&] { return trackers_of(creator.pid()).size() == 1; }));
  ASSERT_TRUE(eventually([&] { return errors.text().find("died") != std::string::npos; }));
  creator.kill();
  ASSERT_TRUE(eventually([&] { return !exists(name) && !exists(name + "2"); }));
}

TEST(ResourceTracker, ThatIsStoppedIsAnErrorAndHoldsNobodyUp) {
  std::vector<mp::SharedMemory> made{created(10)};
  const int tracker = trackers_of(::getpid()).at(0);
  ::kill(tracker, SIGSTOP);
  EXPECT_EQ(error_of([&] {
              for (;;) made.push_back(created(10));
            }),
            EAGAIN);
  ::kill(tracker, SIGCONT);
  EXPECT_EQ(trackers_of(::getpid()), std::vector<int>{tracker});
  EXPECT_TRUE(eventually([&] {  // as soon as it has read what it was told
    return error_of([&] { made.push_back(created(10)); }) == 0;
  }));
}

TEST(ResourceTracker, LeavesSignalsBlockedThatWereBlocked) {
  Forked starter{[] {
    sigset_t some{};
    sigset_t after{};
    ::sigemptyset(&some);
    for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) ::sigaddset(&some, signal);
    ::sigprocmask(SIG_BLOCK, &some, nullptr);
    EXPECT_TRUE(trackers_of(::getpid()).empty());
    const auto memory = created(10);
    EXPECT_EQ(trackers_of(::getpid()).size(), 1U);
    ::sigprocmask(SIG_SETMASK, nullptr, &after);
    for (int signal = 1; signal < SIGRTMIN; ++signal) {
      EXPECT_EQ(::sigismember(&some, signal), ::sigismember(&after, signal)) << signal;
    }
  }};
  EXPECT_EQ(starter.join(), 0);
}

TEST(ResourceTracker, LeavesTheSignalMaskAndChildrenOfItsStarterAlone) {
  sigset_t before{};
  sigset_t after{};
  ::sigprocmask(SIG_SETMASK, nullptr, &before);
  const auto memory = created(10);
  ::sigprocmask(SIG_SETMASK, nullptr, &after);
  for (int signal = 1; signal < SIGRTMIN; ++signal) {
    EXPECT_EQ(::sigismember(&before, signal), ::sigismember(&after, signal)) << signal;
  }
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}
#endif

// ---- ShareableList ----

TEST(ShareableList, HoldsWhatPythonsDoes) {
  mp::ShareableList list{"howdy"s, bytes("HoWdY"), -273.154, 100, mp::ShareableItem{}, true, 42};
  list.set(4, std::monostate{});
  EXPECT_EQ(list.size(), 7U);
  EXPECT_EQ(list[0], mp::ShareableItem{"howdy"});
  EXPECT_EQ(list[1], mp::ShareableItem{bytes("HoWdY")});
  EXPECT_EQ(list[2], mp::ShareableItem{-273.154});
  EXPECT_EQ(list[3], mp::ShareableItem{100});
  EXPECT_EQ(list[4], mp::ShareableItem{std::monostate{}});
  EXPECT_EQ(list[5], mp::ShareableItem{true});
  EXPECT_EQ(list.format(), "8s8sdqxxxxxx?xxxxxxxx?q");
  EXPECT_THROW(static_cast<void>(list[7]), std::out_of_range);
  EXPECT_THROW(list.set(7, 1), std::out_of_range);
  EXPECT_EQ(list.count(42), 1U);
  EXPECT_EQ(list.index(42), 6U);
  EXPECT_THROW(static_cast<void>(list.index("nobody")), std::invalid_argument);

  list.set(3, 42);
  EXPECT_EQ(list.count(42), 2U);
  EXPECT_EQ(list.index(42), 3U);
  list.set(3, "some");  // another type, in place
  EXPECT_EQ(list[3], mp::ShareableItem{"some"});
  list.set(3, "exactly8");
  EXPECT_EQ(list[3], mp::ShareableItem{"exactly8"});
  EXPECT_THROW(list.set(3, "far too many"), std::invalid_argument);
  EXPECT_EQ(list[3], mp::ShareableItem{"exactly8"});
  list.set(3, false);
  EXPECT_EQ(list[3], mp::ShareableItem{false});

  mp::ShareableList same{{.name = list.shm().name()}};
  EXPECT_EQ(same.values(), list.values());
  same.set(6, 43);
  EXPECT_EQ(list[6], mp::ShareableItem{43});
  const mp::ShareableList copy{list.values()};
  list.set(6, 44);
  EXPECT_EQ(copy[6], mp::ShareableItem{43});
  const mp::ShareableList none;
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.format(), "");
  EXPECT_TRUE((mp::ShareableList{{.name = none.shm().name()}}.empty()));
}

TEST(ShareableList, KeepsTrailingNulsAndTextOfSeveralBytesACharacter) {
  mp::ShareableList list{"ab\0"s, "\0\0"s, bytes({"ends\0\0\0\0", 8}), "äöüäöüäöü", ""};
  EXPECT_EQ(list[0], mp::ShareableItem{"ab\0"s});
  EXPECT_EQ(list[1], mp::ShareableItem{"\0\0"s});
  EXPECT_EQ(std::get<std::vector<std::byte>>(list[2]).size(), 8U);
  EXPECT_EQ(list[3], mp::ShareableItem{"äöüäöüäöü"});
  EXPECT_EQ(list[4], mp::ShareableItem{""});
  list.set(0, "abcdefg");
  EXPECT_EQ(list[0], mp::ShareableItem{"abcdefg"});
  EXPECT_THROW(mp::ShareableList{std::string(10'000'000, 'x')}, std::invalid_argument);
  EXPECT_THROW((mp::ShareableList{std::string(1'000'000, '\0')}), std::invalid_argument);
}

TEST(ShareableList, RefusesWhatIsNone) {
  mp::SharedMemory memory = created(200);
  const std::uint64_t size = memory.size();
  const auto attach = [&] { mp::ShareableList{{.name = memory.name()}}; };
  attach();  // nothing but zeros is an empty list
  const auto set = [&](std::size_t index, std::uint64_t word) {
    std::memcpy(memory.buf().subspan(index * 8).data(), &word, 8);
  };
  for (const std::uint64_t count : {size / 8 + 5, std::uint64_t{1} << 40U, ~std::uint64_t{0}}) {
    set(0, count);
    EXPECT_THROW(attach(), mp::SerializationError);
  }
  set(0, 1);
  for (const std::uint64_t end :
       {std::uint64_t{0}, std::uint64_t{7}, 5 * size, size - 24, ~std::uint64_t{0}}) {
    set(2, end);
    EXPECT_THROW(attach(), mp::SerializationError) << end;
  }
  set(2, 8);
  const mp::ShareableList list{{.name = memory.name()}};
  EXPECT_THROW(static_cast<void>(list[0]), mp::SerializationError);
  std::memcpy(memory.buf().subspan(32).data(), "9s", 2);
  memory.buf()[40] = std::byte{1};
  EXPECT_THROW(static_cast<void>(list[0]), mp::SerializationError);
  std::memcpy(memory.buf().subspan(32).data(), "8s", 2);
  EXPECT_EQ(list[0], mp::ShareableItem{""});
}

// ---- Python at the other side ----

#if MULTIPROCESSING_POSIX  // not on Windows: no Python is there
TEST(SharedMemoryInPython, IsTheSameMemory) {
  const std::string name = unique("python");
  mp::SharedMemory ours = created(100, name);
  ours.buf()[1] = std::byte{5};
  EXPECT_EQ(python("s = shared_memory.SharedMemory('" + name +
                   "')\nprint(s.size, s.buf[1], s.name)\ns.buf[2] = 6\ns.close()\n"),
            "100 5 " + name + "\n");
  EXPECT_EQ(ours.buf()[2], std::byte{6});
  EXPECT_TRUE(exists(name));
  const std::string theirs = unique("pythons-own");
  EXPECT_EQ(python("s = shared_memory.SharedMemory('" + theirs +
                   "', create=True, size=77)\ns.buf[76] = 9\ns.close()\n"),
            "");
  EXPECT_EQ(attached(theirs).size(), 77U);
  EXPECT_EQ(attached(theirs).buf()[76], std::byte{9});
  EXPECT_TRUE(exists(theirs));
  attached(theirs).unlink();
}

TEST(ShareableListInPython, IsTheSameList) {
  mp::ShareableList ours{1, 2.5, true, std::monostate{}, "text", bytes("raw"), "naïve", "nul\0"s};
  EXPECT_EQ(python("l = shared_memory.ShareableList(name='" + ours.shm().name() +
                   "')\nprint(list(l), l.format)\nl[0] = -7\nl[4] = 'seven77'\nl[7] = 'longest'\n"
                   "l[3] = 2.25\nl[1] = None\n"),
            "[1, 2.5, True, None, 'text', b'raw', 'naïve', 'nul'] "
            "qdxxxxxxx?xxxxxx?x8s8s8s4sx\n");
  EXPECT_EQ(ours[0], mp::ShareableItem{-7});
  EXPECT_EQ(ours[1], mp::ShareableItem{std::monostate{}});
  EXPECT_EQ(ours[3], mp::ShareableItem{2.25});
  EXPECT_EQ(ours[4], mp::ShareableItem{"seven77"});
  EXPECT_EQ(ours[7], mp::ShareableItem{"longest"});
  const std::string name = unique("list");
  python("shared_memory.ShareableList([1, -2.5, False, None, 'text', b'raw', 'x' * 20], name='" +
         name + "')\n");
  mp::ShareableList theirs{{.name = name}};
  EXPECT_EQ(theirs.values(),
            (std::vector<mp::ShareableItem>{1, -2.5, false, std::monostate{}, "text", bytes("raw"),
                                            std::string(20, 'x')}));
  // Byte for byte what Python would have made.
  const mp::ShareableList same{theirs.values()};
  EXPECT_EQ(same.shm().size(), theirs.shm().size());
  EXPECT_TRUE(std::ranges::equal(same.shm().buf(), theirs.shm().buf()));
  theirs.shm().unlink();
}
#endif

// ---- SharedMemoryManager ----

TEST(SharedMemoryManager, RemovesAllThatItMade) {
  std::string first;
  std::string second;
  {
    mp::SharedMemoryManager manager;
    EXPECT_THROW(static_cast<void>(manager.SharedMemory(10)), std::invalid_argument);
    EXPECT_THROW(static_cast<void>(manager.ShareableList({1})), std::invalid_argument);
    manager.start();
    EXPECT_THROW(manager.start(), std::logic_error);
    auto memory = manager.SharedMemory(10);
    first = memory.name();
    second = manager.ShareableList({1, "x"}).shm().name();
    EXPECT_TRUE(exists(first));
    EXPECT_TRUE(exists(second));
#if MULTIPROCESSING_POSIX
    EXPECT_EQ(Forked{[&] {
                EXPECT_THROW(static_cast<void>(manager.SharedMemory(10)), std::invalid_argument);
                manager.shutdown();
              }}.join(),
              0);
    EXPECT_TRUE(exists(first));
#endif
    auto unlinked = manager.SharedMemory(10);
    unlinked.unlink();
    manager.shutdown();
    EXPECT_EQ(exists(first), MULTIPROCESSING_WINDOWS != 0);  // we use it
    EXPECT_FALSE(exists(second));
    EXPECT_THROW(static_cast<void>(manager.SharedMemory(10)), std::invalid_argument);
    manager.shutdown();
    EXPECT_EQ(memory.buf().size(), memory.size());
    memory.close();
    EXPECT_FALSE(exists(first));
  }
  mp::SharedMemoryManager never_started;
}
