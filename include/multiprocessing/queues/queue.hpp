// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file queue.hpp
/// @brief Typed first-in first-out queues between processes.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/queues/batch.hpp>
#include <multiprocessing/queues/loan.hpp>
#include <multiprocessing/queues/ring.hpp>
#include <multiprocessing/queues/scratch.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/timeout.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace multiprocessing {

namespace detail {

/// @brief The T whose bytes these are: so many, and any will do.
template <class T>
requires is_bitwise<T> T from_bits(std::span<const std::byte> bytes)
noexcept {
  std::array<std::byte, sizeof(T)> copy;
  std::memcpy(copy.data(), bytes.data(), sizeof(T));
  return std::bit_cast<T>(copy);
}

/// @brief Text, or a vector of such as travel as their bytes: there is no code of the program in
/// encoding and decoding them, so a lock may be held, and a copy is saved.
template <class T>
inline constexpr bool is_plain_range = false;
template <class E>
inline constexpr bool is_plain_range<std::vector<E>> = is_bitwise<E>;
template <class Char>
inline constexpr bool is_plain_range<std::basic_string<Char>> = is_bitwise<Char>;

}  // namespace detail

/// @brief How soon an item comes out, where the transport has priorities: the highest first.
struct Priority {
  /// The higher the sooner.
  unsigned value = 0;
};

namespace detail {
template <class Transport>
concept HasPriorities = requires(Transport& to, void (*write)(std::byte*), const Deadline& end) {
  to.put(1, write, end, Priority{});
};
}  // namespace detail

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
/// @tparam Transport where the bytes go: a Ring in shared memory, or a BoostMessageQueue, which has
///   a header of its own.
/// @threads any, at once.
/// @processes any, at once: those that got the queue by fork, in a state, or in an argument.
template <class T, class Transport = Ring>
class Queue {
 public:
  /// @brief What it carries.
  using value_type = T;

  /// @param maxsize how many items fit; 0: no bound, and put() never waits.
  /// @throws std::system_error the system has no descriptor or memory left.
  explicit Queue(std::size_t maxsize = 0) : Queue{Transport::create(maxsize)} {}
  /// @brief Over a transport that was made in its own way.
  explicit Queue(std::shared_ptr<Transport> core) : core_{std::move(core)} {
    static_assert(
        !carries_handles<T>,
        "multiprocessing: a Queue cannot carry queues or connections, nor locks or events; pass "
        "them to the process when starting it, or send them through a duplex Pipe");
  }
  Queue(const Queue&) = default;
  Queue& operator=(const Queue&) = default;
  ~Queue() = default;

  /// @brief Puts an item at the end. In a full queue of 64 items or more it goes on when half of it
  /// is free, or within 50 ms of there being room.
  /// @param item is encoded now: what is done to it later changes nothing.
  /// @param timeout how long to wait while the queue is full.
  /// @throws Full it was full for so long.
  /// @throws ShutDown somebody called shutdown().
  /// @throws SerializationError the item cannot be encoded; the queue is as before.
  /// @throws std::system_error the system refuses memory; the queue is as before.
  /// @throws std::invalid_argument the queue is closed in this process.
  void put(const T& item, Timeout timeout = forever) {
    if (!try_put(item, timeout)) throw_full();
  }
  /// @overload
  /// What the item owned is released when it has been stored, unless moving a T may throw; on
  /// failure it is as before.
  void put(T&& item, Timeout timeout = forever) {
    if (!try_put(std::move(item), timeout)) throw_full();
  }
  /// @brief Puts T(arguments...), waiting as long as it takes.
  template <class... Arguments>
  void emplace(Arguments&&... arguments) {
    put(T(std::forward<Arguments>(arguments)...));
  }
  /// @brief put() that does not wait. Full may also mean that another process is just putting.
  void put_nowait(const T& item) { put(item, std::chrono::seconds{0}); }
  /// @overload
  void put_nowait(T&& item) { put(std::move(item), std::chrono::seconds{0}); }
  /// @brief put() that says whether it did.
  bool try_put(const T& item, Timeout timeout = std::chrono::seconds{0}) {
    return store(item, detail::Deadline{timeout});
  }
  /// @overload
  bool try_put(T&& item, Timeout timeout = std::chrono::seconds{0}) {
    if (!try_put(std::as_const(item), timeout)) return false;
    // The item is in the queue, so nothing may throw any more; and no braces, which may mean a
    // list.
    if constexpr (std::is_nothrow_move_constructible_v<T>) {
      [[maybe_unused]] const T stored(std::move(item));
    }
    return true;
  }

  /// @brief put() ahead of all items of a lower priority.
  void put(const T& item,
           Priority priority,
           Timeout timeout = forever) requires(detail::HasPriorities<Transport>) {
    if (!store(item, detail::Deadline{timeout}, priority)) throw_full();
  }

  /// @brief Puts all items of a range, in order, many under one hold of the lock: small ones cost a
  /// fraction of what single calls cost. Other producers' items may come between them.
  ///
  /// If it throws, or its process dies, the first so many are in the queue, whole, and the others
  /// are not. @python{for item in range: queue.put(item)}
  /// @throws as put(); Full says how many were put.
  template <std::ranges::input_range Range>
  void put_many(Range&& items, Timeout timeout = forever);
  /// @brief put_many() that says how many it has put.
  template <std::ranges::input_range Range>
  std::size_t try_put_many(Range&& items, Timeout timeout = std::chrono::seconds{0});

  /// @brief Takes the first item.
  /// @param timeout how long to wait while the queue is empty.
  /// @throws Empty it was empty for so long.
  /// @throws ShutDown it is empty, and somebody called shutdown().
  /// @throws SerializationError the item's bytes are not a T; that item is gone.
  /// @throws std::bad_alloc, or what T's own decoding throws: that item is gone too, for such code
  ///   runs when it has left the queue. Not of a T that travels as its bytes.
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

  /// @brief Takes the first items, as many as there are, many under one hold of the lock.
  /// @param max at most so many.
  /// @param timeout how long to wait for the first one; no other is waited for.
  /// @returns them in order; none: the queue was empty for so long. What happens when it has some
  ///   does not cost them: then it returns those, and the next call throws. An item behind the
  ///   first 512 or 32 KiB that cannot be decoded is left out, and the log says so.
  /// @throws ShutDown as get().
  /// @throws SerializationError the first item's bytes are not a T; or those of one that was taken
  ///   with it. It is gone, and so are those of the same 512 or 32 KiB, unless T travels as its
  ///   bytes. What T's own decoding throws, std::bad_alloc among it: likewise.
  std::vector<T> get_many(std::size_t max, Timeout timeout = forever);

  /// @brief Room for a message of n elements in place, for large ones: fill in `span()`, then
  /// `commit()`; nothing is copied. Of a T that travels as its bytes.
  ///
  /// Such a message is taken by get_view(); by get() if it has one element. It counts as one item.
  /// @param n how many elements.
  /// @param timeout how long to wait while all places for messages of that size are in use: 32, or
  ///   more. Windows: 8.
  /// @throws Full they were for so long; without waiting, also: another process is just inside.
  /// @throws ShutDown somebody called shutdown() while they were.
  /// @throws std::system_error the system refuses memory, or it would be more than 1 GiB (Windows:
  ///   128 MiB).
  /// @throws std::invalid_argument the queue is closed in this process.
  [[nodiscard]] Loan<T> loan(std::size_t n, Timeout timeout = forever) requires(
      is_bitwise<T>&& std::same_as<Transport, Ring>);
  /// @brief Takes the first message without copying it, if it was put by a Loan.
  /// @throws as get()
  [[nodiscard]] View<T> get_view(Timeout timeout = forever) requires(
      is_bitwise<T>&& std::same_as<Transport, Ring>);

  /// @brief How many items are inside: exact when nobody is at work, else a moment's picture.
  /// @throws std::invalid_argument the queue is closed in this process.
  [[nodiscard]] std::size_t qsize() const {
    core_->check_open();
    return core_->qsize();
  }
  /// @brief Whether nothing is inside: a moment's picture. @throws as qsize()
  [[nodiscard]] bool empty() const { return qsize() == 0; }
  /// @brief Whether `maxsize` items are inside: a moment's picture. @throws as qsize()
  [[nodiscard]] bool full() const { return qsize() >= core_->maxsize() && core_->maxsize() != 0; }

  /// @brief For those who wait for several things at once; mp::wait() does it all by itself:
  /// whether get() would not wait, for there is an item, or it would throw ShutDown.
  ///
  /// If it would, fileno() becomes readable when that may have changed. Whoever was to tell may
  /// have died, so ask again after 50 ms, and whenever fileno() is readable.
  [[nodiscard]] bool prepare_wait() const requires(requires(Transport& of) { of.event(); }) {
    return core_->prepare_wait();
  }
  /// @brief The handle that prepare_wait() speaks of, for poll, epoll and the like: nothing comes
  /// without asking first. It stays the queue's own; do not read from it or write to it.
  [[nodiscard]] native_handle_type fileno() const
      requires(requires(Transport& of) { of.event(); }) {
    return core_->event();
  }

  /// @brief Closes the queue for this process, all copies here; other processes go on. Threads that
  /// wait in it wake within 50 ms, with std::invalid_argument. Twice is fine.
  void close() { core_->close(); }
  /// @brief Ends the queue for all processes: from now on put() throws ShutDown, and so does get()
  /// when nothing is left; those that wait hear of it. Twice is fine; immediate after not, too.
  /// @param immediate what is inside is dropped, so that get() throws at once.
  /// @python{queue.Queue.shutdown(immediate), which multiprocessing.Queue has not}
  void shutdown(bool immediate = false) requires(requires(Transport& of) { of.shutdown(true); }) {
    core_->shutdown(immediate);
  }

  /// @brief Returns at once: there is no thread to join. @python{Queue.join_thread()}
  void join_thread() const noexcept {}
  /// @brief Does nothing: nothing waits at exit. @python{Queue.cancel_join_thread()}
  void cancel_join_thread() const noexcept {}

 protected:
  /// @brief The transport, which all copies share.
  [[nodiscard]] Transport& core() const noexcept { return *core_; }

 private:
  friend struct codec<Queue>;

  [[noreturn]] void throw_full() const {
    throw Full{"the queue is full: its maxsize is " + std::to_string(core_->maxsize())};
  }
  template <class... Priorities>
  bool store(const T& item, const detail::Deadline& deadline, Priorities... priority);
  void put_batch(detail::Batch& batch, std::size_t& stored, const detail::Deadline& deadline) {
    core_->put_batch(batch.records(), batch.messages(), stored, deadline);
    batch.clear();
  }

  // Each appends a batch of items. Returns false: no other is to follow.
  bool get_bits(std::vector<T>& items, std::size_t most, const detail::Deadline& deadline);
  bool get_encoded(std::vector<T>& items, std::size_t most, const detail::Deadline& deadline);
  static void tell_of_wrong() noexcept {
    log(LogLevel::warning, "an item of a queue cannot be decoded: get_many() has left it out");
  }

  std::shared_ptr<Transport> core_;
};

template <class T, class Transport>
template <class... Priorities>
bool Queue<T, Transport>::store(const T& item,
                                const detail::Deadline& deadline,
                                Priorities... priority) {
  if constexpr (is_bitwise<T>) {
    return core_->put(
        sizeof(T), [&item](std::byte* to) { std::memcpy(to, &item, sizeof(T)); }, deadline,
        priority...);
  } else if constexpr (detail::is_plain_range<T>) {
    const std::uint64_t count = item.size();  // as the codec writes it
    const std::size_t size = item.size() * sizeof(typename T::value_type);
    return core_->put(
        sizeof count + size,
        [&](std::byte* to) {
          std::memcpy(to, &count, sizeof count);
          if (size != 0) std::memcpy(to + sizeof count, item.data(), size);
        },
        deadline, priority...);
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
        deadline, priority...);
  }
}

template <class T, class Transport>
template <std::ranges::input_range Range>
void Queue<T, Transport>::put_many(Range&& items, Timeout timeout) {
  const std::size_t stored = try_put_many(items, timeout);
  if constexpr (std::ranges::sized_range<Range>) {
    if (stored == std::ranges::size(items)) return;
  } else if constexpr (std::ranges::forward_range<Range>) {
    if (stored == static_cast<std::size_t>(std::ranges::distance(items))) return;
  } else {
    if (timeout.is_forever()) return;
  }
  throw Full{"the queue is full: its maxsize is " + std::to_string(core_->maxsize()) + "; " +
             std::to_string(stored) + " of the items were put"};
}

template <class T, class Transport>
template <std::ranges::input_range Range>
std::size_t Queue<T, Transport>::try_put_many(Range&& items, Timeout timeout) {
  const detail::Deadline deadline{timeout};
  core_->check_open();
  detail::Batch batch;  // user code runs and encodes before any lock is taken
  std::size_t made = 0;
  std::size_t stored = 0;
  bool putting = false;
  try {
    for (auto&& element : items) {
      const T& item = element;
      if constexpr (is_bitwise<T>) {
        batch.add(&item, sizeof(T));
      } else {
        batch.add([&item](std::vector<std::byte>& into) {
          Encoder encoder{into};
          detail::encode(encoder, item);
        });
      }
      ++made;
      if (!batch.is_full()) continue;
      putting = true;
      put_batch(batch, stored, deadline);
      putting = false;
      if (stored != made) return stored;
    }
  } catch (...) {
    if (!putting) put_batch(batch, stored, deadline);  // those before an element that threw
    throw;
  }
  put_batch(batch, stored, deadline);
  return stored;
}

template <class T, class Transport>
std::vector<T> Queue<T, Transport>::get_many(std::size_t max, Timeout timeout) {
  core_->check_open();
  detail::Deadline deadline{timeout};
  std::vector<T> items;
  while (items.size() < max) {
    const bool is_first = items.empty();
    const std::size_t most = std::min(max - items.size(), detail::Batch::most_messages);
    try {
      if (items.capacity() - items.size() < most) {
        items.reserve(std::max(items.size() + most, 2 * items.capacity()));
      }
      bool goes_on = false;
      if constexpr (is_bitwise<T>) {
        goes_on = get_bits(items, most, deadline);
      } else {
        goes_on = get_encoded(items, most, deadline);
      }
      if (!goes_on) break;
    } catch (...) {  // shut down, say, or closed since the first: what was taken is not lost
      if (is_first) throw;
      break;
    }
    deadline = detail::Deadline{std::chrono::seconds{0}};
  }
  return items;
}

template <class T, class Transport>
bool Queue<T, Transport>::get_bits(std::vector<T>& items,
                                   std::size_t most,
                                   const detail::Deadline& deadline) {
  const std::size_t before = items.size();
  bool left_out = false;
  bool refused = false;
  const auto take = [&](std::span<const std::byte> message) {
    if (message.size() == sizeof(T)) {
      items.push_back(detail::from_bits<T>(message));
    } else if (items.empty()) {
      left_out = true;
    } else {
      refused = true;  // a wrong one stays, to be the first of a call
    }
    return !refused;
  };
  std::size_t taken = 0;
  try {
    taken = core_->get_batch(most, detail::Batch::most_bytes, take, deadline);
  } catch (...) {  // they are all in the queue still
    while (items.size() > before) items.pop_back();
    throw;
  }
  if (left_out && items.empty()) static_cast<void>(loads<T>({}));  // says what is wrong
  if (left_out) tell_of_wrong();
  return taken != 0 && !refused;
}

template <class T, class Transport>
bool Queue<T, Transport>::get_encoded(std::vector<T>& items,
                                      std::size_t most,
                                      const detail::Deadline& deadline) {
  const bool is_first = items.empty();
  detail::Scratch scratch;
  auto& bytes = scratch.buffer();
  const auto take = [&bytes](std::span<const std::byte> message) {
    const std::uint64_t size = message.size();
    const auto* const header = reinterpret_cast<const std::byte*>(&size);
    const std::size_t needed = bytes.size() + sizeof size + message.size();
    if (needed > bytes.capacity()) bytes.reserve(std::max(needed, 2 * bytes.capacity()));
    bytes.insert(bytes.end(), header, header + sizeof size);
    bytes.insert(bytes.end(), message.begin(), message.end());
    return true;
  };
  if (core_->get_batch(most, detail::Batch::most_bytes, take, deadline) == 0) return false;
  for (std::span<const std::byte> rest{bytes}; !rest.empty();) {
    std::uint64_t size = 0;
    std::memcpy(&size, rest.data(), sizeof size);
    try {
      items.push_back(loads<T>(rest.subspan(sizeof size, size)));
    } catch (...) {
      if (is_first) throw;
      tell_of_wrong();
    }
    rest = rest.subspan(sizeof size + size);
  }
  return true;
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
    if constexpr (detail::is_plain_range<T>) {
      try {
        item.emplace(loads<T>(message));
        return;
      } catch (const SerializationError&) {  // it must go all the same
      }
    }
    bytes = scratch.copy(message);
  };
  if (!core_->get(take, deadline)) return item;
  if (!item) item.emplace(loads<T>(bytes));  // user code runs after the lock is given back
  return item;
}

template <class T, class Transport>
Loan<T> Queue<T, Transport>::loan(std::size_t n, Timeout timeout) requires(
    is_bitwise<T>&& std::same_as<Transport, Ring>) {
  static_assert(alignof(T) <= 4096, "multiprocessing: blocks begin at pages");
  constexpr std::size_t most = static_cast<std::size_t>(-1) / sizeof(T);
  const auto block = core_->lend(n > most ? static_cast<std::size_t>(-1) : n * sizeof(T),
                                 detail::Deadline{timeout});
  if (!block) throw Full{"all places for loans of that size are in use"};
  return {detail::BorrowedBlock{core_, *block}, n};
}

template <class T, class Transport>
View<T> Queue<T, Transport>::get_view(Timeout timeout) requires(
    is_bitwise<T>&& std::same_as<Transport, Ring>) {
  detail::Scratch scratch;
  std::span<const std::byte> bytes;
  std::optional<std::size_t> block;
  const auto look = [&](std::span<const std::byte> message) { bytes = message; };
  const auto copy_small = [&](std::span<const std::byte> message) {
    look(message.size() > sizeof(T) ? message : scratch.copy(message));
  };
  if (!core_->get(copy_small, detail::Deadline{timeout}, &block)) throw Empty{"the queue is empty"};
  detail::BorrowedBlock borrowed;
  if (block) {
    borrowed = detail::BorrowedBlock{core_, *block};
    bytes = {core_->block_data(*block), bytes.size()};
  }
  if (bytes.size() % sizeof(T) != 0 || (!block && bytes.size() != sizeof(T))) {
    throw SerializationError{"a message of " + std::to_string(bytes.size()) +
                             " bytes is not elements of " + std::string{detail::type_name<T>()}};
  }
  if (!block) return View<T>{std::vector<T>{detail::from_bits<T>(bytes)}};
  return {std::move(borrowed),
          std::span{reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)}};
}

/// @brief A queue travels as its memory's handle, or by the name that its transport has.
template <class T, class Transport>
struct codec<Queue<T, Transport>> {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const Queue<T, Transport>& queue) {
    encoder.write_number(detail::type_hash<T>());
    if constexpr (travels_by_name) {
      encoder(queue.core_->name());
    } else {
      reduction::save_shared(encoder, queue.core_, "a Queue");
    }
  }
  static Queue<T, Transport> decode(Decoder& decoder) {
    if (decoder.read_number<std::uint64_t>() != detail::type_hash<T>()) {
      throw SerializationError{"a queue arrived that is not a Queue of " +
                               std::string{detail::type_name<T>()}};
    }
    if constexpr (travels_by_name) {
      return Queue<T, Transport>{Transport::open(detail::decode<std::string>(decoder))};
    } else {
      return Queue<T, Transport>{reduction::load_shared<Transport>(decoder)};
    }
  }

 private:
  static constexpr bool travels_by_name = requires(const Transport& of) { of.name(); };
};

}  // namespace multiprocessing
