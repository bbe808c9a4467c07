// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file watchdog.hpp
/// @brief Ends a test that hangs, and says where it hangs.
#include <gtest/gtest.h>

#include <functional>

namespace test {

/// @brief Gives every test 100 s of a machine that runs (a virtual one may stand still), times
/// MULTIPROCESSING_TEST_TIMEOUT_SCALE (or as many seconds as
///        MULTIPROCESSING_TEST_WATCHDOG says). Then it prints the test's name, the stack of each of
///        its threads and of its forked children, what its other descendants wait for, kills them,
///        and aborts. No thread: a timer's signal, so that a test forks from a process of one
///        thread.
class Watchdog : public testing::EmptyTestEventListener {
 public:
  /// @param before_abort called last, to remove what the program made for itself.
  explicit Watchdog(std::function<void()> before_abort);
  void OnTestStart(const testing::TestInfo&) override;
  void OnTestEnd(const testing::TestInfo&) override;
};

}  // namespace test
