// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file ring.hpp
/// @brief The transport of a Queue: bytes from many producers to many consumers, whoever dies.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/os/bell.hpp>
#include <multiprocessing/os/memory.hpp>
#include <multiprocessing/queues/gate.hpp>
#include <multiprocessing/queues/layout.hpp>
#include <multiprocessing/queues/waiting.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/timeout.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing {

/// @brief A first-in first-out queue of byte messages in shared memory, between any number of
/// producers and consumers in any number of processes.
///
/// Producers share one lock and consumers another, so one producer and one consumer never meet.
/// Each side makes its change visible by one store: a process killed at any instruction has either
/// done the whole operation or nothing, and the next one of its side finds the lock abandoned and
/// goes on.
/// @shape One message: 0 bytes to 16 GiB. All together: 64 GiB, less where RLIMIT_AS is lower.
/// Memory is taken as the backlog grows and given back as it shrinks; a steady flow touches no
/// fresh page.
class Ring {
 public:
  /// @param maxsize items; 0: no bound.
  /// @throws std::system_error no descriptor, no address space, or no memory is left.
  static std::shared_ptr<Ring> create(std::size_t maxsize);
  /// @brief Another process's ring, of what its duplicate_handles() gave.
  /// @throws SerializationError the handles are not those of a ring.
  static std::shared_ptr<Ring> adopt(std::vector<os::UniqueHandle> handles);
  /// @brief What another process needs to have this ring too.
  /// @throws std::invalid_argument closed. std::system_error no handle is left.
  [[nodiscard]] std::vector<os::UniqueHandle> duplicate_handles();

  /// @brief Stores one message of `size` bytes that `write(std::byte*)` fills in.
  ///
  /// `write` runs inside the critical section: it must be short, and may throw; then nothing
  /// happened.
  /// @returns false: the queue was full until the deadline.
  /// @throws std::system_error the system refuses memory; the queue stays as it was and goes on.
  template <class Write>
  bool put(std::size_t size, Write&& write, const detail::Deadline& deadline);

  /// @brief Takes the first message; `read(std::span<const std::byte>)` looks at it in place.
  ///
  /// `read` runs inside the critical section: it must be short; if it throws, the message stays.
  /// @returns false: the queue was empty until the deadline.
  template <class Read>
  bool get(Read&& read, const detail::Deadline& deadline);

  [[nodiscard]] std::size_t qsize() const noexcept;
  [[nodiscard]] std::size_t maxsize() const noexcept { return maxsize_; }

  /// @brief For this process: waiting calls end, later ones throw.
  void close() noexcept;
  [[nodiscard]] bool closed() const noexcept { return handle_gate_.is_shut(); }
  void check_open() const {
    if (closed()) throw std::invalid_argument{"the queue is closed in this process"};
  }

 private:
  using Place = detail::Place;
  using Record = detail::Record;
  using Producers = detail::ProducerSide;
  using Consumers = detail::ConsumerSide;
  using Head = decltype(Consumers::head)::Values;

  // Gives the lock back at the end of a scope.
  struct Held {
    os::RobustLock* lock = nullptr;
    Held() = default;
    explicit Held(os::RobustLock& held) : lock{&held} {}
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    Held(Held&& other) noexcept : lock{std::exchange(other.lock, nullptr)} {}
    Held& operator=(Held&& other) noexcept {
      release();
      lock = std::exchange(other.lock, nullptr);
      return *this;
    }
    ~Held() { release(); }
    void release() {
      if (lock != nullptr) std::exchange(lock, nullptr)->unlock();
    }
    explicit operator bool() const { return lock != nullptr; }
  };

  // A producer that sleeps because a queue of so many items or more is full is woken when half of
  // it is free, for waking it for every item would cost more than the items.
  static constexpr std::size_t large_queue = 64;
  static constexpr std::chrono::nanoseconds shortest_nap = std::chrono::milliseconds{1};
  static constexpr std::uint64_t commit_step = std::uint64_t{64} << 10U;
  static constexpr std::uint64_t longest_commit_step = std::uint64_t{16} << 20U;
  static constexpr std::uint64_t kept_area = std::uint64_t{4}
                                             << 20U;  // smaller ones stay committed
  static constexpr std::uint64_t give_back_step = std::uint64_t{16} << 20U;

  Ring(os::SharedRegion region, os::Bell space, os::Bell items) noexcept
      : region_{std::move(region)}, space_{std::move(space)}, items_{std::move(items)} {}

  [[nodiscard]] detail::RingMemory& memory() const noexcept {
    return *reinterpret_cast<detail::RingMemory*>(region_.data());
  }
  [[nodiscard]] std::byte* at(Place place) const;
  // One side's way of waiting: spins with its lock, sleeps without it.
  struct Side {
    bool (Ring::*ready)() noexcept;
    Held (Ring::*hold)(const detail::Deadline&);
    os::Bell Ring::*bell;
    os::Patience Ring::*patience;
  };
  static const Side producer_side;
  static const Side consumer_side;
  Held wait(const Side& side, os::BellState& state, Held held, const detail::Deadline& deadline);
  /// Calls `use()`, which needs the region's handle, unless the queue is closed here.
  template <class Use>
  bool use_handle(Use&& use);
  [[noreturn]] static void damaged() {
    throw ProcessError{"the queue's shared memory is damaged: it was written by something else"};
  }

  // the producer's steps, with its lock held
  Held hold_producer_lock(const detail::Deadline& deadline);
  [[nodiscard]] bool has_room() noexcept;
  void look_at_consumers() noexcept;
  Place make_room(Place tail, std::uint64_t room);
  [[nodiscard]] bool fits(Place tail, std::uint64_t room) const noexcept;
  [[nodiscard]] unsigned better_area(Place tail, std::uint64_t room) const noexcept;
  Place leave_for(unsigned area, Place tail, std::uint64_t room);
  [[nodiscard]] unsigned free_area_for(Place tail, std::uint64_t room) const;
  [[nodiscard]] bool is_in_use(unsigned area, Place tail) const noexcept;
  void commit_memory(unsigned area, std::uint64_t bytes);

  // the consumer's steps, with its lock held
  Held hold_consumer_lock(const detail::Deadline& deadline);
  [[nodiscard]] bool has_item() noexcept;
  std::span<const std::byte> find_message(Head& head);
  static void go_past(Head& head, std::uint64_t room) noexcept;
  void give_back(Head& head) noexcept;
  void discard_area(unsigned area) noexcept;
  void ring_for_space(std::uint64_t taken) noexcept;

  os::SharedRegion region_;
  os::Bell space_;  // rung by consumers
  os::Bell items_;  // rung by producers
  os::Patience producer_lock_patience_;
  os::Patience consumer_lock_patience_;
  os::Patience space_patience_;
  os::Patience items_patience_;
  std::size_t maxsize_ = 0;
  unsigned areas_ = 0;
  detail::Gate handle_gate_;  // who uses the region's handle
};

inline std::byte* Ring::at(Place place) const {
  const unsigned area = place.area();
  if (area >= areas_) damaged();
  return region_.data() + detail::area_begin(area) +
         (place.offset() & (detail::area_size(area) - 1));
}

template <class Write>
bool Ring::put(std::size_t size, Write&& write, const detail::Deadline& deadline) {
  auto& side = memory().producers;
  Held held = hold_producer_lock(deadline);
  if (held && !has_room()) held = wait(producer_side, side.space, std::move(held), deadline);
  if (!held) return false;
  const auto tail = side.tail.current();
  const std::uint64_t room = Record::room(size);
  const Place place = make_room(Place::from_packed(tail[Producers::place]), room);
  std::byte* const to = at(place);
  const std::uint64_t header = Record::pack(Record::message, size);
  std::memcpy(to, &header, sizeof header);
  std::forward<Write>(write)(to + Record::header_size);
  MULTIPROCESSING_STOP_POINT("ring.put.written");
  side.tail.commit({place.plus(room).packed(), tail[Producers::count] + 1});
  MULTIPROCESSING_STOP_POINT("ring.put.committed");
  const bool more_room = os::Bell::has_sleeper(side.space) && has_room();
  held.release();
  MULTIPROCESSING_STOP_POINT("ring.put.unlocked");
  items_.ring(memory().consumers.items);
  if (more_room) space_.ring(side.space);
  return true;
}

template <class Read>
bool Ring::get(Read&& read, const detail::Deadline& deadline) {
  auto& side = memory().consumers;
  Held held = hold_consumer_lock(deadline);
  if (held && !has_item()) held = wait(consumer_side, side.items, std::move(held), deadline);
  if (!held) return false;
  auto head = side.head.current();
  const std::span<const std::byte> message = find_message(head);
  std::forward<Read>(read)(message);
  MULTIPROCESSING_STOP_POINT("ring.get.read");
  go_past(head, Record::room(message.size()));
  side.head.commit(head);
  MULTIPROCESSING_STOP_POINT("ring.get.committed");
  give_back(head);
  const bool more_items = os::Bell::has_sleeper(side.items) && has_item();
  held.release();
  MULTIPROCESSING_STOP_POINT("ring.get.unlocked");
  ring_for_space(head[Consumers::count]);
  if (more_items) items_.ring(side.items);
  return true;
}

inline std::size_t Ring::qsize() const noexcept {
  const auto& shared = memory();
  const std::uint64_t taken = shared.consumers.head.read()[Consumers::count];
  const std::uint64_t put = shared.producers.tail.read()[Producers::count];
  const std::uint64_t inside = put - taken;
  return maxsize_ != 0 && inside > maxsize_ ? maxsize_ : inside;
}

template <class Use>
bool Ring::use_handle(Use&& use) {
  if (!handle_gate_.enter()) return false;
  struct Leave {  // NOLINT(*-special-member-functions): const, and of this scope only
    Ring& ring;
    ~Leave() {
      if (ring.handle_gate_.leave()) ring.region_.close_handle();
    }
  } const leave{*this};
  std::forward<Use>(use)();
  return true;
}

inline void Ring::close() noexcept {
  if (handle_gate_.shut()) region_.close_handle();
}

}  // namespace multiprocessing

#include <multiprocessing/queues/ring_consumer.ipp>
#include <multiprocessing/queues/ring_creation.ipp>
#include <multiprocessing/queues/ring_producer.ipp>
#include <multiprocessing/queues/ring_waiting.ipp>
