// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file result_iterator.hpp
/// @brief Results one by one, while later ones are being made.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/timeout.hpp>
#include <multiprocessing/workers/map_core.hpp>
#include <multiprocessing/workers/submit.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <stop_token>
#include <type_traits>
#include <utility>
#include <vector>

namespace multiprocessing {

namespace detail {

/// @brief Chunks of results that have come and are not taken. @threads any number at once.
template <class R>
class ChunkStore final : public Receiver {
 public:
  struct Chunk {
    std::vector<Kept<R>> values;
    std::exception_ptr error;
  };

  explicit ChunkStore(bool in_order) : in_order_{in_order} {}

  /// @brief The number of a chunk of that size, which comes behind those expected before.
  std::uint32_t expect(std::size_t size) {
    const std::lock_guard lock{mutex_};
    std::uint32_t part = free_;
    if (part == none) {
      part = static_cast<std::uint32_t>(slots_.size());
      slots_.emplace_back();
    } else {
      free_ = slots_[part].next;
    }
    slots_[part].size = size;
    if (in_order_) append(part);
    return part;
  }
  [[nodiscard]] bool has_next() {
    const std::lock_guard lock{mutex_};
    return first_ != none && slots_[first_].is_there;
  }
  Chunk take_next() {
    const std::lock_guard lock{mutex_};
    const std::uint32_t part = first_;
    Slot& slot = slots_[part];
    first_ = slot.next;
    if (first_ == none) last_ = none;
    slot.is_there = false;
    slot.next = std::exchange(free_, part);
    return std::exchange(slot.chunk, {});
  }

  void on_value(std::uint32_t part, Decoder& value) override {
    std::size_t expected = 0;
    {
      const std::lock_guard lock{mutex_};
      expected = slots_.at(part).size;
    }
    Chunk chunk;
    if constexpr (std::is_void_v<R>) {
      check_all_read(value);
      chunk.values.resize(expected);
    } else {
      chunk.values = decode<std::vector<R>>(value);
      check_all_read(value);
      if (chunk.values.size() != expected) {
        throw SerializationError{"a chunk of results has another size than its arguments"};
      }
    }
    store(part, std::move(chunk));
  }
  void on_error(std::uint32_t part, std::exception_ptr error) noexcept override {
    store(part, {{}, std::move(error)});
  }

 private:
  static constexpr std::uint32_t none = 0xFFFF'FFFF;

  struct Slot {
    std::size_t size = 0;
    std::uint32_t next = none;  // of those to be taken, or of the free ones
    bool is_there = false;
    Chunk chunk;
  };

  /// Needs no memory: a result that has come is never lost.
  void append(std::uint32_t part) noexcept {
    slots_[part].next = none;
    (last_ == none ? first_ : slots_[last_].next) = part;
    last_ = part;
  }
  void store(std::uint32_t part, Chunk chunk) noexcept {
    const std::lock_guard lock{mutex_};
    Slot& slot = slots_[part];
    slot.chunk = std::move(chunk);
    slot.is_there = true;
    if (!in_order_) append(part);
  }

  const bool in_order_;
  std::mutex mutex_;
  std::vector<Slot> slots_;
  std::uint32_t free_ = none;
  std::uint32_t first_ = none;  // the one that is taken next, and the last of those behind it
  std::uint32_t last_ = none;
};

/// @brief The tasks of an iterator that may not have begun; an executor's are cancelled with it.
class TasksAhead {
 public:
  TasksAhead(std::shared_ptr<TaskRunner> runner, bool cancels) noexcept
      : runner_{std::move(runner)}, cancels_{cancels} {}
  TasksAhead(TasksAhead&&) noexcept = default;
  TasksAhead& operator=(TasksAhead&& other) noexcept {
    runner_.swap(other.runner_);
    tasks_.swap(other.tasks_);
    std::swap(cancels_, other.cancels_);
    return *this;
  }
  ~TasksAhead() {
    if (!cancels_ || !runner_ || !runner_->is_ours()) return;
    try {
      cancel();
    } catch (const std::exception& error) {  // no memory: they are done all the same
      log(LogLevel::error, error.what());
    }
  }

  /// @param most older ones are done.
  void add(std::uint64_t task, std::size_t most) {
    tasks_.push_back(task);
    if (tasks_.size() > most) tasks_.pop_front();
  }
  void clear() noexcept { tasks_.clear(); }
  void cancel() {
    for (const std::uint64_t task : std::exchange(tasks_, {})) runner_->cancel(task);
  }

 private:
  std::shared_ptr<TaskRunner> runner_;
  std::deque<std::uint64_t> tasks_;
  bool cancels_;
};

}  // namespace detail

/// @brief The results of `imap`, `imap_unordered` and an executor's `map`: a range to go through
/// once, or to ask with next().
///
/// The input is read as results are taken, some chunks ahead (`buffersize`), by the thread that
/// takes them: it may be endless, and is used by no other thread. What a task throws comes out of
/// next() at its place, and the next call goes on behind it; with chunks of several items, the
/// whole chunk is lost. What the input throws comes after all results before it, and is the end; so
/// is the refusal of a pool that was closed before all of the input was read. One of an executor
/// that goes before its end cancels what no worker has begun (of unordered results, the newest of
/// it); one of a pool leaves it to be done.
/// @code
/// for (int square : pool.imap(f, numbers)) ...
/// @endcode
/// @threads one at a time.
template <class R>
class ResultIterator {
 public:
  /// @brief A result; std::monostate where the function returns nothing.
  using value_type = detail::Kept<R>;

  ResultIterator(const ResultIterator&) = delete;
  ResultIterator& operator=(const ResultIterator&) = delete;
  ResultIterator(ResultIterator&&) noexcept = default;
  ResultIterator& operator=(ResultIterator&&) noexcept = default;
  ~ResultIterator() = default;

  /// @brief The next result; none: that was all.
  /// @throws what the task threw. TimeoutError it is not there within the time; it may be asked for
  /// again. CancelledError a stop was requested, by `stop` or, where there is none, by
  /// TaskOptions::stop; or the pool was terminated.
  std::optional<value_type> next(Timeout timeout = forever, const std::stop_token& stop = {}) {
    const std::stop_token& stopped = stop.stop_possible() ? stop : stop_;
    while (at_ == current_.size()) {
      fill();
      if (taken_ == handed_out_) {
        tasks_.clear();
        if (input_error_) std::rethrow_exception(std::exchange(input_error_, nullptr));
        return std::nullopt;
      }
      const detail::Deadline deadline{timeout};
      const auto limit = deadline_.left(deadline.left(std::chrono::hours{24 * 365 * 100}));
      if (!runner_->wait(
              store_.get(), [this] { return store_->has_next(); },
              timeout.is_forever() ? deadline_ : detail::Deadline{limit}, stopped)) {
        if (stopped.stop_requested()) throw CancelledError{"the wait for a result was stopped"};
        if (deadline_.passed()) close();
        throw TimeoutError{"the next result is not there yet"};
      }
      auto chunk = store_->take_next();
      ++taken_;
      current_ = std::move(chunk.values);
      at_ = 0;
      fill();
      if (chunk.error) std::rethrow_exception(chunk.error);
    }
    return std::move(current_[at_++]);
  }
  /// @brief Reads no more of the input, and takes back what no worker has begun; next() gives
  /// nothing more.
  void close() {
    hand_out_ = {};
    input_error_ = nullptr;
    current_.clear();
    at_ = 0;
    tasks_.cancel();
    taken_ = handed_out_;
  }

  /// @brief Goes through the results once, and waits for each.
  class iterator {
   public:
    /// @name What an input iterator has
    /// @{

    /// @brief As the standard says of every input iterator.
    using iterator_concept = std::input_iterator_tag;
    using value_type = typename ResultIterator::value_type;
    using difference_type = std::ptrdiff_t;

    iterator() = default;
    explicit iterator(ResultIterator& results) : results_{&results} { ++*this; }
    value_type& operator*() const { return *results_->shown_; }
    value_type* operator->() const { return &*results_->shown_; }
    iterator& operator++() {
      results_->shown_ = results_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    /// @brief As next() of the range: the result behind this one.
    std::optional<value_type> next(Timeout timeout = forever, const std::stop_token& stop = {}) {
      return results_->next(timeout, stop);
    }
    friend bool operator==(const iterator& it, std::default_sentinel_t) { return it.is_at_end(); }
    /// @}

   private:
    [[nodiscard]] bool is_at_end() const noexcept { return !results_->shown_; }
    ResultIterator* results_ = nullptr;
  };
  /// @brief Takes the first result.
  iterator begin() { return iterator{*this}; }
  /// @brief Reached when all were taken.
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  /// @brief For the pools. @param hand_out gives the next chunk to the runner; the task's number,
  /// 0: it failed at once; none: the input has ended.
  using HandOut =
      std::function<std::optional<std::uint64_t>(const std::shared_ptr<detail::ChunkStore<R>>&)>;
  /// @brief For the pools.
  ResultIterator(std::shared_ptr<detail::TaskRunner> runner,
                 HandOut hand_out,
                 bool in_order,
                 std::size_t buffersize,
                 std::size_t refill_at,
                 Timeout timeout,
                 std::stop_token stop,
                 bool cancels_rest)
      : tasks_{runner, cancels_rest},
        runner_{std::move(runner)},
        store_{std::make_shared<detail::ChunkStore<R>>(in_order)},
        hand_out_{std::move(hand_out)},
        deadline_{timeout},
        stop_{std::move(stop)},
        ahead_{buffersize},
        refill_at_{refill_at} {
    fill();
  }

 private:
  void fill() {
    if (handed_out_ - taken_ > refill_at_) return;
    while (hand_out_ && handed_out_ - taken_ < ahead_) {
      try {
        const auto task = hand_out_(store_);
        if (!task) {
          hand_out_ = {};
          return;
        }
        if (*task != 0) tasks_.add(*task, ahead_);
        ++handed_out_;
      } catch (...) {  // the input threw, or the pool takes no more
        input_error_ = std::current_exception();
        hand_out_ = {};
      }
    }
  }

  detail::TasksAhead tasks_;
  std::shared_ptr<detail::TaskRunner> runner_;
  std::shared_ptr<detail::ChunkStore<R>> store_;
  HandOut hand_out_;
  detail::Deadline deadline_;
  std::stop_token stop_;
  std::size_t ahead_;
  std::size_t refill_at_;  // handing out in batches wakes workers less often
  std::uint32_t handed_out_ = 0;
  std::uint32_t taken_ = 0;
  std::vector<value_type> current_;
  std::size_t at_ = 0;
  std::optional<value_type> shown_;
  std::exception_ptr input_error_;
};

namespace detail {

/// @brief A range that is read while other things happen: an lvalue is referred to, an rvalue kept.
template <class Xs>
class Input {
 public:
  explicit Input(Xs&& xs) : xs_{std::forward<Xs>(xs)} {}
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;
  ~Input() = default;

  /// @brief At most so many items; none: it has ended.
  std::vector<ItemOf<Xs>> take(std::size_t most) {
    if (!at_) at_.emplace(std::ranges::begin(xs_));
    std::vector<ItemOf<Xs>> items;
    for (; items.size() < most; is_read_ = true) {
      if (is_read_) ++*at_;  // not before it is needed: an input may have nothing ready
      is_read_ = false;
      if (*at_ == std::ranges::end(xs_)) break;
      items.emplace_back(**at_);
    }
    return items;
  }

 private:
  Xs xs_;
  std::optional<std::ranges::iterator_t<std::remove_reference_t<Xs>>> at_;
  bool is_read_ = false;
};

/// @brief The results of a call for each item of a range, taken as they are needed.
template <bool Spread, class F, class Xs>
auto iterate(const std::shared_ptr<TaskRunner>& runner,
             const TaskOptions& options,
             const F& function,
             Xs&& xs,
             bool in_order,
             std::size_t chunksize,
             std::size_t buffersize,
             Timeout timeout = forever,
             bool cancels_rest = false) {
  using X = ItemOf<Xs>;
  using Key = ChunkKey<F, Xs, Spread>;
  static_assert(check_callable<F>());
  if (chunksize == 0) throw std::invalid_argument{"the size of a chunk is at least 1"};
  check_options(options, true, false);
  constexpr std::size_t chunks_per_worker = 8;
  constexpr std::size_t least_chunks = 64;
  std::size_t refill_at = buffersize;
  if (buffersize == 0) {
    buffersize = std::max(runner->workers() * chunks_per_worker, least_chunks);
    refill_at = buffersize / 2;
  }
  auto input = std::make_shared<Input<Xs>>(std::forward<Xs>(xs));
  auto hand_out =
      [=, input = std::move(input)](const std::shared_ptr<ChunkStore<typename Key::Result>>& store)
      -> std::optional<std::uint64_t> {
    const std::vector<X> chunk = input->take(chunksize);
    if (chunk.empty()) return std::nullopt;
    const std::uint32_t part = store->expect(chunk.size());
    // What it throws ends it: the store expects nothing behind this one.
    return submit_code<Key>(
        *runner, function, [&](Encoder& encoder) { encode_chunk<X>(encoder, chunk); }, store, part,
        options);
  };
  runner->check_takes_tasks();
  runner->work_in_background();
  ResultIterator<typename Key::Result> results{runner,       std::move(hand_out), in_order,
                                               buffersize,   refill_at,           timeout,
                                               options.stop, cancels_rest};
  return results;
}

}  // namespace detail
}  // namespace multiprocessing
