// SPDX-License-Identifier: BSL-1.0
// For libFuzzer: one program for each reader, which CMake names.
#include MULTIPROCESSING_FUZZ_HEADER

#include <cstddef>
#include <cstdint>
#include <span>

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::MULTIPROCESSING_FUZZ_READER(std::as_bytes(std::span{data, size}));
  return 0;
}
