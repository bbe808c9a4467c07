// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/posix/passage.ipp>
#include <multiprocessing/os/process_wide.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

namespace multiprocessing::os::posix {

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
        if (place.load(std::memory_order_relaxed) == nullptr) continue;
        count_in_hand(1);
        std::unique_ptr<Passage> one{place.exchange(nullptr)};
        if (one && one->begin(bytes)) {
          is_patient_.store(true, std::memory_order_relaxed);
          misses_.store(0, std::memory_order_relaxed);
          return one;
        }
        if (one && !one->has_spilled()) keep(ours_, one);
        count_in_hand(-1);
      }
      if (are_few()) return make(bytes);
      if (!again) break;
      MULTIPROCESSING_SYSTEM(sched_yield)();
    }
    is_patient_.store(false, std::memory_order_relaxed);
    // A receiver that died leaves one busy for good.
    if (misses_.fetch_add(1, std::memory_order_relaxed) % long_lost == long_lost - 1) {
      const std::unique_ptr<Passage> lost{ours_[turn_++ % ours_.size()].exchange(nullptr)};
    }
    return nullptr;
  }
  void end(std::unique_ptr<Passage> passage, bool sent) noexcept {
    passage->end(sent);
    if (!passage->has_spilled()) keep(ours_, passage);
    count_in_hand(-1);
  }

  // That of a packet; takes over the file unless it is known. EBADMSG: it is none in which a
  // message of this size can be. Other errors: there is no room for it. Throws std::bad_alloc.
  std::unique_ptr<Passage> find(UniqueHandle& file, std::uint64_t size, std::error_code& ec) {
    const Passage::Identity identity = identity_of(file.get(), size, ec);
    if (ec) return nullptr;
    for (auto& place : theirs_) {
      std::unique_ptr<Passage> one{place.exchange(nullptr)};
      if (one && one->identity() == identity) return one;
      if (one && !one->has_spilled()) keep(theirs_, one);
    }
    // To map it for once would cost more than to read it.
    if (Passage::are_many() && size <= Passage::ring) {
      ec = std::make_error_code(std::errc::not_enough_memory);
      return nullptr;
    }
    return Passage::adopt(std::move(file), identity, ec);
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

  static Passage::Identity identity_of(int file, std::uint64_t size, std::error_code& ec) noexcept {
    constexpr std::uint64_t block = 512;
    const std::uint64_t used = Passage::front + std::min<std::uint64_t>(size, Passage::ring);
    struct stat status {};
    const int seals = MULTIPROCESSING_SYSTEM(fcntl)(file, F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 ||
        MULTIPROCESSING_SYSTEM(fstat)(file, &status) != 0 ||
        static_cast<std::uint64_t>(status.st_size) < used ||
        static_cast<std::uint64_t>(status.st_blocks) * block < used) {  // a hole is no memory
      ec = std::make_error_code(std::errc::bad_message);
      return {};
    }
    ec.clear();
    return {status.st_dev, status.st_ino};
  }
  std::unique_ptr<Passage> make(std::span<const std::byte> bytes) noexcept {
    count_in_hand(1);
    std::unique_ptr<Passage> made = Passage::create();
    if (made && made->begin(bytes)) return made;
    count_in_hand(-1);
    return nullptr;
  }
  // Whether another one may be made: those in their places and those in hand are not enough.
  [[nodiscard]] bool are_few() const noexcept {
    const std::uint64_t known = in_hand_.load();
    std::size_t all = known >> 32U == forks() ? static_cast<std::uint32_t>(known) : 0;
    for (const auto& place : ours_) all += place.load() != nullptr ? 1U : 0U;
    return all < ours_.size();
  }
  // Before one leaves its place, and after it is back: who looks meanwhile sees too many.
  void count_in_hand(int change) noexcept {
    std::uint64_t known = in_hand_.load();
    std::uint64_t wanted = 0;
    do {
      const std::uint64_t ours = known >> 32U == forks() ? known : forks() << 32U;
      wanted = ours + static_cast<std::uint64_t>(static_cast<std::int64_t>(change));
    } while (!in_hand_.compare_exchange_weak(known, wanted));
  }
  static std::uint64_t forks() noexcept { return multiprocessing::detail::process_state().forks; }
  // Or, where there is no place, it goes with its owner.
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
  // Below, how many of ours are in hand; above, the forks before that: what others had in hand then
  // stays mapped, and nobody brings it back.
  std::atomic<std::uint64_t> in_hand_{0};
  std::atomic<bool> is_patient_{true};
  std::atomic<unsigned> misses_{0};
  std::atomic<unsigned> turn_{0};
};

}  // namespace multiprocessing::os::posix
