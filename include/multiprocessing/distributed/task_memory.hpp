// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file task_memory.hpp
/// @brief Large messages of an agent's, in memory that it shares with the worker concerned.
///
/// What comes over the network is received where the worker reads it, and what the worker writes
/// is sent from there: no copy of it is made in the agent, and none goes through a pool's ring.
#include <multiprocessing/distributed/message.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/os/memory.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/workers/code.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief Shared memory for one task: first its message, then its result.
/// @processes the agent that made it, and the worker that runs the task.
class TaskMemory {
 public:
  /// @brief Of messages from this size on.
  static constexpr std::size_t worthwhile = std::size_t{1} << 20U;

  /// @param size of which so many bytes can be used at once.
  /// @throws std::system_error
  explicit TaskMemory(std::size_t size) {
    constexpr std::size_t whole = std::size_t{2} << 20U;
    const std::size_t room = (2 * size + whole - 1) / whole * whole;  // a result may be larger
    std::error_code ec;
    region_ = os::SharedRegion::create(room, ec);
    if (!ec) region_.commit(0, size, ec);
    if (ec) throw std::system_error{ec, "no memory for a large message"};
  }
  /// @brief In the worker. Cannot be used before open().
  static std::shared_ptr<TaskMemory> adopt(std::vector<os::UniqueHandle> handles) {
    if (handles.size() != 1) throw SerializationError{"a task's memory arrived without its handle"};
    return std::shared_ptr<TaskMemory>{new TaskMemory{std::move(handles.front())}};
  }
  [[nodiscard]] std::vector<os::UniqueHandle> duplicate_handles() const {
    const native_handle_type handle = region_.handle();
    return reduction::duplicates({&handle, 1});
  }

  /// @param room what the agent says. @throws SerializationError it is not such memory.
  void open(std::size_t room) {
    std::error_code ec;
    region_ = os::SharedRegion::adopt(std::move(arrived_), room, ec);
    if (ec) throw SerializationError{"a task's memory cannot be mapped: " + ec.message()};
  }
  /// @brief Its address space.
  [[nodiscard]] std::size_t room() const noexcept { return region_.size(); }
  [[nodiscard]] std::byte* data() const noexcept { return region_.data(); }
  /// @throws SerializationError it has no such part.
  [[nodiscard]] std::span<const std::byte> part(std::size_t begin, std::size_t size) const {
    std::error_code ec;
    if (!region_.is_usable(begin, size, ec)) {
      throw SerializationError{"a task's memory is smaller than was said"};
    }
    return {region_.data() + begin, size};
  }
  /// @returns false: it cannot be made to hold so much.
  bool make_room(std::size_t size) noexcept {
    if (size > region_.size()) return false;
    std::error_code ec;
    if (region_.is_usable(0, size, ec)) return true;
    region_.commit(0, size, ec);
    return !ec;
  }

  /// @brief The worker has done with it: it may be used again. Without this, a worker that is being
  /// ended might still write to it.
  void settle() noexcept { is_settled_.store(true); }
  [[nodiscard]] bool take_settled() noexcept { return is_settled_.exchange(false); }

 private:
  explicit TaskMemory(os::UniqueHandle handle) noexcept : arrived_{std::move(handle)} {}

  os::SharedRegion region_;
  os::UniqueHandle arrived_;
  std::atomic<bool> is_settled_{false};
};

/// @brief What was used is kept for a moment: fresh memory costs several times a copy.
/// @threads any.
class TaskMemoryStore : public std::enable_shared_from_this<TaskMemoryStore> {
 public:
  using Clock = std::chrono::steady_clock;

  /// @returns one with room for so many bytes; null: the system refuses.
  std::shared_ptr<TaskMemory> acquire(std::size_t size) noexcept try {
    auto memory = take_spare(size);
    if (!memory) memory = std::make_unique<TaskMemory>(size);
    if (!memory->make_room(size)) return nullptr;
    return {memory.release(), [store = weak_from_this()](TaskMemory* used) {
              std::unique_ptr<TaskMemory> owned{used};
              const auto keeper = store.lock();
              if (keeper && owned->take_settled()) keeper->keep(std::move(owned));
            }};
  } catch (const std::system_error&) {
    return nullptr;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  /// @brief Gives back what nobody has used lately. To be called now and then.
  void tidy(Clock::time_point now) noexcept {
    constexpr std::chrono::seconds lately{1};
    if (!has_spare_.load()) return;
    const std::lock_guard lock{mutex_};
    for (Spare& each : spare_) {
      if (each.memory && now - each.since > lately) each.memory.reset();
    }
    has_spare_.store(std::any_of(spare_.begin(), spare_.end(),
                                 [](const Spare& each) { return each.memory != nullptr; }));
  }

 private:
  struct Spare {
    std::unique_ptr<TaskMemory> memory;
    Clock::time_point since;
  };

  /// None that is much larger: it would never grow old.
  std::unique_ptr<TaskMemory> take_spare(std::size_t size) noexcept {
    constexpr std::size_t most_times = 8;
    const std::lock_guard lock{mutex_};
    for (Spare& each : spare_) {
      const std::size_t room = each.memory ? each.memory->room() : 0;
      if (room >= size && room / most_times <= size) return std::move(each.memory);
    }
    return nullptr;
  }
  void keep(std::unique_ptr<TaskMemory> memory) noexcept {
    const std::lock_guard lock{mutex_};
    const auto now = Clock::now();
    Spare* oldest = &spare_.front();
    for (Spare& each : spare_) {
      if (!each.memory || each.since < oldest->since) oldest = &each;
      if (!each.memory) break;
    }
    oldest->memory = std::move(memory);
    oldest->since = now;
    has_spare_.store(true);
  }

  std::mutex mutex_;
  std::array<Spare, 2> spare_;
  std::atomic<bool> has_spare_{false};
};

/// @brief What an agent says: bytes, and behind them the first ones of such memory.
struct Parcel {
  std::vector<std::byte> bytes;
  std::shared_ptr<TaskMemory> memory;
  std::size_t in_memory = 0;
};

/// @brief The key of the code that runs a task whose arguments lie in such memory: its definition
/// is that of the task's own.
struct CallInMemory {
  using Signature = void(TaskCall&);

  /// @brief What it is called with. @param begin, size where the arguments lie.
  static void encode_arguments(Encoder& encoder,
                               const std::shared_ptr<TaskMemory>& memory,
                               std::size_t begin,
                               std::size_t size) {
    reduction::save_shared(encoder, memory, "a task's memory");
    for (const std::size_t each : {memory->room(), begin, size}) {
      encoder.write_number(static_cast<std::uint64_t>(each));
    }
  }
  /// @returns how many bytes of the result are in the memory; 0: they follow here.
  static std::size_t decode_result(Decoder& result) {
    return static_cast<std::size_t>(result.read_number<std::uint64_t>());
  }
  static std::vector<std::byte> define(std::span<const std::byte> definition) {
    std::vector<std::byte> bytes;
    Encoder encoder{bytes};
    codec<CodeReference>::encode(encoder, refer_to<CallInMemory>());
    encoder.write(definition.data(), definition.size());
    return bytes;
  }

  static void entry(TaskCall& call) {
    const auto memory = reduction::load_shared<TaskMemory>(call.arguments);
    const auto number = [&] {
      return static_cast<std::size_t>(call.arguments.read_number<std::uint64_t>());
    };
    memory->open(number());
    const std::size_t begin = number();
    const std::size_t size = number();
    check_all_read(call.arguments);
    if (!call.callable) call.callable = std::make_shared<KnownCode>();
    std::vector<std::byte> bytes;
    constexpr std::size_t some_more = 4096;
    reserve_for_all(bytes, size + some_more);  // many results are as large as the arguments
    Transit none;
    Decoder arguments{memory->part(begin, size), &none};
    Encoder result{bytes, call.result.transit()};
    static_cast<KnownCode*>(call.callable.get())
        ->call(call.definition.take(call.definition.remaining()), arguments, result);
    const bool fits = bytes.size() >= TaskMemory::worthwhile && memory->make_room(bytes.size());
    call.result.write_number(static_cast<std::uint64_t>(fits ? bytes.size() : 0));
    if (fits) {
      std::memcpy(memory->data(), bytes.data(), bytes.size());
    } else {
      call.result.write(bytes.data(), bytes.size());
    }
  }
};

}  // namespace multiprocessing::detail
