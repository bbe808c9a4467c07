// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file type_name.hpp
/// @brief A type's name and a hash of it, at compile time.
#include <multiprocessing/detail/config.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace multiprocessing::detail {

template <class T>
constexpr std::string_view decorated_name() noexcept {
  return MULTIPROCESSING_FUNCTION_NAME;
}

/// @brief The name of T as this compiler writes it, e.g. `std::vector<int>`; constant data, the
/// same in every module that this compiler made.
template <class T>
constexpr std::string_view type_name() noexcept {
  // The compiler wraps every name in the same text: measure it on a type whose name is known.
  constexpr std::string_view model = decorated_name<double>();
  constexpr std::size_t before = model.find("double");
  constexpr std::size_t after = model.size() - before - std::string_view{"double"}.size();
  std::string_view name = decorated_name<T>();
  name.remove_prefix(before);
  name.remove_suffix(after);
  return name;
}

/// @brief A name as a message says it: those of nested containers have thousands of characters.
inline std::string shortened(std::string_view name) {
  constexpr std::size_t most = 200;
  return name.size() <= most ? std::string{name} : std::string{name.substr(0, most)} + "...";
}

/// @brief 64-bit FNV-1a. @source http://www.isthe.com/chongo/tech/comp/fnv/
constexpr std::uint64_t fnv1a(std::string_view text,
                              std::uint64_t hash = 0xcbf29ce484222325U) noexcept {
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3U;
  }
  return hash;
}

/// @brief Tells types apart: a hash of `type_name<T>()`.
template <class T>
constexpr std::uint64_t type_hash() noexcept {
  return fnv1a(type_name<T>());
}

/// @brief Whether a type of that name is a lambda's: the language has no other way to ask.
/// gcc writes `scope::<lambda(int)>`, clang `(lambda at file:line:column)`; types that only mention
/// a lambda, as `std::vector<(lambda at ...)>` does, are none.
constexpr bool is_closure_name(std::string_view name) noexcept {
  if (name.ends_with(')')) {
    return name.starts_with("(lambda at ") || name.find("::(lambda at ") != name.npos;
  }
  if (!name.ends_with('>')) return false;
  std::size_t open = 0;  // brackets that the walk from the end has entered
  for (std::size_t i = name.size(); i-- > 0;) {
    if (name[i] == '>' && (i == 0 || name[i - 1] != '-')) ++open;
    if (name[i] == '<' && --open == 0) return name.substr(i).starts_with("<lambda(");
  }
  return false;
}

/// @brief A lambda's type. One that captures cannot travel, whatever its captures are: they may be
/// references, and nothing can look inside.
template <class T>
inline constexpr bool is_closure =
    std::is_class_v<T>&& is_closure_name(type_name<std::remove_cv_t<T>>());

/// @brief The type of a lambda that captures nothing: any two of its objects are alike.
template <class T>
concept CapturelessClosure = std::is_empty_v<T> && std::is_trivially_copyable_v<T> && is_closure<T>;

}  // namespace multiprocessing::detail
