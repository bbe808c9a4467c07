// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file board.hpp
/// @brief What each worker is doing, in shared memory.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/os/crash.hpp>
#include <multiprocessing/os/memory.hpp>
#include <multiprocessing/reduction.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief One worker's line on the board. The parent clears it before a worker begins.
struct alignas(128) WorkerSlot {
  /// The number of the last task begun, shifted by one; the lowest bit: *condemned*. The worker
  /// begins a task by a compare-and-swap from the one before; the parent sets the bit by another,
  /// and then nothing can be begun any more.
  std::atomic<std::uint64_t> word;
  std::atomic<std::int64_t> begun;        ///< When that task was begun: steady clock, nanoseconds.
  std::atomic<std::uint32_t> ready;       ///< 1: the initializer has returned.
  std::atomic<std::uint32_t> maps_tasks;  ///< 1: the worker can take tasks from blocks.
  std::atomic<std::uint32_t> maps_results;  ///< 1: the parent can take results from blocks.
  /// How many messages of its channel the parent has received, or will not receive.
  std::atomic<std::uint32_t> received;

  static constexpr std::uint64_t condemned = 1;
  static constexpr std::uint64_t word_for(std::uint64_t task) noexcept { return task << 1U; }
};

/// @brief The slots of a crew; behind them where its workers say how they crashed; and its book of
/// code: what the workers need to know to run each kind of task, written once. @shape One handle;
/// 4 KiB for each worker; the book grows, up to 64 MiB.
class Board {
 public:
  /// @throws std::system_error no handle or memory is left.
  static std::shared_ptr<Board> create(std::uint32_t places) {
    std::error_code ec;
    const std::size_t book = begin_of_book(places);
    auto region = os::SharedRegion::create(book + largest_book, ec);
    if (!ec) region.commit(0, book, ec);
    if (ec) throw std::system_error{ec, "cannot get shared memory for a pool"};
    std::shared_ptr<Board> board{new Board{std::move(region)}};
    board->header() = {expected_magic, places};
    board->book_end_ = board->committed_ = book;
    return board;
  }
  /// @throws SerializationError the handle is not that of a board.
  static std::shared_ptr<Board> adopt(std::vector<os::UniqueHandle> handles) {
    if (handles.size() != 1) throw SerializationError{"a pool's board arrived without its handle"};
    std::error_code ec;
    os::UniqueHandle second{os::duplicate_handle(handles[0].get(), ec)};
    if (ec) throw std::system_error{ec, "cannot duplicate the handle of a pool's board"};
    Board front{os::SharedRegion::adopt(std::move(second), sizeof(Header), ec)};
    if (!ec) front.region_.commit(0, sizeof(Header), ec);  // it may be shorter than that
    if (ec) throw SerializationError{"what arrived is no pool's board: " + ec.message()};
    if (front.header().magic != expected_magic) throw SerializationError{"this is no pool's board"};
    const std::size_t book = begin_of_book(front.header().places);
    auto region = os::SharedRegion::adopt(std::move(handles[0]), book + largest_book, ec);
    if (ec) throw SerializationError{"what arrived is no pool's board: " + ec.message()};
    return std::shared_ptr<Board>{new Board{std::move(region)}};
  }
  [[nodiscard]] std::vector<os::UniqueHandle> duplicate_handles() const {
    return reduction::duplicates(std::array{region_.handle()});
  }

  [[nodiscard]] WorkerSlot& slot(std::uint32_t place) const {
    if (place >= header().places) throw SerializationError{"a pool's board has no such place"};
    return reinterpret_cast<WorkerSlot*>(region_.data() + sizeof(Header))[place];
  }

  /// @brief Where that worker says how it crashed. The parent clears it before a worker begins.
  [[nodiscard]] os::CrashRecord& crash(std::uint32_t place) const {
    static_cast<void>(slot(place));
    std::byte* const first = region_.data() + sizeof(Header) + header().places * sizeof(WorkerSlot);
    return reinterpret_cast<os::CrashRecord*>(first)[place];
  }

  /// @brief Writes a page of the book. The parent only, one thread at a time.
  /// @returns where it stands. @throws std::system_error no memory.
  std::uint64_t write(std::span<const std::byte> page) {
    const std::uint64_t size = page.size();
    const std::size_t end = book_end_ + (sizeof size + page.size() + 7) / 8 * 8;
    if (end > committed_) {
      constexpr std::size_t step = std::size_t{16} << 10U;
      const std::size_t goal = std::min(std::max(end, committed_ + step), region_.size());
      std::error_code ec;
      if (end > region_.size()) ec = std::make_error_code(std::errc::not_enough_memory);
      if (!ec) region_.commit(committed_, goal - committed_, ec);
      if (ec) throw std::system_error{ec, "no memory for the code of a pool's tasks"};
      committed_ = goal;
    }
    std::byte* const to = region_.data() + book_end_;
    std::memcpy(to, &size, sizeof size);
    if (size != 0) std::memcpy(to + sizeof size, page.data(), page.size());
    return std::exchange(book_end_, end);
  }
  /// @brief A page that was written before the message came that names it.
  [[nodiscard]] std::span<const std::byte> page(std::uint64_t at) const {
    std::uint64_t size = 0;
    if (at > region_.size() - sizeof size)
      throw SerializationError{"a pool's book has no such page"};
    std::memcpy(&size, region_.data() + at, sizeof size);
    if (size > region_.size() - at - sizeof size) {
      throw SerializationError{"a page of a pool's book is damaged"};
    }
    return {region_.data() + at + sizeof size, static_cast<std::size_t>(size)};
  }

 private:
  static constexpr std::uint64_t expected_magic = 0x3164726f42706d21;  // "!mpBord1"
  struct alignas(128) Header {
    std::uint64_t magic;
    std::uint64_t places;
  };

  static std::size_t begin_of_book(std::uint64_t places) noexcept {
    return sizeof(Header) + places * (sizeof(WorkerSlot) + sizeof(os::CrashRecord));
  }
  explicit Board(os::SharedRegion region) noexcept : region_{std::move(region)} {}
  [[nodiscard]] Header& header() const noexcept {
    return *reinterpret_cast<Header*>(region_.data());
  }

  static constexpr std::size_t largest_book = std::size_t{64} << 20U;

  os::SharedRegion region_;
  std::size_t book_end_ = 0;  // the parent's
  std::size_t committed_ = 0;
};

/// @brief The time that parent and workers compare: steady clock, nanoseconds.
[[nodiscard]] inline std::int64_t now_in_nanoseconds() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace multiprocessing::detail
