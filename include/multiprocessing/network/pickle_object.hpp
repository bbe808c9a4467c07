// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file pickle_object.hpp
/// @brief A Python value of the types that the subset of pickle has.
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/exceptions.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace multiprocessing::pickle {

class Object;

using Bytes = std::vector<std::byte>;  ///< Python's bytes.
using List = std::vector<Object>;      ///< Python's list.
/// @brief Python's tuple.
struct Tuple {
  /// In order.
  std::vector<Object> items;
  /// @brief Whether all items are equal.
  bool operator==(const Tuple& other) const;
};
/// @brief Python's dict, in its order. Of a key that comes twice the later value counts.
struct Dict {
  /// Key and value.
  std::vector<std::pair<Object, Object>> items;
  /// @brief Whether all pairs are equal, in the same order.
  bool operator==(const Dict& other) const;
};

}  // namespace multiprocessing::pickle

namespace multiprocessing::detail {

template <class T>
inline constexpr bool is_tuple_like = false;
template <class... T>
inline constexpr bool is_tuple_like<std::tuple<T...>> = true;
template <class A, class B>
inline constexpr bool is_tuple_like<std::pair<A, B>> = true;

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

template <class T>
concept PickledText = std::convertible_to<const T&, std::string_view>;
template <class T>
concept PickledBytes = std::ranges::contiguous_range<const T> &&
    std::same_as<std::ranges::range_value_t<const T>, std::byte>;
template <class T>
concept PickledDict = std::ranges::range<const T> && requires {
  typename T::key_type;
  typename T::mapped_type;
};
template <class T>
concept PickledList =
    std::ranges::range<const T> && !PickledText<T> && !PickledBytes<T> && !PickledDict<T>;

}  // namespace multiprocessing::detail

namespace multiprocessing::pickle {

/// @brief One Python value.
///
/// Made of bool, numbers, text, std::vector<std::byte>, ranges (lists), pairs and tuples, maps, and
/// optionals of these; as<T>() goes the other way.
/// @code
/// Object request = mp::pickle::recv(connection);
/// auto [name, count] = request.as<std::tuple<std::string, int>>();
/// @endcode
class Object {
 public:
  /// None, bool, int (one of the two), float, str, bytes, list, tuple, dict. An int is an int64_t
  /// where it fits.
  using Value = std::variant<std::monostate,
                             bool,
                             std::int64_t,
                             std::uint64_t,
                             double,
                             std::string,
                             Bytes,
                             List,
                             Tuple,
                             Dict>;

  Object() = default;  ///< None.
  // NOLINTBEGIN(*explicit*): values stand in a list or dict as they are written, as in Python
  /// @brief None.
  Object(std::nullptr_t) {}
  /// @brief None.
  Object(std::nullopt_t) {}
  /// @brief None.
  Object(std::monostate) {}
  /// @brief A str.
  Object(std::string text) : value_{std::move(text)} {}
  /// @brief A bytes.
  Object(Bytes bytes) : value_{std::move(bytes)} {}
  /// @brief A list.
  Object(List list) : value_{std::move(list)} {}
  /// @brief A tuple.
  Object(Tuple tuple) : value_{std::move(tuple)} {}
  /// @brief A dict.
  Object(Dict dict) : value_{std::move(dict)} {}
  /// @brief What Python calls such a value; see above.
  template <class T>
  requires(!std::same_as<T, Object> && !std::same_as<T, std::string> && !std::same_as<T, Bytes> &&
           !std::same_as<T, List> && !std::same_as<T, Tuple> && !std::same_as<T, Dict>)  //
      Object(const T& value)
      : value_{made_of(value)} {}
  // NOLINTEND(*explicit*)

  /// @brief Whichever it is.
  [[nodiscard]] const Value& value() const noexcept { return value_; }
  /// @brief Whether it is None.
  [[nodiscard]] bool is_none() const noexcept {
    return std::holds_alternative<std::monostate>(value_);
  }
  /// @brief As Python calls it: "NoneType", "int", "dict".
  [[nodiscard]] std::string_view type() const noexcept;

  /// @brief The value as a T. Lists and tuples are read as either; a float takes an int too.
  /// @throws SerializationError it is something else, or does not fit; the text names both types.
  template <class T>
  [[nodiscard]] T as() const;

  /// @brief The value of a dict's key, if it has it. @throws SerializationError it is no dict.
  [[nodiscard]] const Object* find(const Object& key) const;

  /// @brief Whether type and value are equal.
  bool operator==(const Object& other) const;

 private:
  template <class T>
  static Value made_of(const T& value);
  template <class T>
  [[nodiscard]] T as_number() const;
  template <class T, std::size_t... I>
  [[nodiscard]] T as_tuple(std::index_sequence<I...> /*places*/) const;
  template <class T>
  [[nodiscard]] T as_sequence() const;
  template <class T>
  [[nodiscard]] T as_dict() const;
  [[nodiscard]] const std::vector<Object>* items() const noexcept {
    if (const auto* const list = std::get_if<List>(&value_)) return list;
    const auto* const tuple = std::get_if<Tuple>(&value_);
    return tuple == nullptr ? nullptr : &tuple->items;
  }
  template <class T>
  [[noreturn]] void refuse() const {
    throw SerializationError{"pickle: no " + std::string{detail::type_name<T>()} +
                             ": it is a Python " + std::string{type()}};
  }

  Value value_;
};

// ---- definitions ----

// Written out: defaulted, clang++ 14 crashes over them.
inline bool Tuple::operator==(const Tuple& other) const {
  return items == other.items;
}
inline bool Dict::operator==(const Dict& other) const {
  return items == other.items;
}
inline bool Object::operator==(const Object& other) const {
  return value_ == other.value_;
}

inline std::string_view Object::type() const noexcept {
  constexpr std::array names{"NoneType", "bool",  "int",  "int",   "float",
                             "str",      "bytes", "list", "tuple", "dict"};
  return names[value_.index()];
}

template <class T>
Object::Value Object::made_of(const T& value) {
  if constexpr (std::same_as<T, bool>) {
    return value;
  } else if constexpr (std::integral<T>) {
    if constexpr (std::is_unsigned_v<T>) {
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        return static_cast<std::uint64_t>(value);
      }
    }
    return static_cast<std::int64_t>(value);
  } else if constexpr (std::floating_point<T>) {
    return static_cast<double>(value);
  } else if constexpr (detail::PickledText<T>) {
    return std::string{std::string_view{value}};
  } else if constexpr (detail::is_optional<T>) {
    return value ? Object{*value}.value_ : Value{};
  } else if constexpr (detail::is_tuple_like<T>) {
    return std::apply([](const auto&... item) { return Tuple{{Object{item}...}}; }, value);
  } else if constexpr (detail::PickledBytes<T>) {
    return Bytes(std::ranges::begin(value), std::ranges::end(value));
  } else if constexpr (detail::PickledDict<T>) {
    Dict dict;
    for (const auto& [key, item] : value) dict.items.emplace_back(Object{key}, Object{item});
    return dict;
  } else {
    static_assert(detail::PickledList<T>, "pickle: Python has no such type in the subset");
    List list;
    for (const auto& item : value) list.push_back(Object{item});
    return list;
  }
}

template <class T>
T Object::as_number() const {
  if (const auto* const number = std::get_if<std::int64_t>(&value_)) {
    if constexpr (std::floating_point<T>) {
      return static_cast<T>(*number);
    } else if (std::in_range<T>(*number)) {
      return static_cast<T>(*number);
    }
  } else if (const auto* const large = std::get_if<std::uint64_t>(&value_)) {
    if constexpr (std::floating_point<T>) {
      return static_cast<T>(*large);
    } else if (std::in_range<T>(*large)) {
      return static_cast<T>(*large);
    }
  } else {
    refuse<T>();
  }
  throw SerializationError{"pickle: the int does not fit into " +
                           std::string{detail::type_name<T>()}};
}

template <class T, std::size_t... I>
T Object::as_tuple(std::index_sequence<I...> /*places*/) const {
  const auto* const all = items();
  if (all == nullptr) refuse<T>();
  if (all->size() != sizeof...(I)) {
    throw SerializationError{"pickle: no " + std::string{detail::type_name<T>()} + ": it has " +
                             std::to_string(all->size()) + " items"};
  }
  return T{(*all)[I].template as<std::tuple_element_t<I, T>>()...};
}

template <class T>
T Object::as_sequence() const {
  const auto* const all = items();
  if (all == nullptr) refuse<T>();
  T made;
  for (const Object& item : *all) {
    made.insert(made.end(), item.template as<typename T::value_type>());
  }
  return made;
}

template <class T>
T Object::as_dict() const {
  const auto* const dict = std::get_if<Dict>(&value_);
  if (dict == nullptr) refuse<T>();
  T made;
  for (const auto& [key, item] : dict->items) {
    made.insert_or_assign(key.template as<typename T::key_type>(),
                          item.template as<typename T::mapped_type>());
  }
  return made;
}

template <class T>
T Object::as() const {
  if constexpr (std::same_as<T, Object>) {
    return *this;
  } else if constexpr (detail::is_optional<T>) {
    if (is_none()) return std::nullopt;
    return as<typename T::value_type>();
  } else if constexpr (std::same_as<T, std::string> || std::same_as<T, Bytes> ||
                       std::same_as<T, Tuple> || std::same_as<T, Dict> || std::same_as<T, bool>) {
    if (const T* const held = std::get_if<T>(&value_)) return *held;
    refuse<T>();
  } else if constexpr (std::integral<T>) {
    return as_number<T>();
  } else if constexpr (std::floating_point<T>) {
    if (const double* const held = std::get_if<double>(&value_)) return static_cast<T>(*held);
    return as_number<T>();
  } else if constexpr (detail::is_tuple_like<T>) {
    return as_tuple<T>(std::make_index_sequence<std::tuple_size_v<T>>{});
  } else if constexpr (detail::PickledDict<T>) {
    return as_dict<T>();
  } else {
    static_assert(
        requires(T sequence) { sequence.insert(sequence.end(), *sequence.begin()); },
        "pickle: no value of the subset can be read as this type");
    return as_sequence<T>();
  }
}

inline const Object* Object::find(const Object& key) const {
  const auto* const dict = std::get_if<Dict>(&value_);
  if (dict == nullptr) refuse<Dict>();
  for (auto item = dict->items.rbegin(); item != dict->items.rend(); ++item) {
    if (item->first == key) return &item->second;
  }
  return nullptr;
}

}  // namespace multiprocessing::pickle
