// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file stop_point.hpp
/// @brief Stops or kills a process exactly between two steps of the library.
///
/// A chaos program is compiled with this file in front of everything else: each
/// `MULTIPROCESSING_STOP_POINT("ring.put.committed")` that a process comes by is a call of
/// `test::stop_point`. A test forks a process, which says where it is to stop, and watches it:
///
///     for (const std::string& name : test::stop_points_in([&] { queue.put(1); })) {
///       test::forget_stops();
///       mp::Process victim([&] { test::stop_at(name, test::Stop::wait); queue.put(2); });
///       victim.start();
///       test::eventually([] { return test::stops_reached() == 1; });
///       victim.kill();  // it dies there; with Stop::die it kills itself, and needs no watching
///     }
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <functional>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#if defined(_WIN32)
extern "C" __declspec(dllimport) int __stdcall TerminateProcess(void* process, unsigned code);
extern "C" __declspec(dllimport) void* __stdcall GetCurrentProcess();
extern "C" __declspec(dllimport) void __stdcall Sleep(unsigned long milliseconds);
#else
#  include <sys/mman.h>
#  include <unistd.h>
#endif

namespace test {

/// @brief What a process does at the point where it is to stop.
enum class Stop {
  wait,  ///< Stands still there for ever, as a process does that a debugger or SIGSTOP holds.
  die,   ///< Kills itself with SIGKILL.
};

namespace detail {

inline constexpr std::size_t longest_stop_name = 96;
using StopName = std::array<char, longest_stop_name>;

// Of this system's two ways to stop.
#if defined(_WIN32)
inline void kill_this_process() noexcept {
  ::TerminateProcess(::GetCurrentProcess(), 0x10000);
}
inline void stand_still() noexcept {
  ::Sleep(1000);
}
inline void* memory_for_all(std::size_t size) {
  return ::operator new(size);  // nobody is forked
}
#else
inline void kill_this_process() noexcept {
  ::kill(::getpid(), SIGKILL);
}
inline void stand_still() noexcept {
  ::pause();
}
inline void* memory_for_all(std::size_t size) {
  void* const page =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) throw std::system_error{errno, std::system_category(), "stop board"};
  return page;
}
#endif

// One per tree of forked processes: a spawned process starts a board of its own.
struct StopBoard {
  std::atomic<unsigned> reached{0};
  std::atomic<bool> recording{false};
  std::atomic<unsigned> names_taken{0};
  std::array<StopName, 256> names{};
  std::array<std::atomic<bool>, 256> written{};
};

inline StopBoard& stop_board() {
  static StopBoard& board = *new (memory_for_all(sizeof(StopBoard))) StopBoard;
  return board;
}
inline StopBoard& made_before_any_fork = stop_board();

// This process's own order. The name is written before `armed`, by stop_at().
struct StopOrder {
  StopName name{};
  Stop what = Stop::wait;
  std::atomic<unsigned> passes_left{0};
  std::atomic<bool> armed{false};
};
inline StopOrder stop_order;

inline StopName stop_name(std::string_view text) {
  if (text.size() >= longest_stop_name) throw std::invalid_argument{"stop point: name too long"};
  StopName name{};
  text.copy(name.data(), text.size());
  return name;
}

// Who waits comes by the same points again and again: each is noted once.
inline bool is_noted(const StopBoard& board, const char* name) noexcept {
  for (std::size_t i = 0; i < board.names.size() && i < board.names_taken; ++i) {
    if (board.written[i] && std::strncmp(board.names[i].data(), name, longest_stop_name - 1) == 0) {
      return true;
    }
  }
  return false;
}

}  // namespace detail

/// @brief What MULTIPROCESSING_STOP_POINT calls. Allocates nothing, waits for nobody.
inline void stop_point(const char* name) noexcept {
  auto& board = detail::made_before_any_fork;
  if (board.recording && !detail::is_noted(board, name)) {
    const unsigned mine = board.names_taken++;
    if (mine < board.names.size()) {
      std::strncpy(board.names[mine].data(), name, detail::longest_stop_name - 1);
      board.written[mine] = true;
    }
  }
  auto& order = detail::stop_order;
  if (!order.armed || std::strcmp(order.name.data(), name) != 0) return;
  if (order.passes_left-- != 1) return;
  ++board.reached;
  if (order.what == Stop::die) detail::kill_this_process();
  for (;;) detail::stand_still();
}

/// @brief From now on this process (any of its threads) stops at `name`, when it comes by for the
///        `pass`-th time. A later call replaces this one. A child made by fork inherits the order.
inline void stop_at(std::string_view name, Stop what = Stop::wait, unsigned pass = 1) {
  auto& order = detail::stop_order;
  order.armed = false;
  order.name = detail::stop_name(name);
  order.what = what;
  order.passes_left = pass;
  order.armed = true;
}

/// @brief Takes stop_at() back.
inline void stop_nowhere() {
  detail::stop_order.armed = false;
}

/// @brief How many processes have come to their stop since forget_stops(): of this process, its
///        parents and all that they forked.
[[nodiscard]] inline unsigned stops_reached() {
  return detail::stop_board().reached;
}

/// @brief Sets stops_reached() back to 0.
inline void forget_stops() {
  detail::stop_board().reached = 0;
}

/// @brief From now on the points that this process, and those that it forks, come by are noted.
inline void record_stop_points() {
  auto& board = detail::stop_board();
  for (auto& written : board.written) written = false;
  for (auto& name : board.names) name = {};
  board.names_taken = 0;
  board.recording = true;
}
/// @brief Their names, each once, in the order of the first time; no more are noted.
inline std::vector<std::string> recorded_stop_points() {
  auto& board = detail::stop_board();
  board.recording = false;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < board.names.size(); ++i) {
    if (!board.written[i]) continue;
    const std::string name{board.names[i].data()};
    bool seen = false;
    for (const auto& other : names) seen = seen || other == name;
    if (!seen) names.push_back(name);
  }
  return names;
}

/// @brief The names of the points that this process and those it forks come by while `work()` runs,
///        as recorded_stop_points().
inline std::vector<std::string> stop_points_in(const std::function<void()>& work) {
  record_stop_points();
  work();
  return recorded_stop_points();
}

}  // namespace test

#ifdef MULTIPROCESSING_STOP_POINT
#  error "stop_point.hpp must come before the library: see test.chaos in tests/CMakeLists.txt"
#endif
#define MULTIPROCESSING_STOP_POINT(name) ::test::stop_point(name)
