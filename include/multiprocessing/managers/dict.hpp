// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file dict.hpp
/// @brief A dictionary that processes share.
#include <multiprocessing/managers/container.hpp>
#include <multiprocessing/managers/element.hpp>
#include <multiprocessing/managers/snapshot.hpp>
#include <multiprocessing/managers/table.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

namespace multiprocessing {

/// @brief Keys and values in shared memory, in the order in which the keys came.
/// @python{multiprocessing.managers.DictProxy}
///
/// Made by Manager::dict(). A handle: copies, also those in other processes and those in other
/// containers of the same manager, are the same dictionary.
/// @code
/// mp::Manager manager;
/// auto counts = manager.dict<std::string, int>();
/// counts.update("spam", [](int& n) { ++n; }, 0);        // atomic, and begins at 0
/// for (const auto& [word, n] : counts.items()) ...      // of one moment
/// @endcode
/// Each call happens wholly or not at all, in one order for all processes; a process killed in one
/// leaves the dictionary as before or after it, and locks nobody out. What a call gives is a copy:
/// nothing returns a reference. A change of a value is `update(key, f)`.
///
/// Differences from Python: `d[key]` is `get(key)` and `set(key, value)`, `del d[key]` is
/// `erase(key)`, `key in d` is `contains(key)`; going through it is going through `items()`.
/// @tparam K Serializable; equal keys have equal bytes, or there are a std::hash and an `==`.
/// @tparam V Serializable, without handles other than this manager's containers.
/// @shape About 64 bytes for an entry besides its key and value. All containers of a manager
/// together: 56 GiB, less where the address space is limited.
/// @throws every call: std::system_error no memory is left, and nothing has changed;
/// SerializationError a value cannot be encoded or decoded.
/// @threads any, at once. @processes any, at once: those that got it by fork, in a state, or in an
/// argument.
template <class K, class V>
class DictProxy {
 public:
  /// @brief What a key is.
  using key_type = K;
  /// @brief What a value is.
  using mapped_type = V;
  /// @brief What it is made of, in copies.
  using value_type = std::pair<K, V>;

  DictProxy(const DictProxy&) = default;  // a handle is never empty: it is not moved from
  DictProxy& operator=(const DictProxy&) = default;
  ~DictProxy() = default;

  /// @brief The value of a key.
  /// @throws std::out_of_range there is none. Python: KeyError.
  [[nodiscard]] V get(const K& key) const {
    auto found = try_get(key);
    if (!found) throw_missing(key);
    return *std::move(found);
  }
  /// @brief The value of a key, or `otherwise`.
  [[nodiscard]] V get(const K& key, V otherwise) const {
    auto found = try_get(key);
    return found ? *std::move(found) : std::move(otherwise);
  }
  /// @brief The value of a key, if there is one.
  [[nodiscard]] std::optional<V> try_get(const K& key) const {
    const detail::Key<K> wanted{store(), key};
    const detail::Access access{store()};
    const std::uint64_t entry = table().find(wanted);
    if (entry == 0) return std::nullopt;
    return load(entry);
  }
  /// @brief Whether a key has a value.
  [[nodiscard]] bool contains(const K& key) const {
    const detail::Key<K> wanted{store(), key};
    const detail::Access access{store()};
    return table().find(wanted) != 0;
  }
  /// @brief How many keys it has: a moment's picture.
  [[nodiscard]] std::size_t size() const {
    const detail::Access access{store()};
    return table().size();
  }
  /// @brief Whether it has none: a moment's picture.
  [[nodiscard]] bool empty() const { return size() == 0; }

  /// @brief Gives a key its value, whether it had one or not.
  void set(const K& key, const V& value) const {
    const detail::Key<K> wanted{store(), key};
    const detail::OwnBytes<V> bytes{store(), value};
    detail::Change change{store()};
    put(wanted, bytes);
    change.commit();
  }
  /// @brief The value of a key, which is `value` now if it had none.
  V setdefault(const K& key, const V& value = V{}) const {
    const detail::Key<K> wanted{store(), key};
    const detail::OwnBytes<V> bytes{store(), value};
    detail::Change change{store()};
    if (const std::uint64_t entry = table().find(wanted); entry != 0) return load(entry);
    put(wanted, bytes);
    change.commit();
    return value;
  }
  /// @brief Calls `change(value)` with the value of a key, and stores what that has made of it: no
  /// other process comes in between.
  /// @param key must have a value.
  /// @param change takes a V&. It may use this manager's containers: what it changes there happens
  /// with this, wholly or not at all. It must not wait for others that use them.
  /// @returns the new value.
  /// @throws std::out_of_range there is no such key. What `change` throws; nothing has changed.
  template <class F>
  requires std::invocable<F, V&> V update(const K& key, F&& change)
  const { return update_entry(key, std::forward<F>(change), nullptr); }
  /// @brief The same; a key that has no value begins with `initial`.
  template <class F>
  requires std::invocable<F, V&> V update(const K& key, F&& change, const V& initial)
  const { return update_entry(key, std::forward<F>(change), &initial); }
  /// @brief Sets all pairs of a range, at once.
  template <std::ranges::input_range Pairs>
  void update(Pairs&& pairs) const {
    std::vector<value_type> copy;  // going through it may be anything
    for (auto&& [key, value] : pairs) copy.emplace_back(key, value);
    detail::Change change{store()};
    for (const auto& [key, value] : copy) {
      put(detail::Key<K>{store(), key}, detail::OwnBytes<V>{store(), value});
    }
    change.commit();
  }
  /// @overload
  void update(std::initializer_list<value_type> pairs) const {
    update(std::span{pairs.begin(), pairs.size()});
  }

  /// @brief Takes a key away. @throws std::out_of_range there is none. Python: KeyError.
  void erase(const K& key) const {
    const detail::Key<K> wanted{store(), key};
    detail::Change change{store()};
    const std::uint64_t entry = table().find(wanted);
    if (entry == 0) throw_missing(key);
    remove(entry);
    change.commit();
  }
  /// @brief Takes a key away. @returns its value.
  /// @throws std::out_of_range there is none. Python: KeyError.
  V pop(const K& key) const {
    auto found = take(key);
    if (!found) throw_missing(key);
    return *std::move(found);
  }
  /// @brief Takes a key away. @returns its value, or `otherwise`.
  V pop(const K& key, V otherwise) const {
    auto found = take(key);
    return found ? *std::move(found) : std::move(otherwise);
  }
  /// @brief Takes away the pair that came last. @throws std::out_of_range it is empty.
  value_type popitem() const {
    detail::Change change{store()};
    const std::uint64_t entry = table().last_entry();
    if (entry == 0) throw std::out_of_range{"popitem(): the dictionary is empty"};
    value_type pair{key_of(entry), load(entry)};
    remove(entry);
    change.commit();
    return pair;
  }
  /// @brief Takes all keys away, at once.
  void clear() const {
    detail::Change change{store()};
    clear(store(), core_->head());
    change.commit();
  }

  /// @brief All keys of one moment, in order; values() and items() likewise.
  [[nodiscard]] std::vector<K> keys() const {
    return collect<K>([&](std::uint64_t entry) { return key_of(entry); });
  }
  /// @brief All values of one moment, in the order of the keys.
  [[nodiscard]] std::vector<V> values() const {
    return collect<V>([&](std::uint64_t entry) { return load(entry); });
  }
  /// @brief All pairs of one moment, in the order of the keys.
  [[nodiscard]] std::vector<value_type> items() const {
    return collect<value_type>([&](std::uint64_t entry) {
      return value_type{key_of(entry), load(entry)};
    });
  }
  /// @brief items().
  [[nodiscard]] std::vector<value_type> copy() const { return items(); }
  /// @brief Goes through items().
  [[nodiscard]] auto begin() const { return detail::SnapshotIterator<value_type>{items()}; }
  /// @brief Behind the last pair.
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  /// @brief Whether both are the same dictionary.
  friend bool operator==(const DictProxy& left, const DictProxy& right) noexcept {
    return left.core_->is(*right.core_);
  }

 private:
  friend struct detail::ContainerOf;
  using Cell = detail::Cell<V>;
  static constexpr std::uint64_t head_words = detail::Table::head_words;

  explicit DictProxy(std::shared_ptr<detail::Container> core) noexcept : core_{std::move(core)} {}

  [[nodiscard]] detail::Store& store() const noexcept { return *core_->store(); }
  [[nodiscard]] detail::Table table() const {
    return detail::Table{store(), core_->head(), Cell::size};
  }
  [[nodiscard]] V load(std::uint64_t entry) const {
    return Cell::load(store(), table().value_of(entry));
  }
  [[nodiscard]] K key_of(std::uint64_t entry) const {
    return detail::value_of<K>(store(), table().key_of(entry));
  }
  [[noreturn]] static void throw_missing(const K& key) {
    throw std::out_of_range{"no such key in the dictionary: " + detail::name_of_key(key)};
  }

  void put(const detail::Key<K>& key, const detail::OwnBytes<V>& value) const {
    detail::Table all = table();
    std::uint64_t entry = all.find(key);
    const auto words = Cell::make(store(), value);
    if (entry != 0) {
      Cell::release(store(), all.value_of(entry));
      Cell::set(store(), all.value_of(entry), words);
    } else {
      entry = all.insert(key);
      Cell::fill(store(), all.value_of(entry), words);
    }
  }
  template <class F>
  V update_entry(const K& key, F&& function, const V* initial) const {
    const detail::Key<K> wanted{store(), key};
    detail::Change change{store()};
    const std::uint64_t entry = table().find(wanted);
    if (entry == 0 && initial == nullptr) throw_missing(key);
    V value = entry != 0 ? load(entry) : *initial;
    std::invoke(std::forward<F>(function), value);
    put(wanted, detail::OwnBytes<V>{store(), value});
    change.commit();
    return value;
  }
  std::optional<V> take(const K& key) const {
    const detail::Key<K> wanted{store(), key};
    detail::Change change{store()};
    const std::uint64_t entry = table().find(wanted);
    if (entry == 0) return std::nullopt;
    std::optional<V> value{load(entry)};
    remove(entry);
    change.commit();
    return value;
  }
  void remove(std::uint64_t entry) const {
    Cell::release(store(), table().value_of(entry));
    table().erase(entry);
  }
  static void clear(detail::Store& store, std::uint64_t head) {
    detail::Table all{store, head, Cell::size};
    std::uint64_t left = all.size();
    for (std::uint64_t entry = all.first_entry(); entry != 0 && left != 0; --left) {
      Cell::release(store, all.value_of(entry));
      entry = all.after(entry);
    }
    all.clear();
  }
  template <class Element, class Get>
  [[nodiscard]] std::vector<Element> collect(const Get& get) const {
    std::vector<Element> all;
    const detail::Access access{store()};
    std::uint64_t left = table().size();
    for (std::uint64_t entry = table().first_entry(); entry != 0 && left != 0; --left) {
      const std::uint64_t next = table().after(entry);
      all.push_back(get(entry));
      entry = next;
    }
    return all;
  }

  std::shared_ptr<detail::Container> core_;
};

/// @brief As containers of a manager do.
template <class K, class V>
struct codec<DictProxy<K, V>> : detail::ContainerCodec<DictProxy<K, V>> {};

}  // namespace multiprocessing
