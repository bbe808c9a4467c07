// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file map_core.hpp
/// @brief One result of many tasks: a call for every item of a range, in chunks.
#include <multiprocessing/workers/future_core.hpp>
#include <multiprocessing/workers/submit.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <mutex>
#include <ranges>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

template <class Xs>
using ItemOf = std::ranges::range_value_t<std::remove_cvref_t<Xs>>;

/// @brief The code for chunks of a range's items.
template <class F, class Xs, bool Spread>
using ChunkKey = CallChunk<F, ItemOf<Xs>, Spread>;

template <class R>
using MapResult = std::conditional_t<std::is_void_v<R>, void, std::vector<Kept<R>>>;

/// @brief The result of a map. @tparam R of one item.
template <class R>
class MapCore final : public ResultCore<MapResult<R>> {
 public:
  using Result = Kept<MapResult<R>>;

  /// @param sizes of the chunks, in order.
  MapCore(std::vector<std::size_t> sizes, std::function<void(std::size_t, std::size_t)> progress)
      : sizes_{std::move(sizes)},
        parts_(std::is_void_v<R> ? 0 : sizes_.size()),
        left_{sizes_.size()},
        progress_{std::move(progress)} {
    for (const std::size_t size : sizes_) total_ += size;
    if (left_ == 0) this->set_value({});
  }

  void on_value(std::uint32_t part, Decoder& value) override {
    if constexpr (std::is_void_v<R>) {
      check_all_read(value);
    } else {
      auto decoded = decode<std::vector<R>>(value);
      check_all_read(value);
      if (decoded.size() != sizes_.at(part)) {
        throw SerializationError{"a chunk of results has another size than its arguments"};
      }
      const std::lock_guard lock{mutex_};
      parts_[part] = std::move(decoded);
    }
    part_done(part);
  }
  void on_error(std::uint32_t part, std::exception_ptr error) noexcept override {
    {
      const std::lock_guard lock{mutex_};
      if (part < first_failed_) {
        first_failed_ = part;
        first_error_ = std::move(error);
      }
    }
    part_done(part);
  }
  void on_cancelled(std::uint32_t part, std::exception_ptr error) noexcept override {
    on_error(part, std::move(error));
  }
  /// @brief Its tasks, if somebody may stop waiting for them.
  std::vector<std::uint64_t> tasks;

  /// @brief Nothing is reported any more: whoever wanted to know has gone.
  void silence() {
    std::unique_lock lock{mutex_};
    is_silent_ = true;
    told_.wait(lock, [this] { return !is_reporting_; });
  }

 private:
  void part_done(std::uint32_t part) noexcept {
    bool is_last = false;
    {
      std::unique_lock lock{mutex_};
      is_last = --left_ == 0;
      done_ += sizes_[part];
      report(lock);
    }
    if (!is_last) return;
    if (first_error_) return ResultCore<MapResult<R>>::on_error(0, first_error_);
    try {
      if constexpr (std::is_void_v<R>) {
        this->set_value({});
      } else {
        this->set_value(all());
      }
    } catch (...) {  // no memory
      ResultCore<MapResult<R>>::on_error(0, std::current_exception());
    }
  }
  Result all() requires(!std::is_void_v<R>) {
    if (parts_.size() == 1) return std::move(parts_.front());
    Result result;
    result.reserve(total_);
    for (auto& part : parts_) {
      result.insert(result.end(), std::make_move_iterator(part.begin()),
                    std::make_move_iterator(part.end()));
      part = std::vector<Kept<R>>{};
    }
    return result;
  }

  /// One call at a time, whoever else is here, and one with all: who finds a call in progress
  /// leaves it to that one to tell of more.
  void report(std::unique_lock<std::mutex>& lock) noexcept {
    if (!progress_ || is_reporting_) return;
    is_reporting_ = true;
    while (reported_ < done_ && !is_silent_) {
      reported_ = done_;
      lock.unlock();
      this->call([&] { progress_(reported_, total_); });
      lock.lock();
    }
    is_reporting_ = false;
    told_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable told_;
  bool is_reporting_ = false;
  bool is_silent_ = false;
  std::size_t reported_ = 0;
  std::vector<std::size_t> sizes_;
  std::vector<std::vector<Kept<R>>> parts_;
  std::size_t left_;
  std::size_t total_ = 0;
  std::size_t done_ = 0;
  std::uint32_t first_failed_ = std::numeric_limits<std::uint32_t>::max();
  std::exception_ptr first_error_;
  std::function<void(std::size_t, std::size_t)> progress_;
};

template <class R>
[[nodiscard]] std::shared_ptr<ResultCore<MapResult<R>>> as_result_core(
    std::shared_ptr<MapCore<R>> core) noexcept {
  return core;
}

/// @brief Encodes a chunk as CallChunk decodes it.
template <class X>
void encode_chunk(Encoder& encoder, const std::vector<X>& chunk) {
  encode<std::vector<X>>(encoder, chunk);
}

/// @brief Starts a map: hands out all chunks. @param xs of known size.
template <bool Spread, class F, class Xs>
auto start_map(const std::shared_ptr<TaskRunner>& runner,
               const TaskOptions& options,
               bool in_background,
               const auto& prepare,
               const F& function,
               Xs& xs,
               std::size_t count,
               std::size_t chunksize) {
  using X = ItemOf<Xs>;
  using Key = ChunkKey<F, Xs, Spread>;
  static_assert(check_callable<F>());
  check_options(options, !in_background, true);
  constexpr unsigned chunks_per_worker = 4;
  if (chunksize == 0) {
    const std::size_t chunks = std::size_t{runner->workers()} * chunks_per_worker;
    chunksize = std::max<std::size_t>((count + chunks - 1) / chunks, 1);
  }
  std::vector<std::size_t> sizes(count / chunksize, chunksize);
  if (count % chunksize != 0) sizes.push_back(count % chunksize);
  auto core = std::make_shared<MapCore<typename Key::Result>>(sizes, options.progress);
  core->attach(runner);
  prepare(*core);
  runner->check_takes_tasks();
  if (in_background || options.stop.stop_possible()) runner->work_in_background();
  auto item = std::ranges::begin(xs);
  std::uint32_t part = 0;
  std::vector<std::uint64_t> tasks;
  const auto abandon = [&](const std::exception_ptr& error) {
    for (; part < sizes.size(); ++part) core->on_error(part, error);
  };
  try {
    for (; part < sizes.size(); ++part) {
      std::vector<X> chunk;
      chunk.reserve(sizes[part]);
      for (std::size_t i = 0; i < sizes[part]; ++i, ++item) chunk.emplace_back(*item);
      const std::uint64_t task = submit_code<Key>(
          *runner, function, [&](Encoder& encoder) { encode_chunk<X>(encoder, chunk); }, core, part,
          options);
      if (task != 0) tasks.push_back(task);
    }
  } catch (...) {  // the input threw, or the pool is closed
    core->silence();
    for (const std::uint64_t task : tasks) runner->cancel(task);
    abandon(std::current_exception());
    throw;
  }
  if (options.stop.stop_possible()) core->tasks = std::move(tasks);
  return core;
}

/// @brief The same for any range.
template <bool Spread, class F, class Xs>
auto start_map(const std::shared_ptr<TaskRunner>& runner,
               const TaskOptions& options,
               bool in_background,
               const auto& prepare,
               const F& function,
               Xs&& xs,
               std::size_t chunksize) {
  if constexpr (std::ranges::sized_range<Xs> || std::ranges::forward_range<Xs>) {
    const auto count = static_cast<std::size_t>(std::ranges::distance(xs));
    return start_map<Spread>(runner, options, in_background, prepare, function, xs, count,
                             chunksize);
  } else {
    std::vector<ItemOf<Xs>> all;
    for (auto&& x : xs) all.emplace_back(std::forward<decltype(x)>(x));
    return start_map<Spread>(runner, options, in_background, prepare, function, all, all.size(),
                             chunksize);
  }
}

}  // namespace multiprocessing::detail
