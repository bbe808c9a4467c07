// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/bell.hpp>
#include <multiprocessing/os/lock.hpp>
#include <multiprocessing/os/memory.hpp>
#include <multiprocessing/os/message.hpp>
#include <multiprocessing/os/posix/commit_file.ipp>
#include <multiprocessing/os/posix/sealed_memory.ipp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/wait.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include <linux/magic.h>
#include <sched.h>
#include <sys/types.h>
#include <sys/vfs.h>

namespace multiprocessing::os::posix {

// What lies in front of a passage's ring. It was zero.
struct PassagePage {
  static constexpr std::uint64_t nowhere = ~std::uint64_t{0};

  // Held by a sender from its first change until all of its message is there, or it gives up.
  // Free, and not all there: the message was never sent.
  RobustLock sending;
  // 1: a message is in it, or may be. Set by the holder of `sending`. Cleared by who received that
  // message, or by the holder, if it sent no packet that tells of it.
  std::atomic<std::uint32_t> busy;
  // How many bytes of the message are there. Changed by the holder of `sending`. Who receives reads
  // it once for each step, as everything here: what another process writes may change at any time.
  alignas(64) std::atomic<std::uint64_t> written;
  // From which byte on they lie behind the ring, or nowhere. Changed once, by the holder, before
  // `written` counts it: no message comes after. Whoever is last to see that nobody needs those
  // bytes gives their memory back: who received the message, after `busy`, or who sent it.
  std::atomic<std::uint64_t> spilled;
  // How many bytes have been taken out. Changed by who received the message.
  alignas(64) std::atomic<std::uint64_t> taken;
};

// Where a message goes that comes piece by piece: to where the caller has room, or into a vector
// that grows as bytes come, so that a size that is a lie costs addresses and no memory.
class Gathering {
 public:
  // Throws std::bad_alloc.
  Gathering(std::span<std::byte> room, std::uint64_t size) {
    if (size <= room.size()) {
      room_ = room.first(static_cast<std::size_t>(size));
      return;
    }
    if (size > whole_.max_size()) throw std::bad_alloc{};
    whole_.reserve(static_cast<std::size_t>(size));
  }
  void add(std::span<const std::byte> piece) {
    if (room_.empty()) {
      whole_.insert(whole_.end(), piece.begin(), piece.end());
    } else {
      std::memcpy(room_.data() + filled_, piece.data(), piece.size());
      filled_ += piece.size();
    }
  }
  // Place for more bytes, which the caller writes.
  std::span<std::byte> more(std::size_t size) {
    if (room_.empty()) {
      whole_.resize(whole_.size() + size);
      return std::span{whole_}.last(size);
    }
    return room_.subspan(std::exchange(filled_, filled_ + size), size);
  }
  IncomingMessage message(std::uint8_t kind) && {
    if (room_.empty()) return {kind, std::move(whole_)};
    return {kind, room_};
  }

 private:
  std::span<std::byte> room_;
  std::size_t filled_ = 0;
  std::vector<std::byte> whole_;
};

// Memory through which one message at a time passes; used again and again, for fresh pages cost
// more than what is copied through them. A page as above, a ring, and behind it, rarely, a file's
// bytes that are not mapped, and that are given back as soon as they are read. Its processes trust
// each other with memory: what is in the page may lead nobody out of the passage or into an endless
// loop, but the lock in it holds the C library's pointers.
class Passage {
 public:
  static constexpr std::size_t front = 4096;
  static constexpr std::size_t ring = std::size_t{2} << 20U;   // two of them fit into most caches
  static constexpr std::size_t piece = std::size_t{1} << 17U;  // of which the ring is a multiple

  ~Passage() {
    if (file() >= 0 && has_spilled() && page().busy.load() == 0) drop_spilled(file());
    multiprocessing::detail::process_state().passages.fetch_sub(1);
  }
  Passage(const Passage&) = delete;
  Passage& operator=(const Passage&) = delete;

  // Which memory it is.
  struct Identity {
    dev_t device;
    ino_t number;
    bool operator==(const Identity&) const = default;
  };

  // Whether this process has so many that no more are to be kept: each may be 2 MiB.
  static bool are_many() noexcept {
    constexpr std::uint32_t many = 32;
    return multiprocessing::detail::process_state().passages.load() >= many;
  }

  // None: the system refuses, or this process has enough of them.
  static std::unique_ptr<Passage> create() noexcept {
    if (are_many()) return nullptr;
    std::error_code ec;
    SharedRegion region = SharedRegion::create(front + ring, ec);
    if (!ec) region.commit(0, front, ec);
    if (ec) return nullptr;
    std::unique_ptr<Passage> made{new (std::nothrow) Passage{std::move(region), {}}};
    if (!made) return nullptr;
    made->page().spilled.store(PassagePage::nowhere);
    made->page().sending.initialise(ec);
    if (ec) return nullptr;
    return made;
  }
  // Another process's, out of a packet; takes over the file if there is room to map it. EBADMSG: it
  // is no such memory. Throws std::bad_alloc.
  static std::unique_ptr<Passage> adopt(UniqueHandle&& file,
                                        Identity identity,
                                        std::error_code& ec) {
    SharedRegion region;
    if (is_plain_memory(file.get())) {
      region = SharedRegion::adopt(std::move(file), front + ring, ec);
    } else {
      ec = std::make_error_code(std::errc::bad_message);
    }
    if (ec == std::errc::permission_denied || ec == std::errc::operation_not_permitted) {
      ec = std::make_error_code(std::errc::bad_message);  // only readable, or sealed so
    }
    if (ec) return nullptr;
    return std::unique_ptr<Passage>{new Passage{std::move(region), identity}};
  }

  [[nodiscard]] int file() const noexcept { return region_.handle(); }
  [[nodiscard]] const Identity& identity() const noexcept { return identity_; }
  // Whether there have been bytes behind its ring: it is not used again.
  [[nodiscard]] bool has_spilled() const noexcept {
    return page().spilled.load() != PassagePage::nowhere;
  }

  // ---- for who sends ----

  // Takes it for a message, and writes as much of it as the ring holds.
  bool begin(std::span<const std::byte> bytes) noexcept {
    // Before it is locked: the receiver of a dead sender's message would take this one for it.
    if (page().busy.load() != 0 || has_spilled()) return false;
    if (page().sending.try_lock() == Acquired::no) return false;
    const std::size_t first = std::min(bytes.size(), ring);
    std::error_code ec;
    if (page().busy.load(std::memory_order_acquire) == 0 && committed_ < first) {
      region_.commit(0, front + first, ec);
      if (!ec) committed_ = first;
    }
    // A sender that died, or a receiver, may have left it busy for good.
    if (ec || has_spilled() || page().busy.load(std::memory_order_acquire) != 0) {
      page().sending.unlock();
      return false;
    }
    page().busy.store(1);
    MULTIPROCESSING_STOP_POINT("passage.send.busy");
    page().taken.store(0);
    std::memcpy(bytes_at(0), bytes.data(), first);
    page().written.store(first, std::memory_order_release);
    return true;
  }
  // Writes the rest, after the packet that tells of it. Waits for nobody who does not take
  // anything, and for nobody once it is interrupted: what is left then goes behind the ring.
  void go_on(std::span<const std::byte> bytes,
             const Interrupt& interrupt,
             std::error_code& ec) noexcept {
    ec.clear();
    for (std::size_t done = ring; done < bytes.size();) {
      const std::size_t now = std::min(piece, bytes.size() - done);
      if (!is_taken(done + now - ring, interrupt)) return spill(bytes, done, ec);
      std::memcpy(bytes_at(done), bytes.data() + done, now);
      done += now;
      page().written.store(done, std::memory_order_release);
      MULTIPROCESSING_STOP_POINT("passage.send.piece");
    }
  }
  void end(bool sent) noexcept {
    if (!sent) page().busy.store(0, std::memory_order_release);
    MULTIPROCESSING_STOP_POINT("passage.send.end");
    page().sending.unlock();
  }

  // ---- for who received the packet that tells of it ----

  // timed_out: the message was never sent: its sender died, or gave up. interrupted: its sender
  // stands still. Throws std::bad_alloc.
  Outcome take(int file,
               std::uint8_t kind,
               std::uint64_t size,
               IncomingMessage& into,
               const Interrupt& interrupt,
               std::error_code& ec) {
    const Leaving leaving{page(), file, size};
    Gathering bytes{into.room(kind), size};
    for (std::uint64_t done = 0; done < size;) {
      std::uint64_t there = 0;
      const Outcome waited = wait_for_more(done, there, interrupt);
      if (waited != Outcome::done) return waited;
      const std::uint64_t spilled = page().spilled.load(std::memory_order_relaxed);
      auto now = std::min({there - done, size - done, piece - done % piece});
      if (done >= spilled) {
        const auto place = bytes.more(static_cast<std::size_t>(now));
        read_at(file, front + ring + (done - spilled), place, ec);
        if (ec) return Outcome::timed_out;
      } else {
        now = std::min(now, spilled - done);
        bytes.add({bytes_at(done), static_cast<std::size_t>(now)});
        page().taken.store(done + now, std::memory_order_release);
      }
      done += now;
      MULTIPROCESSING_STOP_POINT("passage.recv.piece");
    }
    into = std::move(bytes).message(kind);
    return Outcome::done;
  }
  // For a process that cannot have it mapped, which `ec` says: a message that the ring holds is all
  // there.
  static void take_unmapped(int file,
                            std::uint8_t kind,
                            std::uint64_t size,
                            IncomingMessage& into,
                            std::error_code& ec) noexcept {
    try {
      if (size <= ring) {
        Gathering bytes{into.room(kind), size};
        read_at(file, front, bytes.more(static_cast<std::size_t>(size)), ec);
        if (!ec) into = std::move(bytes).message(kind);
      }
    } catch (const std::bad_alloc&) {
      ec = std::make_error_code(std::errc::not_enough_memory);
    }
    constexpr std::array<std::byte, sizeof(PassagePage::busy)> not_busy{};
    std::error_code ignored;
    write_at(file, offsetof(PassagePage, busy), not_busy, ignored);
    if (size > ring) drop_spilled(file);
  }
  void close_file() noexcept { region_.close_handle(); }

 private:
  using Clock = std::chrono::steady_clock;

  // Longer than it takes to wake a receiver that sleeps and has a processor.
  static constexpr std::chrono::milliseconds patience{2};
  static constexpr int looks = 64;

  // Whoever leaves, even in the middle: a sender goes on, and the next message may begin.
  struct Leaving {
    PassagePage& page;
    int file;
    std::uint64_t size;
    Leaving(PassagePage& of, int in, std::uint64_t all) noexcept : page{of}, file{in}, size{all} {}
    Leaving(const Leaving&) = delete;
    Leaving& operator=(const Leaving&) = delete;
    ~Leaving() {
      page.taken.store(size, std::memory_order_release);
      MULTIPROCESSING_STOP_POINT("passage.recv.taken");
      page.busy.store(0);
      MULTIPROCESSING_STOP_POINT("passage.recv.left");
      if (page.spilled.load() != PassagePage::nowhere) drop_spilled(file);
    }
  };

  Passage(SharedRegion region, Identity identity) noexcept
      : region_{std::move(region)}, identity_{identity} {
    multiprocessing::detail::process_state().passages.fetch_add(1);
  }

  // Huge pages, which a file can have without there being any, would kill who touches them.
  static bool is_plain_memory(int file) noexcept {
    struct statfs status {};
    while (MULTIPROCESSING_SYSTEM(fstatfs)(file, &status) != 0) {
      if (errno != EINTR) return false;
    }
    return status.f_type == TMPFS_MAGIC;
  }
  static void drop_spilled(int file) noexcept {
    discard_in_file(file, front + ring, SharedRegion::largest);
  }

  [[nodiscard]] PassagePage& page() const noexcept {
    return *reinterpret_cast<PassagePage*>(region_.data());
  }
  [[nodiscard]] std::byte* bytes_at(std::uint64_t place) const noexcept {
    return region_.data() + front + place % ring;
  }
  [[nodiscard]] bool is_taken(std::uint64_t needed, const Interrupt& interrupt) const noexcept {
    const auto is_so = [&] { return page().taken.load(std::memory_order_acquire) >= needed; };
    for (int look = 0; look < looks; ++look) {
      if (is_so()) return true;
      relax();
    }
    const auto since = Clock::now();
    while (!is_so()) {
      if (interrupt.is_raised() || Clock::now() - since > patience) return false;
      MULTIPROCESSING_SYSTEM(sched_yield)();
    }
    return true;
  }
  void spill(std::span<const std::byte> bytes, std::size_t done, std::error_code& ec) noexcept {
    const BlockedSignal file_size{SIGXFSZ};
    const std::size_t first = done;
    page().spilled.store(first);
    while (done < bytes.size() && !ec) {
      const std::size_t now = std::min(piece, bytes.size() - done);
      write_at(file(), front + ring + (done - first), bytes.subspan(done, now), ec);
      MULTIPROCESSING_STOP_POINT("passage.send.spilled");
      if (ec) return drop_spilled(file());
      done += now;
      page().written.store(done, std::memory_order_release);
    }
  }
  // `there` is more than `done` then. Interrupted, it goes on while the sender does: nobody else
  // can have the message any more.
  [[nodiscard]] Outcome wait_for_more(std::uint64_t done,
                                      std::uint64_t& there,
                                      const Interrupt& interrupt) const {
    constexpr std::chrono::nanoseconds shortest = std::chrono::microseconds{200};
    constexpr std::chrono::nanoseconds longest = Interrupt::longest_blind_wait;
    const auto is_more = [&] {
      there = page().written.load(std::memory_order_acquire);
      return there > done;
    };
    for (int look = 0; look < looks; ++look) {
      if (is_more()) return Outcome::done;
      relax();
    }
    const auto since = Clock::now();
    while (!is_more()) {
      // In this order: it is all there before it is given back.
      if (!page().sending.is_held()) return is_more() ? Outcome::done : Outcome::timed_out;
      const std::chrono::nanoseconds waited = Clock::now() - since;
      const bool leaves = interrupt.is_raised();
      if (leaves && waited > longest) return Outcome::interrupted;
      if (waited < patience) {
        MULTIPROCESSING_SYSTEM(sched_yield)();
      } else {
        pause_for(std::clamp(waited / 8, shortest, longest), leaves ? Interrupt{} : interrupt);
      }
    }
    return Outcome::done;
  }

  SharedRegion region_;
  Identity identity_;          // for who received it
  std::size_t committed_ = 0;  // of the ring, as far as this process knows
};

}  // namespace multiprocessing::os::posix
