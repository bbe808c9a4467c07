// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file associative.hpp
/// @brief Maps and sets of the standard library in bytes: a count and the elements in their order.
///
/// A key that comes twice where it may not is an error. Comparisons and hashes must be empty
/// classes: they do not travel.
#include <multiprocessing/serialization/sequences.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace multiprocessing::detail {

/// @brief A function object that one need not send.
template <class Function>
concept Stateless = std::is_empty_v<Function> && std::default_initializable<Function>;

/// @brief The elements of a container that is keyed.
/// @tparam Node what it allocates beside an element.
template <class Container, std::size_t Node>
struct Keyed {
  using Key = typename Container::key_type;
  using Element = typename Container::value_type;
  static constexpr bool is_map = !std::is_same_v<Key, Element>;
  static constexpr std::size_t weight = count_size;

  static void encode(Encoder& encoder, const Container& container) {
    if constexpr (is_map) {
      encoder.write_number(std::uint64_t{container.size()});
      for (const auto& [key, value] : container) {
        detail::encode_value<Key>(encoder, key);
        detail::encode_value<typename Container::mapped_type>(encoder, value);
        encoder.pad(element_padding<Element, Node>);
      }
    } else {
      detail::encode_elements<Node, Element>(encoder, container, container.size());
    }
  }
  static Container decode(Decoder& decoder) {
    Container made;
    std::size_t count = 0;
    decode_elements<Node, Element>(
        decoder,
        [&](std::size_t expected) {
          if constexpr (requires { made.reserve(expected); }) {
            if (expected != 0) made.reserve(expected);  // of nothing it allocates too
          }
        },
        [&](Decoder& from) {
          add(from, made);
          if (made.size() != ++count) throw SerializationError{"a key comes twice"};
        });
    return made;
  }

 private:
  // Not as a pair, whose key could only be copied.
  static void add(Decoder& decoder, Container& made) {
    if constexpr (is_map) {
      using Mapped = typename Container::mapped_type;
      auto key = decode_value<Key>(decoder);
      if constexpr (is_read_in_place<Mapped>()) {
        const auto place = made.emplace_hint(made.end(), std::piecewise_construct,
                                             std::forward_as_tuple(std::move(key)), std::tuple<>{});
        decoder.read(std::addressof(place->second), sizeof(Mapped));
      } else {
        made.emplace_hint(made.end(), std::move(key), decode_value<Mapped>(decoder));
      }
    } else {
      made.insert(made.end(), decode_value<Element>(decoder));
    }
  }
};

inline constexpr std::size_t tree_node = 4 * sizeof(void*);
/// Next, hash, and its share of the buckets.
inline constexpr std::size_t hash_node = 4 * sizeof(void*);

template <class K, Stateless Compare, class Allocator>
struct Standard<std::set<K, Compare, Allocator>>
    : Keyed<std::set<K, Compare, Allocator>, tree_node> {
  using Parts = Types<K>;
};
template <class K, Stateless Compare, class Allocator>
struct Standard<std::multiset<K, Compare, Allocator>>
    : Keyed<std::multiset<K, Compare, Allocator>, tree_node> {
  using Parts = Types<K>;
};
template <class K, class V, Stateless Compare, class Allocator>
struct Standard<std::map<K, V, Compare, Allocator>>
    : Keyed<std::map<K, V, Compare, Allocator>, tree_node> {
  using Parts = Types<K, V>;
};
template <class K, class V, Stateless Compare, class Allocator>
struct Standard<std::multimap<K, V, Compare, Allocator>>
    : Keyed<std::multimap<K, V, Compare, Allocator>, tree_node> {
  using Parts = Types<K, V>;
};
template <class K, Stateless Hash, Stateless Equal, class Allocator>
struct Standard<std::unordered_set<K, Hash, Equal, Allocator>>
    : Keyed<std::unordered_set<K, Hash, Equal, Allocator>, hash_node> {
  using Parts = Types<K>;
};
template <class K, Stateless Hash, Stateless Equal, class Allocator>
struct Standard<std::unordered_multiset<K, Hash, Equal, Allocator>>
    : Keyed<std::unordered_multiset<K, Hash, Equal, Allocator>, hash_node> {
  using Parts = Types<K>;
};
template <class K, class V, Stateless Hash, Stateless Equal, class Allocator>
struct Standard<std::unordered_map<K, V, Hash, Equal, Allocator>>
    : Keyed<std::unordered_map<K, V, Hash, Equal, Allocator>, hash_node> {
  using Parts = Types<K, V>;
};
template <class K, class V, Stateless Hash, Stateless Equal, class Allocator>
struct Standard<std::unordered_multimap<K, V, Hash, Equal, Allocator>>
    : Keyed<std::unordered_multimap<K, V, Hash, Equal, Allocator>, hash_node> {
  using Parts = Types<K, V>;
};

}  // namespace multiprocessing::detail
