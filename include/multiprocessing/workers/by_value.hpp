// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file by_value.hpp
/// @brief Lambdas that capture plain values, as tasks.
#include <multiprocessing/serialization.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <functional>
#include <type_traits>
#include <utility>

namespace multiprocessing {

/// @brief A callable that travels as its bytes. Made by by_value().
template <class F>
class ByValue {
 public:
  /// @brief For by_value().
  explicit ByValue(F function) : function_{std::move(function)} {}

  /// @brief Calls it.
  template <class... A>
  requires std::is_invocable_v<F&, A...>
  decltype(auto) operator()(A&&... arguments) {
    return std::invoke(function_, std::forward<A>(arguments)...);
  }

 private:
  friend struct codec<ByValue>;
  F function_;
};

/// @brief Lets a lambda travel that captures plain values: it goes as its bytes.
///
/// Explicit, for nobody can look inside a lambda: what it captures may be a pointer or a reference,
/// which compile, travel, and mean nothing in the other process. With by_value() the caller
/// promises that there are none.
/// @code
/// pool.map(mp::by_value([factor](double x) { return factor * x; }), values);
/// @endcode
/// @python{functools.partial(f, factor)}
template <class F>
[[nodiscard]] ByValue<std::decay_t<F>> by_value(F&& function) {
  static_assert(std::is_trivially_copyable_v<std::decay_t<F>>,
                "multiprocessing: by_value() takes what captures plain values only (numbers, plain "
                "structs); pass text and containers as arguments");
  return ByValue<std::decay_t<F>>{std::forward<F>(function)};
}

template <class F>
struct codec<ByValue<F>> {
  static void encode(Encoder& encoder, const ByValue<F>& value) {
    encoder.write(&value.function_, sizeof(F));
  }
  static ByValue<F> decode(Decoder& decoder) {
    std::array<std::byte, sizeof(F)> bytes;
    decoder.read(bytes.data(), bytes.size());
    return ByValue<F>{std::bit_cast<F>(bytes)};
  }
};

}  // namespace multiprocessing
