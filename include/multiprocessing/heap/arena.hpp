// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file arena.hpp
/// @brief One piece of anonymous shared memory in which many objects lie.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/lock.hpp>
#include <multiprocessing/os/memory.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/random.hpp>
#include <multiprocessing/reduction.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief The beginning of an arena's memory.
struct ArenaHeader {
  static constexpr std::uint64_t expected_magic = 0x316e657241706d21;  // "!mpAren1"

  std::uint64_t magic;
  std::array<std::uint64_t, 2> id;       ///< Random; by it a process knows an arena that it has.
  std::uint64_t end;                     ///< Where the blocks end, and the waiting room begins.
  std::atomic<std::uint64_t> committed;  ///< Up to here blocks may be touched. Only grows; stored
                                         ///< by the creator.
  std::atomic<std::uint64_t> objects;    ///< Counts those that got a number by next_object().
  std::atomic<std::uint32_t> seats;  ///< As many seats of the waiting room are made. Only grows;
                                     ///< stored by the holder of `room`.
  os::RobustLock room;               ///< Held while seats are made.
};

/// @brief What this process knows of an arena.
///
/// Everybody who has the handle may use all of it. Space is given out by one process only, the
/// creator, which keeps the books in its own memory: no other process can leave them broken, and a
/// forked child, which inherits a copy of the books, makes arenas of its own instead.
///
/// Space is used again only if no other process can have seen the block that lay there: it never
/// travelled, and no fork was made while it existed. All other space comes back with the arena: the
/// kernel frees that when the last process that has a block in it lets go, or dies.
/// @threads All members but `region`, `end` and `known_seats` under the process state's mutex.
struct Arena {
  static constexpr std::size_t first_offset = 256;  ///< Of blocks, behind the header.
  static constexpr std::size_t smallest = std::size_t{64} << 10U;
  static constexpr unsigned most_doublings = 6;
  static constexpr std::size_t step = std::size_t{16} << 10U;  ///< In which it is committed.
  static constexpr std::size_t largest_block = step;  ///< What is larger has an arena to itself.
  static constexpr std::size_t room_size = std::size_t{1} << 20U;
  static constexpr std::size_t page = std::size_t{4} << 10U;
  static constexpr std::uint64_t nobody = ~std::uint64_t{0};
  static_assert(sizeof(ArenaHeader) <= first_offset);

  os::SharedRegion region;
  std::uint64_t end = 0;  ///< As the header had it when this process came: others may write there.
  std::atomic<std::uint32_t> known_seats{0};  ///< So many of the waiting room may be touched.
  std::uint64_t creator =
      nobody;            ///< Who gives out its space: how many forks lie between the first
                         ///< process and that one, which no other of our ancestors shares.
  std::size_t next = 0;  ///< Behind the last block.
  std::map<std::size_t, std::vector<std::size_t>> unused;  ///< Offsets of pieces to use again, by
                                                           ///< size.
  unsigned references = 0;
  std::vector<std::size_t> left_held;  ///< Where locks lie that a thread of this process held when
                                       ///< a copy of theirs here ended.
  bool stays_mapped = false;           ///< There was no memory to note one.

  /// @brief Whether unmapping it would break what the system knows of a thread's locks.
  [[nodiscard]] bool must_stay_mapped() const noexcept {
    return stays_mapped || std::ranges::any_of(left_held, [this](std::size_t offset) {
             const auto* const at = region.data() + offset;
             return reinterpret_cast<const os::RobustLock*>(at)->must_stay_mapped();
           });
  }
  [[nodiscard]] ArenaHeader& header() const noexcept {
    return *reinterpret_cast<ArenaHeader*>(region.data());
  }
  [[nodiscard]] std::vector<os::UniqueHandle> duplicate_handles() const {
    return reduction::duplicates(std::array{region.handle()});
  }
  /// @brief The arena that another process sent; the one that this process has already, if it does.
  /// @throws SerializationError the handle is not an arena's.
  static std::shared_ptr<Arena> adopt(std::vector<os::UniqueHandle> handles);
};

/// @brief The arenas that this process has mapped. Guarded by the process state's mutex.
struct HeapState {
  std::vector<Arena*> arenas;
};

[[nodiscard]] inline HeapState& heap_state() {
  static auto& one = os::process_wide<HeapState>();
  return one;
}

/// @brief Keeps an arena mapped. Counted by hand: a shared pointer's code may be unloaded with the
/// shared library that made it.
class ArenaReference {
 public:
  ArenaReference() noexcept = default;
  /// @brief The state's mutex is held.
  explicit ArenaReference(Arena& arena) noexcept : arena_{&arena} { ++arena.references; }
  ArenaReference(ArenaReference&& other) noexcept : arena_{std::exchange(other.arena_, nullptr)} {}
  ArenaReference(const ArenaReference&) = delete;
  ArenaReference& operator=(const ArenaReference&) = delete;
  ArenaReference& operator=(ArenaReference&& other) noexcept {
    std::swap(arena_, other.arena_);
    return *this;
  }
  ~ArenaReference() {
    if (arena_ != nullptr) let_go();
  }

  explicit operator bool() const noexcept { return arena_ != nullptr; }
  [[nodiscard]] Arena* operator->() const noexcept { return arena_; }
  [[nodiscard]] Arena& operator*() const noexcept { return *arena_; }
  /// @brief As Transit wants it; equal for one arena.
  [[nodiscard]] std::shared_ptr<Arena> shared() const {
    ArenaReference another;
    {
      const std::lock_guard lock{process_state().mutex};
      another = ArenaReference{*arena_};
    }
    return share(std::move(another));
  }
  [[nodiscard]] static std::shared_ptr<Arena> share(ArenaReference reference) {
    const auto owner = std::make_shared<ArenaReference>(std::move(reference));
    return {owner, owner->arena_};
  }

 private:
  void let_go() noexcept {
    {
      const std::lock_guard lock{process_state().mutex};
      if (--arena_->references != 0) return;
      std::erase(heap_state().arenas, arena_);
    }
    if (arena_->must_stay_mapped()) arena_->region.leave_mapped();
    delete arena_;
  }

  Arena* arena_ = nullptr;
};

namespace heap {

/// @brief Refuses what arrived, or says that the system refuses.
inline void check_arrived(std::error_code ec) {
  if (!ec) return;
  if (ec == std::errc::invalid_argument || ec == std::errc::bad_file_descriptor ||
      ec == std::errc::permission_denied || ec == std::errc::operation_not_permitted ||
      ec == std::errc::no_such_device) {
    throw SerializationError{"cannot map what arrived as shared memory: " + ec.message()};
  }
  throw std::system_error{ec, "cannot map shared memory that arrived"};
}

}  // namespace heap

inline std::shared_ptr<Arena> Arena::adopt(std::vector<os::UniqueHandle> handles) {
  if (handles.size() != 1) throw SerializationError{"shared memory arrived without its handle"};
  std::error_code ec;
  // Its beginning says how large it is.
  auto region = os::SharedRegion::adopt(std::move(handles.front()), sizeof(ArenaHeader), ec);
  heap::check_arrived(ec);
  region.commit(0, sizeof(ArenaHeader), ec);  // it may be shorter than that
  heap::check_arrived(ec);
  const auto& header = *reinterpret_cast<const ArenaHeader*>(region.data());
  const std::uint64_t end = header.end;
  const std::uint64_t committed = header.committed;
  constexpr std::uint64_t largest = std::uint64_t{1} << 46U;
  if (header.magic != ArenaHeader::expected_magic || end % page != 0 || end > largest ||
      committed > end) {
    throw SerializationError{"what arrived is not the memory of shared objects"};
  }
  os::install_fork_handlers();
  ArenaReference found;  // its end takes the mutex: it outlives the guard
  {
    const std::lock_guard lock{process_state().mutex};
    for (Arena* const known : heap_state().arenas) {
      if (known->header().id != header.id) continue;
      found = ArenaReference{*known};
      break;  // a second one, and the first reference would end here, with the mutex held
    }
    if (!found) {
      auto arena = std::make_unique<Arena>();
      auto handle = os::UniqueHandle{os::duplicate_handle(region.handle(), ec)};
      heap::check_arrived(ec);
      arena->end = end;
      arena->region = os::SharedRegion::adopt(std::move(handle), end + room_size, ec);
      heap::check_arrived(ec);
      arena->region.commit(0, committed, ec);  // as above
      heap::check_arrived(ec);
      heap_state().arenas.push_back(arena.get());
      found = ArenaReference{*arena.release()};
    }
  }
  return ArenaReference::share(std::move(found));
}

/// @brief An arena for blocks up to `end`, or for one block that is larger. The state's mutex is
/// held.
/// @throws std::system_error no handle or memory is left.
[[nodiscard]] inline ArenaReference make_arena(std::size_t end, const std::string& what) {
  std::error_code ec;
  const auto check = [&] {
    if (ec) throw std::system_error{ec, "cannot get shared memory for " + what};
  };
  auto arena = std::make_unique<Arena>();
  arena->region = os::SharedRegion::create(end + Arena::room_size, ec);
  check();
  arena->region.commit(0, Arena::page, ec);
  check();
  ArenaHeader& header = arena->header();
  os::random_bytes(std::as_writable_bytes(std::span{header.id}), ec);
  check();
  header.room.initialise(ec);
  check();
  arena->end = header.end = end;
  header.committed = Arena::page;
  header.magic = ArenaHeader::expected_magic;
  arena->creator = process_state().forks;
  arena->next = Arena::first_offset;
  heap_state().arenas.push_back(arena.get());
  return ArenaReference{*arena.release()};
}

/// @brief Makes an arena usable up to `end`. The state's mutex is held; this process created it.
/// @throws std::system_error the system refuses memory.
inline void commit_arena(Arena& arena, std::size_t end, const std::string& what) {
  ArenaHeader& header = arena.header();
  const std::size_t now = header.committed;
  if (end <= now) return;
  const std::size_t wanted =
      std::min<std::size_t>(arena.end, (end + Arena::step - 1) / Arena::step * Arena::step);
  std::error_code ec;
  arena.region.commit(now, wanted - now, ec);
  if (ec) throw std::system_error{ec, "cannot get shared memory for " + what};
  header.committed.store(wanted, std::memory_order_release);
}

}  // namespace multiprocessing::detail
