// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file pickle_writer.hpp
/// @brief From an Object to the bytes of a pickle.
/// @source Lib/pickletools.py, which documents every opcode.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/network/pickle_object.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace multiprocessing::detail {

/// @brief The opcodes that the subset has.
enum class Opcode : std::uint8_t {
  mark = '(',
  stop = '.',
  binbytes = 'B',
  short_binbytes = 'C',
  binfloat = 'G',
  binint = 'J',
  binint1 = 'K',
  binint2 = 'M',
  none = 'N',
  reduce = 'R',
  binunicode = 'X',
  empty_list = ']',
  append = 'a',
  global = 'c',
  appends = 'e',
  binget = 'h',
  long_binget = 'j',
  binput = 'q',
  long_binput = 'r',
  setitem = 's',
  tuple = 't',
  setitems = 'u',
  empty_dict = '}',
  empty_tuple = ')',
  proto = 0x80,
  tuple1 = 0x85,
  tuple2 = 0x86,
  tuple3 = 0x87,
  newtrue = 0x88,
  newfalse = 0x89,
  long1 = 0x8a,
  long4 = 0x8b,
  short_binunicode = 0x8c,
  binunicode8 = 0x8d,
  binbytes8 = 0x8e,
  memoize = 0x94,
  frame = 0x95,
};

/// @brief As deep may values be nested.
inline constexpr unsigned deepest_pickle = 200;

/// @brief Whether Python's strict UTF-8 decoder takes it.
[[nodiscard]] inline bool is_utf8(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size();) {
    const auto at = [&](std::size_t place) {
      return place < text.size() ? static_cast<unsigned char>(text[place]) : 0U;
    };
    const unsigned first = at(i);
    const std::size_t more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    const unsigned second = at(i + 1);
    if (first >= 0x80) {
      const unsigned least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
      const unsigned most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
      if (first < 0xc2 || first > 0xf4 || second < least || second > most) return false;
      for (std::size_t next = i + 2; next <= i + more; ++next) {
        if (at(next) < 0x80 || at(next) > 0xbf) return false;
      }
    }
    i += more + 1;
  }
  return true;
}

/// @brief Writes one pickle.
class PickleWriter {
 public:
  /// @throws std::invalid_argument a protocol that it does not know.
  explicit PickleWriter(int protocol) : protocol_{protocol} {
    if (protocol < 2 || protocol > 5) {
      throw std::invalid_argument{"pickle: protocol " + std::to_string(protocol) +
                                  "; there are 2, 3, 4 and 5"};
    }
  }
  /// @throws SerializationError
  [[nodiscard]] std::vector<std::byte> write(const pickle::Object& object) {
    put(Opcode::proto);
    put_number(static_cast<std::uint64_t>(protocol_), 1);
    put_object(object, 0);
    put(Opcode::stop);
    return std::move(bytes_);
  }

 private:
  void put(Opcode opcode) { bytes_.push_back(static_cast<std::byte>(opcode)); }
  void put_number(std::uint64_t number, std::size_t size) {  // little-endian
    for (std::size_t i = 0; i < size; ++i) {
      bytes_.push_back(static_cast<std::byte>(number >> (8 * i)));
    }
  }
  void put_bytes(std::string_view text) {
    const auto bytes = std::as_bytes(std::span{text});
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void put_int(std::int64_t number) {
    if (number >= 0 && number <= 0xff) {
      put(Opcode::binint1);
      put_number(static_cast<std::uint64_t>(number), 1);
    } else if (std::in_range<std::int32_t>(number)) {
      put(Opcode::binint);
      put_number(static_cast<std::uint64_t>(number), 4);
    } else {
      put_long(static_cast<std::uint64_t>(number), 8);
    }
  }
  void put_long(std::uint64_t number, std::size_t size) {
    put(Opcode::long1);
    put_number(size, 1);
    put_number(number, 8);
    if (size > 8) put_number(0, size - 8);
  }
  void put_double(double number) {
    put(Opcode::binfloat);
    const auto bits = std::bit_cast<std::uint64_t>(number);
    for (unsigned i = 0; i < 8; ++i) put_number(bits >> (8 * (7 - i)), 1);
  }
  // With the size in front, in the shortest form that the protocol has.
  void put_sized(std::string_view text, Opcode brief, bool has_brief, Opcode usual, Opcode large) {
    if (has_brief && text.size() <= 0xff) {
      put(brief);
      put_number(text.size(), 1);
    } else if (text.size() <= std::numeric_limits<std::uint32_t>::max()) {
      put(usual);
      put_number(text.size(), 4);
    } else if (protocol_ >= 4) {
      put(large);
      put_number(text.size(), 8);
    } else {
      throw SerializationError{"pickle: more than 4 GiB in one piece need protocol 4"};
    }
    put_bytes(text);
  }
  void put_text(std::string_view text) {
    if (!is_utf8(text)) {
      throw SerializationError{
          "pickle: a std::string that is not UTF-8 is no str; send a std::vector<std::byte>"};
    }
    put_unchecked_text(text);
  }
  void put_unchecked_text(std::string_view text) {
    put_sized(text, Opcode::short_binunicode, protocol_ >= 4, Opcode::binunicode,
              Opcode::binunicode8);
  }
  void put_binary(const pickle::Bytes& bytes) {
    const std::string_view text{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    if (protocol_ >= 3) {
      put_sized(text, Opcode::short_binbytes, true, Opcode::binbytes, Opcode::binbytes8);
      return;
    }
    // Protocol 2 has no bytes: codecs.encode(<the bytes as Latin-1>, 'latin1') makes them.
    put(Opcode::global);
    put_bytes("_codecs\nencode\n");
    std::string latin;
    for (const char one : text) {
      const auto code = static_cast<unsigned char>(one);
      if (code < 0x80) {
        latin += one;
      } else {
        latin += static_cast<char>(0xc0U | code >> 6U);
        latin += static_cast<char>(0x80U | (code & 0x3fU));
      }
    }
    put_unchecked_text(latin);
    put_unchecked_text("latin1");
    put(Opcode::tuple2);
    put(Opcode::reduce);
  }
  void put_tuple(const pickle::Tuple& tuple, unsigned depth) {
    const std::size_t size = tuple.items.size();
    if (size > 3) put(Opcode::mark);
    for (const auto& item : tuple.items) put_object(item, depth);
    constexpr Opcode brief[]{Opcode::empty_tuple, Opcode::tuple1, Opcode::tuple2, Opcode::tuple3};
    put(size > 3 ? Opcode::tuple : brief[size]);
  }
  void put_object(const pickle::Object& object, unsigned depth) {
    if (++depth > deepest_pickle) throw SerializationError{"pickle: nested too deeply"};
    std::visit(
        [&](const auto& value) {
          using T = std::remove_cvref_t<decltype(value)>;
          if constexpr (std::same_as<T, std::monostate>) {
            put(Opcode::none);
          } else if constexpr (std::same_as<T, bool>) {
            put(value ? Opcode::newtrue : Opcode::newfalse);
          } else if constexpr (std::same_as<T, std::int64_t>) {
            put_int(value);
          } else if constexpr (std::same_as<T, std::uint64_t>) {
            put_long(value, 9);
          } else if constexpr (std::same_as<T, double>) {
            put_double(value);
          } else if constexpr (std::same_as<T, std::string>) {
            put_text(value);
          } else if constexpr (std::same_as<T, pickle::Bytes>) {
            put_binary(value);
          } else if constexpr (std::same_as<T, pickle::Tuple>) {
            put_tuple(value, depth);
          } else if constexpr (std::same_as<T, pickle::List>) {
            put(Opcode::empty_list);
            put(Opcode::mark);
            for (const auto& item : value) put_object(item, depth);
            put(Opcode::appends);
          } else {
            put(Opcode::empty_dict);
            put(Opcode::mark);
            for (const auto& [key, item] : value.items) {
              put_object(key, depth);
              put_object(item, depth);
            }
            put(Opcode::setitems);
          }
        },
        object.value());
  }

  int protocol_;
  std::vector<std::byte> bytes_;
};

}  // namespace multiprocessing::detail
