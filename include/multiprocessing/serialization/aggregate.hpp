// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file aggregate.hpp
/// @brief The fields of plain aggregates, through Boost.PFR.
///
/// Boost.PFR binds the fields once their number is known, but counts wrongly when a field is a C
/// array (whose braces may be left out) and stops the compilation at a base class. So counting is
/// done here, and never stops it.
/// @source Boost.PFR, fields_count.hpp
#include <boost/pfr/core.hpp>

#include <cstddef>
#include <type_traits>
#include <utility>

namespace multiprocessing::detail {

/// @brief A list of types.
template <class... T>
struct Types {};

/// @brief Initializes any field but a reference. By value: a compiler may look into the copying of
/// a container, and stop there if its elements cannot be copied.
struct Anything {
  std::size_t ignored;
  template <class Field>
  operator Field() const&& noexcept;
};

/// @brief Initializes only a base of T.
template <class T>
struct AnyBase {
  template <class Base>
  requires(std::is_base_of_v<Base, T> && !std::is_same_v<Base, T>) operator Base&() const noexcept;
  template <class Base>
  requires(std::is_base_of_v<Base, T> && !std::is_same_v<Base, T>) operator Base&&() const noexcept;
};
/// @brief Initializes what takes everything, such as std::any.
struct Nothing {};

template <class T>
concept HasBase = requires {
  T{AnyBase<T>{}};
}
&&!requires {
  T{Nothing{}};
};

template <class T, std::size_t... I>
consteval bool accepts(std::index_sequence<I...>) {
  return requires {
    T{Anything{I}...};
  };
}
/// @brief Whether T{x, x, ...} with so many initializers is an initialization.
template <class T, std::size_t Count>
inline constexpr bool accepts_count = accepts<T>(std::make_index_sequence<Count>{});

template <class T, std::size_t... Before, std::size_t... After>
consteval bool accepts_gap(std::index_sequence<Before...>, std::index_sequence<After...>) {
  return requires {
    T{Anything{Before}..., {}, Anything{After}...};
  };
}
template <class T, std::size_t... Before, std::size_t... In, std::size_t... After>
consteval bool accepts_group(std::index_sequence<Before...>,
                             std::index_sequence<In...>,
                             std::index_sequence<After...>) {
  return requires {
    T{Anything{Before}..., {Anything{In}...}, Anything{After}...};
  };
}

/// More initializers than this are not counted: it would take the compiler too long.
inline constexpr std::size_t max_initializers = 512;
/// Boost.PFR binds so many fields, and no more.
inline constexpr std::size_t max_fields = 100;

template <class T, std::size_t Good, std::size_t Bad>
consteval std::size_t most_accepted_between() {
  if constexpr (Good + 1 == Bad) {
    return Good;
  } else {
    constexpr std::size_t middle = Good + (Bad - Good) / 2;
    if constexpr (accepts_count<T, middle>) {
      return most_accepted_between<T, middle, Bad>();
    } else {
      return most_accepted_between<T, Good, middle>();
    }
  }
}
template <class T, std::size_t Good, std::size_t Try>
consteval std::size_t most_accepted_from() {
  if constexpr (Try > max_initializers) {
    return Try;
  } else if constexpr (accepts_count<T, Try>) {
    return most_accepted_from<T, Try, Try * 2>();
  } else {
    return most_accepted_between<T, Good, Try>();
  }
}
/// @brief The fewest initializers that T needs: fields without a default need one.
template <class T, std::size_t Count = 0>
consteval std::size_t least_accepted() {
  if constexpr (Count > max_fields || accepts_count<T, Count>) {
    return Count;
  } else {
    return least_accepted<T, Count + 1>();
  }
}
/// @brief How many initializers T takes at most, an array's elements counted singly.
template <class T>
consteval std::size_t count_initializers() {
  constexpr std::size_t least = least_accepted<T>();
  if constexpr (least > max_fields) {
    return max_initializers + 1;
  } else {
    return most_accepted_from<T, least, least + 1>();
  }
}

/// @brief How many initializers the field takes whose first one is at `At`.
template <class T, std::size_t Total, std::size_t At, std::size_t Width = 1>
consteval std::size_t field_width() {
  if constexpr (At + Width > Total) {
    return 1;  // not a field that braces can stand for: an object without a default
  } else {
    using Before = std::make_index_sequence<At>;
    using In = std::make_index_sequence<Width>;
    using After = std::make_index_sequence<Total - At - Width>;
    using Longer = std::make_index_sequence<Total - At - Width + 1>;
    if constexpr (accepts_gap<T>(Before{}, After{})) {
      return Width;
    } else if constexpr (Width > 1 && accepts_group<T>(Before{}, In{}, After{}) &&
                         !accepts_group<T>(Before{}, In{}, Longer{})) {
      return Width;
    } else {
      return field_width<T, Total, At, Width + 1>();
    }
  }
}
template <class T, std::size_t Total, std::size_t At = 0>
consteval std::size_t count_fields_from() {
  if constexpr (At >= Total) {
    return 0;
  } else {
    return 1 + count_fields_from<T, Total, At + field_width<T, Total, At>()>();
  }
}

/// @brief What counting says of an aggregate.
struct Shape {
  bool known = false;   ///< Whether the fields can be had one by one.
  bool arrays = false;  ///< Whether one of them is a C array.
  std::size_t fields = 0;
};
template <class T>
consteval Shape shape_of() {
  if constexpr (!std::is_class_v<T> || !std::is_aggregate_v<T>) {
    return {};
  } else if constexpr (HasBase<T>) {
    return {};
  } else {
    constexpr std::size_t initializers = count_initializers<T>();
    if constexpr (initializers > max_initializers) {
      return {};
    } else {
      constexpr std::size_t fields = count_fields_from<T, initializers>();
      return {fields <= max_fields, fields != initializers, fields};
    }
  }
}
template <class T>
inline constexpr Shape shape = shape_of<T>();

/// @brief Calls `use(field, field, ...)` with references to all fields of an aggregate.
template <class T, class Use>
constexpr decltype(auto) with_fields(T& value, Use&& use) {
  constexpr std::size_t count = shape<std::remove_const_t<T>>.fields;
  auto fields = boost::pfr::detail::tie_as_tuple(value, boost::pfr::detail::size_t_<count>{});
  return [&]<std::size_t... I>(std::index_sequence<I...>)->decltype(auto) {
    return use(boost::pfr::detail::sequence_tuple::get<I>(fields)...);
  }
  (std::make_index_sequence<count>{});
}

struct NameTypes {
  template <class... Field>
  constexpr Types<Field...> operator()(Field&...) const {
    return {};
  }
};
/// @brief The types of an aggregate's fields, as Types.
template <class T>
using FieldTypes = decltype(detail::with_fields(std::declval<T&>(), NameTypes{}));

}  // namespace multiprocessing::detail
