// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file set.hpp
/// @brief A set that processes share.
#include <multiprocessing/managers/container.hpp>
#include <multiprocessing/managers/element.hpp>
#include <multiprocessing/managers/snapshot.hpp>
#include <multiprocessing/managers/table.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <ranges>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

namespace multiprocessing {

/// @brief Different values in shared memory, in the order in which they came.
/// @python{multiprocessing.managers.SetProxy}
///
/// Made by Manager::set(). A handle: copies, also those in other processes and those in other
/// containers of the same manager, are the same set.
/// @code
/// mp::Manager manager;
/// auto seen = manager.set<std::string>();
/// if (seen.add(url)) visit(url);            // one process of all gets true
/// @endcode
/// All that is said of DictProxy about death, copies and errors holds.
///
/// Differences from Python: add() and discard() say whether they changed anything; `x in s` is
/// `contains(x)`, `s | t` is `union_(t)`; what Python's operators give as a set is a vector here,
/// in order. The other side is any range of T, a SetProxy too: then each is looked at in a moment
/// of its own.
/// @tparam T as a key of DictProxy.
/// @shape About 64 bytes for an element besides its own.
/// @threads any, at once. @processes any, at once: those that got it by fork, in a state, or in an
/// argument.
template <class T>
class SetProxy {
 public:
  /// @brief What an element is.
  using value_type = T;

  SetProxy(const SetProxy&) = default;  // a handle is never empty: it is not moved from
  SetProxy& operator=(const SetProxy&) = default;
  ~SetProxy() = default;

  /// @returns whether it is new.
  bool add(const T& value) const {
    const detail::Key<T> key{store(), value};
    detail::Change change{store()};
    if (table().find(key) != 0) return false;
    table().insert(key);
    change.commit();
    return true;
  }
  /// @brief Takes a value away. @returns whether it was there.
  bool discard(const T& value) const {
    const detail::Key<T> key{store(), value};
    detail::Change change{store()};
    const std::uint64_t entry = table().find(key);
    if (entry == 0) return false;
    table().erase(entry);
    change.commit();
    return true;
  }
  /// @brief Takes a value away. @throws std::out_of_range it is not there. Python: KeyError.
  void remove(const T& value) const {
    if (discard(value)) return;
    throw std::out_of_range{"no such element in the set: " + detail::name_of_key(value)};
  }
  /// @brief Takes the oldest away. @throws std::out_of_range it is empty. Python: KeyError.
  T pop() const {
    detail::Change change{store()};
    const std::uint64_t entry = table().first_entry();
    if (entry == 0) throw std::out_of_range{"pop(): the set is empty"};
    T value = value_of(entry);
    table().erase(entry);
    change.commit();
    return value;
  }
  /// @brief Whether a value is in it.
  [[nodiscard]] bool contains(const T& value) const {
    const detail::Key<T> key{store(), value};
    const detail::Access access{store()};
    return table().find(key) != 0;
  }
  /// @brief How many elements it has: a moment's picture.
  [[nodiscard]] std::size_t size() const {
    const detail::Access access{store()};
    return table().size();
  }
  /// @brief Whether it has none: a moment's picture.
  [[nodiscard]] bool empty() const { return size() == 0; }
  /// @brief Takes all elements away, at once.
  void clear() const {
    detail::Change change{store()};
    table().clear();
    change.commit();
  }
  /// @brief All elements of one moment, in order.
  [[nodiscard]] std::vector<T> copy() const {
    std::vector<T> all;
    const detail::Access access{store()};
    std::uint64_t left = table().size();
    for (std::uint64_t entry = table().first_entry(); entry != 0 && left != 0; --left) {
      const std::uint64_t next = table().after(entry);
      all.push_back(value_of(entry));
      entry = next;
    }
    return all;
  }
  /// @brief Goes through copy().
  [[nodiscard]] auto begin() const { return detail::SnapshotIterator<T>{copy()}; }
  /// @brief Behind the last element.
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  // ---- with others ----

  /// @brief Adds all of a range, at once.
  template <std::ranges::input_range Values>
  void update(Values&& values) const {
    const std::vector<T> others = copy_of(values);
    detail::Change change{store()};
    for (const T& value : others) add(value);
    change.commit();
  }
  /// @overload
  void update(std::initializer_list<T> values) const {
    update(std::span{values.begin(), values.size()});
  }
  /// @brief Takes all of a range away, at once.
  template <std::ranges::input_range Values>
  void difference_update(Values&& values) const {
    const std::vector<T> others = copy_of(values);
    detail::Change change{store()};
    for (const T& value : others) discard(value);
    change.commit();
  }
  /// @brief Keeps what is in a range too, at once.
  template <std::ranges::input_range Values>
  void intersection_update(Values&& values) const {
    const std::vector<T> others = copy_of(values);
    detail::Change change{store()};
    for (const T& value : filtered(copy(), others, false)) discard(value);
    change.commit();
  }
  /// @brief Adds what is new of a range, and takes the rest of it away, at once.
  template <std::ranges::input_range Values>
  void symmetric_difference_update(Values&& values) const {
    const std::vector<T> others = different(copy_of(values));
    detail::Change change{store()};
    for (const T& value : others) {
      if (!discard(value)) add(value);
    }
    change.commit();
  }
  /// @brief What is in this set or in the range. (`union` is a word of C++.)
  template <std::ranges::input_range Values>
  [[nodiscard]] std::vector<T> union_(Values&& values) const {
    std::vector<T> all = copy();
    std::ranges::copy(copy_of(values), std::back_inserter(all));
    return different(std::move(all));
  }
  /// @brief What is in both.
  template <std::ranges::input_range Values>
  [[nodiscard]] std::vector<T> intersection(Values&& values) const {
    return filtered(copy(), copy_of(values), true);
  }
  /// @brief What is in this set only.
  template <std::ranges::input_range Values>
  [[nodiscard]] std::vector<T> difference(Values&& values) const {
    return filtered(copy(), copy_of(values), false);
  }
  /// @brief What is in one of them only.
  template <std::ranges::input_range Values>
  [[nodiscard]] std::vector<T> symmetric_difference(Values&& values) const {
    const std::vector<T> own = copy();
    const std::vector<T> others = different(copy_of(values));
    std::vector<T> all = filtered(own, others, false);
    std::ranges::copy(filtered(others, own, false), std::back_inserter(all));
    return all;
  }
  /// @brief Whether none of a range is in it.
  template <std::ranges::input_range Values>
  [[nodiscard]] bool isdisjoint(Values&& values) const {
    return intersection(std::forward<Values>(values)).empty();
  }
  /// @brief Whether all of it is in a range.
  template <std::ranges::input_range Values>
  [[nodiscard]] bool issubset(Values&& values) const {
    return difference(std::forward<Values>(values)).empty();
  }
  /// @brief Whether all of a range is in it.
  template <std::ranges::input_range Values>
  [[nodiscard]] bool issuperset(Values&& values) const {
    return filtered(copy_of(values), copy(), false).empty();
  }

  /// @brief Whether both are the same set.
  friend bool operator==(const SetProxy& left, const SetProxy& right) noexcept {
    return left.core_->is(*right.core_);
  }

 private:
  friend struct detail::ContainerOf;
  static constexpr std::uint64_t head_words = detail::Table::head_words;

  explicit SetProxy(std::shared_ptr<detail::Container> core) noexcept : core_{std::move(core)} {}

  [[nodiscard]] detail::Store& store() const noexcept { return *core_->store(); }
  [[nodiscard]] detail::Table table() const { return detail::Table{store(), core_->head(), 0}; }
  [[nodiscard]] T value_of(std::uint64_t entry) const {
    return detail::value_of<T>(store(), table().key_of(entry));
  }
  template <class Values>
  [[nodiscard]] static std::vector<T> copy_of(Values&& values) {
    std::vector<T> copy;
    for (auto&& value : values) copy.emplace_back(value);
    return copy;
  }
  // Each once, as it came first.
  [[nodiscard]] std::vector<T> different(std::vector<T> values) const {
    std::vector<T> once;
    detail::KnownKeys<T> known{store()};
    for (auto&& value : values) {  // of bool they are no references
      if (known.add(value)) once.push_back(std::move(value));
    }
    return once;
  }
  [[nodiscard]] std::vector<T> filtered(const std::vector<T>& values,
                                        const std::vector<T>& others,
                                        bool are_there) const {
    std::vector<T> left;
    detail::KnownKeys<T> known{store()};
    for (const T& value : others) known.add(value);
    for (const T& value : values) {
      if (known.has(value) == are_there) left.push_back(value);
    }
    return left;
  }
  static void clear(detail::Store& store, std::uint64_t head) {
    detail::Table{store, head, 0}.clear();
  }

  std::shared_ptr<detail::Container> core_;
};

/// @brief As containers of a manager do.
template <class T>
struct codec<SetProxy<T>> : detail::ContainerCodec<SetProxy<T>> {};

}  // namespace multiprocessing
