// SPDX-License-Identifier: BSL-1.0
// What the fuzzers of readers begin with, and what they once found: as it is, cut off, and flipped.
// Not on Windows: the readers of POSIX
#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include <fuzz/manager.hpp>
#include <fuzz/network.hpp>
#include <fuzz/readers.hpp>

namespace {

using Bytes = std::vector<std::byte>;

std::vector<Bytes> corpus_of(const std::string& reader) {
  std::vector<Bytes> all;
  for (const auto& entry : std::filesystem::directory_iterator{
           std::filesystem::path{MULTIPROCESSING_TEST_FUZZ} / (reader + "_corpus")}) {
    std::ifstream file{entry.path(), std::ios::binary};
    const std::string text{std::istreambuf_iterator<char>{file}, {}};
    const auto bytes = std::as_bytes(std::span{text});
    all.emplace_back(bytes.begin(), bytes.end());
  }
  EXPECT_FALSE(all.empty());
  return all;
}

// @param variants of each: as many, over its length.
template <class Read>
void replay(const std::string& reader, Read read, std::size_t variants) {
  for (Bytes bytes : corpus_of(reader)) {
    read(std::span<const std::byte>{bytes});
    const std::size_t step = bytes.size() / (variants + 1) + 1;
    for (std::size_t at = 0; at < bytes.size() && variants != 0; at += step) {
      read(std::span<const std::byte>{bytes}.first(at));
      bytes[at] ^= std::byte{0x81};
      read(std::span<const std::byte>{bytes});
      bytes[at] ^= std::byte{0x81};
    }
  }
}

}  // namespace

TEST(FuzzReplay, OfARing) {
  replay("ring", fuzz::ring, 4);
}
TEST(FuzzReplay, OfMessages) {
  replay("messages", fuzz::messages, 20);
}
TEST(FuzzReplay, OfATracker) {
  replay("tracker", fuzz::tracker, 10);
}
TEST(FuzzReplay, OfACrash) {
  replay("crash", fuzz::crash, 10);
}
TEST(FuzzReplay, OfAShareableList) {
  replay("shareable_list", fuzz::shareable_list, 20);
}
TEST(FuzzReplay, OfAChannel) {
  replay("channel", fuzz::channel, 20);
}
TEST(FuzzReplay, OfAStream) {
  replay("stream", fuzz::stream, 10);
}
TEST(FuzzReplay, OfAManager) {
  fuzz::ManagerUnderFire manager;
  replay(
      "manager", [&](std::span<const std::byte> bytes) { manager.hear(bytes); }, 2);
}
