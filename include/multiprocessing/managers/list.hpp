// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file list.hpp
/// @brief A list that processes share.
#include <multiprocessing/managers/cells.hpp>
#include <multiprocessing/managers/container.hpp>
#include <multiprocessing/managers/element.hpp>
#include <multiprocessing/managers/snapshot.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <numeric>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace multiprocessing {

/// @brief Values in shared memory, one after the other.
/// @python{multiprocessing.managers.ListProxy}
///
/// Made by Manager::list(). A handle: copies, also those in other processes and those in other
/// containers of the same manager, are the same list.
/// @code
/// mp::Manager manager;
/// auto results = manager.list<std::string>({"a", "b"});
/// results.append("c");
/// results.get(-1);                          // "c": negative indexes count from the end
/// for (const auto& text : results) ...      // a copy of one moment
/// @endcode
/// Each call happens wholly or not at all, in one order for all processes; a process killed in one
/// leaves the list as before or after it, and locks nobody out. What a call gives is a copy:
/// nothing returns a reference. A change of an element is `update(index, f)`.
///
/// Differences from Python: `l[i]` is `get(i)` and `set(i, value)`, `l[i:j]` is `slice(i, j)` and
/// `set_slice(i, j, values)`, `del l[i]` is `erase(i)`; there are no steps.
/// @tparam T Serializable, without handles other than this manager's containers.
/// @shape The bytes of a plain T, 16 bytes besides any other. See DictProxy for the sum. Appending
/// takes a few steps; what changes a list at its beginning moves all that follows.
/// @throws every call: std::system_error no memory is left, and nothing has changed;
/// SerializationError a value cannot be encoded or decoded.
/// @threads any, at once. @processes any, at once: those that got it by fork, in a state, or in an
/// argument.
template <class T>
class ListProxy {
 public:
  /// @brief What an element is.
  using value_type = T;
  /// @brief A place: negative ones count from the end.
  using Index = std::ptrdiff_t;
  /// @brief Behind the last element, wherever that is.
  static constexpr Index to_end = std::numeric_limits<Index>::max();

  ListProxy(const ListProxy&) = default;  // a handle is never empty: it is not moved from
  ListProxy& operator=(const ListProxy&) = default;
  ~ListProxy() = default;

  /// @brief The element at a place; -1 is the last.
  /// @throws std::out_of_range there is none. Python: IndexError.
  [[nodiscard]] T get(Index index) const {
    const detail::Access access{store()};
    return load(place(index));
  }
  /// @throws std::out_of_range there is no such place.
  void set(Index index, const T& value) const {
    const detail::OwnBytes<T> bytes{store(), value};
    detail::Change change{store()};
    put(place(index), bytes);
    change.commit();
  }
  /// @brief Calls `change(element)` and stores what that has made of it: no other process comes in
  /// between.
  /// @param index of the element; -1 is the last.
  /// @param change as DictProxy::update().
  /// @returns the new element.
  /// @throws std::out_of_range there is no such place, or none any more because `change` has taken
  /// elements away. What `change` throws. Then nothing has changed.
  template <class F>
  requires std::invocable<F, T&> T update(Index index, F&& change)
  const {
    detail::Change whole{store()};
    const auto where = static_cast<Index>(place(index));  // the end may be elsewhere later
    T value = load(place(where));
    std::invoke(std::forward<F>(change), value);
    put(place(where), detail::OwnBytes<T>{store(), value});
    whole.commit();
    return value;
  }
  /// @brief How many elements it has: a moment's picture.
  [[nodiscard]] std::size_t size() const {
    const detail::Access access{store()};
    return cells().size();
  }
  /// @brief Whether it has none: a moment's picture.
  [[nodiscard]] bool empty() const { return size() == 0; }

  /// @brief Puts a value at the end.
  void append(const T& value) const {
    insert_at([](std::size_t size) { return size; }, value);
  }
  /// @brief Puts a value before the one at a place, which may lie beyond either end.
  void insert(Index index, const T& value) const {
    insert_at([&](std::size_t size) { return bound(index, size); }, value);
  }
  /// @brief Appends all of a range, at once.
  template <std::ranges::input_range Values>
  void extend(Values&& values) const {
    set_slice(to_end, to_end, std::forward<Values>(values));
  }
  /// @overload
  void extend(std::initializer_list<T> values) const {
    extend(std::span{values.begin(), values.size()});
  }
  /// @brief As extend().
  template <std::ranges::input_range Values>
  const ListProxy& operator+=(Values&& values) const {
    extend(std::forward<Values>(values));
    return *this;
  }
  /// @brief So many copies of all that is in it, one after the other.
  /// @throws std::system_error ENOMEM: so many can never have room; nothing was tried.
  const ListProxy& operator*=(Index times) const {
    detail::Change change{store()};
    if (times <= 0) {
      clear();
    } else {
      append_copies(copy(), static_cast<std::uint64_t>(times) - 1);
    }
    change.commit();
    return *this;
  }

  /// @brief Takes away the element at a place. @returns it.
  /// @throws std::out_of_range there is none.
  T pop(Index index = -1) const {
    detail::Change change{store()};
    const std::size_t where = place(index);
    T value = load(where);
    remove_cells(where, where + 1);
    change.commit();
    return value;
  }
  /// @brief Takes away the element at a place. @throws std::out_of_range there is none.
  void erase(Index index) const {
    detail::Change change{store()};
    const std::size_t where = place(index);
    remove_cells(where, where + 1);
    change.commit();
  }
  /// @brief Takes away the first element that is equal to a value.
  /// @throws std::invalid_argument there is none. Python: ValueError.
  void remove(const T& value) const requires std::equality_comparable<T> {
    detail::Change change{store()};
    const std::size_t where = index(value);
    remove_cells(where, where + 1);
    change.commit();
  }
  /// @brief Takes all elements away, at once.
  void clear() const {
    detail::Change change{store()};
    clear(store(), core_->head());
    change.commit();
  }

  /// @brief Where the first element is that is equal to a value.
  /// @throws std::invalid_argument there is none. Python: ValueError.
  [[nodiscard]] std::size_t index(const T& value) const requires std::equality_comparable<T> {
    const detail::Access access{store()};
    const std::size_t all = cells().size();
    for (std::size_t i = 0; i < all; ++i) {
      if (load(i) == value) return i;
    }
    throw std::invalid_argument{"no element of the list is equal to that value"};
  }
  /// @brief How many elements are equal to a value.
  [[nodiscard]] std::size_t count(const T& value) const requires std::equality_comparable<T> {
    const auto all = copy();
    return static_cast<std::size_t>(std::ranges::count(all, value));
  }
  /// @brief Whether an element is equal to a value.
  [[nodiscard]] bool contains(const T& value) const requires std::equality_comparable<T> {
    return count(value) != 0;
  }

  /// @brief Puts the elements into order; equal ones stay as they were.
  /// @param compare,key as of std::ranges::stable_sort. They must not use this list.
  template <class Compare = std::ranges::less, class Key = std::identity>
  void sort(Compare compare = {}, Key key = {}) const {
    detail::Change change{store()};
    const std::vector<T> all = copy();
    std::vector<std::size_t> order(all.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, compare, [&](std::size_t i) -> decltype(auto) {
      if constexpr (std::same_as<T, bool>) {  // all[i] is gone with this line, and what leads to it
        const bool value = all[i];
        return std::decay_t<std::invoke_result_t<Key&, const bool&>>(std::invoke(key, value));
      } else {
        return std::invoke(key, all[i]);
      }
    });
    cells().reorder(order);
    change.commit();
  }
  /// @brief Turns the order round.
  void reverse() const {
    detail::Change change{store()};
    std::vector<std::size_t> order(cells().size());
    std::iota(order.rbegin(), order.rend(), std::size_t{0});
    cells().reorder(order);
    change.commit();
  }

  /// @brief The elements from one place to before another, as far as there are any. A negative
  /// place counts from the end.
  [[nodiscard]] std::vector<T> slice(Index begin, Index end = to_end) const {
    const detail::Access access{store()};
    const std::size_t all = cells().size();
    const std::size_t last = bound(end, all);
    std::vector<T> copy;
    for (std::size_t i = bound(begin, all); i < last; ++i) copy.push_back(load(i));
    return copy;
  }
  /// @brief Puts a range in the place of slice(begin, end), at once.
  template <std::ranges::input_range Values>
  void set_slice(Index begin, Index end, Values&& values) const {
    std::vector<T> copy;  // going through it may be anything
    for (auto&& value : values) copy.emplace_back(value);
    replace(begin, end, copy);
  }
  /// @overload
  void set_slice(Index begin, Index end, std::initializer_list<T> values) const {
    set_slice(begin, end, std::span{values.begin(), values.size()});
  }
  /// @brief Takes slice(begin, end) away.
  void erase_slice(Index begin, Index end = to_end) const { replace(begin, end, {}); }
  /// @brief All elements of one moment.
  [[nodiscard]] std::vector<T> copy() const { return slice(0); }
  /// @brief Goes through copy().
  [[nodiscard]] auto begin() const { return detail::SnapshotIterator<T>{copy()}; }
  /// @brief Behind the last element.
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  /// @brief Whether both are the same list.
  friend bool operator==(const ListProxy& left, const ListProxy& right) noexcept {
    return left.core_->is(*right.core_);
  }

 private:
  friend struct detail::ContainerOf;
  using Cell = detail::Cell<T>;
  static constexpr std::uint64_t head_words = detail::Cells::head_words;

  explicit ListProxy(std::shared_ptr<detail::Container> core) noexcept : core_{std::move(core)} {}

  [[nodiscard]] detail::Store& store() const noexcept { return *core_->store(); }
  [[nodiscard]] detail::Cells cells() const {
    return detail::Cells{store(), core_->head(), Cell::size};
  }
  [[nodiscard]] T load(std::size_t index) const { return Cell::load(store(), cells().at(index)); }
  // As Python has it: counted from the end when negative, then cut to what there is.
  [[nodiscard]] static std::size_t bound(Index index, std::size_t size) noexcept {
    const auto all = static_cast<Index>(size);
    return static_cast<std::size_t>(std::clamp(index < 0 ? index + all : index, Index{0}, all));
  }
  [[nodiscard]] std::size_t place(Index index) const {
    const auto all = static_cast<Index>(cells().size());
    const Index found = index < 0 ? index + all : index;
    if (found < 0 || found >= all) {
      throw std::out_of_range{"list index " + std::to_string(index) + " out of range: it has " +
                              std::to_string(all) + " elements"};
    }
    return static_cast<std::size_t>(found);
  }
  void put(std::size_t index, const detail::OwnBytes<T>& value) const {
    const auto words = Cell::make(store(), value);
    Cell::release(store(), cells().at(index));
    Cell::set(store(), cells().at(index), words);
  }
  template <class Words>  // T may be incomplete: a tree holds lists of itself
  void write(const detail::Cells::Gap& gap, std::size_t i, const Words& words) const {
    if (gap.counts) {
      Cell::set(store(), gap.begin + i * Cell::size, words);
    } else {
      Cell::fill(store(), gap.begin + i * Cell::size, words);
    }
  }
  template <class Where>
  void insert_at(const Where& where, const T& value) const {
    const detail::OwnBytes<T> bytes{store(), value};
    detail::Change change{store()};
    const auto words = Cell::make(store(), bytes);
    write(cells().splice(where(cells().size()), 0, 1), 0, words);
    change.commit();
  }
  void release_cells(std::size_t begin, std::size_t end) const {
    for (std::size_t i = begin; i < end; ++i) Cell::release(store(), cells().at(i));
  }
  void remove_cells(std::size_t begin, std::size_t end) const {
    release_cells(begin, end);
    cells().splice(begin, end - begin, 0);
  }
  void replace(Index begin, Index end, const std::vector<T>& values) const {
    detail::Change change{store()};
    const std::size_t all = cells().size();
    const std::size_t first = bound(begin, all);
    const std::size_t last = std::max(first, bound(end, all));
    release_cells(first, last);
    const auto gap = cells().splice(first, last - first, values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      write(gap, i, Cell::make(store(), detail::OwnBytes<T>{store(), values[i]}));
    }
    change.commit();
  }
  void append_copies(const std::vector<T>& all, std::uint64_t times) const {
    if (all.empty() || times == 0) return;
    if (times > store().most_bytes() / Cell::size / all.size()) {
      throw std::system_error{std::make_error_code(std::errc::not_enough_memory),
                              "a manager's memory has no room for a list of so many elements"};
    }
    const auto gap = cells().splice(cells().size(), 0, times * all.size());
    for (std::size_t i = 0; i < times * all.size(); ++i) {
      write(gap, i, Cell::make(store(), detail::OwnBytes<T>{store(), all[i % all.size()]}));
    }
  }
  static void clear(detail::Store& store, std::uint64_t head) {
    detail::Cells all{store, head, Cell::size};
    const std::uint64_t size = all.size();
    for (std::uint64_t i = 0; i < size; ++i) Cell::release(store, all.at(i));
    all.clear();
  }

  std::shared_ptr<detail::Container> core_;
};

/// @brief As containers of a manager do.
template <class T>
struct codec<ListProxy<T>> : detail::ContainerCodec<ListProxy<T>> {};

}  // namespace multiprocessing
