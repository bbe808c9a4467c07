// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file wait.hpp
/// @brief Waiting for whichever comes first: connections, processes, queues, handles.
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/wait.hpp>
#include <multiprocessing/timeout.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <ranges>
#include <span>
#include <system_error>
#include <type_traits>
#include <vector>

namespace multiprocessing {

namespace detail {

template <class T>
concept HasSentinel = requires(const T& object) {
  { object.sentinel() } -> std::same_as<native_handle_type>;
};
template <class T>
concept HasFileno = requires(const T& object) {
  { object.fileno() } -> std::same_as<native_handle_type>;
};
/// Whose handle says nothing before it was asked: a queue.
template <class T>
concept HasPrepareWait = requires(const T& object) {
  { object.prepare_wait() } -> std::same_as<bool>;
};

}  // namespace detail

/// @brief Something that wait() can wait for: a handle of the system, or whatever has `sentinel()`
/// (processes: it has ended) or `fileno()` (connections: a message or the end is there; queues:
/// there is an item, or none will come).
///
/// Made where it is passed on: it refers to the object, which must outlive it.
class Waitable {
 public:
  // Both convert without a word: callers list connections and processes, not Waitables.
  /// @param handle waited for until it is readable, or its other end is closed.
  Waitable(native_handle_type handle) noexcept : handle_{handle} {}  // NOLINT(*explicit*)
  /// @throws what the object's `sentinel()` or `fileno()` throws: it is closed, or has not begun.
  template <class T>
  requires(detail::HasSentinel<T> || detail::HasFileno<T>)  //
      Waitable(const T& object)                             // NOLINT(*explicit*)
      : handle_{handle_of(object)} {
    if constexpr (detail::HasPrepareWait<T>) {
      object_ = &object;
      prepare_ = [](const void* queue) { return static_cast<const T*>(queue)->prepare_wait(); };
    }
  }

  /// @brief What is waited for.
  [[nodiscard]] native_handle_type handle() const noexcept { return handle_; }
  /// @brief Whether one has to ask, and again after 50 ms.
  [[nodiscard]] bool must_be_asked() const noexcept { return prepare_ != nullptr; }
  /// @returns whether it is ready; if not, the handle says when to ask again.
  [[nodiscard]] bool ask() const { return prepare_(object_); }

 private:
  template <class T>
  static native_handle_type handle_of(const T& object) {
    if constexpr (detail::HasSentinel<T>) {
      return object.sentinel();
    } else {
      return object.fileno();
    }
  }

  native_handle_type handle_;
  const void* object_ = nullptr;
  bool (*prepare_)(const void*) = nullptr;
};

/// @brief Waits until at least one is ready. @python{multiprocessing.connection.wait}
///
/// Ready is: a connection with a message or at its end, a process that has ended, a queue with an
/// item or shut down, a handle that is readable. What is ready stays so until somebody takes it;
/// with others at work, get() or recv() may have to wait all the same: use their try_ forms.
/// @code
/// for (const std::size_t which : mp::wait({connection, process, queue}, 5s)) ...
/// @endcode
/// Differences from Python: indexes come back, not the objects.
/// @param what any number; thousands are fine, at a cost that grows with their number. Nothing at
///   all: waits for the time, so that `forever` does not return.
/// @param timeout zero or less: only looks.
/// @returns all that are ready, as indexes, in order; none: nothing was in time.
/// @throws std::invalid_argument a queue among them is closed here.
/// @throws std::system_error EBADF: what is no handle; ENOMEM.
/// @threads any, also for the same things. Nothing that is waited for may be closed meanwhile.
inline std::vector<std::size_t> wait(std::span<const Waitable> what, Timeout timeout = forever) {
  const detail::Deadline deadline{timeout};
  std::vector<native_handle_type> handles(what.size());
  std::ranges::transform(what, handles.begin(), &Waitable::handle);
  const auto readable = std::make_unique<bool[]>(what.size());
  const bool some_must_be_asked = std::ranges::any_of(what, &Waitable::must_be_asked);
  std::vector<std::size_t> ready;
  std::vector<std::size_t> answered;
  for (;;) {
    answered.clear();
    for (std::size_t i = 0; some_must_be_asked && i < what.size(); ++i) {
      if (what[i].must_be_asked() && what[i].ask()) answered.push_back(i);
    }
    constexpr std::chrono::milliseconds ask_again{50};
    detail::Deadline until = deadline;
    if (!answered.empty()) {
      until = detail::Deadline{std::chrono::seconds{0}};
    } else if (some_must_be_asked) {
      until = detail::Deadline{deadline.left(ask_again)};
    }
    std::error_code ec;
    const os::Waited waited =
        os::wait_any(handles, std::span{readable.get(), what.size()}, {}, until, ec);
    if (ec) throw std::system_error{ec, "wait: one of these cannot be waited for"};
    for (std::size_t i = 0; waited == os::Waited::ready && i < what.size(); ++i) {
      if (readable[i] && !what[i].must_be_asked()) ready.push_back(i);
    }
    if (!ready.empty() || !answered.empty()) break;
    if (deadline.passed()) return {};
  }
  ready.insert(ready.end(), answered.begin(), answered.end());
  std::ranges::sort(ready);
  return ready;
}
/// @overload
inline std::vector<std::size_t> wait(std::initializer_list<Waitable> what,
                                     Timeout timeout = forever) {
  return wait(std::span{what.begin(), what.size()}, timeout);
}
/// @overload
/// @param what a range of connections, of processes, or of other such things.
/// @param timeout how long to wait for the first.
template <std::ranges::input_range Range>
requires(std::constructible_from<Waitable, std::ranges::range_reference_t<Range>> &&
         !std::convertible_to<Range, std::span<const Waitable>> &&
         (std::is_lvalue_reference_v<std::ranges::range_reference_t<Range>> ||
          std::same_as<std::ranges::range_value_t<Range>, native_handle_type>))  //
    std::vector<std::size_t> wait(Range&& what, Timeout timeout = forever) {
  std::vector<Waitable> all;
  for (auto&& one : what) all.emplace_back(one);
  return wait(std::span<const Waitable>{all}, timeout);
}

}  // namespace multiprocessing
