// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/os/wait.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#if MULTIPROCESSING_POSIX
#  include <sys/resource.h>
#endif

namespace os = multiprocessing::os;
using multiprocessing::forever;
using multiprocessing::native_handle_type;
using multiprocessing::detail::Deadline;
using namespace std::chrono_literals;

namespace {

os::UniqueHandle event() {
  std::error_code ec;
  auto made = os::make_event(ec);
  EXPECT_FALSE(ec) << ec.message();
  return made;
}

native_handle_type shared_event = os::invalid_handle;
native_handle_type the_shared_event() noexcept {
  return shared_event;
}

}  // namespace

TEST(Event, StaysSetUntilItIsReset) {
  const auto one = event();
  std::error_code ec;
  const auto look = [&] {
    return os::wait_ready(one.get(), os::Readiness::readable, {}, Deadline{0s}, ec);
  };
  EXPECT_EQ(look(), os::Waited::timed_out);
  os::set_event(one.get());
  os::set_event(one.get());
  EXPECT_EQ(look(), os::Waited::ready);
  EXPECT_EQ(look(), os::Waited::ready);
  os::reset_event(one.get());
  EXPECT_EQ(look(), os::Waited::timed_out);
  os::reset_event(one.get());
  EXPECT_EQ(os::wait_ready(one.get(), os::Readiness::writable, {}, Deadline{forever}, ec),
            os::Waited::ready);
  EXPECT_FALSE(ec);
}

TEST(WaitReady, WaitsForAsLongAsItWasTold) {
  const auto one = event();
  std::error_code ec;
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(os::wait_ready(one.get(), os::Readiness::readable, {}, Deadline{20ms}, ec),
            os::Waited::timed_out);
  EXPECT_GE(std::chrono::steady_clock::now() - before, 20ms);
  std::thread setter{[&] { os::set_event(one.get()); }};
  EXPECT_EQ(os::wait_ready(one.get(), os::Readiness::readable, {}, Deadline{forever}, ec),
            os::Waited::ready);
  setter.join();
}

TEST(WaitReady, RefusesWhatIsNoHandle) {
  std::error_code ec;
  static_cast<void>(
      os::wait_ready(os::to_handle(1000000), os::Readiness::readable, {}, Deadline{forever}, ec));
  EXPECT_TRUE(ec);
  static_cast<void>(
      os::wait_ready(os::invalid_handle, os::Readiness::readable, {}, Deadline{forever}, ec));
  EXPECT_TRUE(ec);
}

TEST(WaitReady, EndsWhenItIsInterrupted) {
  const auto never = event();
  const auto interrupt = event();
  shared_event = interrupt.get();
  std::error_code ec;
  for (const auto source :
       {&the_shared_event, static_cast<native_handle_type (*)() noexcept>(nullptr)}) {
    std::atomic<bool> raised{false};
    const os::Interrupt mine{&raised, source};
    std::thread raiser{[&] {
      os::set_event(interrupt.get());  // not meant for it yet
      raised = true;
      os::set_event(interrupt.get());
    }};
    EXPECT_EQ(os::wait_ready(never.get(), os::Readiness::readable, mine, Deadline{forever}, ec),
              os::Waited::interrupted);
    raiser.join();
    EXPECT_EQ(os::pause_for(1h, mine), os::Waited::interrupted);
    os::reset_event(interrupt.get());
  }
}

TEST(PauseFor, WaitsForTheTime) {
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(os::pause_for(5ms, {}), os::Waited::timed_out);
  EXPECT_GE(std::chrono::steady_clock::now() - before, 5ms);
}

#if MULTIPROCESSING_POSIX  // not on Windows: limits of resources
TEST(WaitAny, SaysWhichOfThousandsAreReady) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlimit before = limit;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const std::size_t count = std::min<std::size_t>(4000, limit.rlim_cur - 100);
  std::vector<os::UniqueHandle> events;
  std::vector<native_handle_type> handles;
  for (std::size_t i = 0; i < count; ++i) {
    events.push_back(event());
    handles.push_back(events.back().get());
  }
  const auto flags = std::make_unique<bool[]>(count);
  const std::span<bool> ready{flags.get(), count};
  std::error_code ec;
  EXPECT_EQ(os::wait_any(handles, ready, {}, Deadline{0s}, ec), os::Waited::timed_out);
  os::set_event(handles[17]);
  os::set_event(handles[count - 1]);
  EXPECT_EQ(os::wait_any(handles, ready, {}, Deadline{forever}, ec), os::Waited::ready);
  EXPECT_FALSE(ec);
  for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(ready[i], i == 17 || i == count - 1) << i;
  events.clear();
  ::setrlimit(RLIMIT_NOFILE, &before);
}
#endif

TEST(WaitAny, RefusesWhatIsNoHandle) {
  const auto one = event();
  const std::array<native_handle_type, 2> handles{one.get(), os::to_handle(1000000)};
  std::array<bool, 2> ready{};
  std::error_code ec;
  static_cast<void>(os::wait_any(handles, ready, {}, Deadline{forever}, ec));
  EXPECT_TRUE(ec);
  const std::array<native_handle_type, 2> with_none{one.get(), os::invalid_handle};
  static_cast<void>(os::wait_any(with_none, ready, {}, Deadline{forever}, ec));
  EXPECT_TRUE(ec);
}

TEST(WaitAny, OfNothingWaitsForTheTime) {
  std::error_code ec;
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(os::wait_any({}, {}, {}, Deadline{10ms}, ec), os::Waited::timed_out);
  EXPECT_GE(std::chrono::steady_clock::now() - before, 10ms);
}
