// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file sequences.hpp
/// @brief Strings and sequences of the standard library in bytes.
///
/// A length is 64 bits, then come the elements; those of a bitwise type in one copy. What a
/// container allocates for an element beyond eight times its encoding is paid for by zero bytes
/// behind it.
#include <multiprocessing/detail/memory_hint.hpp>
#include <multiprocessing/serialization/value.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <forward_list>
#include <iterator>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

inline constexpr std::size_t count_size = sizeof(std::uint64_t);

/// @brief How much a container allocates for one element; `Node` is what is there beside it.
template <class Element, std::size_t Node>
inline constexpr std::size_t element_room = Node == 0
                                                ? sizeof(Element)
                                                : (sizeof(Element) + Node + 7) / 8 * 8 +
                                                      (alignof(Element) > 8 ? alignof(Element) : 0);

/// @brief The zero bytes behind each element.
template <class Element, std::size_t Node>
inline constexpr std::size_t element_padding = padding_of<Element>(element_room<Element, Node>);

/// @brief The bytes that each element takes at least, padding included. Never 0.
template <class Element, std::size_t Node>
inline constexpr std::size_t element_weight = weight_of<Element>() + element_padding<Element, Node>;

/// @brief A count and elements one by one.
template <std::size_t Node, class Element, class Range>
void encode_elements(Encoder& encoder, const Range& range, std::size_t count) {
  encoder.write_number(std::uint64_t{count});
  for (const auto& element : range) {
    detail::encode_value<Element>(encoder, element);
    encoder.pad(element_padding<Element, Node>);
  }
}

/// @brief Decodes what encode_elements() encoded.
/// @param reserve called with the count, which is checked.
/// @param add called with the decoder for each element, which it decodes.
template <std::size_t Node, class Element, class Reserve, class Add>
void decode_elements(Decoder& decoder, Reserve reserve, Add add) {
  const std::size_t count = decoder.read_count(element_weight<Element, Node>);
  decoder.pay_for(count * element_room<Element, Node>);
  reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    add(decoder);
    decoder.take(element_padding<Element, Node>);
  }
}

/// @brief Decodes an element to the end of a list or deque.
template <class Container>
void append_from(Decoder& decoder, Container& container) {
  using Element = typename Container::value_type;
  if constexpr (is_read_in_place<Element>()) {
    decoder.read(std::addressof(container.emplace_back()), sizeof(Element));
  } else {
    container.push_back(decode_value<Element>(decoder));
  }
}

/// @brief The bytes of a contiguous range into a vector or string, in one copy if it can be.
template <class Container>
Container decode_contiguous(Decoder& decoder) {
  using Element = typename Container::value_type;
  const std::size_t count = decoder.read_count(sizeof(Element));
  const std::byte* bytes = decoder.take(count * sizeof(Element)).data();
  Container made;
  if (count == 0) return made;
  decoder.pay_for((count + 1) * sizeof(Element));  // one more: a string's NUL
  if constexpr (std::is_copy_constructible_v<Element>) {
    if (reinterpret_cast<std::uintptr_t>(bytes) % alignof(Element) == 0) {
      const auto* elements = reinterpret_cast<const Element*>(bytes);
      made.reserve(count);
      will_be_filled(made.data(), count * sizeof(Element));
      made.assign(elements, elements + count);
      return made;
    }
  }
  if constexpr (std::is_trivially_default_constructible_v<Element> || is_read_in_place<Element>()) {
    made.reserve(count);
    will_be_filled(made.data(), count * sizeof(Element));
    made.resize(count);
    std::memcpy(static_cast<void*>(made.data()), bytes, count * sizeof(Element));
  } else {
    made.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      std::array<std::byte, sizeof(Element)> one;
      std::memcpy(one.data(), bytes + i * sizeof(Element), sizeof(Element));
      made.push_back(std::bit_cast<Element>(one));
    }
  }
  return made;
}

template <class Char, class Char_traits, class Allocator>
requires is_bitwise<Char>
struct Standard<std::basic_string<Char, Char_traits, Allocator>> {
  using String = std::basic_string<Char, Char_traits, Allocator>;
  using Parts = Types<Char>;
  static constexpr std::size_t weight = count_size - 1;  // one byte of the count pays for the NUL
  static void encode(Encoder& encoder, const String& text) {
    encoder.write_number(std::uint64_t{text.size()});
    encoder.write(text.data(), text.size() * sizeof(Char));
  }
  static String decode(Decoder& decoder) { return decode_contiguous<String>(decoder); }
};

template <class T, class Allocator>
struct Standard<std::vector<T, Allocator>> {
  using Vector = std::vector<T, Allocator>;
  using Parts = Types<T>;
  static constexpr std::size_t weight = count_size;
  static void encode(Encoder& encoder, const Vector& vector) {
    if constexpr (is_bitwise<T>) {
      encoder.write_number(std::uint64_t{vector.size()});
      encoder.write(vector.data(), vector.size() * sizeof(T));
    } else {
      detail::encode_elements<0, T>(encoder, vector, vector.size());
    }
  }
  static Vector decode(Decoder& decoder) {
    if constexpr (is_bitwise<T>) {
      return decode_contiguous<Vector>(decoder);
    } else {
      Vector made;
      decode_elements<0, T>(
          decoder, [&](std::size_t count) { made.reserve(count); },
          [&](Decoder& from) { made.push_back(decode_value<T>(from)); });
      return made;
    }
  }
};

/// Bits in bytes, the first one lowest; the spare bits of the last byte are zero.
template <class Bits>
void encode_bit_range(Encoder& encoder, const Bits& bits) {
  std::uint8_t byte = 0;
  const std::size_t size = bits.size();
  for (std::size_t i = 0; i < size; ++i) {
    if (bits[i]) byte = static_cast<std::uint8_t>(byte | (1U << (i % 8)));
    if (i % 8 == 7 || i + 1 == size) {
      encoder.write_number(byte);
      byte = 0;
    }
  }
}
template <class Bits>
void decode_bit_range(std::span<const std::byte> bytes, Bits& bits) {
  const std::size_t size = bits.size();
  for (std::size_t i = 0; i < size; ++i) {
    bits[i] = ((std::to_integer<unsigned>(bytes[i / 8]) >> (i % 8)) & 1U) != 0;
  }
  if (size % 8 != 0 && (std::to_integer<unsigned>(bytes.back()) >> (size % 8)) != 0) {
    throw SerializationError{"there are bits behind the last one"};
  }
}

template <class Allocator>
struct Standard<std::vector<bool, Allocator>> {
  using Vector = std::vector<bool, Allocator>;
  using Parts = Types<>;
  static constexpr std::size_t weight = count_size - 1;  // a byte of the count: the last word
  static void encode(Encoder& encoder, const Vector& vector) {
    encoder.write_number(std::uint64_t{vector.size()});
    detail::encode_bit_range(encoder, vector);
  }
  static Vector decode(Decoder& decoder) {
    const auto count = decoder.read_number<std::uint64_t>();
    const auto bytes = decoder.take(static_cast<std::size_t>(count / 8 + (count % 8 != 0)));
    decoder.pay_for(bytes.size() + sizeof(long));
    Vector made(static_cast<std::size_t>(count));
    detail::decode_bit_range(bytes, made);
    return made;
  }
};

template <std::size_t Size>
struct Standard<std::bitset<Size>> {
  using Parts = Types<>;
  static constexpr std::size_t weight = (Size + 7) / 8;
  static void encode(Encoder& encoder, const std::bitset<Size>& bits) {
    detail::encode_bit_range(encoder, bits);
  }
  static std::bitset<Size> decode(Decoder& decoder) {
    std::bitset<Size> made;
    detail::decode_bit_range(decoder.take(weight), made);
    return made;
  }
};

template <class T, std::size_t Size>
struct Standard<std::array<T, Size>> {
  using Parts = Types<T>;
  static constexpr bool bitwise = Size != 0 && is_bitwise<T>;
  static constexpr std::size_t weight = Size * weight_of<T>();
  static void encode(Encoder& encoder, const std::array<T, Size>& array) {
    if constexpr (bitwise) {
      encoder.write(array.data(), sizeof array);
    } else {
      for (const T& element : array) detail::encode_value(encoder, element);
    }
  }
  static std::array<T, Size> decode(Decoder& decoder) {
    if constexpr (bitwise) {
      return decode_bits<std::array<T, Size>>(decoder);
    } else if constexpr (std::is_default_constructible_v<T> && std::is_move_assignable_v<T>) {
      std::array<T, Size> made{};
      for (T& element : made) element = decode_value<T>(decoder);
      return made;
    } else {
      return [&]<std::size_t... I>(std::index_sequence<I...>) {
        return std::array<T, Size>{(static_cast<void>(I), decode_value<T>(decoder))...};
      }
      (std::make_index_sequence<Size>{});
    }
  }
};

template <class T, class Allocator>
struct Standard<std::list<T, Allocator>> {
  using Parts = Types<T>;
  static constexpr std::size_t weight = count_size;
  static constexpr std::size_t node = 2 * sizeof(void*);
  static void encode(Encoder& encoder, const std::list<T, Allocator>& list) {
    detail::encode_elements<node, T>(encoder, list, list.size());
  }
  static std::list<T, Allocator> decode(Decoder& decoder) {
    std::list<T, Allocator> made;
    decode_elements<node, T>(
        decoder, [](std::size_t) {}, [&](Decoder& from) { append_from(from, made); });
    return made;
  }
};

template <class T, class Allocator>
struct Standard<std::forward_list<T, Allocator>> {
  using Parts = Types<T>;
  static constexpr std::size_t weight = count_size;
  static constexpr std::size_t node = sizeof(void*);
  static void encode(Encoder& encoder, const std::forward_list<T, Allocator>& list) {
    const auto count = static_cast<std::size_t>(std::distance(list.begin(), list.end()));
    detail::encode_elements<node, T>(encoder, list, count);
  }
  static std::forward_list<T, Allocator> decode(Decoder& decoder) {
    std::forward_list<T, Allocator> made;
    auto last = made.before_begin();
    decode_elements<node, T>(
        decoder, [](std::size_t) {},
        [&](Decoder& from) {
          if constexpr (is_read_in_place<T>()) {
            last = made.emplace_after(last);
            from.read(std::addressof(*last), sizeof(T));
          } else {
            last = made.insert_after(last, decode_value<T>(from));
          }
        });
    return made;
  }
};

/// A deque allocates in chunks, and a list of the chunks: one more than its elements need, and as
/// much again whenever it is moved into its place (libstdc++; others take less).
template <class T, class Allocator>
struct Standard<std::deque<T, Allocator>> {
  using Parts = Types<T>;
  static constexpr std::size_t weight = 0;
  static void encode(Encoder& encoder, const std::deque<T, Allocator>& deque) {
    encode_elements<node(), T>(encoder, deque, deque.size());
    encoder.pad(padding());
  }
  static std::deque<T, Allocator> decode(Decoder& decoder) {
    decoder.pay_for(spare());
    std::deque<T, Allocator> made;
    decode_elements<node(), T>(
        decoder, [](std::size_t) {}, [&](Decoder& from) { append_from(from, made); });
    decoder.take(padding());
    return made;
  }

 private:
  static constexpr std::size_t chunk() { return std::max<std::size_t>(512, sizeof(T)); }
  static constexpr std::size_t per_chunk() { return chunk() / sizeof(T); }
  /// What an element's share of a chunk and of the list of chunks is above its size.
  static constexpr std::size_t node() {
    return (chunk() + 6 * sizeof(void*) + per_chunk() - 1) / per_chunk() - sizeof(T);
  }
  static constexpr std::size_t spare() { return 4 * (chunk() + 8 * sizeof(void*)); }
  static constexpr std::size_t padding() { return weight_of_memory(spare()) - count_size; }
};

}  // namespace multiprocessing::detail
