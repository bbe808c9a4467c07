// SPDX-License-Identifier: BSL-1.0
// Not on Windows: what the kernel says of a mapping
#include <multiprocessing.hpp>
#include <multiprocessing/os/large_pages.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

namespace mp = multiprocessing;

namespace {

constexpr std::size_t large = std::size_t{64} << 20U;

// What the kernel notes of the mapping around an address: "hg" is what was asked for.
bool is_hinted(const void* memory) {
  const auto wanted = reinterpret_cast<std::uintptr_t>(memory);
  std::ifstream maps{"/proc/self/smaps"};
  bool is_there = false;
  for (std::string line; std::getline(maps, line);) {
    std::size_t end_of_begin = 0;
    const auto dash = line.find('-');
    const auto blank = line.find(' ');
    if (dash != std::string::npos && dash < blank && line.find(':') > blank) {
      const auto begin = std::stoull(line, &end_of_begin, 16);
      const auto end = std::stoull(line.substr(dash + 1), nullptr, 16);
      is_there = begin <= wanted && wanted < end;
    }
    if (is_there && line.starts_with("VmFlags:")) {
      return line.find(" hg") != std::string::npos;
    }
  }
  return false;
}

bool has_large_pages() {
  return static_cast<bool>(std::ifstream{"/sys/kernel/mm/transparent_hugepage/enabled"});
}

TEST(LargePages, AreAskedForWhereAllOfAMemoryWillBeFilled) {
  if (!has_large_pages()) GTEST_SKIP() << "this kernel has no large pages";
  std::vector<std::byte> bytes;
  bytes.reserve(large);
  EXPECT_FALSE(is_hinted(bytes.data() + large / 2));
  mp::os::prefer_large_pages(bytes.data(), large);
  EXPECT_TRUE(is_hinted(bytes.data() + large / 2));
  std::vector<std::byte> small(100);
  mp::os::prefer_large_pages(small.data(), small.size());  // no whole page of that kind: nothing
}

TEST(LargePages, AreAskedForLargeValuesOnTheirWayOutAndIn) {
  if (!has_large_pages()) GTEST_SKIP() << "this kernel has no large pages";
  const std::vector<char> value(large, 'x');
  const auto bytes = mp::dumps(value);
  EXPECT_TRUE(is_hinted(bytes.data() + large / 2));
  const auto copy = mp::loads<std::vector<char>>(bytes);
  EXPECT_TRUE(is_hinted(copy.data() + large / 2));
  EXPECT_EQ(copy, value);
}

}  // namespace
