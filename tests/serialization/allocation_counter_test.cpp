// SPDX-License-Identifier: BSL-1.0
#include "serialization/allocation_counter.hpp"

#include <multiprocessing/detail/config.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace {

thread_local std::size_t allocated = 0;

// Neither is inlined: the compiler would see that memory of operator new goes to free(), and warn.
[[gnu::noinline]] void* counted(std::size_t size, std::size_t alignment) {
  allocated += size;
  const std::size_t whole = (size + alignment - 1) / alignment * alignment;
#if MULTIPROCESSING_POSIX
  void* memory = std::aligned_alloc(alignment, whole == 0 ? alignment : whole);
#else
  void* memory = _aligned_malloc(whole == 0 ? alignment : whole, alignment);
#endif
  if (memory == nullptr) throw std::bad_alloc{};
  return memory;
}
[[gnu::noinline]] void release(void* memory) noexcept {
#if MULTIPROCESSING_POSIX
  std::free(memory);
#else
  _aligned_free(memory);
#endif
}

}  // namespace

std::size_t allocation::total() noexcept {
  return allocated;
}

void* operator new(std::size_t size) {
  return counted(size, alignof(std::max_align_t));
}
void* operator new[](std::size_t size) {
  return counted(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  release(memory);
}
void operator delete[](void* memory) noexcept {
  release(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  release(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  release(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  release(memory);
}

TEST(AllocationCounter, SeesWhatIsAllocated) {
  const std::size_t before = allocation::total();
  const auto memory = std::make_unique<std::array<char, 1234>>();
  EXPECT_EQ(allocation::total() - before, 1234U);
}
