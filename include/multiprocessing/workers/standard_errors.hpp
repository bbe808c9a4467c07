// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file standard_errors.hpp
/// @brief The exceptions of the standard library and of this one, as bytes and back.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/serialization.hpp>

#include <algorithm>
#include <any>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <ios>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

namespace multiprocessing::detail {

/// @brief An exception with another one nested in it; none: alone.
template <class E>
std::exception_ptr with_nested(E error, const std::exception_ptr& nested) {
  if (!nested) return std::make_exception_ptr(std::move(error));
  try {
    std::rethrow_exception(nested);
  } catch (...) {
    try {
      std::throw_with_nested(std::move(error));
    } catch (...) {
      return std::current_exception();
    }
  }
}

/// @brief The categories that mean the same in every process.
[[nodiscard]] inline std::array<const std::error_category*, 3> known_categories() noexcept {
  return {&std::system_category(), &std::generic_category(), &std::iostream_category()};
}

/// @brief The category's place there; behind the last one: it has none.
[[nodiscard]] inline std::size_t place_of(const std::error_category& category) noexcept {
  const auto all = known_categories();
  return static_cast<std::size_t>(std::find(all.begin(), all.end(), &category) - all.begin());
}

/// @brief What is known of an exception of one of the types below.
struct ErrorParts {
  std::string text;
  int code = 0;
  std::uint8_t category = 0;  ///< Of the code: its place in known_categories().
  std::vector<std::byte> bytes;
  std::vector<std::filesystem::path> paths;
};

template <class E>
std::exception_ptr make_error(const ErrorParts& parts, const std::exception_ptr& nested) {
  if constexpr (std::is_base_of_v<std::system_error, E>) {
    const std::error_code code{parts.code, *known_categories().at(parts.category)};
    const std::string end = ": " + code.message();
    std::string text = parts.text;
    if constexpr (std::is_same_v<E, std::filesystem::filesystem_error>) {
      // The constructor puts these around the text once more.
      constexpr std::string_view begin = "filesystem error: ";
      if (text.starts_with(begin)) text.erase(0, begin.size());
      text.resize(std::min(text.size(), text.find(end)));
      return with_nested(E{text, parts.paths.empty() ? "" : parts.paths[0],
                           parts.paths.empty() ? "" : parts.paths[1], code},
                         nested);
    } else {
      if (text.ends_with(end)) text.resize(text.size() - end.size());
      if constexpr (std::is_same_v<E, std::ios_base::failure>) {
        return with_nested(E{text, code}, nested);
      } else {
        return with_nested(E{code, text}, nested);
      }
    }
  } else if constexpr (std::is_same_v<E, BufferTooShort>) {
    return with_nested(E{parts.bytes}, nested);
  } else if constexpr (std::is_same_v<E, SystemExit>) {
    return with_nested(parts.text.empty() ? E{parts.code} : E{parts.text}, nested);
  } else if constexpr (std::is_same_v<E, LostTasks>) {
    return with_nested(E{static_cast<std::size_t>(parts.code)}, nested);
  } else if constexpr (std::is_constructible_v<E, std::string>) {
    return with_nested(E{parts.text}, nested);
  } else {
    return with_nested(E{}, nested);
  }
}

template <class E>
ErrorParts parts_of(const std::exception& error) {
  ErrorParts parts;
  parts.text = error.what();
  if constexpr (std::is_base_of_v<std::system_error, E>) {
    const auto& own = dynamic_cast<const E&>(error);
    parts.code = own.code().value();
    parts.category = static_cast<std::uint8_t>(place_of(own.code().category()));
    if constexpr (std::is_same_v<E, std::filesystem::filesystem_error>) {
      parts.paths = {own.path1(), own.path2()};
    }
  } else if constexpr (std::is_same_v<E, BufferTooShort>) {
    parts.bytes = dynamic_cast<const E&>(error).message;
  } else if constexpr (std::is_same_v<E, LostTasks>) {
    constexpr std::size_t most = std::numeric_limits<int>::max();
    parts.code = static_cast<int>(std::min(dynamic_cast<const E&>(error).count, most));
  } else if constexpr (std::is_same_v<E, SystemExit>) {
    parts.code = dynamic_cast<const E&>(error).code();
    parts.text = dynamic_cast<const E&>(error).text();
  }
  return parts;
}

/// @brief Whether the exception is an E that std::throw_with_nested made; that type has no name.
template <class E>
bool is_nesting(const std::exception& error) {
  if constexpr (!std::is_same_v<E, std::exception>) {
    if (dynamic_cast<const E*>(&error) == nullptr) return false;
  }
  try {
    std::rethrow_exception(
        make_error<E>(parts_of<E>(error), std::make_exception_ptr(std::exception{})));
  } catch (const std::exception& model) {
    return typeid(model) == typeid(error);
  }
}

/// @brief Whether the exception is an E alone, and of no class derived from it.
template <class E>
bool is_exactly(const std::exception& error) {
  if constexpr (std::is_same_v<E, std::ios_base::failure>) {
    if (typeid(error).name() == std::string_view{"St13__ios_failure"}) return true;  // libstdc++'s
  }
  return typeid(error) == typeid(E);
}

/// @brief One of the types. Its place in the table is what travels.
struct ErrorType {
  bool (*is_exactly)(const std::exception&);
  bool (*is_nesting)(const std::exception&);
  ErrorParts (*parts)(const std::exception&);
  std::exception_ptr (*make)(const ErrorParts&, const std::exception_ptr&);
};

template <class... E>
[[nodiscard]] inline const auto& error_types_of() {
  static const std::array<ErrorType, sizeof...(E)> all{
      ErrorType{&is_exactly<E>, &is_nesting<E>, &parts_of<E>, &make_error<E>}...};
  return all;
}

[[nodiscard]] inline const auto& error_types() {
  return error_types_of<
      std::runtime_error, std::logic_error, std::invalid_argument, std::domain_error,
      std::length_error, std::out_of_range, std::range_error, std::overflow_error,
      std::underflow_error, std::bad_alloc, std::bad_array_new_length, std::bad_cast,
      std::bad_typeid, std::bad_exception, std::bad_function_call, std::bad_weak_ptr,
      std::bad_optional_access, std::bad_variant_access, std::bad_any_cast, std::system_error,
      std::filesystem::filesystem_error, ProcessError, TimeoutError, BufferTooShort, EOFError,
      ConnectionError, SerializationError, Empty, Full, AbandonedLock, BrokenProcessPool,
      CancelledError, InvalidStateError, SystemExit, ShutDown, BrokenBarrierError, LostTasks,
      AuthenticationError, std::ios_base::failure, std::exception>();
}

/// @brief The exception's place in the table; none: it is not one of these, or a part of it cannot
/// travel.
[[nodiscard]] inline std::optional<std::uint8_t> standard_error_of(const std::exception& error,
                                                                   bool nests) {
  // Another category is an object of that process; its numbers mean nothing here.
  if (const auto* own = dynamic_cast<const std::system_error*>(&error)) {
    if (place_of(own->code().category()) == known_categories().size()) return std::nullopt;
  }
  const auto& all = error_types();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (nests ? all[i].is_nesting(error) : all[i].is_exactly(error)) {
      return static_cast<std::uint8_t>(i);
    }
  }
  return std::nullopt;
}

inline void encode_standard_error(Encoder& encoder,
                                  std::uint8_t which,
                                  const std::exception& error) {
  encoder.write_number(which);
  const ErrorParts parts = error_types()[which].parts(error);
  encoder(parts.text, parts.code, parts.category, parts.bytes, parts.paths);
}

struct StandardError {
  const ErrorType* type = nullptr;
  ErrorParts parts;

  [[nodiscard]] std::exception_ptr make(const std::exception_ptr& nested) const {
    return type->make(parts, nested);
  }
};

[[nodiscard]] inline StandardError decode_standard_error(Decoder& decoder) {
  const auto which = decoder.read_number<std::uint8_t>();
  if (which >= error_types().size()) throw SerializationError{"the bytes hold no exception"};
  StandardError error{&error_types()[which], {}};
  decoder(error.parts.text, error.parts.code, error.parts.category, error.parts.bytes,
          error.parts.paths);
  if (error.parts.category >= known_categories().size() ||
      (error.parts.paths.size() != 0 && error.parts.paths.size() != 2)) {
    throw SerializationError{"the bytes hold no exception"};
  }
  return error;
}

}  // namespace multiprocessing::detail
