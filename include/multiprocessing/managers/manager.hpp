// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file manager.hpp
/// @brief Makes containers that processes share.
#include <multiprocessing/managers/dict.hpp>
#include <multiprocessing/managers/list.hpp>
#include <multiprocessing/managers/namespace.hpp>
#include <multiprocessing/managers/set.hpp>
#include <multiprocessing/pool.hpp>
#include <multiprocessing/queues.hpp>
#include <multiprocessing/sharedctypes.hpp>
#include <multiprocessing/synchronize.hpp>

#include <cstddef>
#include <functional>
#include <initializer_list>
#include <memory>
#include <ranges>
#include <type_traits>
#include <utility>

namespace multiprocessing {

/// @brief Makes dictionaries, lists, sets and namespaces in shared memory, and all the other things
/// that processes share. @python{multiprocessing.Manager()}
/// @code
/// mp::Manager manager;
/// auto squares = manager.dict<int, int>();
/// mp::Process process{[](mp::DictProxy<int, int> d) { d.set(3, 9); }, squares};
/// process.start();
/// process.join();
/// squares.get(3);  // 9
/// @endcode
/// There is no server process: an access is a lock and a look-up. All containers of a manager lie
/// in one memory, under one lock, so that what contains others is changed with them, and
/// transaction() can change several at once; processes that have nothing to do with each other
/// take managers of their own. The memory grows and shrinks with what is in it, and goes with the
/// last container and manager of it, in whichever process; nothing has a name.
///
/// A handle: copies are the same manager. It travels, as its containers do.
///
/// Differences from Python: nothing is started and shut down; Queue(), Lock() and the others are
/// those of this library, and may travel alone, but not be stored in a container.
/// @shape A descriptor for each manager, whatever it makes.
/// @threads any, at once. @processes any, at once.
class Manager {
 public:
  /// @throws std::system_error the system has no descriptor, address space or memory left.
  Manager() : store_{detail::Store::create()} {}

  /// @brief An empty dictionary.
  template <class K, class V>
  [[nodiscard]] DictProxy<K, V> dict() const {
    return detail::ContainerOf::create<DictProxy<K, V>>(store_);
  }
  /// @brief A dictionary of pairs: `manager.dict<std::string, int>({{"a", 1}})`.
  template <class K, class V>
  [[nodiscard]] DictProxy<K, V> dict(std::initializer_list<std::pair<K, V>> pairs) const {
    auto made = dict<K, V>();
    made.update(pairs);
    return made;
  }
  /// @overload
  template <class K, class V, std::ranges::input_range Pairs>
  [[nodiscard]] DictProxy<K, V> dict(Pairs&& pairs) const {
    auto made = dict<K, V>();
    made.update(std::forward<Pairs>(pairs));
    return made;
  }
  /// @brief An empty list.
  template <class T>
  [[nodiscard]] ListProxy<T> list() const {
    return detail::ContainerOf::create<ListProxy<T>>(store_);
  }
  /// @brief A list of values: `manager.list<int>({1, 2, 3})`.
  template <class T>
  [[nodiscard]] ListProxy<T> list(std::initializer_list<T> values) const {
    auto made = list<T>();
    made.extend(values);
    return made;
  }
  /// @overload
  template <class T, std::ranges::input_range Values>
  [[nodiscard]] ListProxy<T> list(Values&& values) const {
    auto made = list<T>();
    made.extend(std::forward<Values>(values));
    return made;
  }
  /// @brief An empty set.
  template <class T>
  [[nodiscard]] SetProxy<T> set() const {
    return detail::ContainerOf::create<SetProxy<T>>(store_);
  }
  /// @brief A set of values: `manager.set<int>({1, 2, 3})`.
  template <class T>
  [[nodiscard]] SetProxy<T> set(std::initializer_list<T> values) const {
    auto made = set<T>();
    made.update(values);
    return made;
  }
  /// @overload
  template <class T, std::ranges::input_range Values>
  [[nodiscard]] SetProxy<T> set(Values&& values) const {
    auto made = set<T>();
    made.update(std::forward<Values>(values));
    return made;
  }
  /// @brief An empty namespace.
  [[nodiscard]] NamespaceProxy Namespace() const {
    return detail::ContainerOf::create<NamespaceProxy>(store_);
  }

  /// @brief Calls `changes()`: what it changes in this manager's containers happens at once, wholly
  /// or not at all, for all processes; if it throws, not at all.
  /// @param changes must not wait for others that use this manager.
  /// @returns what it returns.
  template <class F>
  std::invoke_result_t<F> transaction(F&& changes) const {
    detail::Change change{*store_};
    if constexpr (std::is_void_v<std::invoke_result_t<F>>) {
      std::invoke(std::forward<F>(changes));
      change.commit();
    } else {
      auto result = std::invoke(std::forward<F>(changes));
      change.commit();
      return result;
    }
  }

  /// @brief A queue of at most `maxsize` items; 0: no bound.
  template <class T>
  [[nodiscard]] multiprocessing::Queue<T> Queue(std::size_t maxsize = 0) const {
    return multiprocessing::Queue<T>{maxsize};
  }
  /// @brief A queue that counts tasks; `maxsize` as for Queue().
  template <class T>
  [[nodiscard]] multiprocessing::JoinableQueue<T> JoinableQueue(std::size_t maxsize = 0) const {
    return multiprocessing::JoinableQueue<T>{maxsize};
  }
  /// @brief `manager.Value<int>(1)`; with a lock that is given in front.
  template <class T, class... A>
  [[nodiscard]] auto Value(A&&... arguments) const {
    using AnyLock = detail::FirstLock<std::remove_cvref_t<A>...>;
    return multiprocessing::Value<T, AnyLock>(std::forward<A>(arguments)...);
  }
  /// @brief `manager.Array<int>(100)`, `manager.Array<int>({1, 2, 3})`.
  template <class T>
  [[nodiscard]] multiprocessing::Array<T> Array(std::size_t size) const {
    return multiprocessing::Array<T>(size);
  }
  /// @overload
  template <class T>
  [[nodiscard]] multiprocessing::Array<T> Array(std::initializer_list<T> values) const {
    return multiprocessing::Array<T>(values);
  }
  /// @brief A free lock.
  [[nodiscard]] multiprocessing::Lock Lock() const { return {}; }
  /// @brief A free lock that its owner may take again.
  [[nodiscard]] multiprocessing::RLock RLock() const { return {}; }
  /// @brief A semaphore with `value` units.
  [[nodiscard]] multiprocessing::Semaphore Semaphore(unsigned value = 1) const {
    return multiprocessing::Semaphore{value};
  }
  /// @brief A semaphore that never has more than `value` units.
  [[nodiscard]] multiprocessing::BoundedSemaphore BoundedSemaphore(unsigned value = 1) const {
    return multiprocessing::BoundedSemaphore{value};
  }
  /// @param lock none: a new RLock; else an RLock or a Lock.
  template <class... AnyLock>
  [[nodiscard]] multiprocessing::Condition Condition(const AnyLock&... lock) const {
    return multiprocessing::Condition{lock...};
  }
  /// @brief An event that is not set.
  [[nodiscard]] multiprocessing::Event Event() const { return {}; }
  /// @brief A barrier for so many parties; see multiprocessing::Barrier.
  [[nodiscard]] multiprocessing::Barrier Barrier(unsigned parties,
                                                 Task action = {},
                                                 Timeout timeout = forever) const {
    return multiprocessing::Barrier{parties, std::move(action), timeout};
  }
  /// @brief A pool of this process, as Pool makes it.
  [[nodiscard]] multiprocessing::Pool Pool(PoolOptions options = {}) const {
    return multiprocessing::Pool{std::move(options)};
  }
  /// @overload
  [[nodiscard]] multiprocessing::Pool Pool(unsigned processes) const {
    return multiprocessing::Pool{processes};
  }

 private:
  friend struct codec<Manager>;
  explicit Manager(std::shared_ptr<detail::Store> store) noexcept : store_{std::move(store)} {}

  std::shared_ptr<detail::Store> store_;
};

/// @brief A manager travels as its memory.
template <>
struct codec<Manager> {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const Manager& manager) { manager.store_->save(encoder); }
  static Manager decode(Decoder& decoder) { return Manager{detail::Store::load(decoder)}; }
};

}  // namespace multiprocessing
