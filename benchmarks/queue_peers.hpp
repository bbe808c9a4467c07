// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file queue_peers.hpp
/// @brief What a Queue is measured beside: each takes messages of one size, from any process.
#include <multiprocessing.hpp>

#include <boost/interprocess/ipc/message_queue.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

namespace benchmark {

namespace mp = multiprocessing;

constexpr std::size_t capacity = 1024;
/// Large messages: fewer, so that all have the same memory to work in.
inline std::size_t places(std::size_t size) {
  return size <= 4096 ? capacity : size <= (std::size_t{1} << 20U) ? 16 : 4;
}

/// A Queue of arrays.
template <std::size_t Size>
class Ours {
 public:
  explicit Ours(std::size_t /*size*/ = Size) {}
  void send(const std::byte* from) {
    Message message;
    std::memcpy(message.data(), from, Size);
    queue_.put(message);
  }
  void receive(std::byte* into) {
    const Message message = queue_.get();
    std::memcpy(into, message.data(), Size);
  }

 private:
  using Message = std::array<std::byte, Size>;
  mp::Queue<Message> queue_{capacity};
};

/// A Queue of vectors.
class OurVectors {
 public:
  explicit OurVectors(std::size_t size) : queue_{places(size)}, message_(size) {}
  void send(const std::byte* from) {
    std::memcpy(message_.data(), from, 1);
    queue_.put(message_);
  }
  void receive(std::byte* into) { std::memcpy(into, queue_.get().data(), 1); }

 private:
  mp::Queue<std::vector<std::byte>> queue_;
  std::vector<std::byte> message_;
};

/// A Queue's loans: nothing is copied, the first and the last byte are written and read.
class OurLoans {
 public:
  explicit OurLoans(std::size_t size) : queue_{capacity}, size_{size} {}
  void send(const std::byte* from) {
    auto loan = queue_.loan(size_);
    loan.span().front() = loan.span().back() = *from;
    loan.commit();
  }
  void receive(std::byte* into) {
    const auto view = queue_.get_view();
    *into = view.span().front() | view.span().back();
  }

 private:
  mp::Queue<std::byte> queue_;
  std::size_t size_;
};

class MessageQueue {
 public:
  explicit MessageQueue(std::size_t size)
      : size_{size}, queue_{boost::interprocess::create_only, name().c_str(), places(size), size} {
    boost::interprocess::message_queue::remove(name().c_str());
  }
  void send(const std::byte* from) { queue_.send(from, size_, 0); }
  void receive(std::byte* into) {
    std::size_t size = 0;
    unsigned priority = 0;
    queue_.receive(into, size_, size, priority);
  }

 private:
  static std::string name() { return "multiprocessing-benchmark-" + std::to_string(getpid()); }

  std::size_t size_;
  boost::interprocess::message_queue queue_;
};

class BarePipe {
 public:
  explicit BarePipe(std::size_t size) : size_{size} {
    if (pipe2(ends_.data(), O_CLOEXEC) != 0) std::abort();
    fcntl(ends_[1], F_SETPIPE_SZ, 1 << 20);
  }
  BarePipe(const BarePipe&) = delete;
  BarePipe& operator=(const BarePipe&) = delete;
  ~BarePipe() {
    for (const int end : ends_) close(end);
  }
  void send(const std::byte* from) { move(write, ends_[1], const_cast<std::byte*>(from)); }
  void receive(std::byte* into) { move(read, ends_[0], into); }

 private:
  template <class Call>
  void move(Call call, int end, std::byte* bytes) {
    for (std::size_t done = 0; done < size_;) {
      const auto moved = call(end, bytes + done, size_ - done);
      if (moved <= 0) std::abort();
      done += static_cast<std::size_t>(moved);
    }
  }

  std::size_t size_;
  std::array<int, 2> ends_{};
};

/// Memory that forked processes share.
template <class T>
class Shared {
 public:
  Shared()
      : object_{new (mmap(nullptr,
                          sizeof(T),
                          PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE,
                          -1,
                          0)) T{}} {}
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { munmap(object_, sizeof(T)); }
  T* operator->() const { return object_; }

 private:
  T* object_;
};

/// Slots with a sequence number each, after D. Vyukov: no lock, no sleep, and a process that dies
/// in it stops the others. The bound of what is possible.
class LockFreeRing {
 public:
  explicit LockFreeRing(std::size_t size) : size_{size} {
    for (std::uint64_t i = 0; i < capacity; ++i) memory_->slots[i].sequence = i;
  }
  void send(const std::byte* from) {
    Slot& slot = turn(memory_->tail, 0);
    std::memcpy(slot.bytes.data(), from, size_);
    slot.sequence.fetch_add(1, std::memory_order_release);
  }
  void receive(std::byte* into) {
    Slot& slot = turn(memory_->head, 1);
    std::memcpy(into, slot.bytes.data(), size_);
    slot.sequence.fetch_add(capacity - 1, std::memory_order_release);
  }

 private:
  struct Slot {
    std::atomic<std::uint64_t> sequence;
    std::array<std::byte, 64> bytes;
  };
  struct Memory {
    alignas(128) std::atomic<std::uint64_t> head;
    alignas(128) std::atomic<std::uint64_t> tail;
    alignas(128) std::array<Slot, capacity> slots;
  };

  Slot& turn(std::atomic<std::uint64_t>& side, std::uint64_t ahead) {
    constexpr int patience = 200;
    std::uint64_t place = side.load(std::memory_order_relaxed);
    for (int tries = 0;;) {
      Slot& slot = memory_->slots[place % capacity];
      const std::uint64_t sequence = slot.sequence.load(std::memory_order_acquire);
      if (sequence == place + ahead) {
        if (side.compare_exchange_weak(place, place + 1, std::memory_order_relaxed)) return slot;
        continue;
      }
      if (sequence < place + ahead) {
        if (++tries > patience) {
          sched_yield();
        } else {
          mp::os::relax();
        }
      }
      place = side.load(std::memory_order_relaxed);
    }
  }

  std::size_t size_;
  Shared<Memory> memory_;
};

/// Copied in by one process and out by another one, in 4 MiB that they share, with nothing else
/// around it: the bound of what copying can.
class BareCopies {
 public:
  explicit BareCopies(std::size_t size) : size_{size}, slots_{room / size} {}
  void send(const std::byte* from) {
    wait([&] { return sent_ - memory_->taken.load(std::memory_order_acquire) < slots_; });
    std::memcpy(memory_->bytes.data() + sent_ % slots_ * size_, from, size_);
    memory_->sent.store(++sent_, std::memory_order_release);
  }
  void receive(std::byte* into) {
    wait([&] { return memory_->sent.load(std::memory_order_acquire) > taken_; });
    std::memcpy(into, memory_->bytes.data() + taken_ % slots_ * size_, size_);
    memory_->taken.store(++taken_, std::memory_order_release);
  }

 private:
  static constexpr std::size_t room = std::size_t{4} << 20U;
  struct Memory {
    alignas(128) std::atomic<std::uint64_t> sent;
    alignas(128) std::atomic<std::uint64_t> taken;
    alignas(128) std::array<std::byte, room> bytes;
  };

  template <class Ready>
  void wait(const Ready& ready) {
    for (int tries = 0; !ready(); ++tries) {
      if (tries > 1000) sched_yield();
      mp::os::relax();
    }
  }

  std::size_t size_;
  std::size_t slots_;
  Shared<Memory> memory_;
  std::uint64_t sent_ = 0;
  std::uint64_t taken_ = 0;
};

/// One word that goes back and forth: what the machine can.
class Flag {
 public:
  explicit Flag(std::size_t /*size*/) {}
  void send(const std::byte*) { word_->value.fetch_add(1, std::memory_order_release); }
  void receive(std::byte*) {
    for (int tries = 0; word_->value.load(std::memory_order_acquire) == seen_; ++tries) {
      if (tries > 1000) sched_yield();
    }
    ++seen_;
  }

 private:
  struct Word {
    alignas(128) std::atomic<std::uint64_t> value;
  };
  Shared<Word> word_;
  std::uint64_t seen_ = 0;
};

}  // namespace benchmark
