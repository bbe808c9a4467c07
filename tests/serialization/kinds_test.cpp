// SPDX-License-Identifier: BSL-1.0
#include "serialization/kinds.hpp"

#include <multiprocessing/serialization.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "serialization/allocation_counter.hpp"

namespace {

namespace mp = multiprocessing;

/// Decodes bytes that may be anything: a T or a SerializationError is the answer, within the memory
/// that is promised.
/// @returns whether they were a T.
template <class T>
bool is_decoded(std::span<const std::byte> bytes) {
  const std::size_t before = allocation::total();
  bool decoded = false;
  try {
    const T value = mp::loads<T>(bytes);
    EXPECT_LE(allocation::total() - before, 8 * bytes.size() + 4096) << "decoded";
    // A valid value can be used: encoded, for one.
    static_cast<void>(mp::dumps(value));
    decoded = true;
  } catch (const mp::SerializationError&) {
    EXPECT_LE(allocation::total() - before, 8 * bytes.size() + 4096) << "refused";
  }
  return decoded;
}

template <class Kind>
class EveryKind : public testing::Test {};
TYPED_TEST_SUITE(EveryKind, kinds::All);

TYPED_TEST(EveryKind, IsSerializable) {
  using Type = typename TypeParam::Type;
  static_assert(mp::Serializable<Type>);
  static_assert(mp::Serializable<const Type>);
  static_assert(mp::Serializable<std::vector<Type>>);
  static_assert(mp::Serializable<std::optional<Type>>);
  static_assert(!mp::Serializable<Type&>);
  static_assert(!mp::Serializable<Type*>);
  static_assert(!mp::carries_handles<Type>);
}

TYPED_TEST(EveryKind, ComesBackAsItWas) {
  using Type = typename TypeParam::Type;
  for (const Type& value : TypeParam::values()) {
    const auto bytes = mp::dumps(value);
    const Type back = mp::loads<Type>(bytes);
    EXPECT_TRUE(kinds::same(value, back));
    EXPECT_TRUE(is_decoded<Type>(bytes));
  }
}

TYPED_TEST(EveryKind, ComesBackFromAnyAddress) {
  using Type = typename TypeParam::Type;
  for (const Type& value : TypeParam::values()) {
    auto bytes = mp::dumps(value);
    bytes.insert(bytes.begin(), std::byte{});
    const Type back = mp::loads<Type>(std::span<const std::byte>{bytes}.subspan(1));
    EXPECT_TRUE(kinds::same(value, back));
  }
}

TYPED_TEST(EveryKind, IsRefusedCutOffAtAnyByte) {
  using Type = typename TypeParam::Type;
  for (const Type& value : TypeParam::values()) {
    const auto bytes = mp::dumps(value);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      // A copy of its own, so that a sanitizer sees a read behind the end.
      const std::vector<std::byte> cut{bytes.begin(),
                                       bytes.begin() + static_cast<std::ptrdiff_t>(size)};
      EXPECT_FALSE(is_decoded<Type>(cut)) << size << " of " << bytes.size();
    }
  }
}

TYPED_TEST(EveryKind, IsRefusedWithBytesLeftOver) {
  using Type = typename TypeParam::Type;
  for (const Type& value : TypeParam::values()) {
    auto bytes = mp::dumps(value);
    bytes.push_back(std::byte{});
    EXPECT_FALSE(is_decoded<Type>(bytes));
  }
}

TYPED_TEST(EveryKind, IsAValueOrRefusedWithAnyBitFlipped) {
  using Type = typename TypeParam::Type;
  for (const Type& value : TypeParam::values()) {
    auto bytes = mp::dumps(value);
    for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      const auto mask = static_cast<std::byte>(1U << (bit % 8));
      bytes[bit / 8] ^= mask;
      static_cast<void>(is_decoded<Type>(bytes));
      bytes[bit / 8] ^= mask;
    }
  }
}

TYPED_TEST(EveryKind, IsAValueOrRefusedWithAnyByteAtItsExtremes) {
  using Type = typename TypeParam::Type;
  for (const Type& value : TypeParam::values()) {
    const auto bytes = mp::dumps(value);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      for (const unsigned extreme : {0x00U, 0x7fU, 0x80U, 0xffU}) {
        auto damaged = bytes;
        damaged[i] = static_cast<std::byte>(extreme);
        static_cast<void>(is_decoded<Type>(damaged));
        // To the end of a length, and of what comes behind it.
        std::fill(damaged.begin() + static_cast<std::ptrdiff_t>(i),
                  damaged.begin() + static_cast<std::ptrdiff_t>(std::min(i + 8, bytes.size())),
                  static_cast<std::byte>(extreme));
        static_cast<void>(is_decoded<Type>(damaged));
      }
    }
  }
}

TYPED_TEST(EveryKind, TakesLittleMemoryInGreatNumbers) {
  using Type = typename TypeParam::Type;
  std::vector<Type> many;
  for (int i = 0; i < 100; ++i) {
    for (auto&& value : TypeParam::values()) many.push_back(std::move(value));
  }
  EXPECT_TRUE(is_decoded<std::vector<Type>>(mp::dumps(many)));
}

}  // namespace
