// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file shareable.hpp
/// @brief What can lie in memory that processes share, and the lock around it.
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/synchronize.hpp>
#include <multiprocessing/timeout.hpp>

#include <atomic>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

namespace multiprocessing::detail {

template <class T>
inline constexpr bool is_atomic = false;
template <class T>
inline constexpr bool is_atomic<std::atomic<T>> = true;

template <class T>
constexpr bool is_lock_free_or_plain() {
  if constexpr (is_atomic<T>) return T::is_always_lock_free;
  return true;
}

/// @brief Says why a type cannot be shared.
template <class T>
constexpr bool check_shareable() {
  static_assert(std::is_same_v<T, std::remove_cv_t<T>>, "what processes share is not const");
  static_assert(
      std::is_trivially_copyable_v<T> || is_atomic<T>,
      "what processes share is plain memory: trivially copyable, so no std::string and no "
      "container; keep those in a Queue");
  static_assert(!std::is_pointer_v<T> && !std::is_member_pointer_v<T>,
                "a pointer means nothing in another process: share what it points to");
  static_assert(is_lock_free_or_plain<T>(),
                "this atomic is not lock-free, so it works within one process only: use "
                "Value<T>::update()");
  static_assert(alignof(T) <= 64, "what processes share is aligned to 64 bytes at most");
  return true;
}

template <class Candidate>
inline constexpr bool is_lock = std::is_same_v<Candidate, Lock> || std::is_same_v<Candidate, RLock>;

/// @brief The type of a lock that stands before other arguments; RLock if none does.
template <class...>
struct FirstLockOf {
  using type = RLock;
};
template <class First, class... A>
struct FirstLockOf<First, A...> {
  using type = std::conditional_t<is_lock<First>, First, RLock>;
};
template <class... A>
using FirstLock = typename FirstLockOf<A...>::type;

/// @brief Makes a T in memory that is zero.
template <class T, class... A>
void construct_shared(T* where, A&&... arguments) {
  if constexpr (sizeof...(A) == 0) {
    if constexpr (!std::is_trivially_default_constructible_v<T>) ::new (where) T{};
  } else if constexpr (std::is_constructible_v<T, A...>) {
    ::new (where) T(std::forward<A>(arguments)...);
  } else {
    ::new (where) T{std::forward<A>(arguments)...};
  }
}

/// @brief Holds a lock, and vouches that what it guards is sound at every moment.
class VouchingGuard {
 public:
  /// @throws AbandonedLock an owner that did not vouch died.
  explicit VouchingGuard(LockCore& lock) : lock_{&lock} { lock.acquire_vouching(forever); }
  VouchingGuard(const VouchingGuard&) = delete;
  VouchingGuard& operator=(const VouchingGuard&) = delete;
  ~VouchingGuard() { lock_->release(); }

 private:
  LockCore* lock_;
};

}  // namespace multiprocessing::detail
