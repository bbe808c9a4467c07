// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file telling.hpp
/// @brief Which receivers the calling thread is inside of.
#include <multiprocessing/workers/task_runner.hpp>

#include <atomic>
#include <cstddef>

namespace multiprocessing::detail {

/// @brief The calling thread is telling a receiver, which may call the program's code.
class Telling {
 public:
  explicit Telling(const TaskRunner& runner) noexcept : runner_{&runner} { innermost() = this; }
  ~Telling() { innermost() = outer_; }
  Telling(const Telling&) = delete;
  Telling& operator=(const Telling&) = delete;

  /// @brief Counts the tasks whose receivers the calling thread is inside of, as long as it lives:
  /// they are open until they have returned from here. Each counts once, also where a join() in a
  /// callback calls another callback that calls join().
  class Held {
   public:
    Held(const TaskRunner& runner, std::atomic<std::size_t>& count) noexcept : count_{count} {
      for (Telling* each = innermost(); each != nullptr; each = each->outer_) {
        if (each->runner_ != &runner) continue;
        is_inside_ = true;
        if (each->held_by_ != nullptr) continue;
        each->held_by_ = this;
        count_.fetch_add(1);
      }
    }
    ~Held() {
      for (Telling* each = innermost(); each != nullptr; each = each->outer_) {
        if (each->held_by_ != this) continue;
        each->held_by_ = nullptr;
        count_.fetch_sub(1);
      }
    }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    /// @brief Whether the calling thread is inside of any.
    [[nodiscard]] bool is_inside() const noexcept { return is_inside_; }

   private:
    std::atomic<std::size_t>& count_;
    bool is_inside_ = false;
  };

 private:
  static Telling*& innermost() noexcept {
    thread_local Telling* one = nullptr;
    return one;
  }
  const TaskRunner* runner_;
  const Held* held_by_ = nullptr;
  Telling* outer_ = innermost();
};

}  // namespace multiprocessing::detail
