// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file loan.hpp
/// @brief Large messages without a copy: written where they are read.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/queues/ring.hpp>
#include <multiprocessing/timeout.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

namespace multiprocessing {

namespace detail {

/// @brief Has a block of a ring, and gives it back.
/// @processes a copy that a fork made gives nothing back.
class BorrowedBlock {
 public:
  BorrowedBlock() noexcept = default;
  BorrowedBlock(std::shared_ptr<Ring> ring, std::size_t block) noexcept
      : ring_{std::move(ring)}, block_{block}, owner_{os::process_id()} {}
  BorrowedBlock(BorrowedBlock&&) noexcept = default;
  BorrowedBlock(const BorrowedBlock&) = delete;
  BorrowedBlock& operator=(const BorrowedBlock&) = delete;
  BorrowedBlock& operator=(BorrowedBlock&& other) noexcept {
    std::swap(ring_, other.ring_);
    std::swap(block_, other.block_);
    std::swap(owner_, other.owner_);
    return *this;
  }
  ~BorrowedBlock() {
    if (ring_ && is_ours()) ring_->return_block(block_);
  }

  [[nodiscard]] bool is_there() const noexcept { return ring_ != nullptr; }
  [[nodiscard]] bool is_ours() const noexcept { return owner_ == os::process_id(); }
  [[nodiscard]] Ring& ring() const noexcept { return *ring_; }
  [[nodiscard]] std::size_t block() const noexcept { return block_; }
  [[nodiscard]] std::byte* data() const noexcept { return ring_->block_data(block_); }
  void let_go() noexcept { ring_.reset(); }

 private:
  std::shared_ptr<Ring> ring_;
  std::size_t block_ = 0;
  int owner_ = 0;
};

}  // namespace detail

/// @brief Room for elements of one message of a Queue<T>, to be filled in and committed; otherwise
/// it is given back when this ends, or its process does. Made by Queue::loan.
/// @threads one at a time.
template <class T>
class Loan {
 public:
  /// @brief For Queue::loan.
  Loan(detail::BorrowedBlock block, std::size_t size) noexcept
      : block_{std::move(block)}, size_{size} {}

  /// @brief The elements: whatever was there before. Empty after commit().
  [[nodiscard]] std::span<T> span() const noexcept {
    if (!block_.is_there()) return {};
    return {reinterpret_cast<T*>(block_.data()), size_};
  }
  /// @brief Puts them at the end of the queue, as one message.
  /// @param timeout how long to wait while the queue is full.
  /// @throws Full it was full for so long; the loan is as before.
  /// @throws ShutDown. std::invalid_argument it was committed already, or the queue is closed here.
  /// @throws std::logic_error this is a copy that a fork made: the loan is its parent's.
  void commit(Timeout timeout = forever) {
    if (!block_.is_there()) throw std::invalid_argument{"this loan was committed already"};
    if (!block_.is_ours()) {
      throw std::logic_error{"a loan can be committed only by the process that asked for it"};
    }
    const detail::Deadline deadline{timeout};
    if (!block_.ring().put_lent(block_.block(), size_ * sizeof(T), deadline)) {
      throw Full{"the queue is full; the loan is not committed"};
    }
    block_.let_go();
  }

 private:
  detail::BorrowedBlock block_;
  std::size_t size_;
};

/// @brief The elements of one message of a Queue<T>, where they are; given back when this ends, or
/// its process does. Made by Queue::get_view. What was not put by a Loan is a copy.
/// @threads any may read.
template <class T>
class View {
 public:
  /// @brief For Queue::get_view.
  View(detail::BorrowedBlock block, std::span<const T> elements) noexcept
      : block_{std::move(block)}, elements_{elements} {}
  /// @brief Of a message that was not put by a Loan.
  explicit View(std::vector<T> copy) noexcept : copy_{std::move(copy)}, elements_{copy_} {}

  /// @brief The elements, as long as this lives.
  [[nodiscard]] std::span<const T> span() const noexcept { return elements_; }
  /// @brief Whether they are where they were put, so that nothing was copied.
  [[nodiscard]] bool is_in_place() const noexcept { return block_.is_there(); }

 private:
  detail::BorrowedBlock block_;
  std::vector<T> copy_;
  std::span<const T> elements_;  // moving moves none
};

}  // namespace multiprocessing
