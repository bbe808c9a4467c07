// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file serialization.hpp
/// @brief Values to bytes and back, between processes of one machine.
///
/// Numbers, enumerations, text, the standard library's containers and vocabulary types, owning
/// pointers (by value) and plain aggregates of all these need nothing:
///
/// ```cpp
/// struct Job { int id; std::string name; std::vector<double> data; };
/// std::vector<std::byte> bytes = multiprocessing::dumps(Job{1, "a", {0.5}});
/// Job job = multiprocessing::loads<Job>(bytes);
/// ```
///
/// Other classes have a say of their own, in this order: a specialisation of `codec<T>`; a member
/// or free `serialize(archive)`, as cereal knows it (`archive(a, b)` or `archive & a & b`), or
/// `save`/`load`; a `reduce()` that returns a tuple of the arguments of one of its constructors. A
/// pointer, a reference or a view does not compile, with a sentence that says why.
///
/// A derived class says for itself how it travels: what it inherits leaves out what it adds. A
/// member template `serialize` of a plain base is refused for it; other inherited ways (`save` and
/// `load`, `reduce`, a free function of the base, a base that is a template or has virtual
/// functions) are taken for the derived class's own.
///
/// The bytes are for a process of the same build on the same machine: numbers have this machine's
/// byte order, aggregates are their fields in order, without names or versions.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/serialization/adaptors.hpp>
#include <multiprocessing/serialization/archive.hpp>
#include <multiprocessing/serialization/associative.hpp>
#include <multiprocessing/serialization/sequences.hpp>
#include <multiprocessing/serialization/traits.hpp>
#include <multiprocessing/serialization/value.hpp>
#include <multiprocessing/serialization/vocabulary.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace multiprocessing {

/// @brief Whether values of T can be encoded and decoded. For a T that is complete.
template <class T>
concept Serializable = !std::is_array_v<T> && detail::can_travel<std::remove_cv_t<T>>;

/// @brief Whether a T visibly holds a handle (a Queue, a Connection, ...), as itself or inside
/// containers, optionals, aggregates and what `reduce()` returns.
///
/// Such a value needs a Transit beside its bytes. What a class keeps to its own `serialize` is not
/// seen: encoding it without a Transit is a SerializationError.
template <class T>
inline constexpr bool carries_handles = detail::holds_handles<std::remove_cv_t<T>>();

/// @brief The bytes of a value. @python{pickle.dumps}
/// @throws SerializationError this value cannot travel: it holds a handle and there is no transit,
/// a variant lost its value, pointers form a cycle, a pointer to a base has a derived object.
template <class T>
std::vector<std::byte> dumps(const T& value, Transit* transit = nullptr) {
  std::vector<std::byte> bytes;
  Encoder encoder{bytes, transit};
  detail::encode(encoder, value);
  return bytes;
}

/// @brief The value that the bytes are. @python{pickle.loads}
///
/// Bytes may come from anywhere: whatever they say, the answer is a value or an exception, and no
/// more memory is taken at any one time than eight times their size and 4 KiB.
/// @throws SerializationError they are no T, end early, or go on behind it; names the type.
template <class T>
T loads(std::span<const std::byte> bytes, Transit* transit = nullptr) {
  Decoder decoder{bytes, transit};
  try {
    T value = detail::decode<T>(decoder);
    if (decoder.remaining() != 0) {
      throw SerializationError{std::to_string(decoder.remaining()) + " bytes are left over"};
    }
    return value;
  } catch (const SerializationError& error) {
    throw SerializationError{"cannot decode " + detail::shortened(detail::type_name<T>()) + ": " +
                             error.what()};
  }
}

}  // namespace multiprocessing
