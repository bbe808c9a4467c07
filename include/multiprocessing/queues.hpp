// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file queues.hpp
/// @brief Typed first-in first-out queues between processes.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/queues/ring.hpp>
#include <multiprocessing/queues/scratch.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/timeout.hpp>

#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace multiprocessing {

/// @brief A queue of T for any number of producers and consumers in any process.
/// @python{multiprocessing.Queue(maxsize)}
///
/// A handle: copies, also those in other processes, are the same queue. When put() has returned,
/// the item is in shared memory: no thread works behind it, so nothing is lost when the producer
/// exits or is killed, and joining a process never waits for its items to be read. Every item
/// arrives exactly once; an item in a killed consumer's hands, from the moment it leaves the queue
/// until get() has returned, is the only one that can be lost. Whoever dies, at any instruction,
/// the others go on.
/// @code
/// mp::Queue<std::string> queue;
/// mp::Process process{[](mp::Queue<std::string> q) { q.put("hello"); }, queue};
/// process.start();
/// std::cout << queue.get() << '\n';
/// process.join();
/// @endcode
/// @tparam T Serializable, and without queues, connections or locks inside: those travel with a
/// process's
///   state, or through a duplex Pipe.
/// @tparam Transport where the bytes go: a Ring in shared memory.
/// @threads any, at once.
/// @processes any, at once: those that got the queue by fork, in a state, or in an argument.
template <class T, class Transport = Ring>
class Queue {
 public:
  using value_type = T;

  /// @param maxsize how many items fit; 0: no bound, and put() never waits.
  /// @throws std::system_error the system has no descriptor or memory left.
  explicit Queue(std::size_t maxsize = 0) : Queue{Transport::create(maxsize)} {}
  Queue(const Queue&) = default;
  Queue& operator=(const Queue&) = default;
  ~Queue() = default;

  /// @brief Puts an item at the end. In a full queue of 64 items or more it goes on when half of it
  /// is free, or within 50 ms of there being room.
  /// @param timeout how long to wait while the queue is full.
  /// @throws Full it was full for so long.
  /// @throws SerializationError the item cannot be encoded; the queue is as before.
  /// @throws std::system_error the system refuses memory; the queue is as before.
  /// @throws std::invalid_argument the queue is closed in this process.
  void put(const T& item, Timeout timeout = forever) {
    if (!try_put(item, timeout)) {
      throw Full{"the queue is full: its maxsize is " + std::to_string(core_->maxsize())};
    }
  }
  /// @brief Puts T(arguments...), waiting as long as it takes.
  template <class... Arguments>
  void emplace(Arguments&&... arguments) {
    put(T(std::forward<Arguments>(arguments)...));
  }
  /// @brief put() that does not wait. Full may also mean that another process is just putting.
  void put_nowait(const T& item) { put(item, std::chrono::seconds{0}); }
  /// @brief put() that says whether it did.
  bool try_put(const T& item, Timeout timeout = std::chrono::seconds{0});

  /// @brief Takes the first item.
  /// @param timeout how long to wait while the queue is empty.
  /// @throws Empty it was empty for so long.
  /// @throws SerializationError the item's bytes are not a T; that item is gone.
  /// @throws std::invalid_argument the queue is closed in this process.
  T get(Timeout timeout = forever) {
    auto item = try_get(timeout);
    if (!item) throw Empty{"the queue is empty"};
    return *std::move(item);
  }
  /// @brief get() that does not wait. Empty may also mean that another process is just taking one.
  T get_nowait() { return get(std::chrono::seconds{0}); }
  /// @brief get() that says whether it did.
  std::optional<T> try_get(Timeout timeout = std::chrono::seconds{0});

  /// @brief How many items are inside: exact when nobody is at work, else a moment's picture.
  [[nodiscard]] std::size_t qsize() const {
    core_->check_open();
    return core_->qsize();
  }
  [[nodiscard]] bool empty() const { return qsize() == 0; }
  [[nodiscard]] bool full() const { return core_->maxsize() != 0 && qsize() >= core_->maxsize(); }

  /// @brief Closes the queue for this process, all copies here; other processes go on. Threads that
  /// wait in it wake within 50 ms, with std::invalid_argument. Twice is fine.
  void close() { core_->close(); }
  /// @brief Returns at once: there is no thread to join. @python{Queue.join_thread()}
  void join_thread() const noexcept {}
  /// @brief Does nothing: nothing waits at exit. @python{Queue.cancel_join_thread()}
  void cancel_join_thread() const noexcept {}

 private:
  friend struct codec<Queue>;
  explicit Queue(std::shared_ptr<Transport> core) : core_{std::move(core)} {
    static_assert(
        !carries_handles<T>,
        "multiprocessing: a Queue cannot carry queues or connections, nor locks or events; pass "
        "them to the process when starting it, or send them through a duplex Pipe");
  }

  std::shared_ptr<Transport> core_;
};

template <class T, class Transport>
bool Queue<T, Transport>::try_put(const T& item, Timeout timeout) {
  const detail::Deadline deadline{timeout};
  if constexpr (is_bitwise<T>) {
    return core_->put(
        sizeof(T), [&item](std::byte* to) { std::memcpy(to, &item, sizeof(T)); }, deadline);
  } else {
    core_->check_open();
    detail::Scratch scratch;  // user code encodes before any lock is taken
    Encoder encoder{scratch.buffer()};
    detail::encode(encoder, item);
    const auto& bytes = scratch.buffer();
    return core_->put(
        bytes.size(),
        [&bytes](std::byte* to) {
          if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
        },
        deadline);
  }
}

template <class T, class Transport>
std::optional<T> Queue<T, Transport>::try_get(Timeout timeout) {
  const detail::Deadline deadline{timeout};
  std::optional<T> item;
  detail::Scratch scratch;
  std::span<const std::byte> bytes;
  const auto take = [&](std::span<const std::byte> message) {
    if constexpr (is_bitwise<T>) {  // no user code in that: no second copy
      if (message.size() == sizeof(T)) {
        item.emplace(loads<T>(message));
        return;
      }
    }
    bytes = scratch.copy(message);
  };
  if (!core_->get(take, deadline)) return item;
  if (!item) item.emplace(loads<T>(bytes));  // user code runs after the lock is given back
  return item;
}

/// @brief A queue travels as its memory's handle.
template <class T, class Transport>
struct codec<Queue<T, Transport>> {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const Queue<T, Transport>& queue) {
    encoder.write_number(detail::type_hash<T>());
    reduction::save_shared(encoder, queue.core_, "a Queue");
  }
  static Queue<T, Transport> decode(Decoder& decoder) {
    if (decoder.read_number<std::uint64_t>() != detail::type_hash<T>()) {
      throw SerializationError{"a queue arrived that is not a Queue of " +
                               std::string{detail::type_name<T>()}};
    }
    return Queue<T, Transport>{reduction::load_shared<Transport>(decoder)};
  }
};

}  // namespace multiprocessing
