// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file child.hpp
/// @brief A child for tests of what processes do to each other, on every system.
#include <multiprocessing/process.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <type_traits>

namespace test {

/// @brief Runs `work(arguments...)` in a child, of the default start method: 0, or 1 when an
///        expectation failed there or an exception came out. Its destructor kills and reaps.
class Child {
 public:
  /// @param work a lambda without captures: its arguments are what can travel.
  template <class Work, class... Arguments>
  explicit Child(Work /*work*/, const Arguments&... arguments)
      : process_{std::make_unique<multiprocessing::Process<>>(
            [](std::decay_t<const Arguments>... each) {
              Work{}(each...);
              if (testing::Test::HasFailure()) throw multiprocessing::SystemExit(1);
            },
            arguments...)} {
    process_->start();
  }
  Child(Child&&) noexcept = default;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  Child& operator=(Child&&) = delete;
  ~Child() { kill(); }

  [[nodiscard]] int pid() const { return process_->pid().value(); }
  [[nodiscard]] bool is_alive() const { return process_->is_alive(); }

  /// @brief Its exit code.
  int join() {
    process_->join();
    return process_->exitcode().value();
  }
  /// @brief At once, and reaps it.
  void kill() {
    if (!process_) return;
    process_->kill();
    process_->join();
  }

 private:
  std::unique_ptr<multiprocessing::Process<>> process_;
};

/// @brief Ends this process at once, as if it had crashed, but with code 0.
[[noreturn]] inline void end_now() noexcept {
  multiprocessing::os::exit_now(0);
}

}  // namespace test
