// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file async_result.hpp
/// @brief A pool's result that is there or will be.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/timeout.hpp>
#include <multiprocessing/workers/future_core.hpp>

#include <memory>
#include <stdexcept>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace multiprocessing {

/// @brief What `apply_async` and `map_async` return. @python{multiprocessing.pool.AsyncResult}
///
/// A handle: copies are the same result. It may outlive its pool, which resolves all its results
/// before it ends. Dropped, the task is done all the same.
/// @threads any number at once.
template <class R>
class AsyncResult {
 public:
  /// @brief Waits for the result. May be called again; a result that cannot be copied comes once.
  /// @param timeout how long to wait.
  /// @param stop ends the wait when a stop is requested; the task goes on.
  /// @throws what the task threw: standard exceptions and SendableErrors as themselves, anything
  ///   else as RemoteError. BrokenProcessPool its worker died with it. TimeoutError it took longer
  ///   than `timeout`, or than its TaskOptions let it. CancelledError the pool was terminated, or
  ///   the wait stopped. SerializationError arguments or result cannot travel.
  R get(Timeout timeout = forever, const std::stop_token& stop = {}) const& {
    return get_from(core_, timeout, stop, false);
  }
  /// @brief The same; moves the result out when nobody else has this one.
  R get(Timeout timeout = forever, const std::stop_token& stop = {}) && {
    return get_from(core_, timeout, stop, true);
  }
  /// @brief Waits until it is ready. @returns whether it is.
  bool wait(Timeout timeout = forever, const std::stop_token& stop = {}) const {
    return core_->wait(timeout, stop);
  }
  /// @brief Whether get() would not wait.
  [[nodiscard]] bool ready() const noexcept { return core_->is_done(); }
  /// @brief Whether get() would not throw. @throws std::invalid_argument it is not ready.
  [[nodiscard]] bool successful() const {
    if (!ready()) throw std::invalid_argument{"the result is not ready"};
    return core_->error() == nullptr;
  }

  /// @brief For the pool.
  explicit AsyncResult(std::shared_ptr<detail::ResultCore<R>> core) noexcept
      : core_{std::move(core)} {}
  /// @brief For the pool: what get() does.
  /// @param core of the result.
  /// @param timeout how long to wait.
  /// @param stop ends the wait.
  /// @param moves the result out, if nobody else refers to it then.
  static R get_from(const std::shared_ptr<detail::ResultCore<R>>& core,
                    Timeout timeout,
                    const std::stop_token& stop,
                    bool moves) {
    if (!core->wait(timeout, stop)) {
      if (stop.stop_requested()) throw CancelledError{"the wait for a result was stopped"};
      throw TimeoutError{"the result is not there yet"};
    }
    if constexpr (std::is_void_v<R>) {
      core->take(false);
    } else {
      return core->take(moves && core.use_count() == 1);
    }
  }

 private:
  std::shared_ptr<detail::ResultCore<R>> core_;
};

}  // namespace multiprocessing
