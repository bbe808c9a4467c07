// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file value.hpp
/// @brief One value that processes share.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/heap.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/sharedctypes/shareable.hpp>
#include <multiprocessing/synchronize.hpp>
#include <multiprocessing/timeout.hpp>

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace multiprocessing {

namespace detail {

/// @brief Whether one store changes a T.
template <class T>
constexpr bool is_stored_at_once() {
  if constexpr (is_atomic<T>) {
    return true;
  } else {
    return (sizeof(T) & (sizeof(T) - 1)) == 0 && sizeof(T) <= sizeof(std::uint64_t) &&
           std::atomic_ref<T>::is_always_lock_free;
  }
}

/// @brief What lies in a value's shared memory.
template <class T>
struct ValueState {
  static constexpr std::uint64_t expected_magic = 0x31756c6156706d21;  // "!mpValu1"
  static constexpr const char* name = "a Value";
  static constexpr bool at_once = is_stored_at_once<T>();
  static constexpr std::size_t alignment =
      at_once ? std::max(alignof(T), sizeof(T)) : std::max(alignof(T), alignof(std::max_align_t));

  std::uint64_t magic;
  std::uint64_t type;                  ///< T's; written once.
  std::atomic<std::uint32_t> pending;  ///< 1: `next` is whole, and to become `value`. Changed by
                                       ///< the lock's holder.
  alignas(alignment) std::byte value[sizeof(T)];
  alignas(alignment) std::byte next[at_once ? 1 : sizeof(T)];  ///< Written by the lock's holder.
};

/// @brief A T in shared memory.
template <class T>
class SharedValue {
 public:
  template <class... A>
  static SharedValue create(A&&... arguments) {
    SharedValue made{SharedObject<ValueState<T>>::create()};
    construct_shared(made.get(), std::forward<A>(arguments)...);
    made.state_->type = type_hash<T>();
    return made;
  }
  void save(Encoder& encoder) const { state_.save(encoder); }
  static SharedValue load(Decoder& decoder) {
    SharedValue made{SharedObject<ValueState<T>>::load(decoder)};
    if (made.state_->type == type_hash<T>()) return made;
    throw SerializationError{"what arrived is a Value of another type than " +
                             std::string{type_name<T>()}};
  }

  [[nodiscard]] T* get() const noexcept {
    return std::launder(reinterpret_cast<T*>(state_->value));
  }
  // The lock is held by who calls these.
  void finish() const noexcept {
    if constexpr (!ValueState<T>::at_once) {
      if (state_->pending.load(std::memory_order_acquire) == 0) return;
      std::memcpy(state_->value, state_->next, sizeof(T));
      state_->pending.store(0, std::memory_order_release);
    }
  }
  void change_to(const T& next) const noexcept {
    if constexpr (ValueState<T>::at_once) {
      std::atomic_ref<T>{*get()}.store(next, std::memory_order_release);
      MULTIPROCESSING_STOP_POINT("value.change.stored");
    } else {
      std::memcpy(state_->next, &next, sizeof(T));
      MULTIPROCESSING_STOP_POINT("value.change.prepared");
      state_->pending.store(1, std::memory_order_release);
      MULTIPROCESSING_STOP_POINT("value.change.committed");
      finish();
      MULTIPROCESSING_STOP_POINT("value.change.stored");
    }
  }
  [[nodiscard]] bool is_pending() const noexcept {
    return !ValueState<T>::at_once && state_->pending.load(std::memory_order_acquire) != 0;
  }

 private:
  explicit SharedValue(SharedObject<ValueState<T>> state) noexcept : state_{std::move(state)} {}

  SharedObject<ValueState<T>> state_;
};

}  // namespace detail

/// @brief A T that processes share, without a lock.
/// @python{multiprocessing.RawValue(typecode_or_type, *args)}
///
/// A handle: copies, also those in other processes, are the same value. `RawValue{other.value()}`
/// is another one with the same content.
/// @tparam T trivially copyable, without pointers; or a lock-free std::atomic.
/// @shape 128 bytes of memory while T has up to 64; a few handles for thousands of values.
/// @threads any, at once; it is theirs to keep apart.
/// @processes any, at once, likewise.
template <class T>
class RawValue {
 public:
  static_assert(detail::check_shareable<T>());

  /// @brief T{arguments...}; without arguments, zero or what T begins with.
  /// @throws std::system_error the system has no descriptor or memory left.
  template <class... A>
  requires(!(std::same_as<std::remove_cvref_t<A>, RawValue> ||
             ...)) explicit RawValue(A&&... arguments)
      : shared_{std::make_shared<detail::SharedValue<T>>(
            detail::SharedValue<T>::create(std::forward<A>(arguments)...))} {}
  RawValue(const RawValue&) = default;
  /// @brief The same value, not one made from it.
  RawValue(RawValue& other) : RawValue{std::as_const(other)} {}
  RawValue& operator=(const RawValue&) = default;
  ~RawValue() = default;

  /// @brief The value itself, in shared memory, as long as this handle or a copy lives.
  [[nodiscard]] T& value() const noexcept { return *shared_->get(); }

 private:
  friend struct codec<RawValue>;
  struct Arrived {};
  RawValue(Arrived, detail::SharedValue<T> shared)
      : shared_{std::make_shared<detail::SharedValue<T>>(std::move(shared))} {}

  std::shared_ptr<detail::SharedValue<T>> shared_;
};

/// @brief A T that processes share, and a lock for it.
/// @python{multiprocessing.Value(typecode_or_type, *args, lock=True)}
///
/// A handle: copies, also those in other processes, are the same value.
/// @code
/// mp::Value<int> count{0};
/// count.update([](int& x) { ++x; });      // takes the lock
/// struct Point { double x, y; };
/// mp::Value<Point> point{1.0, 2.0};
/// const std::lock_guard guard{point};
/// point.value().x += 1;                    // the lock is the caller's to take
/// @endcode
/// load(), store() and update() happen wholly or not at all, also when the process is killed in
/// them: the lock is not abandoned then. A process that dies holding get_lock() by itself abandons
/// it, as it does any lock, for the value may be half changed; then load(), store() and update()
/// throw AbandonedLock until somebody calls get_lock().recover().
///
/// Differences from Python: `lock=False` is a RawValue; `v.value += 1` under the lock is
/// `v.update(...)`.
/// @tparam T trivially copyable, without pointers.
/// @tparam AnyLock of a lock that is given: RLock or Lock.
/// @shape 256 bytes of memory while T has up to 64; a few handles for thousands of values.
/// @threads any, at once. @processes any, at once: those that got it by fork, in a state, or in an
/// argument.
template <class T, class AnyLock = RLock>
class Value : public detail::StandardLockable<Value<T, AnyLock>> {
 public:
  static_assert(detail::check_shareable<T>());
  static_assert(detail::is_lock<AnyLock>, "the lock of a Value is a Lock or an RLock");

  /// @brief Zero, or what T begins with; and a lock of its own.
  /// @throws std::system_error the system has no descriptor or memory left.
  Value() : Value{AnyLock{}} {}
  /// @brief T{arguments...}, and a lock of its own.
  template <class First, class... A>
  requires(!std::same_as<std::remove_cvref_t<First>, Value> &&
           !detail::is_lock<std::remove_cvref_t<First>>) explicit Value(First&& first,
                                                                        A&&... arguments)
      : Value{AnyLock{}, std::forward<First>(first), std::forward<A>(arguments)...} {}
  /// @brief T{arguments...}, and a lock that guards other things too, perhaps.
  template <class... A>
  explicit Value(AnyLock lock, A&&... arguments)
      : lock_{std::move(lock)},
        shared_{std::make_shared<detail::SharedValue<T>>(
            detail::SharedValue<T>::create(std::forward<A>(arguments)...))} {}
  Value(const Value&) = default;
  /// @brief The same value, not one made from it.
  Value(Value& other) : Value{std::as_const(other)} {}
  Value& operator=(const Value&) = default;
  ~Value() = default;

  /// @brief The value itself, in shared memory; the lock is the caller's to take, first: a
  /// reference from before may show a part of an update() whose process died, until this is called
  /// with the lock held.
  [[nodiscard]] T& value() const noexcept {
    if (shared_->is_pending() && core().is_mine()) shared_->finish();
    return *shared_->get();
  }
  /// @brief A copy, taken with the lock held. @throws AbandonedLock
  [[nodiscard]] T load() const {
    const detail::VouchingGuard guard{core()};
    shared_->finish();
    return *shared_->get();
  }
  /// @brief Changes it with the lock held. @throws AbandonedLock
  void store(const T& value) const {
    const detail::VouchingGuard guard{core()};
    shared_->finish();
    shared_->change_to(value);
  }
  /// @brief Calls `change(copy)` with the lock held, and stores the copy if that returns.
  /// @param change takes a T&, and changes nothing but that; or it takes the RLock by itself for
  /// what else that guards, and a death from then on abandons it.
  /// @returns what it is now.
  /// @throws AbandonedLock; what `change` throws, and nothing has changed.
  template <class F>
  T update(F&& change) const {
    const detail::VouchingGuard guard{core()};
    shared_->finish();
    T copy = *shared_->get();
    std::invoke(std::forward<F>(change), copy);
    shared_->change_to(copy);
    return copy;
  }
  /// @brief value(), by its name there. @python{Value.get_obj}
  [[nodiscard]] T& get_obj() const noexcept { return value(); }

  /// @brief get_lock().acquire(): the value is a lock itself. @python{Value.acquire}
  /// @throws AbandonedLock, and what else the lock's acquire() does.
  bool acquire(Timeout timeout = forever) { return lock_.acquire(timeout); }
  /// @brief get_lock().release(). @python{Value.release}
  void release() { lock_.release(); }
  /// @brief The lock that load(), store() and update() take.
  [[nodiscard]] AnyLock& get_lock() noexcept { return lock_; }
  /// @overload
  [[nodiscard]] const AnyLock& get_lock() const noexcept { return lock_; }

 private:
  friend struct codec<Value>;
  struct Arrived {};
  Value(Arrived, AnyLock lock, detail::SharedValue<T> shared)
      : lock_{std::move(lock)},
        shared_{std::make_shared<detail::SharedValue<T>>(std::move(shared))} {}
  [[nodiscard]] detail::LockCore& core() const noexcept { return *detail::CoreOf::lock(lock_); }

  AnyLock lock_;
  std::shared_ptr<detail::SharedValue<T>> shared_;
};

/// A lock in front makes a value with that lock.
template <class T>
Value(Lock, T) -> Value<T, Lock>;
/// A lock in front makes a value with that lock.
template <class T>
Value(RLock, T) -> Value<T, RLock>;

/// @brief An atomic needs no lock: value() is all there is.
template <class T>
class Value<std::atomic<T>, RLock> : public RawValue<std::atomic<T>> {
 public:
  using RawValue<std::atomic<T>>::RawValue;
  /// @brief Zero.
  Value() = default;
  /// @brief The same atomic.
  explicit Value(RawValue<std::atomic<T>> raw) : RawValue<std::atomic<T>>{std::move(raw)} {}
};

/// @brief A value travels as its place in shared memory.
template <class T>
struct codec<RawValue<T>> {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const RawValue<T>& value) { value.shared_->save(encoder); }
  static RawValue<T> decode(Decoder& decoder) {
    return RawValue<T>{typename RawValue<T>::Arrived{}, detail::SharedValue<T>::load(decoder)};
  }
};

/// @brief And its lock's.
template <class T, class AnyLock>
struct codec<Value<T, AnyLock>> {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const Value<T, AnyLock>& value) {
    codec<AnyLock>::encode(encoder, value.lock_);
    value.shared_->save(encoder);
  }
  static Value<T, AnyLock> decode(Decoder& decoder) {
    AnyLock lock = codec<AnyLock>::decode(decoder);
    return Value<T, AnyLock>{typename Value<T, AnyLock>::Arrived{}, std::move(lock),
                             detail::SharedValue<T>::load(decoder)};
  }
};

template <class T>
struct codec<Value<std::atomic<T>, RLock>> {
  static constexpr bool carries_handles = true;
  using Raw = RawValue<std::atomic<T>>;

  static void encode(Encoder& encoder, const Value<std::atomic<T>, RLock>& value) {
    codec<Raw>::encode(encoder, value);
  }
  static Value<std::atomic<T>, RLock> decode(Decoder& decoder) {
    return Value<std::atomic<T>, RLock>{codec<Raw>::decode(decoder)};
  }
};

}  // namespace multiprocessing
