// SPDX-License-Identifier: BSL-1.0
#include "serialization/allocation_counter.hpp"

#include <multiprocessing/detail/config.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace {

thread_local std::size_t allocated = 0;
thread_local std::size_t held = 0;
thread_local std::size_t most_held = 0;

// In front of what is given lies its size.
constexpr std::size_t front_for(std::size_t alignment) {
  return std::max(alignment, alignof(std::max_align_t));
}

// Neither is inlined: the compiler would see that memory of operator new goes to free(), and warn.
[[gnu::noinline]] void* counted(std::size_t size, std::size_t alignment) {
  const std::size_t front = front_for(alignment);
  const std::size_t whole = front + (size + front - 1) / front * front;
#if MULTIPROCESSING_POSIX
  void* memory = std::aligned_alloc(front, whole);
#else
  void* memory = _aligned_malloc(whole, front);
#endif
  if (memory == nullptr) throw std::bad_alloc{};
  allocated += size;
  held += size;
  most_held = std::max(most_held, held);
  std::memcpy(memory, &size, sizeof size);
  return static_cast<std::byte*>(memory) + front;
}
[[gnu::noinline]] void release(void* memory,
                               std::size_t alignment = alignof(std::max_align_t)) noexcept {
  if (memory == nullptr) return;
  memory = static_cast<std::byte*>(memory) - front_for(alignment);
  std::size_t size = 0;
  std::memcpy(&size, memory, sizeof size);
  held -= std::min(held, size);  // what was given before forget_peak() does not count
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
void allocation::forget_peak() noexcept {
  held = 0;
  most_held = 0;
}
std::size_t allocation::peak() noexcept {
  return most_held;
}

void* operator new(std::size_t size) {
  return counted(size, alignof(std::max_align_t));
}
void* operator new[](std::size_t size) {
  return counted(size, alignof(std::max_align_t));
}
// Without these a sanitizer would have its own, and who allocates by them releases by ours.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept try {
  return counted(size, alignof(std::max_align_t));
} catch (const std::bad_alloc&) {
  return nullptr;
}
void* operator new[](std::size_t size, const std::nothrow_t& nothrow) noexcept {
  return operator new(size, nothrow);
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
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  release(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  release(memory);
}
void operator delete(void* memory, std::align_val_t alignment) noexcept {
  release(memory, static_cast<std::size_t>(alignment));
}
void operator delete[](void* memory, std::align_val_t alignment) noexcept {
  release(memory, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory, std::size_t, std::align_val_t alignment) noexcept {
  release(memory, static_cast<std::size_t>(alignment));
}
void operator delete[](void* memory, std::size_t, std::align_val_t alignment) noexcept {
  release(memory, static_cast<std::size_t>(alignment));
}

TEST(AllocationCounter, SeesWhatIsAllocated) {
  const std::size_t before = allocation::total();
  const auto memory = std::make_unique<std::array<char, 1234>>();
  EXPECT_EQ(allocation::total() - before, 1234U);
}

TEST(AllocationCounter, SeesWhatIsHeldAtOnce) {
  allocation::forget_peak();
  for (int i = 0; i < 3; ++i) {
    const auto memory = std::make_unique<std::array<char, 1000>>();
    const auto more = std::make_unique<std::array<char, 34>>();
  }
  EXPECT_EQ(allocation::peak(), 1034U);
}
