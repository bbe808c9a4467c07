// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file traits.hpp
/// @brief Which way a type is encoded, and what follows from it.
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/serialization/aggregate.hpp>
#include <multiprocessing/serialization/archive.hpp>

#include <concepts>
#include <cstddef>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace multiprocessing {

/// @brief How values of T are encoded, told by whoever cannot or will not change T itself.
///
/// ```cpp
/// template <>
/// struct multiprocessing::codec<Money> {
///   static void encode(Encoder& encoder, const Money& money) { encoder(money.cents()); }
///   static Money decode(Decoder& decoder) {
///     std::int64_t cents = 0;
///     decoder(cents);
///     return Money::from_cents(cents);
///   }
/// };
/// ```
/// A specialisation comes before every other way. `static constexpr bool carries_handles = true`
/// says that values hold a Queue, a Connection or the like.
template <class T>
struct codec;

namespace detail {
template <class T>
consteval bool can_be_bits();
}  // namespace detail

/// @brief Whether a T is encoded as the bytes it has in memory, and ranges of T by one copy.
///
/// So are numbers, enumerations, and trivially copyable classes whose fields all are. A bool is
/// not: most bytes are none, so it has to be looked at when it arrives. What the fields are is seen
/// in plain aggregates; a trivially copyable class with private members, a base or a union is taken
/// at its word, unless it looks like a pointer or a view (`*`, `->`, `data()`) or has a `serialize`
/// or `save` and `load` that can be seen (a private one cannot). A program may set
/// it to true for a class that it knows to hold neither pointers nor bools. It has to for a struct
/// with bit-fields or an anonymous union: those stop the compiler where their fields are listed.
///
/// ```cpp
/// template <>
/// inline constexpr bool multiprocessing::is_bitwise<Event> = true;
/// ```
///
/// Every value of an enumeration's underlying type arrives as it is, named or not. Where bytes may
/// come from anybody, let that type be fixed (`enum Mode : int`): else a number beyond those that
/// the enumerators span is undefined behaviour when it is read. Padding between fields travels too,
/// and that of a long double, with whatever is in it.
template <class T>
inline constexpr bool is_bitwise = detail::can_be_bits<T>();

namespace detail {

/// @brief How types of the standard library are encoded; specialised for each that can be.
///
/// `Parts`: the Types a value consists of. `weight`: see weight_of(). `bitwise`, where it is there:
/// see is_bitwise. `encode` and `decode` as in codec.
template <class T>
struct Standard;

template <class T>
concept Complete = requires {
  sizeof(T);
};
template <class T>
concept HasCodec = Complete<codec<T>>;
template <class T>
concept IsStandard = Complete<Standard<T>>;

template <class T>
concept HasMemberSerialize = requires(T& value, Encoder& encoder, Decoder& decoder) {
  value.serialize(encoder);
  value.serialize(decoder);
};
template <class T>
concept HasFreeSerialize = requires(T& value, Encoder& encoder, Decoder& decoder) {
  serialize(encoder, value);
  serialize(decoder, value);
};
template <class T>
concept HasMemberSaveLoad =
    requires(const T& saved, T& loaded, Encoder& encoder, Decoder& decoder) {
  saved.save(encoder);
  loaded.load(decoder);
};
template <class T>
concept HasFreeSaveLoad = requires(const T& saved, T& loaded, Encoder& encoder, Decoder& decoder) {
  save(encoder, saved);
  load(decoder, loaded);
};

/// @brief The tuple that `reduce()` gives, with its elements' types decayed.
template <class T>
struct Decayed {};
template <class... T>
struct Decayed<std::tuple<T...>> {
  using type = std::tuple<std::decay_t<T>...>;
  using Parts = Types<std::decay_t<T>...>;
  template <class Made>
  static constexpr bool makes = std::is_constructible_v<Made, std::decay_t<T>...>;
};
template <class T>
using Reduced = Decayed<std::remove_cvref_t<decltype(std::declval<const T&>().reduce())>>;
template <class T>
concept HasReduce = requires {
  typename Reduced<T>::type;
}
&&Reduced<T>::template makes<T>;

/// @brief How a type is encoded.
enum class Way {
  none,
  custom,            ///< codec<T>
  member_serialize,  ///< value.serialize(archive)
  free_serialize,    ///< serialize(archive, value)
  member_save_load,  ///< value.save(archive), value.load(archive)
  free_save_load,    ///< save(archive, value), load(archive, value)
  reduce,            ///< value.reduce(): the arguments of a constructor
  standard,          ///< Standard<T>
  array,             ///< a C array: only as a field
  boolean,           ///< one byte, 0 or 1
  bits,              ///< the bytes in memory
  empty,             ///< nothing
  aggregate,         ///< field by field
};

/// @brief Of whose member that is. @tparam R what it returns.
template <class Owner, class R>
std::type_identity<Owner> owner_of(R (Owner::*)(Encoder&));

/// @brief Whether a base's `serialize` would be taken for T's own, and leave out what T adds.
///
/// It may be meant for T where the base can know T: by a template's arguments, or by virtual
/// functions. What is overloaded is not seen.
template <class T>
consteval bool inherits_serialize() {
  if constexpr (requires { detail::owner_of(&T::template serialize<Encoder>); }) {
    using Owner = typename decltype(detail::owner_of(&T::template serialize<Encoder>))::type;
    if constexpr (std::is_same_v<Owner, T> || sizeof(Owner) == sizeof(T)) {
      return false;
    } else {
      return !std::is_empty_v<Owner> && !std::is_polymorphic_v<Owner> &&
             type_name<Owner>().find('<') == std::string_view::npos;
    }
  } else {
    return false;
  }
}

/// @brief Whether somebody wrote something for T, as far as can be seen, be it of use or not.
template <class T>
concept HasWritten =
    HasMemberSerialize<T> || HasMemberSaveLoad<T> || HasFreeSerialize<T> || HasFreeSaveLoad<T>;

/// @brief The way a class or an enumeration goes because somebody wrote something for it.
template <class T>
consteval Way written_way_of() {
  if constexpr (HasCodec<T>) {
    return Way::custom;
  } else if constexpr (!(std::is_class_v<T> || std::is_enum_v<T> || std::is_union_v<T>) ||
                       IsStandard<T>) {
    return Way::none;
  } else if constexpr (HasMemberSerialize<T> && std::is_default_constructible_v<T> &&
                       !inherits_serialize<T>()) {
    return Way::member_serialize;
  } else if constexpr (HasMemberSaveLoad<T> && std::is_default_constructible_v<T>) {
    return Way::member_save_load;
  } else if constexpr (HasFreeSerialize<T> && std::is_default_constructible_v<T>) {
    return Way::free_serialize;
  } else if constexpr (HasFreeSaveLoad<T> && std::is_default_constructible_v<T>) {
    return Way::free_save_load;
  } else if constexpr (HasReduce<T>) {
    return Way::reduce;
  } else {
    return Way::none;
  }
}

template <class T>
consteval bool is_boolean() {
  if constexpr (std::is_enum_v<T>) {
    return std::is_same_v<std::underlying_type_t<T>, bool>;
  } else {
    return std::is_same_v<std::remove_cv_t<T>, bool>;
  }
}

/// @brief Whether a class of which nothing else is known looks as if it held a pointer.
template <class T>
consteval bool looks_like_pointer() {
  constexpr std::string_view name = type_name<T>();
  return name.starts_with("std::") || name.starts_with("__gnu_cxx::") || requires(const T& value) {
    value.operator->();
  }
  || requires(const T& value) {
    *value;
  }
  || requires(const T& value) {
    { value.data() } -> std::convertible_to<const volatile void*>;
  };
}

template <class... Field>
consteval bool fields_are_bits(Types<Field...>) {
  return ((is_bitwise<Field> || std::is_empty_v<Field>)&&...);
}
/// @brief What is_bitwise says unless a program says otherwise.
template <class T>
consteval bool can_be_bits() {
  if constexpr (written_way_of<T>() != Way::none) {
    return false;
  } else if constexpr (std::is_array_v<T>) {
    return std::extent_v<T> != 0 && is_bitwise<std::remove_extent_t<T>>;
  } else if constexpr (IsStandard<T>) {
    if constexpr (requires { Standard<T>::bitwise; }) {
      return Standard<T>::bitwise;
    } else {
      return false;
    }
  } else if constexpr (!std::is_object_v<T> || !std::is_trivially_copyable_v<T>) {
    return false;
  } else if constexpr (std::is_class_v<T> || std::is_union_v<T>) {
    // A class with a reference for a member is trivially copyable, but cannot be assigned to.
    if constexpr (std::is_empty_v<T> || !std::is_move_constructible_v<T> ||
                  !std::is_move_assignable_v<T>) {
      return false;
    } else if constexpr (HasWritten<T>) {
      return false;  // it is no plain class to who wrote that, though it cannot be decoded by it
    } else if constexpr (shape<T>.known) {
      return detail::fields_are_bits(FieldTypes<T>{});
    } else {
      return !looks_like_pointer<T>();
    }
  } else {
    return !is_boolean<T>() && !std::is_pointer_v<T> && !std::is_member_pointer_v<T> &&
           !std::is_null_pointer_v<T>;
  }
}

template <class T>
consteval Way way_of() {
  if constexpr (constexpr Way written = written_way_of<T>(); written != Way::none) {
    return written;
  } else if constexpr (!std::is_object_v<T> || std::is_pointer_v<T> ||
                       std::is_member_pointer_v<T> || std::is_null_pointer_v<T>) {
    return Way::none;
  } else if constexpr (std::is_array_v<T>) {
    return Way::array;
  } else if constexpr (IsStandard<T>) {
    return Way::standard;
  } else if constexpr (is_boolean<T>()) {
    return Way::boolean;
  } else if constexpr (is_bitwise<T>) {
    return Way::bits;
  } else if constexpr (!std::is_class_v<T> || !std::is_move_assignable_v<T> || HasWritten<T>) {
    return Way::none;
  } else if constexpr (std::is_empty_v<T> && std::is_trivially_copyable_v<T>) {
    return Way::empty;
  } else if constexpr (shape<T>.known && (!shape<T>.arrays || std::is_default_constructible_v<T>)) {
    return Way::aggregate;
  } else {
    return Way::none;
  }
}

/// @brief Whether a T is read where it is to lie instead of being moved there: it may be larger
/// than what is left of the stack.
template <class T>
consteval bool is_read_in_place() {
  return sizeof(T) >= Nestable::large && is_bitwise<T> && std::is_default_constructible_v<T> &&
         (way_of<T>() == Way::bits || way_of<T>() == Way::standard);
}

/// @brief What an object of T adds to the depth: one level if it is of a class of the program's.
template <class T>
consteval Nestable::Level level_of() {
  constexpr std::size_t levels = way_of<T>() == Way::standard ? 0 : 1;
  if constexpr (sizeof(T) < Nestable::large) {
    return {levels, 0, 0};
  } else {
    return {levels, sizeof(T) / Nestable::large, type_hash<T>()};
  }
}

/// @brief The types that a value of T consists of, as far as they can be seen.
template <class T>
consteval auto parts_of() {
  constexpr Way way = way_of<T>();
  if constexpr (way == Way::standard) {
    return typename Standard<T>::Parts{};
  } else if constexpr (way == Way::reduce) {
    return typename Reduced<T>::Parts{};
  } else if constexpr (way == Way::array) {
    return Types<std::remove_extent_t<T>>{};
  } else if constexpr (way == Way::aggregate) {
    return FieldTypes<T>{};
  } else {
    return Types<>{};
  }
}
template <class T>
using Parts = decltype(parts_of<T>());

// The walks below follow parts of parts. `Above` are the types on the way to T: one that comes
// again (a tree holds trees) was found good so far, and is not walked again.

struct NoCulprit {};
/// @brief The first type inside T that cannot be encoded; NoCulprit where all can.
template <class T, class... Above>
consteval auto find_culprit();

template <class... Above>
consteval std::type_identity<NoCulprit> first_culprit(Types<>, Types<Above...>) {
  return {};
}
template <class First, class... Rest, class... Above>
consteval auto first_culprit(Types<First, Rest...>, Types<Above...> above) {
  constexpr auto found = find_culprit<First, Above...>();
  if constexpr (std::is_same_v<decltype(found), const std::type_identity<NoCulprit>>) {
    return detail::first_culprit(Types<Rest...>{}, above);
  } else {
    return found;
  }
}
template <class T, class... Above>
consteval auto find_culprit() {
  if constexpr ((std::is_same_v<T, Above> || ...)) {
    return std::type_identity<NoCulprit>{};
  } else if constexpr (way_of<T>() == Way::none) {
    return std::type_identity<T>{};
  } else if constexpr (!std::is_array_v<T> && !std::is_move_constructible_v<T>) {
    return std::type_identity<T>{};
  } else {
    return detail::first_culprit(Parts<T>{}, Types<T, Above...>{});
  }
}
/// @brief The first type inside T that cannot be encoded; NoCulprit where all can.
template <class T>
using Culprit = typename decltype(find_culprit<T>())::type;
template <class T>
inline constexpr bool can_travel = std::is_same_v<Culprit<T>, NoCulprit>;

template <class T, class... Above>
consteval bool holds_handles();

template <class... Part, class... Above>
consteval bool any_holds_handles(Types<Part...>, Types<Above...>) {
  return (holds_handles<Part, Above...>() || ...);
}
template <class T, class... Above>
consteval bool holds_handles() {
  if constexpr ((std::is_same_v<T, Above> || ...)) {
    return false;
  } else if constexpr (way_of<T>() == Way::custom) {
    if constexpr (requires { codec<T>::carries_handles; }) {
      return codec<T>::carries_handles;
    } else {
      return false;
    }
  } else {
    return detail::any_holds_handles(Parts<T>{}, Types<T, Above...>{});
  }
}

template <class T>
consteval std::size_t weight_of();

template <class... Part>
consteval std::size_t weight_of_all(Types<Part...>) {
  return (std::size_t{0} + ... + weight_of<Part>());
}
/// @brief How many bytes of every encoded T pay for the room that a T takes itself.
///
/// Decoding may allocate eight times the bytes it reads. Where less than an eighth of an object's
/// size is known to come (nothing is known of a class with its own `serialize`), whatever puts the
/// object on the heap adds zero bytes to it.
template <class T>
consteval std::size_t weight_of() {
  constexpr Way way = way_of<T>();
  if constexpr (way == Way::boolean || way == Way::bits) {
    return sizeof(T);
  } else if constexpr (way == Way::standard) {
    return Standard<T>::weight;
  } else if constexpr (way == Way::array) {
    return std::extent_v<T> * weight_of<std::remove_extent_t<T>>();
  } else if constexpr (way == Way::aggregate) {
    return detail::weight_of_all(Parts<T>{});
  } else {
    return 0;
  }
}
/// @brief What memory of so many bytes costs in the encoding.
constexpr std::size_t weight_of_memory(std::size_t size) {
  return (size + 7) / 8;
}

/// @brief The zero bytes behind a T that is put into `room` bytes of the heap.
template <class T>
consteval std::size_t padding_of(std::size_t room) {
  const std::size_t due = weight_of_memory(room);
  return due > weight_of<T>() ? due - weight_of<T>() : 0;
}

}  // namespace detail
}  // namespace multiprocessing
