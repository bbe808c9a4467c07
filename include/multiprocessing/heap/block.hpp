// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file block.hpp
/// @brief A piece of shared memory for one object.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/heap/arena.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/serialization.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <utility>

namespace multiprocessing::detail {

/// @brief One piece of an arena, as one object of this process has it. Zero at first.
///
/// It lives as long as somebody has it, in any process. Travels as its arena and its place there.
/// @shape Begins at a multiple of 128 bytes; beyond 16 KiB it has an arena to itself, and begins on
/// a page.
class Block {
 public:
  static constexpr std::size_t alignment = 128;  ///< Two cache lines: processors fetch pairs.

  /// @param what for errors, e.g. "a Lock".
  /// @throws std::system_error no handle or memory is left. std::bad_array_new_length: `size` is
  /// more than any memory.
  static Block allocate(std::size_t size, const std::string& what);
  /// @brief A block at the beginning of an arena of its own. What lies behind it there, up to
  /// `reservation` bytes from the arena's beginning, is address space for its owner to commit.
  /// @throws as allocate(); ENOMEM: there is no address space for so much.
  static Block reserve(std::size_t size, std::size_t reservation, const std::string& what);

  Block(Block&& other) noexcept
      : arena_{std::move(other.arena_)},
        offset_{other.offset_},
        size_{std::exchange(other.size_, 0)},
        born_{other.born_},
        was_seen_{other.was_seen_.load()} {}
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  Block& operator=(Block&&) = delete;
  ~Block() {
    if (size_ != 0) give_back();
  }

  [[nodiscard]] std::byte* data() const noexcept { return arena_->region.data() + offset_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t offset() const noexcept { return offset_; }
  [[nodiscard]] Arena& arena() const noexcept { return *arena_; }
  /// @brief The same, as it travels.
  [[nodiscard]] std::shared_ptr<Arena> arena_shared() const { return arena_.shared(); }

  /// @brief Call it before the end if a thread of this process holds a lock that lies in the block:
  /// the memory is not used again, and the arena stays mapped if the lock is still held when nobody
  /// here has anything in it.
  void leave_held(const os::RobustLock& lock) noexcept {
    const auto* const at = reinterpret_cast<const std::byte*>(&lock);
    const auto offset = static_cast<std::size_t>(at - arena_->region.data());
    const std::lock_guard guard{process_state().mutex};
    was_seen_ = true;
    auto& known = arena_->left_held;
    if (std::ranges::find(known, offset) != known.end()) return;
    try {
      known.push_back(offset);
    } catch (const std::bad_alloc&) {
      arena_->stays_mapped = true;
    }
  }

  /// @throws SerializationError nothing travels beside the bytes.
  void save(Encoder& encoder, const char* what) const {
    was_seen_ = true;
    reduction::save_shared(encoder, arena_.shared(), what);
    encoder.write_number(std::uint64_t{offset_});
    encoder.write_number(std::uint64_t{size_});
  }
  /// @throws SerializationError the bytes name no block of that size at least.
  static Block load(Decoder& decoder, std::size_t least_size, const char* what) {
    const auto shared = reduction::load_shared<Arena>(decoder);
    const auto offset = decoder.read_number<std::uint64_t>();
    const auto size = decoder.read_number<std::uint64_t>();
    const std::uint64_t end = std::min<std::uint64_t>(
        shared->end, shared->header().committed.load(std::memory_order_acquire));
    std::error_code ec;
    if (offset % alignment != 0 || offset < Arena::first_offset || offset > end ||
        size > end - offset || size < least_size || !shared->region.is_usable(offset, size, ec)) {
      if (ec) throw std::system_error{ec, "cannot look at shared memory"};
      throw SerializationError{"what arrived is not " + std::string{what} +
                               ": no such place in the shared memory"};
    }
    const std::lock_guard lock{process_state().mutex};
    return Block{ArenaReference{*shared}, offset, size, true};
  }

 private:
  Block(ArenaReference arena, std::size_t offset, std::size_t size, bool was_seen) noexcept
      : arena_{std::move(arena)}, offset_{offset}, size_{size}, was_seen_{was_seen} {}

  static Block allocate_alone(std::size_t size, const std::string& what);
  static ArenaReference arena_with_room(std::size_t size, const std::string& what);
  void give_back() noexcept;

  ArenaReference arena_;
  std::size_t offset_;
  std::size_t size_;
  std::uint32_t born_ = 0;              // how many forks this process had made
  mutable std::atomic<bool> was_seen_;  // by another process, perhaps; or it may not be used again
};

/// @brief An arena of this process with that much space. The state's mutex is held.
inline ArenaReference Block::arena_with_room(std::size_t size, const std::string& what) {
  const std::uint32_t here = process_state().forks;
  unsigned own = 0;
  for (Arena* const arena : heap_state().arenas) {
    if (arena->creator != here) continue;
    if (const auto pieces = arena->unused.find(size);
        pieces != arena->unused.end() && !pieces->second.empty()) {
      return ArenaReference{*arena};
    }
    if (arena->end - arena->next >= size) return ArenaReference{*arena};
    ++own;
  }
  return make_arena(Arena::smallest << std::min(own, Arena::most_doublings), what);
}

inline Block Block::allocate_alone(std::size_t size, const std::string& what) {
  if (size > std::numeric_limits<std::size_t>::max() / 4) throw std::bad_array_new_length{};
  const std::size_t end = Arena::page + (size + Arena::page - 1) / Arena::page * Arena::page;
  ArenaReference arena;  // its end takes the mutex: it outlives the guard
  {
    const std::lock_guard lock{process_state().mutex};
    arena = make_arena(end, what);
    arena->next = end;
    commit_arena(*arena, end, what);
  }
  return Block{std::move(arena), Arena::page, size, true};
}

inline Block Block::reserve(std::size_t size, std::size_t reservation, const std::string& what) {
  os::install_fork_handlers();
  ArenaReference arena;  // as above
  {
    const std::lock_guard lock{process_state().mutex};
    arena = make_arena(reservation, what);
    arena->next = reservation;
    commit_arena(*arena, Arena::page + size, what);
  }
  return Block{std::move(arena), Arena::page, size, true};
}

inline Block Block::allocate(std::size_t size, const std::string& what) {
  os::install_fork_handlers();
  if (size > Arena::largest_block) return allocate_alone(size, what);
  const std::size_t whole = (size + alignment - 1) / alignment * alignment;
  ArenaReference arena;  // as above
  const std::lock_guard lock{process_state().mutex};
  arena = arena_with_room(whole, what);
  auto& pieces = arena->unused[whole];
  std::size_t offset = arena->next;
  if (!pieces.empty()) {
    offset = pieces.back();
    pieces.pop_back();
    std::memset(arena->region.data() + offset, 0, whole);
  } else {
    commit_arena(*arena, offset + whole, what);
    arena->next += whole;
  }
  Block made{std::move(arena), offset, whole, false};
  made.born_ = process_state().forked;
  return made;
}

inline void Block::give_back() noexcept {
  const std::lock_guard lock{process_state().mutex};
  const bool is_ours = arena_->creator == process_state().forks;
  if (!is_ours || was_seen_ || born_ != process_state().forked) return;
  try {
    arena_->unused[size_].push_back(offset_);
  } catch (const std::bad_alloc&) {  // then it stays unused as long as the arena lives
  }
}

/// @brief A State in a block.
/// @tparam State All zero at first. Has `magic`, which says what the memory is, `expected_magic`,
/// and `name`, by which errors call it ("a Lock").
template <class State>
class SharedObject {
 public:
  static_assert(alignof(State) <= Block::alignment);

  /// @param more bytes behind the State.
  /// @throws std::system_error no handle or memory is left.
  static SharedObject create(std::size_t more = 0) {
    if (more > std::numeric_limits<std::size_t>::max() / 4) throw std::bad_array_new_length{};
    return with_magic(Block::allocate(sizeof(State) + more, State::name));
  }
  /// @brief As Block::reserve().
  static SharedObject reserve(std::size_t reservation) {
    return with_magic(Block::reserve(sizeof(State), reservation, State::name));
  }
  /// @throws SerializationError nothing travels beside the bytes.
  void save(Encoder& encoder) const { block_.save(encoder, State::name); }
  /// @throws SerializationError the bytes name no State.
  static SharedObject load(Decoder& decoder) {
    SharedObject made{Block::load(decoder, sizeof(State), State::name)};
    if (made->magic != State::expected_magic) {
      throw SerializationError{"what arrived is not the memory of " + std::string{State::name}};
    }
    return made;
  }

  [[nodiscard]] State* operator->() const noexcept { return state_; }
  [[nodiscard]] std::byte* behind() const noexcept { return block_.data() + sizeof(State); }
  [[nodiscard]] const Block& block() const noexcept { return block_; }
  /// @brief As Block::leave_held().
  void leave_held(const os::RobustLock& lock) noexcept { block_.leave_held(lock); }

 private:
  explicit SharedObject(Block block) noexcept
      : block_{std::move(block)}, state_{reinterpret_cast<State*>(block_.data())} {}
  static SharedObject with_magic(Block block) {
    SharedObject made{std::move(block)};
    made->magic = State::expected_magic;
    return made;
  }

  Block block_;
  // Where it is, and stays. Known at once: behind an atomic operation, as on the way in and out of
  // a lock, the steps from the block to its arena and on to the memory would be waited for in turn.
  State* state_;
};

}  // namespace multiprocessing::detail
