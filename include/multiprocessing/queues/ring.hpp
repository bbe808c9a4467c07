// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file ring.hpp
/// @brief The transport of a Queue: bytes from many producers to many consumers, whoever dies.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/os/bell.hpp>
#include <multiprocessing/os/identity.hpp>
#include <multiprocessing/os/memory.hpp>
#include <multiprocessing/os/wait.hpp>
#include <multiprocessing/queues/gate.hpp>
#include <multiprocessing/queues/layout.hpp>
#include <multiprocessing/queues/loan_table.hpp>
#include <multiprocessing/queues/task_book.hpp>
#include <multiprocessing/queues/waiting.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/timeout.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
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
  /// @param counts_tasks it keeps in mind who has taken what, until task_done().
  /// @throws std::system_error no descriptor, no address space, or no memory is left.
  static std::shared_ptr<Ring> create(std::size_t maxsize, bool counts_tasks = false);
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
  /// @throws ShutDown. std::system_error the system refuses memory; the queue stays as it was.
  template <class Write>
  bool put(std::size_t size, Write&& write, const detail::Deadline& deadline) {
    return put(size, std::forward<Write>(write), deadline, [] {});
  }

  /// @brief Takes the first message; `read(std::span<const std::byte>)` looks at it in place.
  ///
  /// `read` runs inside the critical section: it must be short; if it throws, the message stays.
  /// @returns false: the queue was empty until the deadline.
  /// @throws ShutDown it is empty, and will stay so.
  /// @param read what looks at it.
  /// @param deadline until when to wait for a message.
  /// @param keeps where the message was lent: its bytes stay as they are until return_block() of
  /// what stands here then. None: `read` makes a copy.
  template <class Read>
  bool get(Read&& read,
           const detail::Deadline& deadline,
           std::optional<std::size_t>* keeps = nullptr);

  /// @brief Stores messages in order, as many at once as find room; each such part becomes visible
  /// by one store, so of it all messages are there or none.
  /// @param records the messages as they are to lie in the ring; see detail::Batch.
  /// @param messages how many they are.
  /// @param stored grows by one for each that was stored; by fewer: it was full until the deadline.
  /// @param deadline until when to wait for room.
  /// @throws std::system_error as put(); what was stored before stays, and `stored` has counted it.
  void put_batch(std::span<const std::byte> records,
                 std::size_t messages,
                 std::size_t& stored,
                 const detail::Deadline& deadline);

  /// @brief Takes several messages at once, by one store: `read(std::span<const std::byte>)` looks
  /// at each as get()'s does; if it throws, all of them stay. It answers false to leave one where
  /// it is, and those behind it.
  ///
  /// Waits for the first only. Takes no more when it has `most_messages`, or `most_bytes`.
  /// @returns how many; 0: the queue was empty until the deadline.
  template <class Read>
  std::size_t get_batch(std::size_t most_messages,
                        std::size_t most_bytes,
                        Read&& read,
                        const detail::Deadline& deadline);

  /// @brief For all processes: from now on put() throws ShutDown, and get() when nothing is left.
  /// @param immediate what is inside is dropped.
  void shutdown(bool immediate);
  /// @brief Whether any process has called shutdown().
  [[nodiscard]] bool is_shut_down() const noexcept {
    return memory().producers.shutdown.load(std::memory_order_seq_cst) != detail::no_shutdown;
  }

  /// @brief For those who wait for several things at once: whether get() would not wait.
  ///
  /// If it would, event() is set once that may have changed. Whoever was to set it may have died,
  /// so one asks again every 50 ms.
  [[nodiscard]] bool prepare_wait();
  /// @brief What prepare_wait() speaks of. It stays the ring's own.
  [[nodiscard]] native_handle_type event() const {
    check_open();
    return event_.get();
  }

  // ---- messages in place ----

  /// @brief Maps the memory for them now, where it would be done at the first use: then nothing can
  /// stand in the way of taking one. @returns false: this process has no room for it, or somebody
  /// else had the consumers' lock until the deadline.
  [[nodiscard]] bool prepare_loans(const detail::Deadline& deadline) noexcept;
  /// @brief Frees the blocks of processes that have ended, which else is done when none is left.
  void take_from_the_dead() noexcept;
  /// @brief Whether what get() shows stands in a block.
  [[nodiscard]] bool is_in_block(std::span<const std::byte> message) const noexcept;
  /// @brief Memory for a message of so many bytes. @returns its block; none: all are in use, until
  /// the deadline. One of a process that died is free.
  /// @throws ShutDown all are in use. std::system_error the system refuses memory.
  std::optional<std::size_t> lend(std::uint64_t size, const detail::Deadline& deadline);
  /// @brief Where a block lies in this process. @shape As long as it was lent for.
  [[nodiscard]] std::byte* block_data(std::size_t block) const noexcept;
  /// @brief Puts what was written into a block, which is the ring's then. @returns as put(); if it
  /// is not put, the block stays the caller's.
  bool put_lent(std::size_t block, std::uint64_t size, const detail::Deadline& deadline);
  /// @brief The block of a lend() or a get() is not needed any more.
  void return_block(std::size_t block) noexcept;

  // ---- of a ring that counts tasks ----

  /// @brief One item that was taken is done.
  /// @throws std::invalid_argument everything is done already.
  void task_done();
  /// @brief Waits until everything that was put is done. @returns false: not until the deadline.
  /// @throws LostTasks processes died that had taken items; once for each death.
  bool join_tasks(const detail::Deadline& deadline);
  /// @brief How many items were put and are not done.
  [[nodiscard]] std::size_t unfinished_tasks();
  /// @brief How many were lost with processes that had taken them.
  [[nodiscard]] std::size_t lost_tasks();
  /// @brief Whether it was made so.
  [[nodiscard]] bool counts_tasks() const noexcept { return counts_tasks_; }

  /// @brief How many items are inside: a moment's picture.
  [[nodiscard]] std::size_t qsize() const noexcept;
  /// @brief As create() was told.
  [[nodiscard]] std::size_t maxsize() const noexcept { return maxsize_; }

  /// @brief For this process: waiting calls end, later ones throw.
  void close() noexcept;
  /// @brief Whether this process has closed it.
  [[nodiscard]] bool closed() const noexcept { return handle_gate_.is_shut(); }
  /// @throws std::invalid_argument closed in this process.
  void check_open() const {
    if (closed()) throw std::invalid_argument{"the queue is closed in this process"};
  }

 private:
  using Place = detail::Place;
  using Record = detail::Record;
  using Producers = detail::ProducerSide;
  using Consumers = detail::ConsumerSide;
  using Head = decltype(Consumers::head)::Values;
  using Loans = detail::LoanTable;

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
  // A lock was taken over from a process that died. It is told when no lock is held: whoever hears
  // of it may use the queue.
  enum Death : unsigned { producer_died = 1, consumer_died = 2 };
  void note_death(Death whose) noexcept { untold_.fetch_or(whose, std::memory_order_relaxed); }
  void tell_of_deaths() noexcept {
    if (untold_.load(std::memory_order_relaxed) != 0) tell();
  }
  MULTIPROCESSING_SELDOM void tell() noexcept;

  // A producer that sleeps because a queue of so many items or more is full is woken when half of
  // it is free, for waking it for every item would cost more than the items.
  static constexpr std::size_t large_queue = 64;
  static constexpr std::chrono::nanoseconds shortest_nap = std::chrono::milliseconds{1};
  static constexpr std::uint64_t commit_step = std::uint64_t{64} << 10U;
  static constexpr std::uint64_t longest_commit_step = std::uint64_t{4} << 20U;
  static constexpr std::uint64_t kept_area = std::uint64_t{8}
                                             << 20U;  // smaller ones stay committed
  // A copy of so many bytes waits for memory, not for system calls and locks.
  static constexpr std::uint64_t large = 4096;
  static constexpr std::uint64_t trusted_size = std::uint64_t{1} << 20U;
  static constexpr std::uint64_t give_back_step = std::uint64_t{16} << 20U;

  Ring(os::SharedRegion region, os::UniqueHandle event) noexcept
      : region_{std::move(region)}, event_{std::move(event)} {}
  void use(const detail::RingHeader& header) noexcept;
  std::array<os::Bell*, 3> bells() noexcept { return {&space_, &items_, &all_done_}; }

  [[nodiscard]] detail::RingMemory& memory() const noexcept {
    return *reinterpret_cast<detail::RingMemory*>(region_.data());
  }
  [[nodiscard]] detail::TaskBook& book() const noexcept {
    return *reinterpret_cast<detail::TaskBook*>(region_.data() + detail::task_book_begin);
  }
  [[nodiscard]] std::byte* at(Place place) const noexcept {  // of what is_place
    return region_.data() + detail::area_begin(place.area()) + offset_in_area(place);
  }
  // What stands in shared memory may have been written by anybody: no place is gone to before it
  // was looked at.
  [[nodiscard]] bool is_place(Place place) const noexcept {
    return place.area() < areas_ && place.offset() % Record::header_size == 0 &&
           (detail::goes_round(place.area()) || place.offset() < detail::area_size(place.area()));
  }
  [[nodiscard]] std::uint64_t offset_in_area(Place place) const noexcept {
    return place.offset() & (detail::area_size(place.area()) - 1);
  }
  void check_usable(unsigned area, std::uint64_t begin, std::uint64_t size) {
    if (begin + size > usable_[area].load(std::memory_order_relaxed)) {
      look_what_is_usable(area, begin, size);
    }
  }
  MULTIPROCESSING_SELDOM void look_what_is_usable(unsigned area,
                                                  std::uint64_t begin,
                                                  std::uint64_t size);
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
  void close_handles() noexcept {
    region_.close_handle();
    lent_.close_handle();
    event_.reset();
  }
  /// Calls `use()`, which needs one of the handles, unless the queue is closed here.
  template <class Use>
  bool use_handle(Use&& use);
  [[noreturn]] MULTIPROCESSING_SELDOM static void throw_shut_down() {
    throw ShutDown{"the queue was shut down"};
  }
  [[noreturn]] MULTIPROCESSING_SELDOM static void damaged() {
    throw ProcessError{"the queue's shared memory is damaged: it was written by something else"};
  }

  // the producer's steps, with its lock held
  Held hold_producer_lock(const detail::Deadline& deadline);
  [[nodiscard]] bool has_room() noexcept;
  [[nodiscard]] std::size_t room_for(std::size_t messages) noexcept;
  void look_at_consumers() noexcept;
  void stay_close(std::uint64_t room, const detail::Deadline& deadline) noexcept;
  Place make_room(Place tail, std::uint64_t room, std::size_t messages = 1);
  Place go_round(Place tail, std::uint64_t room);
  [[nodiscard]] bool goes_round_early(Place tail, std::uint64_t room) noexcept;
  [[nodiscard]] static constexpr std::uint64_t enough_for_flow(std::uint64_t room) noexcept;
  [[nodiscard]] std::uint64_t enough_for_all(std::uint64_t room) const noexcept;
  [[nodiscard]] bool fits(Place tail, std::uint64_t room) const noexcept;
  [[nodiscard]] unsigned better_area(Place tail,
                                     std::uint64_t room,
                                     std::size_t messages) const noexcept;
  [[nodiscard]] std::uint64_t depth(Place tail, Place read) const noexcept;
  [[nodiscard]] bool is_calm(Place tail, Place read, std::uint64_t room) const noexcept;
  Place leave_for(unsigned area, Place tail, std::uint64_t at_once);
  std::optional<Place> leave_if_memory_allows(unsigned area, Place tail, std::uint64_t room);
  [[nodiscard]] unsigned free_area_for(Place tail, std::uint64_t room) const;
  [[nodiscard]] bool is_in_use(unsigned area, Place tail) const noexcept;
  void commit_memory(unsigned area, std::uint64_t from, std::uint64_t to);
  MULTIPROCESSING_SELDOM void commit_more(unsigned area, std::uint64_t before, std::uint64_t to);

  // the consumer's steps, with its lock held
  Held hold_consumer_lock(const detail::Deadline& deadline);
  [[nodiscard]] bool has_item() noexcept { return has_item_at(place_of(current_head())); }
  [[nodiscard]] bool has_item_at(Place place) noexcept;
  struct Found {
    std::span<const std::byte> bytes;
    bool is_lent = false;
  };
  std::optional<Found> find_message(Head& head, bool follows_jumps);
  [[nodiscard]] Head current_head() const noexcept { return memory().consumers.head.current(); }
  [[nodiscard]] static Place place_of(const Head& head) noexcept {
    return Place::from_packed(head[Consumers::place]);
  }
  void commit_taken(const Head& head, std::size_t messages);
  void drop_all();
  static void go_past(Head& head, std::uint64_t room) noexcept;
  void give_back(Head& head) noexcept;
  void discard_area(unsigned area) noexcept;
  void ring_for_space(std::uint64_t taken) noexcept;
  void ring_for_items() noexcept {
    items_.ring(memory().consumers.items);
    if (memory().consumers.watched.load(std::memory_order_seq_cst) != 0) set_event();
  }
  MULTIPROCESSING_SELDOM void set_event() noexcept;

  template <class Write, class Committed>
  bool put(std::size_t size,
           Write&& write,
           const detail::Deadline& deadline,
           const Committed& done);

  // loans
  using BlockWord = detail::BlockWord;
  [[nodiscard]] Loans& loans() const noexcept {
    return *reinterpret_cast<Loans*>(region_.data() + detail::loan_table_begin);
  }
  void open_loans_here();
  [[nodiscard]] bool has_loans() noexcept;
  [[nodiscard]] bool is_block(std::uint64_t block) const noexcept;
  std::optional<std::size_t> claim_block(std::uint64_t size, std::uint64_t holder);
  void settle_blocks(BlockWord::State state, std::uint64_t now) noexcept;
  [[nodiscard]] BlockWord arrived(std::atomic<std::uint64_t>& shared) const noexcept;
  void free_blocks_of(std::size_t holder) noexcept;
  [[nodiscard]] bool is_lent_usable(std::size_t block, std::uint64_t size, std::error_code& ec);
  std::optional<std::span<const std::byte>> lent_message(std::span<const std::byte> record,
                                                         std::size_t& block);
  template <class Read>
  MULTIPROCESSING_APART bool take_lent(Head& head,
                                       std::span<const std::byte> record,
                                       const Read& read,
                                       std::optional<std::size_t>* keeps,
                                       std::size_t tasks);

  // tasks, with the consumer lock held
  [[nodiscard]] std::size_t holders_used() const noexcept;
  std::optional<std::size_t> find_own_holder() noexcept;
  std::size_t own_holder();
  void note_taken(const Head& head, std::size_t messages);
  void settle_note() noexcept;
  [[nodiscard]] std::uint64_t inside_or_in_hand() const noexcept;
  [[nodiscard]] std::uint64_t count_unfinished() const noexcept;
  void forget_the_dead() noexcept;

  os::SharedRegion region_;
  os::SharedRegion lent_;  // the same memory, with the blocks behind; mapped when it is needed
  std::atomic<bool> loans_open_{false};
  // Of each block, in this process: so many bytes from its beginning may be touched. With lent_.
  std::unique_ptr<std::array<std::atomic<std::uint64_t>, Loans::blocks>> lent_usable_;
  os::UniqueHandle event_;
  os::Bell space_;     // rung by consumers
  os::Bell items_;     // rung by producers
  os::Bell all_done_;  // rung by task_done()
  // Of each area, in this process: so many bytes from its beginning may be touched.
  std::array<std::atomic<std::uint64_t>, detail::most_areas> usable_{};
  std::atomic<unsigned> untold_{0};  // Deaths
  os::Patience producer_lock_patience_;
  os::Patience consumer_lock_patience_;
  os::Patience space_patience_;
  os::Patience items_patience_;
  os::Patience near_patience_{64};
  std::atomic<std::uint64_t> taken_before_{0};  // when this process last hoped for consumers
  std::size_t maxsize_ = 0;
  unsigned areas_ = 0;
  bool counts_tasks_ = false;
  os::ProcessIdentity identity_;  // of the process that own_holder_ belongs to
  std::size_t own_holder_ = 0;
  std::atomic<std::uint64_t> known_holder_{0};  // of loans: a process's id, and its holder
  detail::Gate handle_gate_;                    // who uses the handles of the region and the event
};

inline void Ring::look_what_is_usable(unsigned area, std::uint64_t begin, std::uint64_t size) {
  // Memory is committed in steps, so it is looked at in steps too.
  const std::uint64_t whole = std::min((begin + size + commit_step - 1) / commit_step * commit_step,
                                       detail::area_size(area));
  std::uint64_t usable = 0;
  std::error_code ec;
  const bool open = use_handle([&] {
    for (const std::uint64_t end : {whole, begin + size}) {
      if (usable == 0 && begin <= end &&
          region_.is_usable(detail::area_begin(area) + begin, end - begin, ec)) {
        usable = end;
      }
    }
  });
  if (!open) check_open();
  if (ec) throw std::system_error{ec, "cannot look at a queue's memory"};
  if (usable < begin + size || usable > detail::area_size(area)) damaged();
  if (usable > usable_[area].load(std::memory_order_relaxed)) {
    usable_[area].store(usable, std::memory_order_relaxed);
  }
}

template <class Write, class Committed>
bool Ring::put(std::size_t size,
               Write&& write,
               const detail::Deadline& deadline,
               const Committed& done) {
  auto& side = memory().producers;
  Held held = hold_producer_lock(deadline);
  if (held && !has_room()) held = wait(producer_side, side.space, std::move(held), deadline);
  if (!held) return false;
  const auto tail = side.tail.current();
  const std::uint64_t room = Record::room(size);
  stay_close(room, deadline);
  const Place place = make_room(Place::from_packed(tail[Producers::place]), room);
  std::byte* const to = at(place);
  const std::uint64_t header = Record::pack(Record::message, size);
  std::memcpy(to, &header, sizeof header);
  std::forward<Write>(write)(to + Record::header_size);
  MULTIPROCESSING_STOP_POINT("ring.put.written");
  side.tail.commit({place.plus(room).packed(), tail[Producers::count] + 1});
  MULTIPROCESSING_STOP_POINT("ring.put.committed");
  done();
  const bool more_room = os::Bell::has_sleeper(side.space) && has_room();
  held.release();
  MULTIPROCESSING_STOP_POINT("ring.put.unlocked");
  ring_for_items();
  if (more_room) space_.ring(side.space);
  tell_of_deaths();
  return true;
}

template <class Read>
bool Ring::get(Read&& read, const detail::Deadline& deadline, std::optional<std::size_t>* keeps) {
  auto& side = memory().consumers;
  Held held = hold_consumer_lock(deadline);
  if (held && !has_item()) held = wait(consumer_side, side.items, std::move(held), deadline);
  if (!held) return false;
  auto head = side.head.current();
  const Found found = *find_message(head, true);
  if (found.is_lent) {
    take_lent(head, found.bytes, read, keeps, 1);
  } else {
    read(found.bytes);
    MULTIPROCESSING_STOP_POINT("ring.get.read");
    go_past(head, Record::room(found.bytes.size()));
    commit_taken(head, 1);
  }
  MULTIPROCESSING_STOP_POINT("ring.get.committed");
  give_back(head);
  const bool more_items = os::Bell::has_sleeper(side.items) && has_item();
  held.release();
  MULTIPROCESSING_STOP_POINT("ring.get.unlocked");
  ring_for_space(head[Consumers::count]);
  if (more_items) items_.ring(side.items);
  tell_of_deaths();
  return true;
}

inline void Ring::tell() noexcept {
  const unsigned whose = untold_.exchange(0, std::memory_order_relaxed);
  if ((whose & producer_died) != 0) {
    log(LogLevel::warning,
        "a process died inside put() of a queue: what it had not finished is not there, the queue "
        "goes on");
  }
  if ((whose & consumer_died) != 0) {
    log(LogLevel::warning,
        "a process died inside get() of a queue, perhaps with an item in hand; the queue goes on");
  }
}

inline void Ring::commit_taken(const Head& head, std::size_t messages) {
  if (counts_tasks_) note_taken(head, messages);
  memory().consumers.head.commit(head);
  if (!counts_tasks_) return;
  MULTIPROCESSING_STOP_POINT("ring.tasks.taken");
  settle_note();
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
      if (ring.handle_gate_.leave()) ring.close_handles();
    }
  } const leave{*this};
  std::forward<Use>(use)();
  return true;
}

}  // namespace multiprocessing

#include <multiprocessing/queues/ring_reading.ipp>
#if MULTIPROCESSING_DEFINES
#  include <multiprocessing/queues/ring_batches.ipp>
#  include <multiprocessing/queues/ring_consumer.ipp>
#  include <multiprocessing/queues/ring_creation.ipp>
#  include <multiprocessing/queues/ring_loans.ipp>
#  include <multiprocessing/queues/ring_producer.ipp>
#  include <multiprocessing/queues/ring_shutdown.ipp>
#  include <multiprocessing/queues/ring_tasks.ipp>
#  include <multiprocessing/queues/ring_waiting.ipp>
#endif
