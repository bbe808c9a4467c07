// SPDX-License-Identifier: BSL-1.0
// For libFuzzer: tests/fuzz/CMakeLists.txt says how to run it.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

#include "fuzz/codec.hpp"
#include <sanitizer/allocator_interface.h>

namespace {

std::size_t allocated = 0;

// An operator new of our own would take the sanitizer's checks away.
[[maybe_unused]] const int installed = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t size) { allocated += size; }, [](const volatile void*) {});

}  // namespace

std::size_t allocation::total() noexcept {
  return allocated;
}

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (const std::string fault = fuzz::codec(std::as_bytes(std::span{data, size})); !fault.empty()) {
    std::fprintf(stderr, "%s\n", fault.c_str());
    std::abort();
  }
  return 0;
}
