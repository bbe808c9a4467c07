// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file start_methods.hpp
/// @brief Tests that hold for every start method.
#include <multiprocessing/process.hpp>

#include <gtest/gtest.h>

#include <mutex>
#include <string>

namespace test {

/// @brief Its tests run once for each start method, which is the default meanwhile.
class EveryStartMethod : public testing::TestWithParam<multiprocessing::StartMethod> {
 protected:
  // Before a fixture's members are made.
  EveryStartMethod() { multiprocessing::set_start_method(GetParam(), true); }
  void TearDown() override {
    auto& state = multiprocessing::detail::process_state();
    const std::lock_guard lock{state.mutex};
    state.start_method.reset();
  }
  [[nodiscard]] static bool forks() { return GetParam() == multiprocessing::StartMethod::fork; }
};

inline std::string start_method_name(
    const testing::TestParamInfo<multiprocessing::StartMethod>& info) {
  switch (info.param) {
    case multiprocessing::StartMethod::fork:
      return "fork";
    case multiprocessing::StartMethod::spawn:
      return "spawn";
    case multiprocessing::StartMethod::forkserver:
      return "forkserver";
  }
  return "unknown";
}

}  // namespace test

/// Every test of the suite, under every start method of this system.
#define TEST_EVERY_START_METHOD(suite)                                                             \
  INSTANTIATE_TEST_SUITE_P(By, suite, testing::ValuesIn(multiprocessing::get_all_start_methods()), \
                           test::start_method_name)
