// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file adaptors.hpp
/// @brief std::stack, std::queue and std::priority_queue in bytes: as the container inside.
#include <multiprocessing/serialization/associative.hpp>

#include <cstddef>
#include <queue>
#include <stack>
#include <utility>

namespace multiprocessing::detail {

/// @brief The container that an adaptor keeps as its protected member `c`.
template <class Adaptor>
struct Inside : Adaptor {
  using Container = typename Adaptor::container_type;
  static const Container& of(const Adaptor& adaptor) { return adaptor.*(&Inside::c); }
};

template <class Adaptor>
struct Adapted {
  using Container = typename Adaptor::container_type;
  using Parts = Types<Container>;
  static constexpr std::size_t weight = Standard<Container>::weight;
  static void encode(Encoder& encoder, const Adaptor& adaptor) {
    detail::encode_value(encoder, Inside<Adaptor>::of(adaptor));
  }
};

template <class T, class Container>
struct Standard<std::stack<T, Container>> : Adapted<std::stack<T, Container>> {
  static std::stack<T, Container> decode(Decoder& decoder) {
    return std::stack<T, Container>(decode_value<Container>(decoder));
  }
};
template <class T, class Container>
struct Standard<std::queue<T, Container>> : Adapted<std::queue<T, Container>> {
  static std::queue<T, Container> decode(Decoder& decoder) {
    return std::queue<T, Container>(decode_value<Container>(decoder));
  }
};
template <class T, class Container, Stateless Compare>
struct Standard<std::priority_queue<T, Container, Compare>>
    : Adapted<std::priority_queue<T, Container, Compare>> {
  static std::priority_queue<T, Container, Compare> decode(Decoder& decoder) {
    return std::priority_queue<T, Container, Compare>(Compare{}, decode_value<Container>(decoder));
  }
};

}  // namespace multiprocessing::detail
