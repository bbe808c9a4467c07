// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file scaled.hpp
/// @brief Bounds of time for tests of what is promised within a time.
#include <chrono>
#include <cstdlib>

namespace test {

/// @brief As much longer as this build's tests may take: times MULTIPROCESSING_TEST_TIMEOUT_SCALE.
inline std::chrono::duration<double> scaled(std::chrono::duration<double> time) {
  const char* const scale = std::getenv("MULTIPROCESSING_TEST_TIMEOUT_SCALE");
  return scale == nullptr ? time : time * std::atof(scale);
}

}  // namespace test
