// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file waiting.hpp
/// @brief Waiting for several futures.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/futures/future.hpp>
#include <multiprocessing/timeout.hpp>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <set>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace multiprocessing {

/// @brief When wait() returns. @python{concurrent.futures.FIRST_COMPLETED, ...}
enum class ReturnWhen { FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED };
/// @brief When one is done.
inline constexpr ReturnWhen FIRST_COMPLETED = ReturnWhen::FIRST_COMPLETED;
/// @brief When one has thrown, or all are done.
inline constexpr ReturnWhen FIRST_EXCEPTION = ReturnWhen::FIRST_EXCEPTION;
/// @brief When all are done.
inline constexpr ReturnWhen ALL_COMPLETED = ReturnWhen::ALL_COMPLETED;

namespace detail {

template <class T>
inline constexpr bool is_future = false;
template <class R>
inline constexpr bool is_future<Future<R>> = true;

/// @brief A range of futures.
template <class Futures>
concept FutureRange = std::ranges::input_range<Futures> &&
    is_future<std::ranges::range_value_t<std::remove_cvref_t<Futures>>>;

/// @brief The futures of a range, each once.
template <FutureRange Futures>
auto distinct(Futures&& futures) {
  using Future = std::ranges::range_value_t<std::remove_cvref_t<Futures>>;
  std::vector<Future> all;
  std::set<const void*> seen;
  for (const Future& future : futures) {
    if (seen.insert(future.core().get()).second) all.push_back(future);
  }
  return all;
}

/// @brief Which of some futures became done, in that order. What the futures hold of it does not
/// keep it alive.
class Completions : public std::enable_shared_from_this<Completions> {
 public:
  Completions() = default;
  Completions(const Completions&) = delete;
  Completions& operator=(const Completions&) = delete;
  ~Completions() {
    for (const auto& each : watched_) {
      const auto core = each.lock();
      if (!core) continue;
      const auto runner = core->runner();  // in a forked child, see watch()
      if (!runner || runner->is_ours()) core->drop_actions(this);
    }
  }

  /// @param number the next one, from 0 on.
  template <class Future>
  void watch(const Future& future, std::size_t number) {
    const FutureCore* const core = future.core().get();
    {
      const std::lock_guard lock{mutex_};
      behind_.resize(number + 1, none);
    }
    const auto runner = core->runner();
    if (runner && !runner->is_ours()) {
      // The fork may have left its mutex locked: it is asked for nothing that needs it.
      if (core->is_done()) {
        add(number, *core);
      } else {
        foreign_ = runner;
      }
      return;
    }
    if (runner && !has_runner_) {
      runner_ = runner;
      has_runner_ = true;
    }
    watched_.push_back(future.core());
    future.core()->when_done(
        [weak = weak_from_this(), number, core] {
          if (const auto self = weak.lock()) self->add(number, *core);
        },
        this);
  }
  [[nodiscard]] std::optional<std::size_t> next() {
    const std::lock_guard lock{mutex_};
    if (first_ == none) return std::nullopt;
    const std::size_t number = std::exchange(first_, behind_[first_]);
    if (first_ == none) last_ = none;
    return number;
  }
  [[nodiscard]] bool has(std::size_t count) {
    const std::lock_guard lock{mutex_};
    return count_ >= count;
  }
  [[nodiscard]] bool has_failure() {
    const std::lock_guard lock{mutex_};
    return failed_;
  }
  /// @brief Waits, and drives the loop of the first future's runner meanwhile.
  /// @throws std::logic_error one is not done whose executor belongs to another process.
  bool wait(const std::function<bool()>& enough,
            const Deadline& deadline,
            const std::stop_token& stop) {
    constexpr std::chrono::milliseconds tick{20};
    // Nobody here will ever say that those are done.
    if (const auto foreign = foreign_.lock(); foreign && !enough()) {
      foreign->wait(nullptr, enough, deadline, stop);
    }
    if (const auto runner = runner_.lock()) {
      // Futures of other crews become done unseen by this one's loop.
      while (!enough() && !deadline.passed() && !stop.stop_requested()) {
        runner->wait(nullptr, enough, Deadline{deadline.left(tick)}, stop);
      }
      return enough();
    }
    for (;;) {
      if (enough()) return true;
      if (deadline.passed() || stop.stop_requested()) return false;
      std::unique_lock lock{mutex_};
      const std::size_t before = count_;
      bell_.wait_for(lock, deadline.left(tick), [&] { return count_ != before; });
    }
  }

 private:
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  /// Needs no memory: one that is done is never missed.
  void add(std::size_t number, const FutureCore& core) noexcept {
    const std::lock_guard lock{mutex_};
    (last_ == none ? first_ : behind_[last_]) = number;
    last_ = number;
    ++count_;
    failed_ = failed_ || (core.error() && !core.is_cancelled());
    bell_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable bell_;
  std::vector<std::size_t> behind_;  // each one: which became done next
  std::size_t first_ = none;         // of those not taken
  std::size_t last_ = none;
  std::size_t count_ = 0;
  bool failed_ = false;
  std::vector<std::weak_ptr<FutureCore>> watched_;
  std::weak_ptr<TaskRunner> runner_;
  bool has_runner_ = false;
  std::weak_ptr<TaskRunner> foreign_;  // of a forked child's parent
};

}  // namespace detail

/// @brief What wait() returns: the futures, in their order, each once.
template <class Future>
struct DoneAndNotDone {
  /// Those with a result, those that threw, those that were cancelled.
  std::vector<Future> done;
  /// The others.
  std::vector<Future> not_done;
};

/// @brief Waits for futures of any executors.
/// @param futures a range of them; one that is there twice counts once.
/// @param timeout when it is over, what is done then is returned.
/// @param return_when all are done (ALL_COMPLETED); one is; or one has thrown, else all.
/// @param stop ends the wait as the timeout does.
/// @throws std::logic_error it would have to wait, and one's executor belongs to another process.
/// @python{concurrent.futures.wait}
template <detail::FutureRange Futures>
auto wait(Futures&& futures,
          Timeout timeout = forever,
          ReturnWhen return_when = ALL_COMPLETED,
          const std::stop_token& stop = {}) {
  auto all = detail::distinct(futures);
  using Future = typename decltype(all)::value_type;
  const auto completions = std::make_shared<detail::Completions>();
  for (std::size_t i = 0; i < all.size(); ++i) completions->watch(all[i], i);
  completions->wait(
      [&] {
        return completions->has(all.size()) ||
               (return_when == FIRST_COMPLETED && completions->has(1)) ||
               (return_when == FIRST_EXCEPTION && completions->has_failure());
      },
      detail::Deadline{timeout}, stop);
  DoneAndNotDone<Future> result;
  for (auto& future : all) (future.done() ? result.done : result.not_done).push_back(future);
  return result;
}

/// @brief Futures as they become done: a range to go through once. It is moved, not copied.
/// @python{concurrent.futures.as_completed}
template <class F>
class AsCompleted {
 public:
  /// @brief What as_completed() returns.
  AsCompleted(std::vector<F> futures, Timeout timeout, std::stop_token stop)
      : futures_{std::move(futures)},
        completions_{std::make_shared<detail::Completions>()},
        deadline_{timeout},
        stop_{std::move(stop)} {
    for (std::size_t i = 0; i < futures_.size(); ++i) completions_->watch(futures_[i], i);
  }
  AsCompleted(const AsCompleted&) = delete;
  AsCompleted& operator=(const AsCompleted&) = delete;
  AsCompleted(AsCompleted&&) noexcept = default;
  AsCompleted& operator=(AsCompleted&&) noexcept = default;
  ~AsCompleted() = default;

  /// @brief The next one that is done; none: those were all.
  /// @throws TimeoutError the time is over; says how many are left. CancelledError a stop was
  /// requested, by `stop` or, where there is none, by the one that as_completed() got.
  /// @throws std::logic_error it would have to wait, and one's executor belongs to another process.
  std::optional<F> next(const std::stop_token& stop = {}) {
    if (given_ >= futures_.size()) return std::nullopt;  // fewer: moved from
    const std::stop_token& stopped = stop.stop_possible() ? stop : stop_;
    if (!completions_->wait([this] { return completions_->has(given_ + 1); }, deadline_, stopped)) {
      if (stopped.stop_requested()) throw CancelledError{"the wait for futures was stopped"};
      throw TimeoutError{std::to_string(futures_.size() - given_) + " (of " +
                         std::to_string(futures_.size()) + ") futures unfinished"};
    }
    ++given_;
    return std::exchange(futures_[*completions_->next()], F{nullptr});
  }

  /// @brief Goes through all of them once, and waits for each.
  class iterator {
   public:
    /// @name What an input iterator has
    /// @{

    /// @brief As the standard says of every input iterator.
    using iterator_concept = std::input_iterator_tag;
    using value_type = F;
    using difference_type = std::ptrdiff_t;

    iterator() = default;
    explicit iterator(AsCompleted& all) : all_{&all} { ++*this; }
    const F& operator*() const { return *shown_; }
    const F* operator->() const { return &*shown_; }
    iterator& operator++() {
      shown_ = all_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& it, std::default_sentinel_t) { return it.is_at_end(); }
    /// @}

   private:
    [[nodiscard]] bool is_at_end() const noexcept { return !shown_; }
    AsCompleted* all_ = nullptr;
    std::optional<F> shown_;
  };
  /// @brief Waits for the first one.
  iterator begin() { return iterator{*this}; }
  /// @brief Reached when all were given out.
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  std::vector<F> futures_;
  std::shared_ptr<detail::Completions> completions_;
  detail::Deadline deadline_;
  std::stop_token stop_;
  std::size_t given_ = 0;
};

/// @brief Goes through futures of any executors in the order in which they become done.
/// @param futures a range of them; one that is there twice comes once.
/// @param timeout for all of them, from now on.
/// @param stop ends each wait with CancelledError when a stop is requested.
/// @returns a range to go through once, see AsCompleted.
template <detail::FutureRange Futures>
[[nodiscard]] auto as_completed(Futures&& futures,
                                Timeout timeout = forever,
                                const std::stop_token& stop = {}) {
  auto all = detail::distinct(futures);
  return AsCompleted<typename decltype(all)::value_type>{std::move(all), timeout, stop};
}

}  // namespace multiprocessing
