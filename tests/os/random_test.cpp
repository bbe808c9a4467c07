// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/os/random.hpp>

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <vector>

namespace os = multiprocessing::os;

namespace {

TEST(RandomBytes, AreDifferentEveryTime) {
  std::set<std::array<std::byte, 16>> seen;
  for (int i = 0; i < 100; ++i) {
    std::array<std::byte, 16> bytes{};
    std::error_code ec;
    os::random_bytes(bytes, ec);
    ASSERT_FALSE(ec);
    EXPECT_TRUE(seen.insert(bytes).second);
  }
}

TEST(RandomBytes, FillAnySize) {
  for (const std::size_t size : {0U, 1U, 257U, 1U << 20U}) {
    std::vector<std::byte> bytes(size);
    std::error_code ec = std::make_error_code(std::errc::io_error);
    os::random_bytes(bytes, ec);
    EXPECT_FALSE(ec);
    if (size > 1000) {
      EXPECT_GT(std::set(bytes.begin(), bytes.end()).size(), 200U);
      EXPECT_GT(std::set(bytes.end() - 1000, bytes.end()).size(), 100U);
    }
  }
}

}  // namespace
