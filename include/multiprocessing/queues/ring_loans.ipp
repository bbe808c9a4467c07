// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file ring_loans.ipp
/// @brief Messages that are written and read in place.
#include <multiprocessing/queues/ring.hpp>

namespace multiprocessing {

// Maps the blocks at the first use in this process. The pages that say whose they are exist then.
// With the consumer lock held.
MULTIPROCESSING_INLINE void Ring::open_loans_here() {
  if (loans_open_.load(std::memory_order_relaxed)) return;
  std::error_code ec;
  const bool open = use_handle([&] {
    region_.commit(detail::task_book_begin, sizeof(detail::TaskBook), ec);
    if (!ec) region_.commit(detail::loan_table_begin, sizeof(detail::LoanTable), ec);
    os::UniqueHandle handle;
    if (!ec) handle = os::UniqueHandle{os::duplicate_handle(region_.handle(), ec)};
    const std::uint64_t size = 2 * detail::reservation(areas_);
    if (!ec) lent_ = os::SharedRegion::adopt(std::move(handle), size, ec);
    if (!ec) lent_usable_ = std::make_unique<decltype(lent_usable_)::element_type>();
  });
  if (!open) check_open();
  if (ec) throw std::system_error{ec, "no memory for a queue's loans"};
  loans_open_.store(true, std::memory_order_release);
}

MULTIPROCESSING_INLINE bool Ring::prepare_loans(const detail::Deadline& deadline) noexcept {
  try {
    const Held held = hold_consumer_lock(deadline);
    if (!held) return false;
    open_loans_here();
    static_cast<void>(own_holder());
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

MULTIPROCESSING_INLINE void Ring::take_from_the_dead() noexcept {
  try {
    if (!has_loans()) return;
    const Held held = hold_consumer_lock(detail::Deadline{std::chrono::seconds{0}});
    if (held) forget_the_dead();
  } catch (const std::exception&) {  // no memory to open their processes
  }
}

MULTIPROCESSING_INLINE bool Ring::is_in_block(std::span<const std::byte> message) const noexcept {
  return loans_open_.load(std::memory_order_acquire) && message.data() >= lent_.data() &&
         message.data() < lent_.data() + lent_.size();
}

MULTIPROCESSING_INLINE std::byte* Ring::block_data(std::size_t block) const noexcept {
  return lent_.data() + detail::reservation(areas_) + Loans::begin_of(block);
}

MULTIPROCESSING_INLINE bool Ring::is_block(std::uint64_t block) const noexcept {
  return block < Loans::blocks &&
         Loans::begin_of(block) + Loans::size_of(block) <= detail::reservation(areas_);
}

// ---- whoever has a block ----

MULTIPROCESSING_INLINE std::optional<std::size_t> Ring::claim_block(std::uint64_t size,
                                                                    std::uint64_t holder) {
  const std::uint64_t mine = BlockWord{BlockWord::filling, holder, 0}.packed();
  for (std::size_t block = 0; is_block(block); ++block) {
    if (Loans::size_of(block) < size) {
      block += Loans::of_each_size - 1;
      continue;
    }
    std::uint64_t expected = BlockWord{}.packed();
    auto& word = loans().words[block];
    if (word.load(std::memory_order_relaxed) == expected &&
        word.compare_exchange_strong(expected, mine, std::memory_order_acquire)) {
      MULTIPROCESSING_STOP_POINT("ring.lend.claimed");
      return block;
    }
  }
  return std::nullopt;
}

MULTIPROCESSING_INLINE std::optional<std::size_t> Ring::lend(std::uint64_t size,
                                                             const detail::Deadline& deadline) {
  std::size_t smallest = 0;
  while (is_block(smallest) && Loans::size_of(smallest) < size) smallest += Loans::of_each_size;
  if (!is_block(smallest)) {
    throw std::system_error{
        std::make_error_code(std::errc::not_enough_memory),
        "a loan of " + std::to_string(size) + " bytes: a queue has no such room"};
  }
  // Once known, without the lock: a process that lends all the time need not meet consumers for it.
  constexpr unsigned holder_shift = 16;
  const auto me = static_cast<std::uint64_t>(os::process_id());
  std::uint64_t known = known_holder_.load(std::memory_order_acquire);
  if (known >> holder_shift != me) {
    const Held held = hold_consumer_lock(deadline);
    if (!held) return std::nullopt;
    open_loans_here();
    known = (me << holder_shift) | own_holder();
    known_holder_.store(known, std::memory_order_release);
  }
  check_open();
  const std::uint64_t holder = known & BlockWord::holder_mask;
  std::optional<std::size_t> block = claim_block(size, holder);
  while (!block) {
    check_open();
    if (is_shut_down()) throw_shut_down();  // what is lent out may never come back
    const auto announced = os::Bell::announce(book().all_done);
    {
      const Held held = hold_consumer_lock(deadline);
      if (!held) return std::nullopt;
      forget_the_dead();
    }
    block = claim_block(size, holder);
    const auto left = deadline.left(os::Bell::longest_sleep);
    if (block || left == left.zero()) break;
    all_done_.sleep(book().all_done, announced, left);
  }
  if (!block) return std::nullopt;
  auto& committed = loans().committed[*block];
  const std::uint64_t begin = detail::reservation(areas_) + Loans::begin_of(*block);
  const bool is_said = committed.load(std::memory_order_relaxed) >= size;
  bool is_there = size == 0;
  std::error_code ignored;
  if (is_said && !is_there) is_there = is_lent_usable(*block, size, ignored);
  if (!is_there) {
    std::error_code ec;
    const bool open = use_handle([&] { lent_.commit(begin, size, ec); });
    if (!open || ec) {
      return_block(*block);
      check_open();
      throw std::system_error{ec, "no memory for a loan"};
    }
    committed.store(size, std::memory_order_relaxed);
  }
  return block;
}

/// The memory of some large blocks that are free stays, if they are not huge: what flows steadily
/// touches no fresh page.
MULTIPROCESSING_INLINE void Ring::return_block(std::size_t block) noexcept {
  constexpr std::uint64_t dear = std::uint64_t{1} << 20U;
  constexpr std::uint64_t huge = std::uint64_t{16} << 20U;
  constexpr int kept = 2;
  auto& table = loans();
  if (loans_open_.load(std::memory_order_acquire) &&
      table.committed[block].load(std::memory_order_relaxed) >= dear) {
    int others = 0;
    const std::size_t first = block - block % Loans::of_each_size;
    for (std::size_t i = first; i < first + Loans::of_each_size; ++i) {
      others += table.words[i].load(std::memory_order_relaxed) == 0 &&
                        table.committed[i].load(std::memory_order_relaxed) != 0
                    ? 1
                    : 0;
    }
    if (others >= kept || Loans::size_of(block) > huge) {
      table.committed[block].store(0, std::memory_order_relaxed);
      MULTIPROCESSING_STOP_POINT("ring.lend.returning");
      use_handle([&] {
        lent_.discard(detail::reservation(areas_) + Loans::begin_of(block), Loans::size_of(block));
      });
    }
  }
  table.words[block].store(BlockWord{}.packed(), std::memory_order_release);
  MULTIPROCESSING_STOP_POINT("ring.lend.returned");
  all_done_.ring(book().all_done);
}

// ---- with a lock held ----

MULTIPROCESSING_INLINE bool Ring::has_loans() noexcept {
  if (loans_open_.load(std::memory_order_acquire)) return true;
  bool usable = false;
  std::error_code ignored;
  use_handle([&] {
    usable = region_.is_usable(detail::loan_table_begin, sizeof(detail::LoanTable), ignored);
  });
  return usable;
}

/// What died on its way into the ring, or out of it, is there or it is free.
/// @param state the one that only the lock's holder gives. @param now what its side counts.
MULTIPROCESSING_INLINE void Ring::settle_blocks(BlockWord::State state,
                                                std::uint64_t now) noexcept {
  if (!has_loans()) return;
  for (auto& shared : loans().words) {
    BlockWord word = BlockWord::from_packed(shared.load(std::memory_order_relaxed));
    if (word.state != state) continue;
    const bool happened = word.was_reached(now);
    const bool is_there = happened == (state == BlockWord::committing);
    // A consumer may have seen to it meanwhile.
    std::uint64_t seen = word.packed();
    shared.compare_exchange_strong(
        seen, BlockWord{is_there ? BlockWord::queued : BlockWord::free}.packed());
  }
}

MULTIPROCESSING_INLINE void Ring::free_blocks_of(std::size_t holder) noexcept {
  if (!has_loans()) return;
  for (std::size_t block = 0; block < Loans::blocks; ++block) {
    const BlockWord word =
        BlockWord::from_packed(loans().words[block].load(std::memory_order_acquire));
    const bool is_held = word.state == BlockWord::filling || word.state == BlockWord::viewing;
    if (is_held && word.holder == holder) return_block(block);
  }
}

MULTIPROCESSING_INLINE bool Ring::put_lent(std::size_t block,
                                           std::uint64_t size,
                                           const detail::Deadline& deadline) {
  auto& word = loans().words[block];
  const std::uint64_t filling = word.load(std::memory_order_relaxed);
  const detail::LentMessage message{block, size};
  BlockWord next = BlockWord::from_packed(filling);
  const auto write = [&](std::byte* to) {
    next.state = BlockWord::committing;
    next.count = memory().producers.tail.current()[Producers::count] + 1;
    std::memcpy(to, &message, sizeof message);
    std::uint64_t header = Record::pack(Record::message, sizeof message) | Record::lent;
    std::memcpy(to - Record::header_size, &header, sizeof header);
    word.store(next.packed(), std::memory_order_release);
    MULTIPROCESSING_STOP_POINT("ring.put_lent.committing");
  };
  const auto written = [&] {  // unless a consumer was here first
    std::uint64_t committing = next.packed();
    word.compare_exchange_strong(committing, BlockWord{BlockWord::queued}.packed());
  };
  return put(sizeof message, write, deadline, written);
}

/// A block's word, which a record refers to. Whoever reads the record may be here before its
/// producer, who may have died on the way from his commit.
MULTIPROCESSING_INLINE Ring::BlockWord Ring::arrived(
    std::atomic<std::uint64_t>& shared) const noexcept {
  std::uint64_t packed = shared.load(std::memory_order_acquire);
  const BlockWord word = BlockWord::from_packed(packed);
  if (word.state != BlockWord::committing) return word;
  const BlockWord queued{BlockWord::queued};
  const bool is_there = word.was_reached(memory().producers.tail.read()[Producers::count]);
  if (!is_there || shared.compare_exchange_strong(packed, queued.packed())) {
    return is_there ? queued : word;
  }
  return BlockWord::from_packed(packed);
}

/// Whether so much of a block may be touched. What the system has said once is kept.
MULTIPROCESSING_INLINE bool Ring::is_lent_usable(std::size_t block,
                                                 std::uint64_t size,
                                                 std::error_code& ec) {
  auto& seen = (*lent_usable_)[block];
  if (size <= seen.load(std::memory_order_relaxed)) return true;
  const std::uint64_t begin = detail::reservation(areas_) + Loans::begin_of(block);
  bool usable = false;
  if (!use_handle([&] { usable = lent_.is_usable(begin, size, ec); })) check_open();
  if (usable && !ec) seen.store(size, std::memory_order_relaxed);
  return usable && !ec;
}

/// The message that a record refers to; none: it is not there.
MULTIPROCESSING_INLINE std::optional<std::span<const std::byte>> Ring::lent_message(
    std::span<const std::byte> record, std::size_t& block) {
  open_loans_here();
  detail::LentMessage message{};
  if (record.size() != sizeof message) return std::nullopt;
  std::memcpy(&message, record.data(), sizeof message);
  if (!is_block(message.block) || message.size > Loans::size_of(message.block)) return std::nullopt;
  block = message.block;
  const auto word = arrived(loans().words[block]);
  std::error_code ec;
  const bool usable = message.size == 0 || is_lent_usable(block, message.size, ec);
  if (ec) throw std::system_error{ec, "cannot look at a queue's memory"};
  if (word.state != BlockWord::queued || !usable) return std::nullopt;
  return std::span<const std::byte>{block_data(block), message.size};
}

}  // namespace multiprocessing
