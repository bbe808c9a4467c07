// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file stats.hpp
/// @brief What a pool has done.
#include <chrono>
#include <cstddef>
#include <optional>
#include <vector>

namespace multiprocessing {

/// @brief What the workers at one place of a pool have done, one after the other.
struct WorkerStats {
  std::optional<int> pid;            ///< Of the worker that is there now.
  std::size_t done = 0;              ///< Tasks with a result, also one that was thrown.
  std::chrono::nanoseconds busy{0};  ///< In those tasks, from decoding to encoding.
  std::size_t restarts = 0;          ///< Workers that were replaced.
};

/// @brief A moment's picture of a pool.
struct PoolStats {
  std::size_t done = 0;      ///< Tasks that returned.
  std::size_t failed = 0;    ///< Tasks that threw, died, or were cancelled.
  std::size_t queued = 0;    ///< Tasks that no worker has begun.
  std::size_t running = 0;   ///< Tasks that a worker has begun.
  std::size_t restarts = 0;  ///< Workers that were replaced, all places together.
  /// One for each place of the pool.
  std::vector<WorkerStats> workers;
};

}  // namespace multiprocessing
