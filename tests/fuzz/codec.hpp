// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file codec.hpp
/// @brief What must hold whatever bytes are decoded: for the fuzzer, and for the test that replays
/// its corpus.
#include <multiprocessing/serialization.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "serialization/allocation_counter.hpp"
#include "serialization/kinds.hpp"

namespace fuzz {

/// @brief Whether equal values have equal bytes: the order in a hash table depends on its past, and
/// what is in a long double's padding on where it was.
template <class T>
inline constexpr bool is_ordered = !std::is_same_v<T, long double> && !requires {
  typename T::hasher;
};

/// @brief Decodes bytes as a T. @returns what is wrong with the library; empty: nothing.
template <class T>
std::string decode(std::span<const std::byte> bytes) {
  namespace mp = multiprocessing;
  const std::string name{mp::detail::type_name<T>()};
  const std::size_t before = allocation::total();
  const auto too_much = [&] { return allocation::total() - before > 8 * bytes.size() + 4096; };
  std::vector<std::byte> encoded;
  try {
    const T value = mp::loads<T>(bytes);
    if (too_much()) return name + " takes too much memory";
    encoded = mp::dumps(value);
  } catch (const mp::SerializationError&) {
    return too_much() ? name + " takes too much memory and is refused" : "";
  }
  try {
    const std::vector<std::byte> again = mp::dumps(mp::loads<T>(encoded));
    if (is_ordered<T> ? again != encoded : again.size() != encoded.size()) {
      return name + " is encoded in another way after it was decoded";
    }
  } catch (const mp::SerializationError& error) {
    return name + " encodes what it does not decode: " + error.what();
  }
  return "";
}

template <class Kinds>
struct Decoders;
template <class... Kind>
struct Decoders<testing::Types<Kind...>> {
  static constexpr std::array all{&decode<typename Kind::Type>...};
};

/// @brief The first byte is the kind, the rest is decoded as one.
inline std::string codec(std::span<const std::byte> input) {
  constexpr auto& decoders = Decoders<kinds::All>::all;
  if (input.empty()) return "";
  const auto kind = std::to_integer<std::size_t>(input.front());
  return decoders[kind % decoders.size()](input.subspan(1));
}

}  // namespace fuzz
