// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file eventually.hpp
/// @brief Waiting in tests for what must happen, without saying how soon.
#include <chrono>
#include <thread>

namespace test {

/// @brief Returns, true, as soon as `condition()` holds; looks once a millisecond. There is no
/// limit
///        but the watchdog's, which names the test: `ASSERT_TRUE(eventually([&] { return ...; }));`
template <class Condition>
bool eventually(Condition condition) {
  while (!condition()) std::this_thread::sleep_for(std::chrono::milliseconds{1});
  return true;
}

/// @brief Until somebody ends this process.
[[noreturn]] inline void wait_for_ever() {
  for (;;) std::this_thread::sleep_for(std::chrono::hours{1});
}

}  // namespace test
