// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file lock.hpp
/// @brief A lock in shared memory that outlives its owner.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/timeout.hpp>

#include <cstddef>
#include <system_error>

namespace multiprocessing::os {

/// @brief How a try at a lock ended.
enum class Acquired {
  no,         ///< The time was over, or somebody else has it.
  yes,        ///< It is ours.
  abandoned,  ///< It is ours; the last owner died holding it, so what it guards needs a look.
};

/// @brief Mutual exclusion between the threads of all processes that map it. The owner is a thread.
///
/// Lies in shared memory that was zero; one process calls initialise() before others see it, nobody
/// ever destroys it. Taking and giving back a free lock costs no system call. When an owner dies,
/// at any instruction, the next one gets the lock as `abandoned`, at once; who dies while looking
/// after that leaves it abandoned again. Not recursive. It stays usable across fork(): the child
/// owns nothing.
///
/// POSIX: a robust process-shared mutex. The kernel gives up 2,048 of those that a dead thread
/// held, no more: a thread must not hold more. Windows: a word with the owner's thread id and that
/// thread's creation time; who has waited 1 ms, and then every 50, looks whether that owner lives,
/// and so does who tries, or asks whether it is held. Sleepers have an event with a random name.
class RobustLock {
 public:
  /// @errors POSIX `pthread_mutex_init`: ENOMEM, EPERM, EAGAIN. Windows: as random_bytes().
  void initialise(std::error_code& ec) noexcept;
  Acquired try_lock() noexcept;
  /// @brief try_lock() after a moment, if a moment is short here; for who has just found it taken.
  /// Who sleeps until he is woken makes the owner wake him, and both hand the lock to and fro; who
  /// naps leaves the owner alone with it, and often finds it free.
  Acquired try_after_nap() noexcept;
  /// @brief Waits at most until the deadline.
  /// @errors nobody will ever get it, for its memory was written by something else. POSIX
  /// `pthread_mutex_lock`: EINVAL, ENOTRECOVERABLE; not by a try. Windows: none.
  Acquired lock(const detail::Deadline& deadline, std::error_code& ec) noexcept;
  Acquired lock(const detail::Deadline& deadline) noexcept {
    std::error_code ignored;
    return lock(deadline, ignored);
  }
  /// @returns false: this thread does not hold it, and nothing changed.
  bool unlock() noexcept;
  /// @brief Whether a thread holds it now, in any process; the dead hold nothing. Disturbs nobody.
  [[nodiscard]] bool is_held() const noexcept;
  /// @brief Whether it is this thread that holds it. No system call but in a thread's first time.
  /// Needs `install_fork_handlers()`, or the child of a fork takes itself for its parent.
  [[nodiscard]] bool is_mine() const noexcept;
  /// @brief Whether an owner died holding it and nobody has taken it since. Disturbs nobody.
  [[nodiscard]] bool is_abandoned() const noexcept;
  /// @brief Whether unmapping its memory here, at this address, would do harm: POSIX: a thread of
  /// this process holds it, so it stands in the list that the system keeps of what that thread
  /// holds, and the list would break for the thread's other locks too. Windows: never.
  [[nodiscard]] bool must_stay_mapped() const noexcept;

 private:
  alignas(std::max_align_t) std::byte storage_[64];  // the system's own kind of lock
};

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/lock.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/lock.ipp>
#endif
