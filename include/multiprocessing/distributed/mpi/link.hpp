// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file link.hpp
/// @brief Whole messages of any size between two MPI processes, without ever waiting for the other.
#include <multiprocessing/distributed/message.hpp>
#include <multiprocessing/distributed/mpi/world.hpp>
#include <multiprocessing/distributed/task_memory.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include <mpi.h>

namespace multiprocessing::detail::mpi {

/// @brief The way to one peer. Every pool has a tag of its own on it.
///
/// A message begins with a frame that holds its size, and a small one is all in there. A larger one
/// follows in frames of at most 1 GiB, because MPI counts in `int`. Two sizes are none: a sign of
/// life, and the end.
///
/// MPI gives no error for a peer that is dead: a call that completes by it would wait for ever. So
/// sends and receives are only begun (Isend, Irecv) and asked about, and abandon() leaves those
/// that are not done where they are, with their memory: MPI may still write to it.
/// @threads The world's mutex is held.
class Link {
 public:
  static constexpr std::uint64_t life = ~std::uint64_t{0};
  static constexpr std::uint64_t farewell = life - 1;

  /// @param store of memory to receive large messages in; none: each in a vector.
  Link(MPI_Comm comm, int rank, std::shared_ptr<TaskMemoryStore> store = nullptr)
      : comm_{comm}, rank_{rank}, store_{std::move(store)} {}
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link() { abandon(); }

  /// @brief What receive() gives.
  struct Incoming {
    int tag = 0;
    std::uint64_t size = 0;  ///< Or `life`, or `farewell`.
    std::vector<std::byte> message;
    std::shared_ptr<TaskMemory> memory;  ///< In which the message lies instead.

    [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
      if (memory) return {memory->data(), static_cast<std::size_t>(size)};
      return message;
    }
  };

  void send(int tag, std::vector<std::byte> message) {
    if (message.size() <= most_in_first) {
      std::vector<std::byte> frame(sizeof(std::uint64_t) + message.size());
      const std::uint64_t size = message.size();
      std::memcpy(frame.data(), &size, sizeof size);
      if (size != 0) std::memcpy(frame.data() + sizeof size, message.data(), message.size());
      return begin(tag, std::move(frame));
    }
    send_sign(tag, message.size());
    begin(tag, std::move(message));
  }
  void send(int tag, Parcel parcel) {
    if (!parcel.memory) return send(tag, std::move(parcel.bytes));
    send_sign(tag, parcel.bytes.size() + parcel.in_memory);
    begin(tag, std::move(parcel.bytes));
    begin_memory(tag, std::move(parcel.memory), parcel.in_memory);
  }
  /// @param sign `life` or `farewell`.
  void send_sign(int tag, std::uint64_t sign) {
    std::vector<std::byte> frame(sizeof sign);
    std::memcpy(frame.data(), &sign, sizeof sign);
    begin(tag, std::move(frame));
  }

  /// @brief The next whole message, if it is there. @param tag MPI_ANY_TAG: of any pool.
  /// @throws std::runtime_error MPI gives an error, or the peer does not speak our language.
  std::optional<Incoming> receive(int tag);
  /// @brief Sends that are done give their memory back. @returns whether all are.
  bool progress() {
    while (!sending_.empty()) {
      int done = 0;
      auto& requests = sending_.front()->requests;
      check(MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done,
                        MPI_STATUSES_IGNORE),
            "MPI_Testall");
      if (done == 0) return false;
      sending_.pop_front();
    }
    return true;
  }
  /// @brief It is never touched again.
  void abandon() noexcept {
    if (comm_ == MPI_COMM_NULL) return;
    comm_ = MPI_COMM_NULL;
    // MPI may still read and write there, for as long as the process lives.
    for (auto& each : sending_) static_cast<void>(each.release());
    if (receiving_) static_cast<void>(receiving_.release());
  }
  [[nodiscard]] bool is_abandoned() const noexcept { return comm_ == MPI_COMM_NULL; }
  [[nodiscard]] MPI_Comm comm() const noexcept { return comm_; }

 private:
  static constexpr std::size_t most_in_first = std::size_t{64} << 10U;
  static constexpr std::size_t most_in_frame = std::size_t{1} << 30U;

  struct Sending {
    std::vector<std::byte> bytes;
    std::shared_ptr<TaskMemory> memory;  ///< Instead of them.
    std::vector<MPI_Request> requests;
  };
  /// Where something is received.
  struct Landing {
    std::vector<std::byte> bytes;
    std::shared_ptr<TaskMemory> memory;  ///< Instead of them.
    std::size_t size = 0;

    [[nodiscard]] std::byte* data() noexcept { return memory ? memory->data() : bytes.data(); }
  };
  struct Receiving {
    Landing landing;  ///< Of the first frame, or of the message.
    MPI_Request request = MPI_REQUEST_NULL;
    int tag = 0;
    int count = 0;
  };
  /// A message whose size is known and that is not all there.
  struct Stream {
    Landing landing;
    std::size_t filled = 0;
  };

  void begin(int tag, std::vector<std::byte> bytes) {
    const std::size_t size = bytes.size();
    begin(tag, std::make_unique<Sending>(Sending{std::move(bytes), nullptr, {}}), size);
  }
  void begin_memory(int tag, std::shared_ptr<TaskMemory> memory, std::size_t size) {
    begin(tag, std::make_unique<Sending>(Sending{{}, std::move(memory), {}}), size);
  }
  void begin(int tag, std::unique_ptr<Sending> sending, std::size_t all) {
    sending_.push_back(std::move(sending));
    Sending& now = *sending_.back();
    const std::byte* const from = now.memory ? now.memory->data() : now.bytes.data();
    for (std::size_t at = 0; at < all; at += most_in_frame) {
      const std::size_t size = std::min(most_in_frame, all - at);
      now.requests.push_back(MPI_REQUEST_NULL);
      check(MPI_Isend(from + at, static_cast<int>(size), MPI_BYTE, rank_, tag, comm_,
                      &now.requests.back()),
            "MPI_Isend");
    }
  }
  [[nodiscard]] Landing landing_for(std::size_t size);
  bool begin_receiving(int tag);
  std::optional<Incoming> take_first();

  MPI_Comm comm_;
  int rank_;
  std::shared_ptr<TaskMemoryStore> store_;
  std::deque<std::unique_ptr<Sending>> sending_;
  std::unique_ptr<Receiving> receiving_;
  std::map<int, Stream> streams_;
};

/// @returns whether there is something to receive.
inline bool Link::begin_receiving(int tag) {
  if (receiving_) return true;
  int flag = 0;
  MPI_Status status;
  check(MPI_Iprobe(rank_, tag, comm_, &flag, &status), "MPI_Iprobe");
  if (flag == 0) return false;
  auto receiving = std::make_unique<Receiving>();
  receiving->tag = status.MPI_TAG;
  check(MPI_Get_count(&status, MPI_BYTE, &receiving->count), "MPI_Get_count");
  const auto count = static_cast<std::size_t>(receiving->count);
  std::byte* target = nullptr;
  if (const auto stream = streams_.find(receiving->tag); stream != streams_.end()) {
    if (count > stream->second.landing.size - stream->second.filled) {
      throw std::runtime_error{"an MPI message is longer than was said"};
    }
    // Away from the table: abandon() leaves it where it is.
    receiving->landing = std::move(stream->second.landing);
    target = receiving->landing.data() + stream->second.filled;
  } else {
    receiving->landing.bytes.resize(count);
    target = receiving->landing.data();
  }
  receiving_ = std::move(receiving);
  check(MPI_Irecv(target, receiving_->count, MPI_BYTE, rank_, receiving_->tag, comm_,
                  &receiving_->request),
        "MPI_Irecv");
  return true;
}

inline std::optional<Link::Incoming> Link::receive(int tag) {
  while (begin_receiving(tag)) {
    int done = 0;
    check(MPI_Test(&receiving_->request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    if (done == 0) return std::nullopt;
    const auto stream = streams_.find(receiving_->tag);
    if (stream == streams_.end()) {
      if (auto whole = take_first()) return whole;
      continue;
    }
    stream->second.landing = std::move(receiving_->landing);
    stream->second.filled += static_cast<std::size_t>(receiving_->count);
    const int from = receiving_->tag;
    receiving_.reset();
    Landing& landing = stream->second.landing;
    if (stream->second.filled < landing.size) continue;
    Incoming whole{from, landing.size, std::move(landing.bytes), std::move(landing.memory)};
    streams_.erase(stream);
    return whole;
  }
  return std::nullopt;
}

/// A first frame has come. @returns none: more follow.
inline std::optional<Link::Incoming> Link::take_first() {
  const std::unique_ptr<Receiving> first = std::move(receiving_);
  std::uint64_t size = 0;
  const std::vector<std::byte>& bytes = first->landing.bytes;
  if (bytes.size() < sizeof size) {
    throw std::runtime_error{"an MPI message that begins with no size"};
  }
  std::memcpy(&size, bytes.data(), sizeof size);
  if (size >= farewell) return Incoming{first->tag, size, {}, nullptr};
  if (size <= most_in_first) {
    if (bytes.size() != sizeof size + size) {
      throw std::runtime_error{"an MPI message has another size than was said"};
    }
    return Incoming{first->tag, size, {bytes.begin() + sizeof size, bytes.end()}, nullptr};
  }
  constexpr std::uint64_t most = std::uint64_t{1} << 46U;
  if (size > most) throw std::runtime_error{"an MPI message of a size that cannot be"};
  Landing landing = landing_for(static_cast<std::size_t>(size));
  streams_[first->tag].landing = std::move(landing);
  return std::nullopt;
}

inline Link::Landing Link::landing_for(std::size_t size) {
  Landing landing;
  landing.size = size;
  if (store_ && size >= TaskMemory::worthwhile) landing.memory = store_->acquire(size);
  if (!landing.memory) {
    reserve_for_all(landing.bytes, size);
    landing.bytes.resize(size);
  }
  return landing;
}

/// @brief Naps between looks at MPI, which has nothing that one could sleep on.
///
/// After something has come it looks again at once, for a while; then its naps grow, to keep an
/// idle process under a tenth of a core. @source mpi4py.futures naps likewise.
class Nap {
 public:
  using Clock = std::chrono::steady_clock;

  void was_busy() noexcept { busy_at_ = Clock::now(); }
  /// @brief Ends a nap, the present one or else the next. @threads any.
  void wake() noexcept {
    const std::lock_guard lock{mutex_};
    is_due_ = true;
    bell_.notify_one();
  }
  /// @returns whether it was woken.
  bool take(std::chrono::nanoseconds longest) {
    const auto nap = length();
    std::unique_lock lock{mutex_};
    if (!is_due_ && nap == nap.zero()) {
      lock.unlock();
      std::this_thread::yield();
      lock.lock();
    } else if (!is_due_) {
      bell_.wait_for(lock, std::min<std::chrono::nanoseconds>(nap, longest));
    }
    return std::exchange(is_due_, false);
  }
  /// @brief How long one would be now; 0: only another thread's turn.
  [[nodiscard]] std::chrono::nanoseconds length() const noexcept {
    constexpr std::chrono::microseconds eager{100};
    constexpr std::chrono::milliseconds lively{20};
    constexpr std::chrono::seconds drowsy{2};
    constexpr std::chrono::microseconds short_nap{50};
    constexpr std::chrono::microseconds long_nap{500};
    constexpr std::chrono::microseconds longest_nap{1000};
    const auto idle = Clock::now() - busy_at_;
    if (idle < eager) return std::chrono::nanoseconds::zero();
    return idle < lively ? short_nap : idle < drowsy ? long_nap : longest_nap;
  }

 private:
  Clock::time_point busy_at_ = Clock::now();
  std::mutex mutex_;
  std::condition_variable bell_;
  bool is_due_ = false;
};

/// @brief How long a peer has been silent, by our own looks: a time in which we did not look does
/// not count against it.
class Silence {
 public:
  using Clock = std::chrono::steady_clock;

  void heard() noexcept { counted_ = {}; }
  /// @brief At each look, before what has come is taken. @returns how long.
  std::chrono::nanoseconds look(Clock::time_point now) noexcept {
    constexpr std::chrono::milliseconds most_between_looks{300};
    counted_ += std::min<std::chrono::nanoseconds>(now - looked_, most_between_looks);
    looked_ = now;
    return counted_;
  }

 private:
  Clock::time_point looked_ = Clock::now();
  std::chrono::nanoseconds counted_{0};
};

}  // namespace multiprocessing::detail::mpi
