// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file zip.hpp
/// @brief Several ranges side by side.
#include <cstddef>
#include <iterator>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>

namespace multiprocessing::detail {

/// @brief A range of the tuples of the items of several ranges; as long as the shortest. Lvalues
/// are referred to, rvalues kept. @python{zip}
template <class... Xs>
class Zip {
 public:
  using value_type = std::tuple<std::ranges::range_value_t<std::remove_cvref_t<Xs>>...>;

  explicit Zip(Xs&&... ranges) : ranges_{std::forward<Xs>(ranges)...} {}

  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = typename Zip::value_type;
    using difference_type = std::ptrdiff_t;
    using Places = std::tuple<std::ranges::iterator_t<std::remove_reference_t<Xs>>...>;
    using Ends = std::tuple<std::ranges::sentinel_t<std::remove_reference_t<Xs>>...>;

    iterator() = default;
    iterator(Places places, Ends ends) : places_{std::move(places)}, ends_{std::move(ends)} {}
    value_type operator*() const {
      return std::apply([](const auto&... each) { return value_type(*each...); }, places_);
    }
    iterator& operator++() {
      std::apply([](auto&... each) { (static_cast<void>(++each), ...); }, places_);
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& it, std::default_sentinel_t) { return it.is_at_end(); }

   private:
    [[nodiscard]] bool is_at_end() const { return is_at_end(std::index_sequence_for<Xs...>{}); }
    template <std::size_t... I>
    [[nodiscard]] bool is_at_end(std::index_sequence<I...>) const {
      return ((std::get<I>(places_) == std::get<I>(ends_)) || ...);
    }
    Places places_;
    Ends ends_;
  };
  iterator begin() {
    return std::apply(
        [](auto&... each) {
          return iterator{{std::ranges::begin(each)...}, {std::ranges::end(each)...}};
        },
        ranges_);
  }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  std::tuple<Xs...> ranges_;
};

}  // namespace multiprocessing::detail
