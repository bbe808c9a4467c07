// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file audit.hpp
/// @brief The leak audit: after every test, descriptors, processes, threads and files are as
/// before.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace test {

/// @brief What a test could leave behind.
struct Belongings {
  std::map<int, std::string> descriptors;  ///< Number and what it refers to.
  std::map<int, std::string> processes;    ///< Children and their descendants.
  std::map<int, std::string> threads;
  std::map<std::string, std::string> shared;  ///< Names in /dev/shm.
  std::map<std::string, std::string> files;   ///< In the folder that the test runs in.
};

/// @brief What there is now. `keep` says which descriptors a process keeps once it has them.
[[nodiscard]] Belongings belongings(const std::function<bool(int)>& keep);

/// @brief One line for each thing that is in `now` and was not before, or the other way round.
[[nodiscard]] std::vector<std::string> differences(const Belongings& before, const Belongings& now);

/// @brief Fails a test that leaves something behind. What goes away by itself, such as a thread
/// that
///        has been joined a moment ago, has two seconds.
class LeakAudit : public testing::EmptyTestEventListener {
 public:
  explicit LeakAudit(std::function<bool(int)> keep) : keep_{std::move(keep)} {}
  void OnTestStart(const testing::TestInfo&) override;
  void OnTestEnd(const testing::TestInfo&) override;

 private:
  std::function<bool(int)> keep_;
  Belongings before_;
};

}  // namespace test
