// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file named_points.hpp
/// @brief The stop points that the library's headers name, so that a test can say it forgot none.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace test {

/// @param headers files, or folders of files.
[[nodiscard]] inline std::set<std::string> stop_points_named_in(
    const std::vector<std::filesystem::path>& headers) {
  const std::regex point{"MULTIPROCESSING_STOP_POINT\\(\"([^\"]+)\"\\)"};
  std::set<std::string> names;
  for (const auto& header : headers) {
    if (std::filesystem::is_directory(header)) {
      for (const auto& entry : std::filesystem::directory_iterator{header}) {
        names.merge(stop_points_named_in({entry.path()}));
      }
      continue;
    }
    std::ifstream file{header};
    const std::string text{std::istreambuf_iterator<char>{file}, {}};
    for (std::sregex_iterator found{text.begin(), text.end(), point}, end; found != end; ++found) {
      names.insert((*found)[1]);
    }
  }
  return names;
}

}  // namespace test
