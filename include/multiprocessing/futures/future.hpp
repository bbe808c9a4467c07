// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file future.hpp
/// @brief An executor's result that is there or will be.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/timeout.hpp>
#include <multiprocessing/workers/future_core.hpp>

#include <coroutine>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace multiprocessing {

/// @brief What an executor's submit() returns. @python{concurrent.futures.Future}
///
/// A handle: copies are the same future. It may outlive its executor, which resolves all its
/// futures before it ends. `co_await future` waits for it in any C++20 coroutine, which then goes
/// on in the thread that resolved it. One made by its constructor belongs to no executor: whoever
/// has it gives it a result with set_result() or set_exception().
/// @code
/// mp::Future<int> future = executor.submit(work, 7);
/// std::cout << future.result(5s);
/// @endcode
/// @threads any number at once.
template <class R>
class Future {
 public:
  /// @brief What result() returns.
  using value_type = R;

  /// @brief Pending, of no executor.
  Future() : core_{std::make_shared<detail::ResultCore<R>>()} {}

  /// @brief Waits for the result. May be called again; a result that cannot be copied comes once.
  /// @param timeout how long to wait.
  /// @param stop ends the wait when a stop is requested; the task goes on.
  /// @throws what the task threw: standard exceptions and SendableErrors as themselves, anything
  ///   else as RemoteError. BrokenProcessPool its worker died with it. TimeoutError it took longer
  ///   than `timeout`, or than its TaskOptions let it. CancelledError it was cancelled or killed,
  ///   or the wait stopped. SerializationError arguments or result cannot travel.
  R result(Timeout timeout = forever, const std::stop_token& stop = {}) const& {
    return take(timeout, stop, false);
  }
  /// @brief The same; moves the result out when nobody else has this one.
  R result(Timeout timeout = forever, const std::stop_token& stop = {}) && {
    return take(timeout, stop, true);
  }
  /// @brief Waits, and says what result() would throw of the task's; null: nothing.
  /// @throws TimeoutError, CancelledError as result().
  [[nodiscard]] std::exception_ptr exception(Timeout timeout = forever,
                                             const std::stop_token& stop = {}) const {
    wait_for(timeout, stop);
    if (core_->is_cancelled()) std::rethrow_exception(core_->error());
    return core_->error();
  }

  /// @brief Whether it has a result, threw, or was cancelled.
  [[nodiscard]] bool done() const noexcept { return core_->is_done(); }
  /// @brief Whether a worker has begun it and it is not done.
  [[nodiscard]] bool running() const { return core_->is_running(); }
  /// @brief Whether it was cancelled, or killed.
  [[nodiscard]] bool cancelled() const noexcept { return core_->is_cancelled(); }
  /// @brief Takes it back, if no worker has begun it. @returns whether it is cancelled now.
  bool cancel() const { return core_->cancel(); }
  /// @brief cancel(); or ends the worker that runs it (SIGTERM, and SIGKILL 100 ms later), and no
  /// other task: it is cancelled soon. @returns false: it is done.
  bool kill() const { return core_->kill(); }

  /// @brief Calls `action(future)` when it is done, in the thread that resolves it, with no lock
  /// held; at once if it is. What the action throws is logged.
  template <class Action>
  requires std::is_invocable_v<Action&, Future>
  void add_done_callback(Action action) const {
    core_->when_done([weak = std::weak_ptr{core_}, action = std::move(action)]() mutable {
      if (auto core = weak.lock()) action(Future{std::move(core)});
    });
  }

  /// @brief For futures of no executor. @throws InvalidStateError it is done already.
  template <class V = R>
  requires(!std::is_void_v<V>) void set_result(V value) const {
    if (!core_->set_value(std::move(value))) refuse();
  }
  /// @overload
  void set_result() const requires std::is_void_v<R> {
    if (!core_->set_value({})) refuse();
  }
  /// @overload
  /// @throws std::invalid_argument null.
  void set_exception(std::exception_ptr error) const {
    if (!error) throw std::invalid_argument{"a future's exception may not be null"};
    if (!core_->set_error(std::move(error))) refuse();
  }
  /// @brief From now on it is running, and cannot be cancelled. @returns false: it was cancelled.
  /// @throws InvalidStateError it is running or done already.
  bool set_running_or_notify_cancel() const { return core_->set_running(); }

  /// @brief `co_await future`: goes on when it is done, in the thread that resolves it; then as
  /// result().
  auto operator co_await() const noexcept {
    struct Awaiter {
      Future future;
      [[nodiscard]] bool await_ready() const noexcept { return future.done(); }
      void await_suspend(std::coroutine_handle<> waiting) const {
        future.core_->when_done([waiting] { waiting.resume(); });
      }
      R await_resume() const { return future.result(); }
    };
    return Awaiter{*this};
  }

  /// @brief For this library.
  explicit Future(std::shared_ptr<detail::ResultCore<R>> core) noexcept : core_{std::move(core)} {}
  /// @brief For this library.
  [[nodiscard]] const std::shared_ptr<detail::ResultCore<R>>& core() const noexcept {
    return core_;
  }

 private:
  [[noreturn]] static void refuse() {
    throw InvalidStateError{"the future has a result already, or was cancelled"};
  }
  void wait_for(Timeout timeout, const std::stop_token& stop) const {
    if (core_->wait(timeout, stop)) return;
    if (stop.stop_requested()) throw CancelledError{"the wait for a future was stopped"};
    throw TimeoutError{"the future is not done yet"};
  }
  R take(Timeout timeout, const std::stop_token& stop, bool moves) const {
    wait_for(timeout, stop);
    if constexpr (std::is_void_v<R>) {
      core_->take(false);
    } else {
      return core_->take(moves && core_.use_count() == 1);
    }
  }

  std::shared_ptr<detail::ResultCore<R>> core_;
};

}  // namespace multiprocessing
