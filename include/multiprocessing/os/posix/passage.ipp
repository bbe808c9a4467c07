// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/bell.hpp>
#include <multiprocessing/os/lock.hpp>
#include <multiprocessing/os/memory.hpp>
#include <multiprocessing/os/message.hpp>
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

#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

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
  // How many bytes of the message are there. Changed by the holder of `sending`.
  alignas(64) std::atomic<std::uint64_t> written;
  // From which byte on they lie behind the ring, or nowhere. Changed once, by the holder, before
  // `written` counts it: no message comes after.
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
// bytes that are not mapped. It can grow and not shrink.
class Passage {
 public:
  static constexpr std::size_t front = 4096;
  static constexpr std::size_t ring = std::size_t{2} << 20U;   // two of them fit into most caches
  static constexpr std::size_t piece = std::size_t{1} << 17U;  // of which the ring is a multiple

  ~Passage() { multiprocessing::detail::process_state().passages.fetch_sub(1); }
  Passage(const Passage&) = delete;
  Passage& operator=(const Passage&) = delete;

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
    std::unique_ptr<Passage> made{new (std::nothrow) Passage{std::move(region), 0}};
    if (!made) return nullptr;
    made->page().spilled.store(PassagePage::nowhere);
    made->page().sending.initialise(ec);
    if (ec) return nullptr;
    return made;
  }
  // Another process's, out of a packet.
  static std::unique_ptr<Passage> adopt(UniqueHandle file,
                                        std::uint64_t number,
                                        std::error_code& ec) {
    SharedRegion region = SharedRegion::adopt(std::move(file), front + ring, ec);
    if (ec) return nullptr;
    return std::unique_ptr<Passage>{new Passage{std::move(region), number}};
  }

  [[nodiscard]] int file() const noexcept { return region_.handle(); }
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
  // Whether there have been bytes behind its ring, which it would keep for good.
  [[nodiscard]] bool has_spilled() const noexcept {
    return page().spilled.load(std::memory_order_relaxed) != PassagePage::nowhere;
  }

  // ---- for who sends ----

  // Takes it for a message, and writes as much of it as the ring holds.
  bool begin(std::span<const std::byte> bytes) noexcept {
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
  // anything: what is left then goes behind the ring.
  void go_on(std::span<const std::byte> bytes, std::error_code& ec) noexcept {
    ec.clear();
    for (std::size_t done = ring; done < bytes.size();) {
      const std::size_t now = std::min(piece, bytes.size() - done);
      if (!is_taken(done + now - ring)) return spill(bytes, done, ec);
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

  // timed_out: the message was never sent: its sender died, or gave up. Throws std::bad_alloc.
  Outcome take(int file,
               std::uint8_t kind,
               std::uint64_t size,
               IncomingMessage& into,
               const Interrupt& interrupt,
               std::error_code& ec) {
    const Leaving leaving{page(), size};
    Gathering bytes{into.room(kind), size};
    for (std::uint64_t done = 0; done < size;) {
      const Outcome waited = wait_for_more(done, interrupt);
      if (waited != Outcome::done) return waited;
      const std::uint64_t there = std::min(page().written.load(std::memory_order_acquire), size);
      const std::uint64_t spilled = page().spilled.load(std::memory_order_relaxed);
      if (done >= spilled) {
        const auto place = bytes.more(static_cast<std::size_t>(there - done));
        read_at(file, front + ring + (done - spilled), place, ec);
        if (ec) return Outcome::timed_out;
        done = there;
      } else {
        const auto now = static_cast<std::size_t>(
            std::min({there - done, spilled - done, piece - done % piece}));
        bytes.add({bytes_at(done), now});
        done += now;
        page().taken.store(done, std::memory_order_release);
      }
      MULTIPROCESSING_STOP_POINT("passage.recv.piece");
    }
    into = std::move(bytes).message(kind);
    return Outcome::done;
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
    std::uint64_t size;
    Leaving(PassagePage& of, std::uint64_t all) noexcept : page{of}, size{all} {}
    Leaving(const Leaving&) = delete;
    Leaving& operator=(const Leaving&) = delete;
    ~Leaving() {
      page.taken.store(size, std::memory_order_release);
      MULTIPROCESSING_STOP_POINT("passage.recv.taken");
      page.busy.store(0, std::memory_order_release);
    }
  };

  Passage(SharedRegion region, std::uint64_t number) noexcept
      : region_{std::move(region)}, number_{number} {
    multiprocessing::detail::process_state().passages.fetch_add(1);
  }

  [[nodiscard]] PassagePage& page() const noexcept {
    return *reinterpret_cast<PassagePage*>(region_.data());
  }
  [[nodiscard]] std::byte* bytes_at(std::uint64_t place) const noexcept {
    return region_.data() + front + place % ring;
  }
  [[nodiscard]] bool is_taken(std::uint64_t needed) const noexcept {
    std::uint64_t before = 0;
    Clock::time_point since{};
    for (int look = 0;; ++look) {
      const std::uint64_t taken = page().taken.load(std::memory_order_acquire);
      if (taken >= needed) return true;
      if (look < looks) {
        relax();
        continue;
      }
      const auto now = Clock::now();
      if (look == looks || taken != before) since = now;
      if (now - since > patience) return false;
      before = taken;
      MULTIPROCESSING_SYSTEM(sched_yield)();
    }
  }
  void spill(std::span<const std::byte> bytes, std::size_t done, std::error_code& ec) noexcept {
    const BlockedSignal file_size{SIGXFSZ};
    page().spilled.store(done, std::memory_order_relaxed);
    write_at(region_.handle(), front + ring, bytes.subspan(done), ec);
    MULTIPROCESSING_STOP_POINT("passage.send.spilled");
    if (!ec) page().written.store(bytes.size(), std::memory_order_release);
  }
  [[nodiscard]] Outcome wait_for_more(std::uint64_t done, const Interrupt& interrupt) const {
    constexpr std::chrono::microseconds nap{200};
    const auto is_there = [&] { return page().written.load(std::memory_order_acquire) > done; };
    Clock::time_point since{};
    for (int look = 0;; ++look) {
      if (is_there()) return Outcome::done;
      if (look < looks) {
        relax();
        continue;
      }
      // In this order: it is all there before it is given back.
      if (!page().sending.is_held()) return is_there() ? Outcome::done : Outcome::timed_out;
      if (interrupt.is_raised()) return Outcome::interrupted;
      if (look == looks) since = Clock::now();
      if (Clock::now() - since < patience) {
        MULTIPROCESSING_SYSTEM(sched_yield)();
      } else if (pause_for(nap, interrupt) == Waited::interrupted) {
        return Outcome::interrupted;
      }
    }
  }

  SharedRegion region_;
  std::uint64_t number_;       // of the file, for who received it
  std::size_t committed_ = 0;  // of the ring, as far as this process knows
};

// The passages of one end in one process: those through which it sends, and those through which it
// has received. Who uses one takes it out; a forked child does not find what others had in hand.
class Passages {
 public:
  Passages() = default;
  Passages(const Passages&) = delete;
  Passages& operator=(const Passages&) = delete;
  ~Passages() {
    for (Places* const places : {&ours_, &theirs_}) {
      for (auto& place : *places) {
        const std::unique_ptr<Passage> dropped{place.load()};
      }
    }
  }

  // One in which the message begins; none: send it in memory of its own.
  std::unique_ptr<Passage> begin(std::span<const std::byte> bytes) noexcept {
    const auto end = std::chrono::steady_clock::now() + patience;
    for (bool again = is_patient_.load(std::memory_order_relaxed);;
         again = again && std::chrono::steady_clock::now() < end) {
      for (auto& place : ours_) {
        std::unique_ptr<Passage> one{place.exchange(nullptr)};
        if (!one) continue;
        if (one->begin(bytes)) {
          is_patient_.store(true, std::memory_order_relaxed);
          misses_.store(0, std::memory_order_relaxed);
          return one;
        }
        if (one->has_spilled() || !keep(ours_, one)) made_.fetch_sub(1);
      }
      if (made_.load() < ours_.size()) return make(bytes);
      if (!again) break;
      MULTIPROCESSING_SYSTEM(sched_yield)();
    }
    is_patient_.store(false, std::memory_order_relaxed);
    // A receiver that died leaves one busy for good.
    if (misses_.fetch_add(1, std::memory_order_relaxed) % long_lost == long_lost - 1) {
      const std::unique_ptr<Passage> lost{ours_.front().exchange(nullptr)};
      if (lost) made_.fetch_sub(1);
    }
    return nullptr;
  }
  void end(std::unique_ptr<Passage> passage, bool sent) noexcept {
    passage->end(sent);
    if (passage->has_spilled() || !keep(ours_, passage)) made_.fetch_sub(1);
  }

  // That of a packet; takes over the file unless it is known. EBADMSG: it is none in which a
  // message of this size can be. Throws std::bad_alloc.
  std::unique_ptr<Passage> find(UniqueHandle& file, std::uint64_t size, std::error_code& ec) {
    const std::uint64_t number = number_of(file.get(), size, ec);
    if (ec) return nullptr;
    for (auto& place : theirs_) {
      std::unique_ptr<Passage> one{place.exchange(nullptr)};
      if (one && one->number() == number) return one;
      if (one) keep(theirs_, one);
    }
    return Passage::adopt(std::move(file), number, ec);
  }
  void received(std::unique_ptr<Passage> passage) noexcept {
    passage->close_file();
    if (passage->has_spilled() || Passage::are_many() || keep(theirs_, passage)) return;
    const std::unique_ptr<Passage> other{
        theirs_[turn_++ % theirs_.size()].exchange(passage.release())};
  }

 private:
  using Places = std::array<std::atomic<Passage*>, 2>;
  static constexpr std::chrono::milliseconds patience{1};
  static constexpr unsigned long_lost = 64;

  static std::uint64_t number_of(int file, std::uint64_t size, std::error_code& ec) noexcept {
    constexpr std::uint64_t block = 512;
    const std::uint64_t used = Passage::front + std::min<std::uint64_t>(size, Passage::ring);
    struct stat status {};
    const int seals = MULTIPROCESSING_SYSTEM(fcntl)(file, F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 ||
        MULTIPROCESSING_SYSTEM(fstat)(file, &status) != 0 ||
        static_cast<std::uint64_t>(status.st_size) < used ||
        static_cast<std::uint64_t>(status.st_blocks) * block < used) {  // a hole is no memory
      ec = std::make_error_code(std::errc::bad_message);
      return 0;
    }
    ec.clear();
    return status.st_ino;
  }
  std::unique_ptr<Passage> make(std::span<const std::byte> bytes) noexcept {
    std::unique_ptr<Passage> made = Passage::create();
    if (!made || !made->begin(bytes)) return nullptr;
    made_.fetch_add(1);
    return made;
  }
  static bool keep(Places& places, std::unique_ptr<Passage>& passage) noexcept {
    for (auto& place : places) {
      Passage* expected = nullptr;
      if (place.compare_exchange_strong(expected, passage.get())) {
        static_cast<void>(passage.release());
        return true;
      }
    }
    return false;
  }

  Places ours_{};
  Places theirs_{};
  std::atomic<std::size_t> made_{0};
  std::atomic<bool> is_patient_{true};
  std::atomic<unsigned> misses_{0};
  std::atomic<unsigned> turn_{0};
};

}  // namespace multiprocessing::os::posix
