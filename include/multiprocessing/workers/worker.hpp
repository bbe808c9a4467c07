// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file worker.hpp
/// @brief A crew's worker: the process, and what it does.
#include <multiprocessing/connection/core.hpp>
#include <multiprocessing/os/crash.hpp>
#include <multiprocessing/os/exception.hpp>
#include <multiprocessing/os/limits.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/process.hpp>
#include <multiprocessing/queues/ring.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/workers/board.hpp>
#include <multiprocessing/workers/code.hpp>
#include <multiprocessing/workers/large_message.hpp>
#include <multiprocessing/workers/message.hpp>
#include <multiprocessing/workers/remote_exception.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace multiprocessing {

namespace detail {

/// @brief What a worker has of its crew.
struct WorkerLink {
  std::shared_ptr<Ring> tasks;
  std::shared_ptr<Ring> results;
  std::shared_ptr<Board> board;
  std::shared_ptr<DuplexCore> channel;  ///< For handles.
  std::uint32_t place = 0;
  Task initializer;
};

}  // namespace detail

template <>
struct codec<detail::WorkerLink> {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const detail::WorkerLink& link) {
    reduction::save_shared(encoder, link.tasks, "a pool's tasks");
    reduction::save_shared(encoder, link.results, "a pool's results");
    reduction::save_shared(encoder, link.board, "a pool's board");
    reduction::save_shared(encoder, link.channel, "a pool's channel");
    encoder.write_number(link.place);
    codec<Task>::encode(encoder, link.initializer);
  }
  static detail::WorkerLink decode(Decoder& decoder) {
    detail::WorkerLink link;
    link.tasks = reduction::load_shared<Ring>(decoder);
    link.results = reduction::load_shared<Ring>(decoder);
    link.board = reduction::load_shared<detail::Board>(decoder);
    link.channel = reduction::load_shared<detail::DuplexCore>(decoder);
    link.place = decoder.read_number<std::uint32_t>();
    link.initializer = codec<Task>::decode(decoder);
    return link;
  }
};

namespace detail {

/// @brief The worker's side of a crew: takes tasks, runs them, puts results.
class WorkerLoop {
 public:
  explicit WorkerLoop(WorkerLink& link) : link_{link}, slot_{link.board->slot(link.place)} {}

  /// @brief Until it is told to end.
  void run() {
    const os::CrashRecorder recorder{link_.board->crash(link_.place)};
    if (!initialize()) return;
    slot_.ready.store(1, std::memory_order_seq_cst);
    MULTIPROCESSING_STOP_POINT("worker.ready");
    while (take()) {
      if ((task_.flags & TaskHeader::pass_over) != 0) {
        pass_over(task_.in_channel);
      } else {
        run_task();
      }
    }
    if (os::handles_go_with_sender) hand_over();
  }

 private:
  struct Condemned {};

  bool initialize() {
    try {
      link_.initializer();
      return true;
    } catch (...) {
      // Without handles: the parent takes none before it has heard that there was a beginning.
      try {
        begin_result(ResultHeader::initializer_failed);
        encode_error("the pool's initializer", nullptr);
      } catch (...) {  // the exception itself cannot be encoded
        begin_result(ResultHeader::initializer_failed);
        encode_error("while an exception of the pool's initializer was encoded", nullptr);
      }
      put_result();
      return false;
    }
  }

  /// @returns false: the worker is to end.
  bool take() {
    bool ends = false;
    const auto begin = [&](std::span<const std::byte> message) {
      task_ = take_header<TaskHeader>(message);
      ends = (task_.flags & TaskHeader::end) != 0;
      if (ends || (task_.flags & TaskHeader::pass_over) != 0) return;
      begun_ = now_in_nanoseconds();
      slot_.begun.store(begun_, std::memory_order_relaxed);
      const std::uint64_t next = WorkerSlot::word_for(task_.id);
      MULTIPROCESSING_STOP_POINT("worker.begin.found");
      // Thrown, the message stays for somebody else.
      if (!slot_.word.compare_exchange_strong(word_, next)) throw Condemned{};
      word_ = next;
      MULTIPROCESSING_STOP_POINT("worker.begin.begun");
      arguments_ = message;
      if (link_.tasks->is_in_block(message)) return;
      bytes_.assign(message.begin(), message.end());
      arguments_ = bytes_;
    };
    std::optional<std::size_t> number;
    try {
      link_.tasks->get(begin, Deadline{forever}, &number);
    } catch (const Condemned&) {
      return false;
    }
    MULTIPROCESSING_STOP_POINT("worker.begin.taken");
    if (number) {
      block_ = BorrowedBlock{link_.tasks, *number};
    } else if (bytes_.size() >= large_message &&
               slot_.maps_tasks.load(std::memory_order_relaxed) == 0 &&
               link_.tasks->prepare_loans(
                   Deadline{forever})) {  // the next ones may lie beside the ring
      slot_.maps_tasks.store(1, std::memory_order_relaxed);
    }
    return !ends;
  }

  void run_task() {
    begin_result(ResultHeader::value);
    try {
      try {
        call_task();
      } catch (...) {
        if (os::current_exception_type() == "unknown") os::exit_now(1);  // pthread_exit unwinds
        begin_result(ResultHeader::error);
        encode_error(name_of_task());
      }
    } catch (...) {  // the exception itself cannot be encoded
      begin_result(ResultHeader::error);
      encode_error("while an exception of task " + std::to_string(task_.id >> 32U) +
                   " was encoded");
    }
    block_ = BorrowedBlock{};
    MULTIPROCESSING_STOP_POINT("worker.run.encoded");
    try {
      put_result();
    } catch (...) {  // too many handles, no memory: an exception is smaller
      begin_result(ResultHeader::error);
      encode_error("while the result of " + name_of_task() + " was sent");
      put_result();
    }
    MULTIPROCESSING_STOP_POINT("worker.run.committed");
    if (bytes_.capacity() > most_kept_for_messages) bytes_ = {};
    if (result_.capacity() > most_kept_for_messages) result_ = {};
  }

  [[nodiscard]] std::string name_of_task() const {
    return "task " + std::to_string(task_.id >> 32U);
  }

  void call_task() {
    if (code_.size() <= task_.code) code_.resize(task_.code + 1);
    const auto page = link_.board->page(task_.page);
    Transit arrived;
    if (task_.in_channel != 0) arrived = receive(task_.in_channel);
    std::optional<os::MemoryLimit> limit;
    std::error_code ec;
    if (task_.max_memory != 0) limit.emplace(task_.max_memory, ec);
    if (ec) throw std::system_error{ec, "TaskOptions::max_memory: limiting a task's memory"};
    Decoder arguments{arguments_, &arrived};
    Encoder result{result_, &departing_};
    code_[task_.code].call(page, arguments, result);
  }

  /// They belong to tasks that were taken back: nobody minds if they cannot be received.
  void pass_over(std::uint64_t number) {
    while (received_ < number) {
      ++received_;
      try {
        link_.channel->receive(Deadline{forever});
      } catch (const std::exception& error) {
        log(LogLevel::warning, error.what());
      }
    }
  }
  /// @throws what receive() throws: no descriptor is left. The message is gone then too.
  Transit receive(std::uint64_t number) {
    pass_over(number - 1);
    received_ = number;
    auto message = link_.channel->receive(Deadline{forever});
    while (message) {
      ChannelParts parts{message->bytes()};
      if (parts.id == task_.id) return {std::move(parts.objects), std::move(message->handles)};
      // One that could not be received may have stayed: it was counted and is not this task's.
      message = link_.channel->receive(Deadline{std::chrono::seconds{0}});
    }
    throw SerializationError{"a task's handles did not arrive"};
  }

  void begin_result(ResultHeader::Kind kind) {
    result_.clear();
    departing_ = {};
    put_header(result_, ResultHeader{task_.id, link_.place, kind, 0, begun_, 0});
  }
  void encode_error(const std::string& what) { encode_error(what, &departing_); }
  void encode_error(const std::string& what, Transit* transit) {
    Encoder encoder{result_, transit};
    encode_exception(encoder, "In process " + current_process().name() + ", pid " +
                                  std::to_string(os::process_id()) + ", " + what + ":\n");
  }
  void put_result() {
    ResultHeader header;
    std::memcpy(&header, result_.data(), sizeof header);
    header.ended = now_in_nanoseconds();
    if (!departing_.objects().empty()) {
      const auto message = channel_message(task_.id, departing_);
      link_.channel->send({0, message, departing_.departing()}, Deadline{forever});
      header.in_channel = 1;
    }
    std::memcpy(result_.data(), &header, sizeof header);
    const bool maps = slot_.maps_results.load(std::memory_order_relaxed) != 0;
    put_message(link_.results, result_.size(), maps,
                [this](std::byte* to) { std::memcpy(to, result_.data(), result_.size()); });
    sent_ += header.in_channel;
    departing_ = {};
  }

  /// Waits until the parent has the handles of all results. A callback may hold it up, but not for
  /// ever.
  void hand_over() const {
    const Deadline deadline{std::chrono::minutes{1}};
    constexpr std::chrono::milliseconds moment{1};
    while (slot_.received.load() < sent_ && !deadline.passed()) {
      std::this_thread::sleep_for(moment);  // the parent rings no bell for it
    }
  }

  WorkerLink& link_;
  WorkerSlot& slot_;
  TaskHeader task_;
  std::uint64_t word_ = 0;
  std::int64_t begun_ = 0;
  std::uint64_t received_ = 0;  // messages of the channel
  std::uint32_t sent_ = 0;      // likewise, of those that the parent was told of
  std::vector<std::byte> bytes_;
  BorrowedBlock block_;                   // of a large task
  std::span<const std::byte> arguments_;  // in bytes_ or in block_
  std::vector<std::byte> result_;
  Transit departing_;
  std::vector<KnownCode> code_;
};

/// @brief A worker's process. A daemon, so that it ends with its parent; but it may start
/// processes.
class PoolWorker : public Process<PoolWorker> {
 public:
  static constexpr bool daemons_may_start_it = true;

  explicit PoolWorker(WorkerLink link) : PoolWorker{{.daemon = true}, std::move(link)} {}
  PoolWorker(ProcessOptions options, WorkerLink link)
      : Process{std::move(options)}, link_{std::move(link)} {}

  void run() override {
    {
      const std::lock_guard lock{process_state().mutex};
      process_state().daemon = false;
    }
    os::leave_signals_to_others();
    WorkerLoop{link_}.run();
  }
  [[nodiscard]] auto reduce() const { return arguments(link_); }

  /// @brief The parent needs no link once the worker is started.
  void drop_link() { link_ = {}; }

 private:
  WorkerLink link_;
};

}  // namespace detail
}  // namespace multiprocessing
