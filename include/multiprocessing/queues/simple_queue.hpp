// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file simple_queue.hpp
/// @brief A queue with the least there is to know.
#include <multiprocessing/queues/queue.hpp>
#include <multiprocessing/timeout.hpp>

#include <utility>

namespace multiprocessing {

/// @brief A queue without a bound: get(), put(), empty(), close().
/// @python{multiprocessing.SimpleQueue}
///
/// A handle, as Queue, and as safe and as fast: there is nothing to leave out here. For programs
/// that are carried over.
/// @threads any, at once.
/// @processes any, at once.
template <class T>
class SimpleQueue {
 public:
  /// @brief What it carries.
  using value_type = T;

  /// @throws std::system_error the system has no descriptor or memory left.
  SimpleQueue() = default;

  /// @brief Puts an item at the end; there is always room. @throws as Queue::put
  void put(const T& item) { queue_.put(item); }
  /// @overload
  void put(T&& item) { queue_.put(std::move(item)); }
  /// @brief Takes the first item.
  /// @param timeout how long to wait for it; Python waits for ever.
  /// @throws Empty none came in time. Others as Queue::get
  T get(Timeout timeout = forever) { return queue_.get(timeout); }
  /// @throws std::invalid_argument it is closed in this process.
  [[nodiscard]] bool empty() const { return queue_.empty(); }
  /// @brief As Queue::prepare_wait and Queue::fileno, for mp::wait().
  [[nodiscard]] bool prepare_wait() const { return queue_.prepare_wait(); }
  /// @overload
  [[nodiscard]] native_handle_type fileno() const { return queue_.fileno(); }
  /// @brief Closes it for this process, as Queue::close.
  void close() { queue_.close(); }

 private:
  friend struct codec<SimpleQueue>;
  explicit SimpleQueue(Queue<T> queue) : queue_{std::move(queue)} {}

  Queue<T> queue_;
};

/// @brief It travels as a Queue does.
template <class T>
struct codec<SimpleQueue<T>> {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const SimpleQueue<T>& queue) {
    codec<Queue<T>>::encode(encoder, queue.queue_);
  }
  static SimpleQueue<T> decode(Decoder& decoder) {
    return SimpleQueue<T>{codec<Queue<T>>::decode(decoder)};
  }
};

}  // namespace multiprocessing
