// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file kept_by_thread.hpp
/// @brief What a thread keeps from one call for the next.
#include <multiprocessing/detail/config.hpp>

namespace multiprocessing::detail {

/// @brief This thread's T of that kind: its own until it ends.
/// @tparam Kind who keeps it: another kind, another T.
/// @returns none where no thread can keep any, and once the thread's own objects are gone. Exit
/// handlers and static objects come after those of the main thread, and may still use the library.
template <class Kind, class T>
[[nodiscard]] T* kept_by_thread() noexcept {
  if constexpr (MULTIPROCESSING_THREADS_KEEP_OBJECTS == 0) {
    return nullptr;
  } else {
    thread_local bool is_gone = false;
    struct Kept {
      T value = {};
      Kept() = default;
      Kept(const Kept&) = delete;
      Kept& operator=(const Kept&) = delete;
      ~Kept() { is_gone = true; }
    };
    if (is_gone) return nullptr;
    thread_local Kept one;
    return &one.value;
  }
}

}  // namespace multiprocessing::detail
