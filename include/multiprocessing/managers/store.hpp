// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file store.hpp
/// @brief Shared memory whose changes happen wholly or not at all, whoever dies when.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/heap.hpp>
#include <multiprocessing/managers/layout.hpp>
#include <multiprocessing/os/memory.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/synchronize/lock_core.hpp>
#include <multiprocessing/timeout.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

namespace multiprocessing::detail {

/// @brief A Manager's memory, as one process has it: words and blocks that are found by offset.
///
/// One robust lock guards all of it. Before a word changes, its old value is appended to an undo
/// log in the same memory; setting the log's length to zero commits all changes at once. Whoever
/// gets the lock from a dead owner writes the old values back, from the end. Memory that was free
/// when the change began is written without the log: nobody can come there before the commit.
///
/// Access (to look) and Change (to change) take the lock; all members but save() need it.
/// @shape Blocks of up to 64 GiB in all, less where the address space is limited.
class Store {
 public:
  static constexpr std::uint64_t largest =
      std::min<std::uint64_t>(std::uint64_t{64} << 30U, os::SharedRegion::largest / 4);
  static constexpr std::uint64_t smallest = std::uint64_t{16} << 20U;

  /// @throws std::system_error no handle, address space or memory is left.
  static std::shared_ptr<Store> create();
  explicit Store(SharedObject<StoreState> state) : state_{std::move(state)} { check_layout(); }

  /// @throws SerializationError nothing travels beside the bytes.
  void save(Encoder& encoder) const { state_.save(encoder); }
  static std::shared_ptr<Store> load(Decoder& decoder) {
    return std::make_shared<Store>(SharedObject<StoreState>::load(decoder));
  }
  /// @brief What values in this store may refer to without handles of their own: the store.
  [[nodiscard]] Transit inside() const {
    return Transit{{{type_hash<Arena>(), 0, state_.block().arena_shared()}}, {}};
  }
  /// @brief Whether both are the same memory.
  [[nodiscard]] bool is(const Store& other) const noexcept {
    return &state_.block().arena() == &other.state_.block().arena();
  }

  [[nodiscard]] StoreState& state() const noexcept {
    return *reinterpret_cast<StoreState*>(base_ + Arena::page);
  }

  /// @brief No more than so many bytes of blocks will there ever be.
  [[nodiscard]] std::uint64_t most_bytes() const noexcept { return region().size() - data_begin_; }

  // ---- looking ----

  /// @brief `size` bytes of a block.
  /// @throws ProcessError there are none: something else wrote into the memory.
  [[nodiscard]] std::byte* bytes(std::uint64_t offset, std::uint64_t size) const {
    check(offset, size);
    return base() + offset;
  }
  void check(std::uint64_t offset, std::uint64_t size) const {
    const std::uint64_t end = usable_.load(std::memory_order_relaxed);
    if (offset < data_begin_ || size > end || offset > end - size)
      look_what_is_usable(offset, size);
  }
  /// @brief A word of a block.
  [[nodiscard]] std::uint64_t word(std::uint64_t offset) const {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes(offset, sizeof value), sizeof value);
    return value;
  }
  [[noreturn]] MULTIPROCESSING_SELDOM static void damaged() {
    throw ProcessError{"the manager's shared memory is damaged: it was written by something else"};
  }

  // ---- changing ----

  /// @brief Changes a word. @param offset a multiple of eight.
  /// @throws std::system_error there is no memory for the log; nothing has changed.
  void set(std::uint64_t offset, std::uint64_t value) {
    check(offset, sizeof value);
    set_anywhere(offset, value);
  }
  /// @brief A block of `size` bytes with anything in it, which may be written without set() until
  /// the change is committed.
  /// @throws std::system_error no memory is left.
  [[nodiscard]] std::uint64_t allocate(std::uint64_t size);
  /// @brief A number that no container of this store has had.
  [[nodiscard]] std::uint64_t next_number() noexcept { return ++state().numbers; }
  /// @brief Gives a block back when the change is committed.
  void release(std::uint64_t block);

  /// @brief Whether the change that is going on has changed anything yet.
  [[nodiscard]] bool has_changes() const noexcept {
    return state().log_length.load(std::memory_order_relaxed) != 0;
  }

  // ---- for Access and Change ----

  /// @brief After an owner's death: all is as before the change that it died in.
  void recover() noexcept;
  /// @brief Takes back what the log says beyond `length`.
  void roll_back(std::uint64_t length) noexcept;
  void commit();

 private:
  static constexpr std::uint64_t word_size = sizeof(std::uint64_t);
  static constexpr std::uint64_t step = std::uint64_t{64} << 10U;
  static constexpr std::uint64_t longest_step = std::uint64_t{16} << 20U;
  static constexpr std::uint64_t kept_log = std::uint64_t{1} << 20U;  // bytes

  [[nodiscard]] os::SharedRegion& region() const noexcept { return state_.block().arena().region; }
  [[nodiscard]] std::byte* base() const noexcept { return base_; }
  [[nodiscard]] std::uint64_t offset_of(const std::uint64_t& field) const noexcept {
    return static_cast<std::uint64_t>(reinterpret_cast<const std::byte*>(&field) - base());
  }
  [[nodiscard]] std::uint64_t* raw(std::uint64_t offset) const noexcept {
    return reinterpret_cast<std::uint64_t*>(base() + offset);
  }
  [[nodiscard]] UndoEntry* log() const noexcept {
    return reinterpret_cast<UndoEntry*>(base() + store_log_begin);
  }
  void note(std::uint64_t offset) {
    StoreState& state = this->state();
    const std::uint64_t length = state.log_length.load(std::memory_order_relaxed);
    if (length >= state.log_room.load(std::memory_order_relaxed)) make_log_room(length);
    log()[length] = {offset, *raw(offset)};
    MULTIPROCESSING_STOP_POINT("store.log.written");
    state.log_length.store(length + 1, std::memory_order_release);
    MULTIPROCESSING_STOP_POINT("store.log.counted");
  }
  void set_anywhere(std::uint64_t offset, std::uint64_t value) {
    note(offset);
    // Released: never before the log's length.
    std::atomic_ref{*raw(offset)}.store(value, std::memory_order_release);
    MULTIPROCESSING_STOP_POINT("store.word.changed");
  }
  void set_field(std::uint64_t& field, std::uint64_t value) {
    set_anywhere(offset_of(field), value);
  }
  // The holder's notes are undone only where a change within a change is.
  void set_note(std::uint64_t& field, std::uint64_t value) {
    if (state().changes > 1) note(offset_of(field));
    field = value;
  }

  [[nodiscard]] std::uint64_t usable_end() const noexcept {
    return std::min<std::uint64_t>(state().committed, region().size());
  }
  void check_layout();
  MULTIPROCESSING_SELDOM void look_what_is_usable(std::uint64_t offset, std::uint64_t size) const;
  MULTIPROCESSING_SELDOM void make_log_room(std::uint64_t length);
  void make_room(std::uint64_t end);
  void get_memory(std::uint64_t offset, std::uint64_t size);
  void settle_limbo(std::uint64_t classes);
  void give_back_memory(std::uint64_t classes) noexcept;
  MULTIPROCESSING_SELDOM void shrink_log() noexcept;

  SharedObject<StoreState> state_;
  std::byte* base_ = nullptr;
  std::uint64_t data_begin_ = 0;
  mutable std::atomic<std::uint64_t> usable_{0};  // as far as this process has looked
};

/// @brief Holds a store's lock, once more if this thread has it.
class Access {
 public:
  explicit Access(Store& store) : store_{&store}, state_{&store.state()} {
    if (state_->lock.is_mine()) {
      ++state_->depth;
      return;
    }
    const os::Acquired acquired = take(state_->lock, forever);
    state_->depth = 1;
    state_->changes = 0;
    if (acquired == os::Acquired::abandoned) store.recover();
  }
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;
  ~Access() {
    if (--state_->depth != 0) return;
    MULTIPROCESSING_STOP_POINT("store.access.done");
    state_->lock.unlock();
    MULTIPROCESSING_STOP_POINT("store.access.unlocked");
  }

 protected:
  [[nodiscard]] Store& store() const noexcept { return *store_; }

 private:
  Store* store_;
  StoreState* state_;
};

/// @brief A change of a store: all of it happens at commit(), or nothing. A change within another
/// one is part of that, and happens when that does.
class Change : public Access {
 public:
  explicit Change(Store& changed)
      : Access{changed}, before_{changed.state().log_length.load(std::memory_order_relaxed)} {
    if (++changed.state().changes == 1) changed.state().limbo_classes = 0;
  }
  ~Change() {
    if (!done_) store().roll_back(before_);
    --store().state().changes;
  }
  /// @throws std::system_error there is no memory for the log; nothing has changed.
  void commit() {
    if (store().state().changes == 1) store().commit();
    done_ = true;
  }

 private:
  std::uint64_t before_;
  bool done_ = false;
};

}  // namespace multiprocessing::detail

#if MULTIPROCESSING_DEFINES
#  include <multiprocessing/managers/store.ipp>
#endif
