// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file value.hpp
/// @brief One value to bytes and back, whichever way its type goes.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/serialization/archive.hpp>
#include <multiprocessing/serialization/refusal.hpp>
#include <multiprocessing/serialization/traits.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace multiprocessing::detail {

/// @brief Encodes a value of a type that has been checked.
template <class T>
void encode_value(Encoder& encoder, const T& value);
/// @brief Decodes a value of a type that has been checked.
/// @throws SerializationError the bytes are no T.
template <class T>
T decode_value(Decoder& decoder);

template <class T>
void encode_written(Encoder& encoder, const T& value) {
  constexpr Way way = way_of<T>();
  if constexpr (way == Way::custom) {
    codec<T>::encode(encoder, value);
  } else if constexpr (way == Way::member_serialize) {
    const_cast<T&>(value).serialize(encoder);  // the cereal form serves both directions
  } else if constexpr (way == Way::free_serialize) {
    serialize(encoder, const_cast<T&>(value));
  } else if constexpr (way == Way::member_save_load) {
    value.save(encoder);
  } else if constexpr (way == Way::free_save_load) {
    save(encoder, value);
  } else {
    static_assert(way == Way::reduce);
    using State = typename Reduced<T>::type;
    detail::encode_value<State>(encoder, State(value.reduce()));
  }
}

template <class T>
void encode_value(Encoder& encoder, const T& value) {
  constexpr Way way = way_of<T>();
  if constexpr (way == Way::bits || (way == Way::array && is_bitwise<T>)) {
    encoder.write(std::addressof(value), sizeof value);
  } else if constexpr (way == Way::boolean) {
    encoder.write_number(static_cast<std::uint8_t>(value));
  } else if constexpr (way == Way::standard) {
    if constexpr (sizeof(T) < Encoder::large) {
      Standard<T>::encode(encoder, value);
    } else {
      const Encoder::Nesting level{encoder, level_of<T>()};
      Standard<T>::encode(encoder, value);
    }
  } else if constexpr (way == Way::array) {
    for (const auto& element : value)
      detail::encode_value<std::remove_extent_t<T>>(encoder, element);
  } else if constexpr (way == Way::aggregate) {
    const Encoder::Nesting level{encoder, level_of<T>()};
    detail::with_fields(value, [&]<class... Field>(const Field&... field) {
      (detail::encode_value<Field>(encoder, field), ...);
    });
  } else if constexpr (way != Way::empty) {
    const Encoder::Nesting level{encoder, level_of<T>()};
    detail::encode_written(encoder, value);
  }
}

/// @brief Decodes into an object that exists.
template <class T>
void decode_value_into(Decoder& decoder, T& value) {
  constexpr Way way = way_of<T>();
  if constexpr (way == Way::array && is_bitwise<T>) {
    decoder.read(&value, sizeof value);
  } else if constexpr (way == Way::array) {
    for (auto& element : value) detail::decode_value_into(decoder, element);
  } else if constexpr (way == Way::member_serialize) {
    const Decoder::Nesting level{decoder, level_of<T>()};
    value.serialize(decoder);
  } else if constexpr (way == Way::free_serialize) {
    const Decoder::Nesting level{decoder, level_of<T>()};
    serialize(decoder, value);
  } else if constexpr (way == Way::member_save_load) {
    const Decoder::Nesting level{decoder, level_of<T>()};
    value.load(decoder);
  } else if constexpr (way == Way::free_save_load) {
    const Decoder::Nesting level{decoder, level_of<T>()};
    load(decoder, value);
  } else {
    value = decode_value<T>(decoder);
  }
}

template <class T>
T decode_bits(Decoder& decoder) {
  if constexpr (is_read_in_place<T>()) {
    T value;
    decoder.read(std::addressof(value), sizeof value);
    return value;
  } else {
    std::array<std::byte, sizeof(T)> bytes;
    decoder.read(bytes.data(), bytes.size());
    return std::bit_cast<T>(bytes);
  }
}

template <class T>
T decode_boolean(Decoder& decoder) {
  const auto byte = decoder.read_number<std::uint8_t>();
  if (byte > 1) throw SerializationError{"a bool is " + std::to_string(byte)};
  return static_cast<T>(byte == 1);
}

template <class T, class... Field>
T decode_fields(Decoder& decoder, Types<Field...>) {
  if constexpr (shape<T>.arrays) {
    T value = T();  // not T{}: a member's default constructor may be explicit
    detail::with_fields(value,
                        [&](auto&... field) { (detail::decode_value_into(decoder, field), ...); });
    return value;
  } else {
    return T{decode_value<Field>(decoder)...};
  }
}

template <class T>
T decode_value(Decoder& decoder) {
  constexpr Way way = way_of<T>();
  if constexpr (way == Way::bits) {
    return decode_bits<T>(decoder);
  } else if constexpr (way == Way::boolean) {
    return decode_boolean<T>(decoder);
  } else if constexpr (way == Way::empty) {
    return std::bit_cast<T>(std::array<std::byte, sizeof(T)>{});
  } else if constexpr (way == Way::standard) {
    if constexpr (sizeof(T) < Decoder::large) {
      return Standard<T>::decode(decoder);
    } else {
      const Decoder::Nesting level{decoder, level_of<T>()};
      return Standard<T>::decode(decoder);
    }
  } else if constexpr (way == Way::custom) {
    const Decoder::Nesting level{decoder, level_of<T>()};
    return codec<T>::decode(decoder);
  } else if constexpr (way == Way::reduce) {
    const Decoder::Nesting level{decoder, level_of<T>()};
    return std::make_from_tuple<T>(decode_value<typename Reduced<T>::type>(decoder));
  } else if constexpr (way == Way::aggregate) {
    const Decoder::Nesting level{decoder, level_of<T>()};
    return decode_fields<T>(decoder, Parts<T>{});
  } else {
    T value = T();  // not T{}: a member's default constructor may be explicit
    detail::decode_value_into(decoder, value);
    return value;
  }
}

/// @brief Encodes a value. A type that cannot travel is one readable compile error.
/// @throws SerializationError a value that cannot travel: a valueless variant, a cycle, an object
/// of a derived class behind a pointer to its base.
template <class T>
void encode(Encoder& encoder, const T& value) {
  if constexpr (may_travel<T>()) detail::encode_value(encoder, value);
}

/// @brief Encodes a part of a value, which may be a C array.
template <class T>
void encode_part(Encoder& encoder, const T& value) {
  if constexpr (may_travel_inside<T>()) detail::encode_value(encoder, value);
}

/// @brief Decodes a value.
/// @throws SerializationError the bytes are no T.
template <class T>
T decode(Decoder& decoder) {
  if constexpr (may_travel<T>()) {
    return decode_value<T>(decoder);
  } else {
    return unreachable_value<T>();
  }
}

template <class T>
void decode_into(Decoder& decoder, T& value) {
  static_assert(!std::is_const_v<T>, "multiprocessing: a const object cannot be decoded into");
  if constexpr (may_travel_inside<T>()) detail::decode_value_into(decoder, value);
}

}  // namespace multiprocessing::detail
