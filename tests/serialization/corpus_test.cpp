// SPDX-License-Identifier: BSL-1.0
// What the fuzzer begins with, and what it once found.
#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>

#include "fuzz/codec.hpp"

TEST(FuzzCorpus, IsDecodedOrRefused) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator{MULTIPROCESSING_TEST_CORPUS}) {
    std::ifstream file{entry.path(), std::ios::binary};
    const std::string bytes{std::istreambuf_iterator<char>{file}, {}};
    EXPECT_EQ(fuzz::codec(std::as_bytes(std::span{bytes})), "") << entry.path();
    ++files;
  }
  EXPECT_GT(files, 50);
}
