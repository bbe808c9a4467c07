// SPDX-License-Identifier: BSL-1.0
// What Windows alone has: quoting, wide text, more than 64 handles.
#include <multiprocessing.hpp>

#include <gtest/gtest.h>

#if MULTIPROCESSING_WINDOWS
#  include <array>
#  include <chrono>
#  include <cstddef>
#  include <cstdint>
#  include <filesystem>
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

}  // namespace
#endif
