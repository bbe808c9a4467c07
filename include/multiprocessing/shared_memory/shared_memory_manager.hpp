// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file shared_memory_manager.hpp
/// @brief Segments of shared memory that go together.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/shared_memory/shareable_list.hpp>
#include <multiprocessing/shared_memory/shared_memory.hpp>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing {

/// @brief Makes segments and lists, and removes the names of all at its end.
/// @python{multiprocessing.managers.SharedMemoryManager()}
/// @code
/// mp::SharedMemoryManager manager;
/// manager.start();
/// auto memory = manager.SharedMemory(1024);
/// auto list = manager.ShareableList({1, 2, 3});
/// @endcode
/// Differences from Python: no server process stands behind it, for each segment has a creator that
/// owns it: this process. When that dies, all of them go, see SharedMemory.
/// @threads any, at once. @processes the one that started it; a copy that a fork makes does
/// nothing.
class SharedMemoryManager {
 public:
  SharedMemoryManager() { os::install_fork_handlers(); }
  SharedMemoryManager(const SharedMemoryManager&) = delete;
  SharedMemoryManager& operator=(const SharedMemoryManager&) = delete;
  ~SharedMemoryManager() { shutdown(); }

  /// @throws std::logic_error it has been started before.
  void start() {
    if (is_copy()) check_started();
    const std::lock_guard lock{mutex_};
    if (state_ != State::initial) throw std::logic_error{"a manager is started once"};
    state_ = State::started;
  }
  /// @brief Takes away the names of all that it made. Twice is fine.
  void shutdown() noexcept {
    if (is_copy()) return;
    const std::lock_guard lock{mutex_};
    if (state_ == State::started) state_ = State::shut_down;
    for (auto& each : made_) {
      try {
        each.unlink();
      } catch (const std::exception&) {  // somebody else removed it
      }
    }
    made_.clear();
  }

  /// @throws std::invalid_argument not started, or shut down; as SharedMemory does.
  [[nodiscard]] multiprocessing::SharedMemory SharedMemory(std::size_t size) {
    if (is_copy()) check_started();
    const std::lock_guard lock{mutex_};
    check_started();
    made_.emplace_back(SharedMemoryOptions{.create = true, .size = size});
    return made_.back();
  }
  /// @throws std::invalid_argument not started, or shut down; as ShareableList does.
  [[nodiscard]] multiprocessing::ShareableList ShareableList(
      std::initializer_list<ShareableItem> items) {
    return ShareableList(std::span{items.begin(), items.size()});
  }
  /// @overload
  [[nodiscard]] multiprocessing::ShareableList ShareableList(std::span<const ShareableItem> items) {
    if (is_copy()) check_started();
    const std::lock_guard lock{mutex_};
    check_started();
    multiprocessing::ShareableList list{items};
    made_.push_back(list.shm());
    return list;
  }

 private:
  enum class State { initial, started, shut_down };

  // Made by a fork, which may have come while another thread held the mutex.
  [[nodiscard]] bool is_copy() const noexcept { return forks_ != detail::process_state().forks; }
  void check_started() const {
    if (is_copy()) {
      throw std::invalid_argument{
          "the manager belongs to the process that made it, not to a copy of that"};
    }
    if (state_ == State::started) return;
    throw std::invalid_argument{state_ == State::initial
                                    ? "the manager has not been started: call start()"
                                    : "the manager is shut down"};
  }

  std::mutex mutex_;
  State state_ = State::initial;
  const std::uint32_t forks_ = detail::process_state().forks;
  std::vector<multiprocessing::SharedMemory> made_;
};

}  // namespace multiprocessing
