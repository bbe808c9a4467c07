// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file array.hpp
/// @brief A row of values that processes share.
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/heap.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/sharedctypes/shareable.hpp>
#include <multiprocessing/synchronize.hpp>
#include <multiprocessing/timeout.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace multiprocessing {

namespace detail {

/// @brief The beginning of an array's shared memory; the elements follow. Written once.
struct alignas(64) ArrayState {
  static constexpr std::uint64_t expected_magic = 0x3161727241706d21;  // "!mpArra1"
  static constexpr const char* name = "an Array";

  std::uint64_t magic;
  std::uint64_t type;
  std::uint64_t size;
};

/// @brief Elements in shared memory.
template <class T>
class SharedElements {
 public:
  static SharedElements create(std::size_t size) {
    if (size > std::numeric_limits<std::size_t>::max() / sizeof(T)) {
      throw std::bad_array_new_length{};
    }
    SharedElements made{SharedObject<ArrayState>::create(size * sizeof(T))};
    made.state_->size = size;
    made.state_->type = type_hash<T>();
    return made;
  }
  void save(Encoder& encoder) const { state_.save(encoder); }
  static SharedElements load(Decoder& decoder) {
    SharedElements made{SharedObject<ArrayState>::load(decoder)};
    if (made.state_->type != type_hash<T>() ||
        made.state_->size > (made.state_.block().size() - sizeof(ArrayState)) / sizeof(T)) {
      throw SerializationError{"what arrived is an Array of another type than " +
                               std::string{type_name<T>()}};
    }
    return made;
  }
  [[nodiscard]] std::span<T> span() const noexcept {
    return {std::launder(reinterpret_cast<T*>(state_.behind())), state_->size};
  }

 private:
  explicit SharedElements(SharedObject<ArrayState> state) noexcept : state_{std::move(state)} {}

  SharedObject<ArrayState> state_;
};

}  // namespace detail

/// @brief A row of T that processes share, without a lock.
/// @python{multiprocessing.RawArray(typecode_or_type, size_or_initializer)}
///
/// A handle: copies, also those in other processes, are the same array, also when they are const.
/// Its size is fixed. As with std::vector, `RawArray<int>(3)` has three elements and
/// `RawArray<int>{3}` has one.
/// @tparam T trivially copyable, without pointers; or a lock-free std::atomic.
/// @shape Its elements and 64 bytes; beyond 16 KiB it has a handle to itself.
/// @threads any, at once; it is theirs to keep apart.
/// @processes any, at once, likewise.
template <class T>
class RawArray {
 public:
  static_assert(detail::check_shareable<T>());
  /// @brief What an element is.
  using value_type = T;

  /// @brief All zero, or what T begins with; also where memory is used again.
  /// @throws std::system_error the system has no descriptor or memory left;
  /// std::bad_array_new_length more than any memory.
  explicit RawArray(std::size_t size) : RawArray{detail::SharedElements<T>::create(size)} {
    if constexpr (!std::is_trivially_default_constructible_v<T>) {
      for (T& element : span()) ::new (&element) T{};
    }
  }
  /// @brief Copies of these.
  RawArray(std::initializer_list<T> values)
      : RawArray{std::span<const T>{values.begin(), values.size()}} {}
  /// @brief Copies of other elements.
  explicit RawArray(std::span<const T> values)
      : RawArray{detail::SharedElements<T>::create(values.size())} {
    std::uninitialized_copy(values.begin(), values.end(), begin());
  }

  /// @brief How many elements it has; that never changes.
  [[nodiscard]] std::size_t size() const noexcept { return span().size(); }
  /// @brief Whether it has none.
  [[nodiscard]] bool empty() const noexcept { return span().empty(); }
  /// @brief Unchecked.
  [[nodiscard]] T& operator[](std::size_t index) const noexcept { return span()[index]; }
  /// @throws std::out_of_range
  [[nodiscard]] T& at(std::size_t index) const {
    if (index < size()) return span()[index];
    throw std::out_of_range{"element " + std::to_string(index) + " of an array of " +
                            std::to_string(size())};
  }
  /// @brief The first element.
  [[nodiscard]] T* begin() const noexcept { return data(); }
  /// @brief Behind the last element.
  [[nodiscard]] T* end() const noexcept { return data() + size(); }
  /// @brief The first element, where it lies in this process.
  [[nodiscard]] T* data() const noexcept { return span().data(); }
  /// @brief The elements themselves, in shared memory, as long as this handle or a copy lives.
  [[nodiscard]] std::span<T> span() const noexcept { return shared_->span(); }

 private:
  friend struct codec<RawArray>;
  explicit RawArray(detail::SharedElements<T> shared)
      : shared_{std::make_shared<detail::SharedElements<T>>(std::move(shared))} {}

  std::shared_ptr<detail::SharedElements<T>> shared_;
};

/// @brief A row of T that processes share, and a lock for it.
/// @python{multiprocessing.Array(typecode_or_type, size_or_initializer, *, lock=True)}
/// @code
/// mp::Array<double> squares(100);
/// mp::Array<int> numbers{1, 2, 3};
/// const std::lock_guard guard{numbers};
/// for (int& number : numbers) number *= 2;
/// @endcode
/// All that is said of RawArray holds; the lock is the caller's to take. Differences from Python:
/// `lock=False` is a RawArray; a single element is not locked when it is read or written; slices
/// are `span().subspan(...)`.
/// @tparam AnyLock of a lock that is given: RLock or Lock.
template <class T, class AnyLock = RLock>
class Array : public RawArray<T>, public detail::StandardLockable<Array<T, AnyLock>> {
 public:
  static_assert(detail::is_lock<AnyLock>, "the lock of an Array is a Lock or an RLock");

  /// @brief All zero, with a lock of its own.
  /// @throws std::system_error the system has no descriptor or memory left;
  /// std::bad_array_new_length more than any memory.
  explicit Array(std::size_t size) : RawArray<T>(size) {}
  /// @brief Copies of these, with a lock of its own.
  Array(std::initializer_list<T> values) : RawArray<T>(values) {}
  /// @brief Copies of other elements, with a lock of its own.
  explicit Array(std::span<const T> values) : RawArray<T>(values) {}
  /// @brief With a lock that guards other things too, perhaps.
  Array(AnyLock lock, std::size_t size) : RawArray<T>(size), lock_{std::move(lock)} {}
  /// @overload
  Array(AnyLock lock, std::initializer_list<T> values)
      : RawArray<T>(values), lock_{std::move(lock)} {}
  /// @overload
  Array(AnyLock lock, std::span<const T> values) : RawArray<T>(values), lock_{std::move(lock)} {}

  /// @brief The elements without the lock: the same array. @python{Array.get_obj}
  [[nodiscard]] const RawArray<T>& get_obj() const noexcept { return *this; }

  /// @brief get_lock().acquire(): the array is a lock itself. @python{Array.acquire}
  /// @throws AbandonedLock, and what else the lock's acquire() does.
  bool acquire(Timeout timeout = forever) { return lock_.acquire(timeout); }
  /// @brief get_lock().release(). @python{Array.release}
  void release() { lock_.release(); }
  /// @brief The lock, for the caller to take.
  [[nodiscard]] AnyLock& get_lock() noexcept { return lock_; }
  /// @overload
  [[nodiscard]] const AnyLock& get_lock() const noexcept { return lock_; }

 private:
  friend struct codec<Array>;
  Array(RawArray<T> elements, AnyLock lock)
      : RawArray<T>{std::move(elements)}, lock_{std::move(lock)} {}

  AnyLock lock_;
};

/// @brief An array travels as its place in shared memory.
template <class T>
struct codec<RawArray<T>> {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const RawArray<T>& array) { array.shared_->save(encoder); }
  static RawArray<T> decode(Decoder& decoder) {
    return RawArray<T>(detail::SharedElements<T>::load(decoder));
  }
};

/// @brief And its lock's.
template <class T, class AnyLock>
struct codec<Array<T, AnyLock>> {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const Array<T, AnyLock>& array) {
    codec<AnyLock>::encode(encoder, array.lock_);
    codec<RawArray<T>>::encode(encoder, array);
  }
  static Array<T, AnyLock> decode(Decoder& decoder) {
    AnyLock lock = codec<AnyLock>::decode(decoder);
    return Array<T, AnyLock>(codec<RawArray<T>>::decode(decoder), std::move(lock));
  }
};

}  // namespace multiprocessing
