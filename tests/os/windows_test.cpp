// SPDX-License-Identifier: BSL-1.0
// What Windows alone has: quoting, wide text, more than 64 handles; owners of locks as ids; what a
// child inherits, jobs, consoles, exit codes, memory that is committed; fragments of a pipe.
#include <multiprocessing.hpp>

#include <support/boost_queue_name.hpp>
#include <support/child.hpp>
#include <support/eventually.hpp>
#include <support/line.hpp>

#include <gtest/gtest.h>

#if MULTIPROCESSING_WINDOWS
#  include <array>
#  include <atomic>
#  include <chrono>
#  include <csignal>
#  include <cstddef>
#  include <cstdint>
#  include <cstdlib>
#  include <cstring>
#  include <filesystem>
#  include <initializer_list>
#  include <memory>
#  include <span>
#  include <string>
#  include <system_error>
#  include <thread>
#  include <vector>

#  include <shellapi.h>

namespace mp = multiprocessing;
namespace os = multiprocessing::os;
using namespace std::chrono_literals;
using multiprocessing::detail::Deadline;

namespace {

const Deadline unlimited{mp::forever};

std::vector<std::wstring> arguments_of(const std::wstring& line) {
  int count = 0;
  wchar_t** const words = ::CommandLineToArgvW(line.c_str(), &count);
  std::vector<std::wstring> found(words, words + count);
  ::LocalFree(words);
  return found;
}

TEST(AppendArgument, IsReadBackAsItWas) {
  const std::vector<std::wstring> arguments{
      L"program",      L"",       L"two words", L"a\"quote",    L"back\\slash",
      L"at the end\\", L"\\\\\"", L"\\\"\\",    L"C:\\a b\\\\", L"\u00fc\U0001f389"};
  std::wstring line;
  for (const auto& argument : arguments) os::windows::append_argument(line, argument);
  EXPECT_EQ(arguments_of(line), arguments);
}

TEST(WideText, GoesThereAndBack) {
  for (const std::string text : {"", "plain", "Gr\xc3\xbc\xc3\x9f", "\xf0\x9f\x8e\x89"}) {
    EXPECT_EQ(os::windows::to_utf8(os::windows::to_wide(text)), text);
  }
}

TEST(WaitAny, SaysWhichOfHundredsAreReady) {
  constexpr std::size_t count = 200;
  std::error_code ec;
  std::vector<os::UniqueHandle> events;
  std::vector<mp::native_handle_type> handles;
  for (std::size_t i = 0; i < count; ++i) {
    events.push_back(os::make_event(ec));
    ASSERT_FALSE(ec);
    handles.push_back(events.back().get());
  }
  std::array<bool, count> ready{};
  EXPECT_EQ(os::wait_any(handles, ready, {}, Deadline{5ms}, ec), os::Waited::timed_out);
  std::thread setter{[&] { os::set_event(handles[150]); }};
  EXPECT_EQ(os::wait_any(handles, ready, {}, unlimited, ec), os::Waited::ready);
  EXPECT_FALSE(ec);
  setter.join();
  for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(ready[i], i == 150) << i;
}

TEST(WaitAny, SeesAtOnceWhichOfHundredsAreReady) {
  constexpr std::size_t count = 200;
  std::error_code ec;
  std::vector<os::UniqueHandle> events;
  std::vector<mp::native_handle_type> handles;
  for (std::size_t i = 0; i < count; ++i) {
    events.push_back(os::make_event(ec));
    ASSERT_FALSE(ec);
    handles.push_back(events.back().get());
  }
  const auto look = [&](std::span<bool> into) {
    return os::wait_any(handles, into, {}, Deadline{0s}, ec);
  };
  std::array<bool, count> ready{};
  EXPECT_EQ(look(ready), os::Waited::timed_out);
  for (const std::size_t one : std::initializer_list<std::size_t>{0, 62, 63, 150, count - 1}) {
    os::set_event(handles[one]);
    EXPECT_EQ(look(ready), os::Waited::ready);
    EXPECT_FALSE(ec);
    for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(ready[i], i == one) << i;
    os::reset_event(handles[one]);
  }
  EXPECT_EQ(look(ready), os::Waited::timed_out);
  events.back() = {};
  static_cast<void>(look(ready));
  EXPECT_TRUE(ec);
}

TEST(WaitAny, RefusesWhatIsNoHandleAmongHundreds) {
  constexpr std::size_t count = 200;
  std::error_code ec;
  std::vector<mp::native_handle_type> handles(count);
  std::vector<os::UniqueHandle> events;
  for (auto& handle : handles) {
    events.push_back(os::make_event(ec));
    ASSERT_FALSE(ec);
    handle = events.back().get();
  }
  handles[150] = os::to_handle(1000000);
  std::array<bool, count> ready{};
  static_cast<void>(os::wait_any(handles, ready, {}, unlimited, ec));
  EXPECT_TRUE(ec);
}

TEST(TakeSpawned, ClosesNoHandleThatSomebodyElseNamed) {
  std::error_code ec;
  const auto event = os::make_event(ec);
  ASSERT_FALSE(ec);
  const auto number = std::to_wstring(reinterpret_cast<std::uintptr_t>(event.get()));
  ::SetEnvironmentVariableW(os::windows::child_variable, (number + L" " + number + L" 64").c_str());
  static_cast<void>(os::take_spawned(ec));
  EXPECT_EQ(ec, std::errc::invalid_argument);
  EXPECT_FALSE(os::is_spawned());
  os::set_event(event.get());
  EXPECT_EQ(os::wait_ready(event.get(), os::Readiness::readable, {}, Deadline{0s}, ec),
            os::Waited::ready);
}

TEST(WaitAny, WaitsForPipesBesideOtherThings) {
  std::error_code ec;
  const auto ends = os::OneWayEnd::create(ec);
  ASSERT_FALSE(ec);
  const auto event = os::make_event(ec);
  const std::array<mp::native_handle_type, 2> handles{event.get(), ends.first.handle()};
  std::array<bool, 2> ready{};
  EXPECT_EQ(os::wait_any(handles, ready, {}, Deadline{5ms}, ec), os::Waited::timed_out);
  std::thread sender{[&] {
    std::error_code ignored;
    static_cast<void>(ends.second.send({}, {}, unlimited, ignored));
  }};
  EXPECT_EQ(os::wait_any(handles, ready, {}, unlimited, ec), os::Waited::ready);
  sender.join();
  EXPECT_FALSE(ready[0]);
  EXPECT_TRUE(ready[1]);
  os::IncomingMessage message;
  EXPECT_EQ(ends.first.receive(message, {}, unlimited, ec), os::Outcome::done);
}

TEST(SetExecutable, TakesAnyName) {
  const std::filesystem::path name{L"a program, gr\u00fc\u00df \U0001f389.exe"};
  const std::filesystem::path own{os::windows::to_wide(os::executable_path())};
  const std::filesystem::path library{"libtest.plugin.library.dll"};  // which this program needs
  std::filesystem::copy_file(own, name);
  std::filesystem::copy_file(own.parent_path() / library, library);
  mp::set_executable(name);
  mp::Queue<std::string> queue;
  mp::Process process{[](mp::Queue<std::string> to) { to.put(os::executable_path()); }, queue};
  process.start();
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 0);
  const auto path = std::filesystem::path{os::windows::to_wide(queue.get(0s))};
  EXPECT_EQ(path.filename(), name);
  mp::set_executable({});
  std::filesystem::remove(name);
  std::filesystem::remove(library);
}

// ---- owners of locks ----

TEST(LockWord, OfALivingThreadWithAnotherBirthIsAbandoned) {
  std::error_code ec;
  auto region = os::SharedRegion::create(sizeof(os::RobustLock), ec);
  region.commit(0, sizeof(os::RobustLock), ec);
  auto& lock = *reinterpret_cast<os::RobustLock*>(region.data());
  lock.initialise(ec);
  ASSERT_FALSE(ec);
  auto& owner = os::windows::words_in(region.data()).owner;
  constexpr std::uint64_t another_birth = std::uint64_t{1} << 32U;
  std::uint64_t living = 0;
  const auto event = os::make_event(ec);
  std::atomic<bool> is_known{false};
  std::thread thread{[&] {
    living = os::windows::this_thread();
    is_known = true;
    static_cast<void>(os::wait_ready(event.get(), unlimited));
  }};
  test::eventually([&] { return is_known.load(); });
  owner = living;
  EXPECT_TRUE(lock.is_held());
  EXPECT_FALSE(lock.is_abandoned());
  EXPECT_EQ(lock.try_lock(), os::Acquired::no);
  for (const std::uint64_t one : {living, os::windows::this_thread()}) {
    owner = one ^ another_birth;
    EXPECT_FALSE(lock.is_held());
    EXPECT_TRUE(lock.is_abandoned());
    EXPECT_FALSE(lock.is_mine());
    EXPECT_FALSE(lock.unlock());
    EXPECT_EQ(lock.lock(unlimited), os::Acquired::abandoned);
    EXPECT_TRUE(lock.unlock());
  }
  os::set_event(event.get());
  thread.join();
}

// ---- what a child inherits ----

// A pipe whose other end anybody may open, who knows its name. It is at its end when nobody has
// that.
class Tether {
 public:
  Tether() : name_{"\\\\.\\pipe\\tether-" + std::to_string(os::process_id())} {
    held_ = os::UniqueHandle{::CreateNamedPipeW(os::windows::to_wide(name_).c_str(),
                                                PIPE_ACCESS_INBOUND | FILE_FLAG_FIRST_PIPE_INSTANCE,
                                                PIPE_TYPE_BYTE, 1, 0, 0, 0, nullptr)};
    EXPECT_TRUE(held_);
  }
  [[nodiscard]] const std::string& name() const { return name_; }
  // Inherited by whoever inherits what can be.
  static os::UniqueHandle take(const std::string& name) {
    SECURITY_ATTRIBUTES inherited{sizeof inherited, nullptr, TRUE};
    return os::UniqueHandle{::CreateFileW(os::windows::to_wide(name).c_str(), GENERIC_WRITE, 0,
                                          &inherited, OPEN_EXISTING, 0, nullptr)};
  }
  [[nodiscard]] bool is_held() const {
    return ::PeekNamedPipe(held_.get(), nullptr, 0, nullptr, nullptr, nullptr) != 0;
  }

 private:
  std::string name_;
  os::UniqueHandle held_;
};

void be_there(const test::Line& up, const test::Line& down) {
  up.say("here");
  static_cast<void>(down.hear());
}

TEST(SpawnProgram, PassesNothingButWhatItLists) {
  const Tether tether;
  os::UniqueHandle end = Tether::take(tether.name());
  ASSERT_TRUE(end);
  const test::Line down;
  {
    std::vector<std::thread> threads;
    std::vector<std::unique_ptr<mp::Process<>>> siblings(4);
    std::vector<test::Line> ups(siblings.size());
    for (std::size_t i = 0; i < siblings.size(); ++i) {
      threads.emplace_back([&, i] {  // what one start holds for a moment is not another's
        siblings[i] = std::make_unique<mp::Process<>>(be_there, ups[i], down);
        siblings[i]->start();
      });
    }
    for (auto& thread : threads) thread.join();
    for (const auto& up : ups) EXPECT_EQ(up.hear(), "here");
    EXPECT_TRUE(tether.is_held());
    end.reset();
    EXPECT_FALSE(tether.is_held()) << "a child has it";
    siblings[0]->kill();
    siblings[0]->join();
    ups[0].hang_up();
    EXPECT_EQ(ups[0].hear(), "") << "one of the others has its end";
    for (std::size_t i = 1; i < siblings.size(); ++i) down.say("end");
    for (auto& sibling : siblings) EXPECT_TRUE(sibling->join());
  }
}

// ---- jobs ----

// A program that does nothing, and is there.
void start_a_program() {
  std::wstring program = os::windows::to_wide(os::executable_path());
  STARTUPINFOW start{};
  start.cb = sizeof start;
  PROCESS_INFORMATION made{};
  if (::CreateProcessW(program.c_str(), nullptr, nullptr, nullptr, TRUE, CREATE_SUSPENDED, nullptr,
                       nullptr, &start, &made) == 0) {
    throw std::system_error{os::windows::last_error(), "CreateProcess"};
  }
  ::CloseHandle(made.hThread);
  ::CloseHandle(made.hProcess);
}

void start_a_program_and_wait(const std::string& name, const test::Line& up, bool waits) {
  {
    const os::UniqueHandle end = Tether::take(name);
    start_a_program();
  }
  up.say("started");
  if (waits) test::wait_for_ever();
}

TEST(Job, OfADaemonEndsWhatThatHasStartedWhenItsParentIsKilled) {
  const Tether tether;
  const test::Line up;
  mp::Process parent{
      [](const std::string& name, const test::Line& line) {
        mp::Process daemon{{.daemon = true}, start_a_program_and_wait, name, line, true};
        daemon.start();
        test::wait_for_ever();
      },
      tether.name(), up};
  parent.start();
  EXPECT_EQ(up.hear(), "started");
  EXPECT_TRUE(tether.is_held());
  parent.kill();
  EXPECT_TRUE(parent.join());
  test::eventually([&] { return !tether.is_held(); });
}

TEST(Job, OfADaemonEndsWhatThatHasStartedWhenItEndsItself) {
  const Tether tether;
  const test::Line up;
  mp::Process daemon{{.daemon = true}, start_a_program_and_wait, tether.name(), up, false};
  daemon.start();
  EXPECT_EQ(up.hear(), "started");
  EXPECT_TRUE(daemon.join());
  EXPECT_EQ(daemon.exitcode(), 0);
  test::eventually([&] { return !tether.is_held(); });
}

// ---- consoles ----

// Wine has no console to give without a display: there nobody gets a window anyway.

std::string console() {
  return std::to_string(::GetConsoleCP()) + (::GetConsoleWindow() == nullptr ? " none" : " window");
}
void say_console(const test::Line& line) {
  line.say(console());
}

TEST(Console, OfAChildIsItsParents) {
  const test::Line line;
  mp::Process child{say_console, line};
  child.start();
  EXPECT_EQ(line.hear(), console());
  EXPECT_TRUE(child.join());
}

TEST(Console, OfAChildOfAProgramWithoutOneIsNone) {
  const test::Line line;
  mp::Process parent{[](const test::Line& to) {
                       ::FreeConsole();
                       mp::Process child{say_console, to};
                       child.start();
                       child.join();
                     },
                     line};
  parent.start();
  EXPECT_EQ(line.hear(), "0 none");
  EXPECT_TRUE(parent.join());
}

extern "C" {  // since Windows 10 1809; MinGW's headers have only the rest
WINBASEAPI HRESULT WINAPI CreatePseudoConsole(COORD, HANDLE, HANDLE, DWORD, void**);
WINBASEAPI void WINAPI ClosePseudoConsole(void*);
}

// A console that nobody sees: Wine has that one without a display, too.
class PseudoConsole {
 public:
  PseudoConsole() {
    os::UniqueHandle read;
    os::UniqueHandle write;
    make_pipe(read, input_);
    make_pipe(output_, write);
    EXPECT_EQ(::CreatePseudoConsole({80, 25}, read.get(), write.get(), 0, &console_), S_OK);
  }
  PseudoConsole(const PseudoConsole&) = delete;
  PseudoConsole& operator=(const PseudoConsole&) = delete;
  ~PseudoConsole() { ::ClosePseudoConsole(console_); }

  // Runs one of this program's tests in it. @returns the exit code.
  DWORD run(const std::wstring& test) {
    constexpr DWORD_PTR pseudo_console = 0x00020016;  // PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE
    SIZE_T size = 0;
    ::InitializeProcThreadAttributeList(nullptr, 1, 0, &size);
    std::vector<std::byte> memory(size);
    STARTUPINFOEXW start{};
    start.StartupInfo.cb = sizeof start;
    start.lpAttributeList = reinterpret_cast<LPPROC_THREAD_ATTRIBUTE_LIST>(memory.data());
    std::error_code ec;
    const os::UniqueHandle output = os::windows::inheritable(os::windows::output_of(2), ec);
    start.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    start.StartupInfo.hStdOutput = start.StartupInfo.hStdError = output.get();
    EXPECT_TRUE(::InitializeProcThreadAttributeList(start.lpAttributeList, 1, 0, &size));
    EXPECT_TRUE(::UpdateProcThreadAttribute(start.lpAttributeList, 0, pseudo_console, console_,
                                            sizeof console_, nullptr, nullptr));
    const std::wstring program = os::windows::to_wide(os::executable_path());
    std::wstring line = L"test --gtest_filter=" + test;
    PROCESS_INFORMATION made{};
    EXPECT_TRUE(::CreateProcessW(program.c_str(), line.data(), nullptr, nullptr, TRUE,
                                 EXTENDED_STARTUPINFO_PRESENT, nullptr, nullptr, &start.StartupInfo,
                                 &made));
    ::DeleteProcThreadAttributeList(start.lpAttributeList);
    const os::UniqueHandle thread{made.hThread};
    const os::UniqueHandle process{made.hProcess};
    ::WaitForSingleObject(process.get(), INFINITE);
    DWORD code = 1;
    ::GetExitCodeProcess(process.get(), &code);
    return code;
  }

 private:
  static void make_pipe(os::UniqueHandle& read, os::UniqueHandle& write) {
    HANDLE ends[2] = {};
    EXPECT_TRUE(::CreatePipe(&ends[0], &ends[1], nullptr, 0));
    read = os::UniqueHandle{ends[0]};
    write = os::UniqueHandle{ends[1]};
  }
  os::UniqueHandle input_;
  os::UniqueHandle output_;
  void* console_ = nullptr;
};

std::atomic<int> interrupts{0};
BOOL WINAPI count_interrupts(DWORD event) {
  if (event != CTRL_C_EVENT) return FALSE;
  ++interrupts;
  return TRUE;
}

TEST(Console, LeavesCtrlCToAPoolsParent) {
  constexpr const wchar_t* variable = L"MULTIPROCESSING_TEST_IN_CONSOLE";
  if (::GetEnvironmentVariableW(variable, nullptr, 0) == 0) {
    ::SetEnvironmentVariableW(variable, L"1");
    EXPECT_EQ(PseudoConsole{}.run(L"Console.LeavesCtrlCToAPoolsParent"), 0U);
    ::SetEnvironmentVariableW(variable, nullptr);
    return;
  }
  ::SetConsoleCtrlHandler(nullptr, FALSE);  // who started the tests may have switched it off
  ::SetConsoleCtrlHandler(count_interrupts, TRUE);
  const test::Line line;
  mp::Process other{[](const test::Line& to) {
                      to.say("here");
                      test::wait_for_ever();
                    },
                    line};
  other.start();
  EXPECT_EQ(line.hear(), "here");  // it has the console by now
  mp::Pool pool{2};
  mp::Event go;
  std::vector<mp::AsyncResult<int>> results;
  for (int i = 0; i < 2; ++i) {
    results.push_back(pool.apply_async(
        [](mp::Event event, int x) {
          event.wait();
          return x;
        },
        go, i));
  }
  test::eventually([&] { return pool.stats().running == 2; });
  ASSERT_TRUE(::GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0));
  test::eventually([] { return interrupts == 1; });
  other
      .join();  // it has heard it; its exit code is Windows' STATUS_CONTROL_C_EXIT, or 0 under Wine
  go.set();
  for (int i = 0; i < 2; ++i) EXPECT_EQ(results[static_cast<std::size_t>(i)].get(), i);
  EXPECT_EQ(pool.stats().restarts, 0U);
}

// ---- ends ----

TEST(CollectProcess, TellsNothingWhileItRunsAndThenTheCode) {
  std::error_code ec;
  mp::Process process{test::wait_for_ever};
  process.start();
  const os::UniqueHandle opened = os::open_process(*process.pid(), ec);
  ASSERT_FALSE(ec);
  EXPECT_FALSE(os::wait_ready(opened.get(), Deadline{5ms}));
  EXPECT_FALSE(os::collect_process(opened.get()).ended);
  os::signal_process(opened.get(), os::Signal::kill, ec);
  EXPECT_FALSE(ec);
  EXPECT_TRUE(os::wait_ready(opened.get(), unlimited));
  EXPECT_EQ(os::collect_process(opened.get()).code, -SIGTERM);
  os::signal_process(opened.get(), os::Signal::kill, ec);
  EXPECT_FALSE(ec) << "of one that has ended";
  EXPECT_TRUE(process.join());
}

TEST(OpenProcess, SaysThatThereIsNone) {
  std::error_code ec;
  EXPECT_FALSE(os::open_process(0x7ffffffc, ec));
  EXPECT_EQ(ec, std::errc::no_such_process);
}

TEST(DiscardProcess, EndsItAndWaits) {
  const test::Line line;
  mp::Process process{[](const test::Line& to) {
                        to.say("here");
                        test::wait_for_ever();
                      },
                      line};
  process.start();
  EXPECT_EQ(line.hear(), "here");
  os::discard_process(*process.pid());
  EXPECT_FALSE(process.is_alive());
  EXPECT_EQ(process.exitcode(), -SIGTERM);
}

TEST(ExitActions, GetTheCodeAndTheLastOneEndsTheExit) {
  test::Child exits{[] {
    static_cast<void>(std::atexit([] { os::exit_now(50); }));  // earlier: not run
    os::end_exit_with([](int code) noexcept {
      if (code != 3) os::exit_now(51);
    });
    os::call_at_exit([](int code) noexcept {
      if (code != 3) os::exit_now(52);
    });
    os::exit_process(3);
  }};
  EXPECT_EQ(exits.join(), 3);
}

// ---- memory ----

// What this process has of sections, as far as there is memory behind it.
std::size_t committed() {
  std::size_t sum = 0;
  MEMORY_BASIC_INFORMATION part{};
  for (const std::byte* at = nullptr; ::VirtualQuery(at, &part, sizeof part) != 0;
       at = static_cast<const std::byte*>(part.BaseAddress) + part.RegionSize) {
    if (part.State == MEM_COMMIT && part.Type == MEM_MAPPED) sum += part.RegionSize;
  }
  return sum;
}

TEST(SharedRegion, IsCommittedAsItGrows) {
  constexpr std::size_t mebibyte = std::size_t{1} << 20U;
  const auto at_first = committed();
  mp::Queue<std::string> queue;
  EXPECT_LT(committed() - at_first, 16 * mebibyte);
  const std::string item(mebibyte, 'x');
  for (int i = 0; i < 64; ++i) queue.put(item);
  EXPECT_GE(committed() - at_first, 64 * mebibyte);
  EXPECT_LT(committed() - at_first, 256 * mebibyte);
  for (int i = 0; i < 64; ++i) EXPECT_EQ(queue.get(), item);
  const auto full = committed();
  for (int i = 0; i < 300; ++i) {
    queue.put(item);
    EXPECT_EQ(queue.get().size(), item.size());
  }
  EXPECT_EQ(committed(), full) << "a steady flow";
}

// ---- what is wrong without the options that CMake's target brings ----

TEST(BoostMessageQueue, LeavesNoNameInOptimisedProgramsEither) {
  test::expect_that_a_boost_queue_leaves_no_name();
}

// ---- fragments ----

using Fragment = os::windows::FragmentHeader;

void write_raw(mp::native_handle_type to, const void* bytes, std::size_t size) {
  OVERLAPPED overlapped{};
  const os::UniqueHandle event{::CreateEventW(nullptr, TRUE, FALSE, nullptr)};
  overlapped.hEvent = event.get();
  DWORD written = 0;
  ::WriteFile(to, bytes, static_cast<DWORD>(size), nullptr, &overlapped);
  ASSERT_NE(::GetOverlappedResult(to, &overlapped, &written, TRUE), 0);
  ASSERT_EQ(written, size);
}

TEST(OneWayFragment, ThatWasNotSentByAnEndIsRefused) {
  std::error_code ec;
  const auto ends = os::OneWayEnd::create(ec);
  ASSERT_FALSE(ec);
  const auto answer_to = [&](const Fragment& header, std::size_t behind) {
    std::vector<std::byte> packet(sizeof header + behind);
    std::memcpy(packet.data(), &header, sizeof header);
    write_raw(ends.second.handle(), packet.data(), packet.size());
    os::IncomingMessage message;
    std::error_code error;
    const auto outcome = ends.first.receive(message, {}, Deadline{0s}, error);
    EXPECT_TRUE(error || outcome == os::Outcome::done);
    return error;
  };
  constexpr auto magic = Fragment::right_magic;
  write_raw(ends.second.handle(), "short", 5);
  os::IncomingMessage message;
  static_cast<void>(ends.first.receive(message, {}, Deadline{0s}, ec));
  EXPECT_EQ(ec, std::errc::bad_message);
  EXPECT_EQ(answer_to({0x21212121, 1, 0, 1, 0, 0}, 0), std::errc::bad_message);
  EXPECT_EQ(answer_to({magic, 1, 0, 1, 0, 1}, 0), std::errc::bad_message) << "and there is none";
  EXPECT_EQ(answer_to({magic, 1, 0, 1, 0, 0}, 1), std::errc::bad_message) << "more than the whole";
  EXPECT_EQ(answer_to({magic, 1, 0, 1, 2, 1}, 0), std::errc::bad_message) << "behind the whole";
  EXPECT_EQ(answer_to({magic, 1, 0, 1, ~0U, ~0U}, 8), std::errc::bad_message);
  EXPECT_EQ(answer_to({magic, 1, 0, 1, 0, std::uint64_t{1} << 60U}, 8), std::errc::bad_message);
  EXPECT_EQ(answer_to({magic, 1, 0, 1, 0, 8}, 8), std::error_code{});
}

TEST(OneWayFragment, OfALengthThatDoesNotComeIsNotBelieved) {
  std::error_code ec;
  const auto ends = os::OneWayEnd::create(ec);
  ASSERT_FALSE(ec);
  std::vector<std::byte> packet(os::windows::packet_size);
  const Fragment header{Fragment::right_magic, 1, 0, 1, 0, std::uint64_t{1} << 60U};
  std::memcpy(packet.data(), &header, sizeof header);
  write_raw(ends.second.handle(), packet.data(), packet.size());
  os::IncomingMessage message;
  EXPECT_EQ(ends.first.receive(message, {}, Deadline{0s}, ec), os::Outcome::timed_out);
  EXPECT_FALSE(ec);
  ASSERT_EQ(ends.second.send({7, {}, {}}, {}, unlimited, ec), os::Outcome::done);
  EXPECT_EQ(ends.first.receive(message, {}, unlimited, ec), os::Outcome::done) << "what came next";
  EXPECT_EQ(message.kind(), 7);
}

TEST(TwoWayMessage, WhoseHandlesAreNotThereIsRefused) {
  std::error_code ec;
  const auto ends = os::TwoWayEnd::create(ec);
  ASSERT_FALSE(ec);
  const Fragment header{Fragment::right_magic, 1, 3, 1, 0, 0};
  write_raw(ends.second.handles()[2], &header, sizeof header);
  os::IncomingMessage message;
  static_cast<void>(ends.first.receive(message, {}, Deadline{0s}, ec));
  EXPECT_EQ(ec, std::errc::bad_message);
}

}  // namespace
#endif
