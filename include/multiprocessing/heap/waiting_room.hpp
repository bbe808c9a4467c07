// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file waiting_room.hpp
/// @brief Where threads of any process sleep so that others see which of them lives.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/heap/arena.hpp>
#include <multiprocessing/heap/block.hpp>
#include <multiprocessing/os/lock.hpp>
#include <multiprocessing/os/wakeup.hpp>
#include <multiprocessing/timeout.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <system_error>

namespace multiprocessing::detail {

/// @brief What a seat is used for.
enum class Sitting : std::uint64_t {
  nobody,    ///< It is free.
  waiting,   ///< Somebody waits to be called; when he dies, nobody misses him.
  called,    ///< He has been called; when he dies before he stood up, another one is called.
  expected,  ///< Somebody others wait for; when he dies, who wants his seat tells his object first.
};

/// @brief Where an object hears of the deaths of those it expects, from whoever wants their seats.
/// Zero at first: of none.
class LatestDeath {
 public:
  /// @brief One with that ticket died. Tickets count up, and around; an older one is no news.
  void note(std::uint32_t ticket) noexcept {
    std::uint64_t known = word_.load(std::memory_order_seq_cst);
    while (!covers(known, ticket) && !word_.compare_exchange_weak(known, noted | ticket)) {
    }
  }
  [[nodiscard]] bool has(std::uint32_t ticket) const noexcept {
    return word_.load(std::memory_order_seq_cst) == (noted | ticket);
  }
  /// @brief Nobody asks any more for that ticket and those before.
  void forget(std::uint32_t ticket) noexcept {
    std::uint64_t known = word_.load(std::memory_order_seq_cst);
    if (known != 0 && covers(noted | ticket, static_cast<std::uint32_t>(known))) {
      word_.compare_exchange_strong(known, 0);  // or there is news
    }
  }

 private:
  static constexpr std::uint64_t noted = std::uint64_t{1} << 32U;
  [[nodiscard]] static bool covers(std::uint64_t known, std::uint32_t ticket) noexcept {
    return known != 0 && static_cast<std::int32_t>(static_cast<std::uint32_t>(known) - ticket) >= 0;
  }

  std::atomic<std::uint64_t> word_;
};

/// @brief One sleeper's place in shared memory.
struct alignas(128) Seat {
  os::RobustLock lock;  ///< Held by who sits here. Not held: the seat is free, or its sitter died.
  /// How often it was taken, times 4, and a Sitting. Nobody but the holder of `lock` changes it,
  /// except from `waiting` to `called`, by compare-and-swap.
  std::atomic<std::uint64_t> word;
  std::atomic<std::uint64_t> object;  ///< The number of what he waits at.
  std::atomic<std::uint64_t> ticket;  ///< What `object` wants to know of him.
  std::atomic<std::uint64_t>
      limit;  ///< When called: those with smaller tickets may take his place.
  std::atomic<std::uint64_t> deaths;  ///< When expected: where in the arena the LatestDeath of
                                      ///< `object` lies.
  os::Wakeup wakeup;

  [[nodiscard]] static Sitting sitting(std::uint64_t word) noexcept {
    return static_cast<Sitting>(word & 3U);
  }
  [[nodiscard]] static std::uint64_t with(std::uint64_t word, Sitting sitting) noexcept {
    return (word & ~std::uint64_t{3}) | static_cast<std::uint64_t>(sitting);
  }
  [[nodiscard]] Sitting sitting() const noexcept {
    return sitting(word.load(std::memory_order_seq_cst));
  }
  /// @brief For the holder of `lock`.
  void become(Sitting what) noexcept {
    word.store(with(word.load(std::memory_order_relaxed), what), std::memory_order_seq_cst);
  }
};

/// @brief What somebody else saw of a seat at one moment.
struct SeatView {
  std::uint64_t word;
  std::uint64_t object;
  std::uint64_t ticket;
  bool lives;  ///< Who sits there.
  [[nodiscard]] Sitting sitting() const noexcept { return Seat::sitting(word); }
};

/// @brief The waiting room of an arena. All who wait at objects of the arena share it.
/// @shape 128 bytes for each who waits at one time, in steps of 4 KiB; at most 8,192 at once.
class WaitingRoom {
 public:
  explicit WaitingRoom(Arena& arena) noexcept : arena_{&arena} {}

  /// @brief A number that no other object of the arena has or had.
  [[nodiscard]] std::uint64_t next_object() const noexcept {
    return header().objects.fetch_add(1) + 1;
  }

  /// @brief A free seat, whose lock this thread holds now.
  /// @throws std::system_error none is left, or no memory.
  [[nodiscard]] Seat& take() const {
    for (;;) {
      const std::uint32_t count = seats();
      for (std::uint32_t i = 0; i < count; ++i) {
        if (try_take(seat(i))) return seat(i);
      }
      make_seats(count);
    }
  }

  /// @brief This thread, which holds the seat's lock, sits down.
  /// @param deaths of who is expected: where in the arena his object hears of his death. His ticket
  /// has 32 bits.
  static void sit(Seat& seat,
                  std::uint64_t object,
                  std::uint64_t ticket,
                  Sitting how,
                  std::uint64_t deaths = 0) noexcept {
    const std::uint64_t again = ((seat.word.load() >> 2U) + 1) << 2U;
    seat.word.store(again, std::memory_order_seq_cst);
    // Released: who sees one of them sees by the word that it has changed.
    seat.object.store(object, std::memory_order_release);
    seat.ticket.store(ticket, std::memory_order_release);
    seat.limit.store(0, std::memory_order_release);
    seat.deaths.store(deaths, std::memory_order_release);
    seat.word.store(Seat::with(again, how), std::memory_order_seq_cst);
  }
  /// @returns whether he had been called.
  static bool stand_up(Seat& seat) noexcept {
    const std::uint64_t word = seat.word.load(std::memory_order_relaxed);
    const std::uint64_t before = seat.word.exchange(Seat::with(word, Sitting::nobody));
    seat.lock.unlock();
    return Seat::sitting(before) == Sitting::called;
  }

  /// @brief Calls `visit(seat, view)` for those who sit at `object`, dead or alive.
  template <class Visit>
  void each(std::uint64_t object, Visit visit) const {
    const std::uint32_t count = seats();
    for (std::uint32_t i = 0; i < count; ++i) {
      Seat& one = seat(i);
      SeatView view{};
      do {
        view.word = one.word.load(std::memory_order_seq_cst);
        view.object = one.object.load(std::memory_order_acquire);
        view.ticket = one.ticket.load(std::memory_order_acquire);
        view.lives = one.lock.is_held();
      } while (view.word != one.word.load(std::memory_order_seq_cst));
      if (view.sitting() != Sitting::nobody && view.object == object) visit(one, view);
    }
  }

  /// @brief Calls up to `many` of the living who wait at `object`, the smallest tickets first.
  /// @param limit the ticket that the next to sit down gets.
  void call(std::uint64_t object, std::uint64_t limit, std::size_t many) const noexcept {
    while (many > 0) {
      Seat* first = nullptr;
      SeatView seen{};
      each(object, [&](Seat& seat, const SeatView& view) {
        if (view.sitting() != Sitting::waiting || !view.lives || view.ticket >= limit) return;
        if (first != nullptr && view.ticket >= seen.ticket) return;
        first = &seat;
        seen = view;
      });
      if (first == nullptr) return;
      if (call_one(*first, seen.word, limit)) --many;
    }
  }
  void call_all(std::uint64_t object, std::uint64_t limit) const noexcept {
    each(object, [&](Seat& seat, const SeatView& view) {
      if (view.sitting() == Sitting::waiting && view.lives) call_one(seat, view.word, limit);
    });
  }
  /// @brief If somebody who was called at `object` died before he stood up, calls another one.
  void call_for_the_dead(std::uint64_t object) const noexcept {
    each(object, [&](Seat& seat, const SeatView& view) {
      if (view.sitting() == Sitting::called && !view.lives && try_take(seat)) stand_up(seat);
    });
  }
  /// @brief Sees to a seat of somebody `expected` who died and is missed no more: it is free from
  /// now on.
  static void clear(Seat& seat, const SeatView& view) noexcept {
    if (seat.lock.try_lock() == os::Acquired::no) return;
    if (seat.word.load() == view.word) seat.become(Sitting::nobody);
    seat.lock.unlock();
  }

 private:
  static constexpr std::uint32_t seats_a_step = 32;
  static constexpr std::uint32_t most_seats = Arena::room_size / sizeof(Seat);

  [[nodiscard]] ArenaHeader& header() const noexcept { return arena_->header(); }
  [[nodiscard]] Seat& seat(std::uint32_t number) const noexcept {
    return reinterpret_cast<Seat*>(arena_->region.data() + arena_->end)[number];
  }
  // How many may be touched. Anybody can write what the header says; that there is memory, only the
  // system knows, which is asked once for each number.
  [[nodiscard]] std::uint32_t seats() const noexcept {
    const std::uint32_t said = header().seats.load(std::memory_order_acquire);
    const std::uint32_t known = arena_->known_seats.load(std::memory_order_relaxed);
    if (said <= known) return said;
    std::error_code ec;
    if (said > most_seats) return known;
    if (arena_->region.is_usable(arena_->end, said * sizeof(Seat), ec)) {
      arena_->known_seats.store(said, std::memory_order_relaxed);
    } else if (!ec) {
      return known;
    }
    return said;
  }

  // Whoever died here and had been called is replaced first, while his seat is held: if we die on
  // the way, the next one calls once more, which is better than never.
  [[nodiscard]] bool try_take(Seat& seat) const noexcept {
    std::uint64_t word = seat.word.load(std::memory_order_seq_cst);
    if (seat.lock.is_held()) return false;
    // Before the lock: while it is tried, the dead seem to live.
    if (Seat::sitting(word) == Sitting::expected && !tell_of_death(seat, word)) return false;
    if (seat.lock.try_lock() == os::Acquired::no) return false;
    const std::uint64_t told = word;
    word = seat.word.load(std::memory_order_seq_cst);
    do {  // until nobody calls him any more
      if (Seat::sitting(word) == Sitting::expected && word != told) {
        seat.lock.unlock();
        return false;
      }
      if (Seat::sitting(word) != Sitting::called) continue;
      MULTIPROCESSING_STOP_POINT("room.inherit.begun");
      call(seat.object, seat.limit, 1);
      MULTIPROCESSING_STOP_POINT("room.inherit.called");
    } while (!seat.word.compare_exchange_strong(word, Seat::with(word, Sitting::nobody)));
    return true;
  }

  // Nobody held the lock of a seat after it had that word, of somebody expected. @returns false: he
  // has stood up, or his object cannot be told.
  [[nodiscard]] bool tell_of_death(const Seat& seat, std::uint64_t word) const noexcept {
    const std::uint64_t ticket = seat.ticket.load(std::memory_order_acquire);
    const std::uint64_t where = seat.deaths.load(std::memory_order_acquire);
    if (seat.word.load(std::memory_order_seq_cst) != word) return false;
    const std::uint64_t end = std::min<std::uint64_t>(arena_->end, header().committed);
    std::error_code ec;
    if (where % alignof(LatestDeath) != 0 || where < Arena::first_offset || where > end ||
        end - where < sizeof(LatestDeath) ||
        !arena_->region.is_usable(where, sizeof(LatestDeath), ec)) {
      return !ec;  // nobody is there to be told
    }
    auto* const deaths = reinterpret_cast<LatestDeath*>(arena_->region.data() + where);
    deaths->note(static_cast<std::uint32_t>(ticket));
    MULTIPROCESSING_STOP_POINT("room.death.noted");
    return true;
  }

  static bool call_one(Seat& seat, std::uint64_t word, std::uint64_t limit) noexcept {
    std::uint64_t known = seat.limit.load(std::memory_order_relaxed);
    while (known < limit && !seat.limit.compare_exchange_weak(known, limit)) {
    }
    if (!seat.word.compare_exchange_strong(word, Seat::with(word, Sitting::called))) return false;
    MULTIPROCESSING_STOP_POINT("room.call.stored");
    seat.wakeup.wake();
    MULTIPROCESSING_STOP_POINT("room.call.woken");
    return true;
  }

  // Whoever dies on the way leaves seats that nobody counts; the next one makes them anew.
  void make_seats(std::uint32_t seen) const {
    constexpr std::chrono::seconds moment{1};
    std::error_code ec;
    while (header().room.lock(Deadline{moment}, ec) == os::Acquired::no) {
      if (ec) throw std::system_error{ec, "cannot take a waiting room's lock"};
    }
    if (seats() == seen) make_more(ec);
    header().room.unlock();
    if (ec) throw std::system_error{ec, "cannot wait: no room for another one who waits"};
  }
  void make_more(std::error_code& ec) const noexcept {
    const std::uint32_t first = header().seats;
    const std::uint32_t end = first + seats_a_step;
    if (first > most_seats || end > most_seats) {
      ec = std::make_error_code(std::errc::resource_unavailable_try_again);
      return;
    }
    arena_->region.commit(arena_->end + first * sizeof(Seat), seats_a_step * sizeof(Seat), ec);
    for (std::uint32_t i = first; i < end && !ec; ++i) {
      seat(i).lock.initialise(ec);
      seat(i).wakeup.initialise();
    }
    if (!ec) header().seats.store(end, std::memory_order_release);
  }

  Arena* arena_;
};

}  // namespace multiprocessing::detail
