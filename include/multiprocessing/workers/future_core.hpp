// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file future_core.hpp
/// @brief What an AsyncResult and a Future refer to: a result that is there or will be.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/timeout.hpp>
#include <multiprocessing/workers/receiver.hpp>
#include <multiprocessing/workers/task_runner.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace multiprocessing::detail {

/// @brief A result without its type.
/// @threads any number at once.
class FutureCore : public Receiver {
 public:
  enum class Status : std::uint8_t { pending, running, cancelled, finished };

  [[nodiscard]] bool is_done() const noexcept { return status() >= Status::cancelled; }
  [[nodiscard]] bool is_cancelled() const noexcept { return status() == Status::cancelled; }
  [[nodiscard]] bool is_running() const {
    if (status() != Status::pending) return status() == Status::running;
    const auto runner = runner_.lock();
    return runner && runner->is_running(task_);
  }
  /// @brief What it ended with instead of a value; none: a value. Once it is done.
  [[nodiscard]] const std::exception_ptr& error() const noexcept { return error_; }

  /// @returns whether it is done.
  bool wait(Timeout timeout, const std::stop_token& stop = {}) {
    if (is_done()) return true;
    const Deadline deadline{timeout};
    if (const auto runner = runner_.lock()) {
      return runner->wait(
          this, [this] { return is_done(); }, deadline, stop);
    }
    constexpr std::chrono::milliseconds tick{20};
    std::unique_lock lock{mutex_};
    while (!is_done() && !deadline.passed() && !stop.stop_requested()) {
      bell_.wait_for(lock, deadline.left(stop.stop_possible() ? std::chrono::nanoseconds{tick}
                                                              : std::chrono::hours{1}));
    }
    return is_done();
  }

  /// @brief Calls `action` when it is done, in the thread that makes it so; now if it is.
  /// @param owner for drop_actions().
  void when_done(std::function<void()> action, const void* owner = nullptr) {
    if (!is_done()) {  // a fork may have left the mutex of one that is done locked
      const std::lock_guard lock{mutex_};
      if (!is_done()) {
        actions_.push_back({owner, std::move(action)});
        return;
      }
    }
    call(action);
  }
  /// @brief Those of this owner are not called any more, unless they are being called.
  void drop_actions(const void* owner) noexcept {
    if (is_done()) return;
    const std::lock_guard lock{mutex_};
    std::erase_if(actions_, [owner](const Action& each) { return each.owner == owner; });
  }

  bool cancel() {
    const auto runner = runner_.lock();
    if (runner && !is_cancelled() && !runner->cancel(task_)) return false;
    return set_status_if_pending(Status::cancelled);  // another thread may be about to do so
  }
  bool kill() {
    const auto runner = runner_.lock();
    return runner ? runner->kill(task_) : cancel();
  }
  /// @brief For results that no pool brings. @returns false: it was cancelled.
  bool set_running() {
    const std::lock_guard lock{mutex_};
    if (is_cancelled()) return false;
    if (status() != Status::pending) throw InvalidStateError{"the future is not pending"};
    status_.store(Status::running);
    return true;
  }

  /// @brief Which task brings it.
  void attach(const std::shared_ptr<TaskRunner>& runner) { runner_ = runner; }
  void attach(std::uint64_t task) { task_.store(task); }
  [[nodiscard]] std::shared_ptr<TaskRunner> runner() const { return runner_.lock(); }

  void on_error(std::uint32_t /*part*/, std::exception_ptr error) noexcept override {
    finish(Status::finished, std::move(error));
  }
  void on_cancelled(std::uint32_t /*part*/, std::exception_ptr error) noexcept override {
    finish(Status::cancelled, std::move(error));
  }

 protected:
  [[nodiscard]] Status status() const noexcept { return status_.load(std::memory_order_acquire); }

  struct Action {
    const void* owner = nullptr;
    std::function<void()> call;
  };

  /// @brief It is done now. @returns false: it was done before, or not pending any more.
  bool finish(Status status, std::exception_ptr error, bool only_if_pending = false) noexcept {
    std::vector<Action> actions;
    {
      const std::lock_guard lock{mutex_};
      if (is_done() || (only_if_pending && this->status() != Status::pending)) return false;
      error_ = std::move(error);
      status_.store(status, std::memory_order_release);
      actions.swap(actions_);
      bell_.notify_all();
    }
    for (const Action& action : actions) call(action.call);
    return true;
  }
  /// @brief Runs the program's own code: what it throws is logged.
  template <class Callback>
  static void call(const Callback& action) noexcept {
    try {
      action();
    } catch (const std::exception& error) {
      log(LogLevel::error, [&] { return std::string{"exception in a callback: "} + error.what(); });
    } catch (...) {
      log(LogLevel::error, "exception in a callback");
    }
  }

  std::mutex mutex_;

 private:
  bool set_status_if_pending(Status status) {
    if (this->status() == Status::pending) {
      finish(status, std::make_exception_ptr(CancelledError{"the future was cancelled"}), true);
    }
    return is_cancelled();
  }

  std::atomic<Status> status_{Status::pending};
  std::exception_ptr error_;
  std::vector<Action> actions_;
  std::condition_variable bell_;
  std::weak_ptr<TaskRunner> runner_;
  std::atomic<std::uint64_t> task_{0};
};

/// @brief What a result is kept as.
template <class R>
using Kept = std::conditional_t<std::is_void_v<R>, std::monostate, R>;

/// @brief Whether a T can be copied. What the standard says of containers is not looked at: it
/// calls a vector of what cannot be copied copyable, until somebody does it.
template <class T>
inline constexpr bool is_copyable = std::is_copy_constructible_v<T>;
template <class T>
requires requires {
  typename T::value_type;
} &&(!std::is_same_v<typename T::value_type, T>)  //
    inline constexpr bool is_copyable<T> =
        std::is_copy_constructible_v<T> && is_copyable<typename T::value_type>;
template <class A, class B>
inline constexpr bool is_copyable<std::pair<A, B>> = is_copyable<A>&& is_copyable<B>;
template <class... T>
inline constexpr bool is_copyable<std::tuple<T...>> = (is_copyable<T> && ...);
template <class... T>
inline constexpr bool is_copyable<std::variant<T...>> = (is_copyable<T> && ...);

/// @brief A result of one type.
template <class R>
class ResultCore : public FutureCore {
 public:
  /// @brief It is done, and the caller has the value: copied, or moved out when nobody else refers
  /// to it. @throws what it ended with.
  Kept<R> take(bool is_last) {
    if (error()) std::rethrow_exception(error());
    if constexpr (is_copyable<Kept<R>>) {
      if (!is_last) return *value_;
    } else {
      const std::lock_guard lock{mutex_};
      if (std::exchange(is_taken_, true)) {
        throw std::logic_error{"this result cannot be copied, and somebody has taken it"};
      }
    }
    return std::move(*value_);
  }
  /// @brief The same for the only one who will ever ask.
  R take_last() {
    if (error()) std::rethrow_exception(error());
    if constexpr (!std::is_void_v<R>) return std::move(*value_);
  }
  /// @brief Called with the result before it is ready.
  std::function<void(const Kept<R>&)> callback;
  std::function<void(std::exception_ptr)> error_callback;

  void on_value(std::uint32_t /*part*/, Decoder& value) override {
    if constexpr (std::is_void_v<R>) {
      check_all_read(value);
      set_value({});
    } else {
      R decoded = decode<R>(value);
      check_all_read(value);
      set_value(std::move(decoded));
    }
  }
  void on_error(std::uint32_t part, std::exception_ptr error) noexcept override {
    if (error_callback) call([&] { std::exchange(error_callback, {})(error); });
    callback = {};
    FutureCore::on_error(part, std::move(error));
  }
  void on_cancelled(std::uint32_t part, std::exception_ptr error) noexcept override {
    if (error_callback) call([&] { std::exchange(error_callback, {})(error); });
    callback = {};
    FutureCore::on_cancelled(part, std::move(error));
  }
  /// @returns false: it was done before.
  bool set_error(std::exception_ptr error) { return finish(Status::finished, std::move(error)); }
  /// @returns false: it was done before.
  bool set_value(Kept<R> value) {
    {
      const std::lock_guard lock{mutex_};
      if (is_done() || value_) return false;
      value_.emplace(std::move(value));
    }
    std::exception_ptr error;
    if (callback) {
      try {
        std::exchange(callback, {})(*value_);
      } catch (...) {
        error = std::current_exception();
      }
    }
    error_callback = {};
    return finish(Status::finished, std::move(error));
  }

 private:
  std::optional<Kept<R>> value_;
  bool is_taken_ = false;
};

}  // namespace multiprocessing::detail
