// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file element.hpp
/// @brief How a value lies in a container of a Manager.
#include <multiprocessing/detail/hash.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/managers/store.hpp>
#include <multiprocessing/serialization.hpp>

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <type_traits>
#include <unordered_set>
#include <vector>

namespace multiprocessing::detail {

/// @brief Whether a T lies in its container as its bytes.
template <class T>
inline constexpr bool lies_plainly = (way_of<T>() == Way::bits || way_of<T>() == Way::boolean) &&
                                     sizeof(T) <= 64;
template <class T>
inline constexpr bool is_text = std::is_same_v<T, std::string>;

/// @brief The value of bytes in a store.
template <class T>
T value_of(const Store& store, std::span<const std::byte> bytes) {
  if constexpr (lies_plainly<T>) {
    if (bytes.size() < sizeof(T)) Store::damaged();
    if constexpr (way_of<T>() == Way::boolean) {
      return static_cast<T>(bytes.front() != std::byte{0});
    } else {
      std::array<std::byte, sizeof(T)> own;
      std::memcpy(own.data(), bytes.data(), own.size());
      return std::bit_cast<T>(own);
    }
  } else if constexpr (is_text<T>) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  } else if constexpr (carries_handles<T>) {
    Transit transit = store.inside();
    return loads<T>(bytes, &transit);
  } else {
    return loads<T>(bytes);
  }
}

/// @brief The bytes of a value, as they are to lie in a store. Made before the store is locked, for
/// the value's own code may run.
/// @tparam T not one that lies plainly, nor text: those need no bytes of their own.
template <class T>
class OwnBytes {
 public:
  /// @throws SerializationError the value cannot travel, or holds handles other than those of
  /// this store's containers.
  OwnBytes(const Store& store, const T& value) {
    if constexpr (carries_handles<T>) {
      Transit transit = store.inside();
      bytes_ = dumps(value, &transit);
      if (transit.objects().size() != 1) {
        throw SerializationError{
            "a " + std::string{type_name<T>()} +
            " cannot be stored in a manager's container: of what has handles, only containers of "
            "the same manager can"};
      }
    } else {
      bytes_ = dumps(value);
    }
  }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};
template <class T>
requires(lies_plainly<T> || is_text<T>) class OwnBytes<T> {
 public:
  OwnBytes(const Store& /*store*/, const T& value) noexcept : value_{&value} {}
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    if constexpr (is_text<T>) {
      return std::as_bytes(std::span{*value_});
    } else {
      return std::as_bytes(std::span{value_, 1});
    }
  }

 private:
  const T* value_;
};

// ---- cells: where a container has a value ----

/// @brief The words by which a container has a T: the value itself, or {block, size}. An empty one
/// has no block.
template <class T>
struct Cell {
  static constexpr std::size_t words = lies_plainly<T> ? (sizeof(T) + 7) / 8 : 2;
  static constexpr std::uint64_t size = words * 8;
  using Words = std::array<std::uint64_t, words>;

  /// @brief Puts the value into the store, if it has no room in the words. Within a Change.
  static Words make(Store& store, const OwnBytes<T>& value) {
    const auto bytes = value.bytes();
    Words made{};
    if constexpr (lies_plainly<T>) {
      std::memcpy(made.data(), bytes.data(), sizeof(T));
    } else if (!bytes.empty()) {
      made = {store.allocate(bytes.size()), bytes.size()};
      std::memcpy(store.bytes(made[0], bytes.size()), bytes.data(), bytes.size());
      MULTIPROCESSING_STOP_POINT("store.block.filled");
    }
    return made;
  }
  static T load(const Store& store, std::uint64_t cell) {
    const std::byte* const where = store.bytes(cell, size);
    if constexpr (lies_plainly<T>) {
      return value_of<T>(store, {where, sizeof(T)});
    } else {
      Words found;
      std::memcpy(found.data(), where, size);
      const std::byte* const bytes = found[1] == 0 ? where : store.bytes(found[0], found[1]);
      return value_of<T>(store, {bytes, found[1]});
    }
  }
  /// @brief Into words of which something counts.
  static void set(Store& store, std::uint64_t cell, const Words& value) {
    for (std::size_t i = 0; i < words; ++i) store.set(cell + 8 * i, value[i]);
  }
  /// @brief Into a block that was allocated in this change.
  static void fill(Store& store, std::uint64_t cell, const Words& value) {
    std::memcpy(store.bytes(cell, size), value.data(), size);
  }
  /// @brief Gives back what the words lead to.
  static void release(Store& store, std::uint64_t cell) {
    if constexpr (!lies_plainly<T>) {
      if (store.word(cell + 8) != 0) store.release(store.word(cell));
    }
  }
};

// ---- keys ----

template <class T>
concept HasHashAndEquality = std::equality_comparable<T> && requires(const T& value) {
  { std::hash<T>{}(value) } -> std::convertible_to<std::size_t>;
};

template <class T, class... Above>
consteval bool has_one_encoding();
template <class... Part, class... Above>
consteval bool all_have_one_encoding(Types<Part...>, Types<Above...>) {
  return (has_one_encoding<Part, Above...>() && ...);
}
/// @brief Whether equal values have equal bytes, as far as can be seen.
template <class T, class... Above>
consteval bool has_one_encoding() {
  if constexpr ((std::is_same_v<T, Above> || ...)) {
    return true;
  } else if constexpr (way_of<T>() == Way::bits) {
    return std::has_unique_object_representations_v<T>;
  } else if constexpr (requires { typename T::hasher; }) {
    return false;  // what it holds has no order
  } else {
    return detail::all_have_one_encoding(Parts<T>{}, Types<T, Above...>{});
  }
}

/// @brief Keys are compared by their bytes, where equal ones have equal bytes; else by `==`.
template <class K>
inline constexpr bool compares_bytes = is_text<K> || has_one_encoding<K>();

template <class K>
constexpr bool check_key() {
  static_assert(compares_bytes<K> || HasHashAndEquality<K>,
                "equal keys of this type may have different bytes (it has padding, floating-point "
                "numbers or a container without an order): give it a std::hash and an ==");
  static_assert(!carries_handles<K>, "a container or handle cannot be a key");
  return true;
}

inline std::uint64_t hash_bytes(std::span<const std::byte> bytes) noexcept {
  Hash128 hash;
  hash.add(bytes);
  hash.add(bytes.size());
  return (hash.low ^ hash.high) * 0x9e3779b97f4a7c15U;
}

/// @brief A key that is looked for, or put.
template <class K>
class Key {
 public:
  static_assert(check_key<K>());

  Key(const Store& store, const K& key) : key_{&key}, own_{store, key} {
    if constexpr (compares_bytes<K>) {
      hash_ = hash_bytes(own_.bytes());
    } else {
      hash_ = static_cast<std::uint64_t>(std::hash<K>{}(key)) * 0x9e3779b97f4a7c15U;
    }
    hash_ ^= hash_ >> 32U;
  }
  [[nodiscard]] std::uint64_t hash() const noexcept { return hash_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return own_.bytes(); }
  [[nodiscard]] bool equals(const Store& store, std::span<const std::byte> other) const {
    if constexpr (compares_bytes<K>) {
      const auto mine = bytes();
      return mine.size() == other.size() &&
             (mine.empty() || std::memcmp(mine.data(), other.data(), mine.size()) == 0);
    } else {
      return *key_ == value_of<K>(store, other);
    }
  }

 private:
  const K* key_;
  OwnBytes<K> own_;
  std::uint64_t hash_ = 0;
};

/// @brief Keys in this process's own memory, equal where those of a container are.
template <class K>
class KnownKeys {
 public:
  explicit KnownKeys(const Store& store) noexcept : store_{&store} {}
  /// @returns whether it is new.
  bool add(const K& key) { return keys_.insert(form(key)).second; }
  [[nodiscard]] bool has(const K& key) const { return keys_.contains(form(key)); }

 private:
  using Form = std::conditional_t<compares_bytes<K>, std::string, K>;
  [[nodiscard]] Form form(const K& key) const {
    if constexpr (compares_bytes<K>) {
      const OwnBytes<K> own{*store_, key};
      return {reinterpret_cast<const char*>(own.bytes().data()), own.bytes().size()};
    } else {
      return key;
    }
  }

  const Store* store_;
  std::unordered_set<Form> keys_;
};

}  // namespace multiprocessing::detail
