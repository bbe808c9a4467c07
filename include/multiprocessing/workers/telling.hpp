// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file telling.hpp
/// @brief Which receivers the calling thread is inside of.
#include <multiprocessing/workers/task_runner.hpp>

#include <cstddef>

namespace multiprocessing::detail {

/// @brief The calling thread is telling a receiver, which may call the program's code.
class Telling {
 public:
  explicit Telling(const TaskRunner& runner) noexcept : runner_{&runner} { innermost() = this; }
  ~Telling() { innermost() = outer_; }
  Telling(const Telling&) = delete;
  Telling& operator=(const Telling&) = delete;
  /// @brief How many receivers of this runner the calling thread is inside of.
  static std::size_t count(const TaskRunner& runner) noexcept {
    std::size_t found = 0;
    for (const Telling* each = innermost(); each != nullptr; each = each->outer_) {
      if (each->runner_ == &runner) ++found;
    }
    return found;
  }

 private:
  static Telling*& innermost() noexcept {
    thread_local Telling* one = nullptr;
    return one;
  }
  const TaskRunner* runner_;
  Telling* outer_ = innermost();
};

}  // namespace multiprocessing::detail
