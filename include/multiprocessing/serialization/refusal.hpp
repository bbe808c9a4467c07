// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file refusal.hpp
/// @brief The compile error for a type that cannot travel: one sentence, and the type's name.
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/serialization/traits.hpp>

#include <concepts>
#include <exception>
#include <string_view>
#include <type_traits>

namespace multiprocessing::detail {

template <class T>
concept LooksLikeView = std::is_class_v<T> && std::is_trivially_copyable_v<T> &&
    requires(const T& value) {
  { value.data() } -> std::convertible_to<const volatile void*>;
  value.size();
};

template <class T>
consteval bool is_lambda() {
  constexpr std::string_view name = type_name<T>();
  return name.find("<lambda(") != name.npos || name.find("(lambda at ") != name.npos;
}

template <class T>
inline constexpr bool is_not_reference = !std::is_reference_v<T>;
template <class T>
inline constexpr bool is_not_pointer =
    !std::is_pointer_v<T> && !std::is_member_pointer_v<T> && !std::is_null_pointer_v<T>;
template <class T>
inline constexpr bool is_not_view = !LooksLikeView<T>;
template <class T>
inline constexpr bool is_not_array = !std::is_array_v<T>;
template <class T>
inline constexpr bool is_not_capturing_lambda = !is_lambda<T>();
template <class T>
inline constexpr bool is_serializable = false;

/// @brief Stops the compilation because `Type`, which is `Whole` or a part of it, cannot travel.
template <class Type, class Whole>
consteval void refuse() {
  if constexpr (!is_not_reference<Type>) {
    static_assert(is_not_reference<Type>,
                  "multiprocessing: a reference cannot travel to another process, where there is "
                  "nothing that it could refer to: hold and send the value itself");
  } else if constexpr (!is_not_pointer<Type>) {
    static_assert(is_not_pointer<Type>,
                  "multiprocessing: a pointer cannot travel to another process, where its address "
                  "means nothing: send the value (text as std::string, an object as unique_ptr or "
                  "shared_ptr), or give the class that holds the pointer a serialize(Archive&)");
  } else if constexpr (!is_not_array<Type>) {
    static_assert(is_not_array<Type>,
                  "multiprocessing: a C array cannot travel by itself: send a std::string, a "
                  "std::array or a std::vector");
  } else if constexpr (!is_not_view<Type>) {
    static_assert(is_not_view<Type>,
                  "multiprocessing: a view cannot travel to another process, where what it looks "
                  "at is not: send a std::string or a std::vector");
  } else if constexpr (!is_not_capturing_lambda<Type>) {
    static_assert(is_not_capturing_lambda<Type>,
                  "multiprocessing: a lambda that captures something cannot travel to another "
                  "process: pass what it captures as arguments, or write a struct with an "
                  "operator() and members that can travel");
  } else {
    static_assert(
        is_serializable<Type>,
        "multiprocessing: objects of this type cannot travel to another process: make it "
        "an aggregate of types that can (no base class, at most 100 members, none const "
        "or a reference), or give it a default constructor and serialize(Archive&) or "
        "save/load, or a reduce() that returns a tuple of a public constructor's "
        "arguments, or specialise multiprocessing::codec for it; what a base has of these "
        "leaves out what a derived class adds");
  }
}

/// @brief Whether T can travel, as a part of something; if it cannot, that is a compile error.
template <class T>
consteval bool may_travel_inside() {
  if constexpr (can_travel<T>) {
    return true;
  } else {
    refuse<Culprit<T>, T>();
    return false;
  }
}
/// @brief Whether T can travel by itself; if it cannot, that is a compile error.
template <class T>
consteval bool may_travel() {
  if constexpr (std::is_array_v<T>) {
    refuse<T, T>();
    return false;
  } else {
    return may_travel_inside<T>();
  }
}

/// @brief Stands where a value would, behind a compile error.
template <class T>
[[noreturn]] T unreachable_value() {
  std::terminate();
}

}  // namespace multiprocessing::detail
