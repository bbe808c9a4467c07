// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file namespace.hpp
/// @brief Named values of any types that processes share.
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/managers/container.hpp>
#include <multiprocessing/managers/element.hpp>
#include <multiprocessing/managers/table.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace multiprocessing {

/// @brief Names with values of any types, in shared memory.
/// @python{multiprocessing.managers.NamespaceProxy}
///
/// Made by Manager::Namespace(). All that is said of DictProxy about death, copies and errors
/// holds.
/// @code
/// mp::Manager manager;
/// auto ns = manager.Namespace();
/// ns.set("x", 10);
/// ns.get<int>("x");
/// @endcode
/// Differences from Python: who reads names the type that was written; names that begin with `_`
/// are shared like all others.
/// @threads any, at once. @processes any, at once: those that got it by fork, in a state, or in an
/// argument.
class NamespaceProxy {
 public:
  NamespaceProxy(const NamespaceProxy&) = default;  // a handle is never empty: it is not moved from
  NamespaceProxy& operator=(const NamespaceProxy&) = default;
  ~NamespaceProxy() = default;

  /// @brief The value of a name.
  /// @throws std::out_of_range there is none. Python: AttributeError. SerializationError it is no
  /// T.
  template <class T>
  [[nodiscard]] T get(const std::string& name) const {
    const Key key{store(), name};
    const detail::Access access{store()};
    return load<T>(name, find(key, name));
  }
  /// @brief Gives a name a value, whatever it had.
  template <class T>
  void set(const std::string& name, const T& value) const {
    const Key key{store(), name};
    const detail::OwnBytes<T> bytes{store(), value};
    detail::Change change{store()};
    put<T>(key, bytes);
    change.commit();
  }
  /// @overload
  void set(const std::string& name, const char* value) const { set(name, std::string{value}); }
  /// @brief As DictProxy::update().
  template <class T, class F>
  requires std::invocable<F, T&> T update(const std::string& name, F&& change)
  const {
    const Key key{store(), name};
    detail::Change whole{store()};
    T value = load<T>(name, find(key, name));
    std::invoke(std::forward<F>(change), value);
    put<T>(key, detail::OwnBytes<T>{store(), value});
    whole.commit();
    return value;
  }
  /// @brief Takes a name away. @throws std::out_of_range there is none. Python: AttributeError.
  void erase(const std::string& name) const {
    const Key key{store(), name};
    detail::Change change{store()};
    const std::uint64_t entry = find(key, name);
    release(store(), table().value_of(entry));
    table().erase(entry);
    change.commit();
  }
  /// @brief Whether there is such a name.
  [[nodiscard]] bool contains(const std::string& name) const {
    const Key key{store(), name};
    const detail::Access access{store()};
    return table().find(key) != 0;
  }
  /// @brief All names of one moment, in order. @python{dir(ns)}
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> all;
    const detail::Access access{store()};
    for (std::uint64_t entry = table().first_entry(); entry != 0; entry = table().after(entry)) {
      all.push_back(detail::value_of<std::string>(store(), table().key_of(entry)));
    }
    return all;
  }

  /// @brief Whether both are the same namespace.
  friend bool operator==(const NamespaceProxy& left, const NamespaceProxy& right) noexcept {
    return left.core_->is(*right.core_);
  }

 private:
  friend struct detail::ContainerOf;
  using Key = detail::Key<std::string>;
  static constexpr std::uint64_t head_words = detail::Table::head_words;
  static constexpr std::uint64_t block_at = 8;  // of a value: the type's hash, the block, its size
  static constexpr std::uint64_t size_at = 16;
  static constexpr std::uint64_t value_size = 24;

  explicit NamespaceProxy(std::shared_ptr<detail::Container> core) noexcept
      : core_{std::move(core)} {}

  [[nodiscard]] detail::Store& store() const noexcept { return *core_->store(); }
  [[nodiscard]] detail::Table table() const {
    return detail::Table{store(), core_->head(), value_size};
  }
  [[nodiscard]] std::uint64_t find(const Key& key, const std::string& name) const {
    const std::uint64_t entry = table().find(key);
    if (entry == 0) throw std::out_of_range{"the namespace has no \"" + name + "\""};
    return entry;
  }
  template <class T>
  [[nodiscard]] T load(const std::string& name, std::uint64_t entry) const {
    const std::uint64_t value = table().value_of(entry);
    if (store().word(value) != detail::type_hash<T>()) {
      throw SerializationError{"\"" + name + "\" in the namespace is of another type than " +
                               std::string{detail::type_name<T>()}};
    }
    const std::uint64_t size = store().word(value + size_at);
    const std::byte* const bytes =
        size == 0 ? nullptr : store().bytes(store().word(value + block_at), size);
    return detail::value_of<T>(store(), {bytes, size});
  }
  template <class T>
  void put(const Key& key, const detail::OwnBytes<T>& value) const {
    const auto bytes = value.bytes();
    std::uint64_t entry = table().find(key);
    if (entry != 0) {
      release(store(), table().value_of(entry));
    } else {
      entry = table().insert(key);
    }
    const std::uint64_t block = bytes.empty() ? 0 : store().allocate(bytes.size());
    if (block != 0) std::memcpy(store().bytes(block, bytes.size()), bytes.data(), bytes.size());
    MULTIPROCESSING_STOP_POINT("store.block.filled");
    const std::uint64_t where = table().value_of(entry);
    store().set(where, detail::type_hash<T>());
    store().set(where + block_at, block);
    store().set(where + size_at, bytes.size());
  }
  static void release(detail::Store& store, std::uint64_t value) {
    if (store.word(value + size_at) != 0) store.release(store.word(value + block_at));
  }
  static void clear(detail::Store& store, std::uint64_t head) {
    detail::Table all{store, head, value_size};
    for (std::uint64_t entry = all.first_entry(); entry != 0; entry = all.after(entry)) {
      release(store, all.value_of(entry));
    }
    all.clear();
  }

  std::shared_ptr<detail::Container> core_;
};

/// @brief As containers of a manager do.
template <>
struct codec<NamespaceProxy> : detail::ContainerCodec<NamespaceProxy> {};

}  // namespace multiprocessing
