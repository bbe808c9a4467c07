// SPDX-License-Identifier: BSL-1.0
#pragma once
// Allocations that fail where a test says so: for one file of a program.
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <new>

namespace test {

// Of this thread: how many allocations succeed before one fails; below zero: all do.
inline thread_local int left = -1;

// Of all threads: from which size on they fail.
inline std::atomic<std::size_t> too_large{std::numeric_limits<std::size_t>::max()};

// Of this thread: how many bytes it has asked for, all in all.
inline thread_local std::size_t asked_for = 0;

inline void* allocate(std::size_t size) {
  asked_for += size;
  if (size >= too_large.load()) throw std::bad_alloc{};
  if (left >= 0 && left-- == 0) throw std::bad_alloc{};
  if (void* const memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc{};
}

}  // namespace test

void* operator new(std::size_t size) {
  return test::allocate(size);
}
void* operator new[](std::size_t size) {
  return test::allocate(size);
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept try {
  return test::allocate(size);
} catch (const std::bad_alloc&) {
  return nullptr;
}
void* operator new[](std::size_t size, const std::nothrow_t& nothrow) noexcept {
  return operator new(size, nothrow);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
