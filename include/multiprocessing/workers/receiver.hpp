// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file receiver.hpp
/// @brief Who gets the results of tasks, and what may be said about a task.
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/timeout.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <stop_token>
#include <utility>

namespace multiprocessing {

/// @brief What may be said about one task.
struct TaskOptions {
  /// How long it may run, from its beginning in a worker. Then its worker is ended (SIGTERM, and
  /// SIGKILL 100 ms later) and the task fails with a TimeoutError. Looked at every 20 ms.
  Timeout timeout = forever;
  /// How often it is tried again when its worker died with it.
  unsigned retries = 0;
  /// How many bytes of memory more than at its beginning it may use; beyond that, allocations in
  /// it throw std::bad_alloc. 0: no limit. Windows cannot limit it, and whoever submits the task
  /// gets std::invalid_argument; where Linux cannot (no /proc, or prlimit() is refused), the task
  /// fails with std::system_error and is not run.
  std::size_t max_memory = 0;
  /// map() and its kin call it after each chunk with how many of how many items are done, one call
  /// at a time, in the thread that waits or in the pool's own. It should not throw: what it throws
  /// is logged and dropped. All else refuses it with std::invalid_argument: who takes results one
  /// by one sees how many there are.
  std::function<void(std::size_t done, std::size_t total)> progress = {};
  /// Ends the wait of apply(), map(), starmap() and of those that go through an imap() or an
  /// executor's map(), with CancelledError, when a stop is requested. Of a call that waits itself,
  /// what no worker has begun is taken back; what runs goes on. What returns at once refuses it
  /// with std::invalid_argument: the result's own functions take one.
  std::stop_token stop = {};
};

namespace detail {

/// @brief Gets the results of tasks. Every part of it gets one, exactly once.
///
/// Called by whoever drives the crew's loop, with no lock held.
class Receiver {
 public:
  Receiver() = default;
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;
  virtual ~Receiver() = default;

  /// @param part which of its tasks. @throws what decoding throws: then on_error() follows.
  virtual void on_value(std::uint32_t part, Decoder& value) = 0;
  virtual void on_error(std::uint32_t part, std::exception_ptr error) noexcept = 0;
  /// @brief What a task threw, as its worker encoded it: for those who pass it on. @returns false:
  /// on_error() is to bring it.
  virtual bool on_encoded_error(std::uint32_t /*part*/, Decoder& /*error*/) { return false; }
  /// @brief It was taken back, or ended with its pool. @param error a CancelledError.
  virtual void on_cancelled(std::uint32_t part, std::exception_ptr error) noexcept {
    on_error(part, std::move(error));
  }
};

}  // namespace detail
}  // namespace multiprocessing
