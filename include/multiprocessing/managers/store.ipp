// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file store.ipp
/// @brief A store's memory: where it comes from, where it goes, and how a change is taken back.
#include <multiprocessing/managers/store.hpp>

namespace multiprocessing::detail {

MULTIPROCESSING_INLINE std::shared_ptr<Store> Store::create() {
  std::uint64_t size = largest;
  const auto reserve = [&] {
    for (;; size /= 2) {  // address space may be limited
      try {
        return SharedObject<StoreState>::reserve(size);
      } catch (const std::system_error& error) {
        if (error.code() != std::errc::not_enough_memory || size <= smallest) throw;
      }
    }
  };
  SharedObject<StoreState> made = reserve();
  std::error_code ec;
  made->lock.initialise(ec);
  if (ec) throw std::system_error{ec, "cannot initialise a manager's lock"};
  made->log_begin = store_log_begin;
  made->data_begin = store_log_begin + size / 8;
  made->data_end = size;
  made->tail = made->data_begin;
  made->committed = made->data_begin;
  return std::make_shared<Store>(std::move(made));
}

MULTIPROCESSING_INLINE void Store::check_layout() {
  base_ = state_.block().data() - state_.block().offset();
  const StoreState& state = *state_.operator->();
  data_begin_ = state.data_begin;
  usable_ = data_begin_;
  if (state_.block().offset() != Arena::page || state.log_begin != store_log_begin ||
      state.data_end != state_.block().arena().header().end || state.data_end < smallest ||
      state.data_begin != store_log_begin + state.data_end / 8) {
    throw SerializationError{"what arrived is not the memory of a Manager"};
  }
}

MULTIPROCESSING_INLINE void Store::look_what_is_usable(std::uint64_t offset,
                                                       std::uint64_t size) const {
  const std::uint64_t end = state().committed.load(std::memory_order_relaxed);
  const std::uint64_t most = region().size();
  std::error_code ec;
  if (offset < data_begin_ || end > most || size > end || offset > end - size) damaged();
  if (!region().is_usable(offset, size, ec)) {
    if (ec) throw std::system_error{ec, "cannot ask for the size of a manager's memory"};
    damaged();
  }
  usable_ = std::max(usable_.load(), offset + size);
}

MULTIPROCESSING_INLINE void Store::get_memory(std::uint64_t offset, std::uint64_t size) {
  std::error_code ec;
  region().commit(offset, size, ec);
  if (ec) throw std::system_error{ec, "cannot get shared memory for a manager's container"};
}

MULTIPROCESSING_INLINE void Store::make_log_room(std::uint64_t length) {
  const std::uint64_t most = (data_begin_ - store_log_begin) / sizeof(UndoEntry);
  const std::uint64_t room = state().log_room;
  if (length > room || room > most) damaged();
  const std::uint64_t wanted = std::min(most, std::max(step / sizeof(UndoEntry), room + room / 2));
  if (wanted <= length) {
    throw std::system_error{std::make_error_code(std::errc::not_enough_memory),
                            "one change of a manager's container changes too much"};
  }
  get_memory(store_log_begin + room * sizeof(UndoEntry), (wanted - room) * sizeof(UndoEntry));
  MULTIPROCESSING_STOP_POINT("store.log.grown");
  state().log_room.store(wanted, std::memory_order_release);
  MULTIPROCESSING_STOP_POINT("store.log.room_counted");
}

MULTIPROCESSING_INLINE void Store::make_room(std::uint64_t end) {
  StoreState& state = this->state();
  if (end > state.data_end) {
    throw std::system_error{std::make_error_code(std::errc::not_enough_memory),
                            "a manager's memory is full: its address space has " +
                                std::to_string(state.data_end) + " bytes"};
  }
  const std::uint64_t now = state.committed;
  if (end <= now) return;
  if (now < data_begin_) damaged();
  const std::uint64_t more = std::clamp((now - data_begin_) / 4, step, longest_step);
  std::uint64_t wanted =
      std::min(state.data_end, (std::max(end, now + more) + step - 1) / step * step);
  std::error_code ec;
  region().commit(now, wanted - now, ec);
  if (ec && wanted != end) {  // just enough may be there
    wanted = end;
    get_memory(now, wanted - now);
  } else if (ec) {
    throw std::system_error{ec, "cannot get shared memory for a manager's container"};
  }
  MULTIPROCESSING_STOP_POINT("store.memory.grown");
  state.committed.store(wanted, std::memory_order_release);
  MULTIPROCESSING_STOP_POINT("store.memory.counted");
}

MULTIPROCESSING_INLINE std::uint64_t Store::allocate(std::uint64_t size) {
  StoreState& state = this->state();
  const unsigned which = BlockClass::of(size);
  if (which == BlockClass::count) {
    throw std::system_error{std::make_error_code(std::errc::not_enough_memory),
                            "a value is too large for a manager's memory"};
  }
  const std::uint64_t whole = BlockClass::size_of(which);
  if (const std::uint64_t block = state.free[which]; block != 0) {
    check(block, word_size);
    // It may have given its memory back.
    if (which >= BlockClass::first_large) get_memory(block, whole);
    const std::uint64_t next = *raw(block);
    note(block);  // the link is to be there again, should the block be free again
    set_field(state.free[which], next);
    return block;
  }
  const std::uint64_t begin = state.tail;
  if (begin < data_begin_ || begin % word_size != 0) damaged();
  const std::uint64_t block = begin + word_size;
  make_room(block + whole);
  check(begin, word_size + whole);
  *raw(begin) = which;
  MULTIPROCESSING_STOP_POINT("store.block.begun");
  set_field(state.tail, block + whole);
  return block;
}

MULTIPROCESSING_INLINE void Store::release(std::uint64_t block) {
  StoreState& state = this->state();
  const std::uint64_t which = word(block - word_size);
  if (which >= BlockClass::count) damaged();
  const std::uint64_t bit = std::uint64_t{1} << which;
  Limbo& limbo = state.limbo[which];
  const bool is_first = (state.limbo_classes & bit) == 0;
  set(block, is_first ? 0 : limbo.first);
  if (is_first) set_note(limbo.last, block);
  set_note(limbo.first, block);
  if (is_first) set_note(state.limbo_classes, state.limbo_classes | bit);
}

// What the change has given back becomes free with it.
MULTIPROCESSING_INLINE void Store::settle_limbo(std::uint64_t classes) {
  StoreState& state = this->state();
  for (; classes != 0; classes &= classes - 1) {
    const auto which = static_cast<std::size_t>(std::countr_zero(classes));
    set(state.limbo[which].last, state.free[which]);
    set_field(state.free[which], state.limbo[which].first);
  }
}

MULTIPROCESSING_INLINE void Store::commit() {
  StoreState& state = this->state();
  if (state.log_length.load(std::memory_order_relaxed) == 0) return;
  const std::uint64_t classes = state.limbo_classes;
  settle_limbo(classes);
  MULTIPROCESSING_STOP_POINT("store.commit.ready");
  state.log_length.store(0, std::memory_order_release);
  MULTIPROCESSING_STOP_POINT("store.commit.done");
  constexpr std::uint64_t large = ~std::uint64_t{0} << BlockClass::first_large;
  if ((classes & large) != 0) give_back_memory(classes & large);
  if (state.log_room.load(std::memory_order_relaxed) * sizeof(UndoEntry) > kept_log) shrink_log();
}

// Of blocks that are free, all but the page with the link.
MULTIPROCESSING_INLINE void Store::give_back_memory(std::uint64_t classes) noexcept {
  const StoreState& state = this->state();
  for (; classes != 0; classes &= classes - 1) {
    const auto which = static_cast<unsigned>(std::countr_zero(classes));
    for (std::uint64_t block = state.limbo[which].first;; block = *raw(block)) {
      region().discard(block + word_size, BlockClass::size_of(which) - word_size);
      if (block == state.limbo[which].last) break;
    }
  }
}

MULTIPROCESSING_INLINE void Store::shrink_log() noexcept {
  StoreState& state = this->state();
  const std::uint64_t room = state.log_room;
  state.log_room.store(kept_log / sizeof(UndoEntry), std::memory_order_release);
  MULTIPROCESSING_STOP_POINT("store.log.shrunk");
  region().discard(store_log_begin + kept_log, room * sizeof(UndoEntry) - kept_log);
}

MULTIPROCESSING_INLINE void Store::roll_back(std::uint64_t length) noexcept {
  StoreState& state = this->state();
  const std::uint64_t now =
      std::min(state.log_length.load(std::memory_order_acquire), state.log_room.load());
  for (std::uint64_t i = now; i-- > length;) {
    const UndoEntry entry = log()[i];
    if (entry.offset % word_size != 0 || entry.offset >= usable_end()) continue;  // never ours
    std::atomic_ref{*raw(entry.offset)}.store(entry.value, std::memory_order_release);
    MULTIPROCESSING_STOP_POINT("store.undo.word");
  }
  if (state.log_length.load() > length) state.log_length.store(length, std::memory_order_release);
  MULTIPROCESSING_STOP_POINT("store.undo.done");
}

MULTIPROCESSING_INLINE void Store::recover() noexcept {
  MULTIPROCESSING_STOP_POINT("store.recover.begun");
  roll_back(0);
}

}  // namespace multiprocessing::detail
