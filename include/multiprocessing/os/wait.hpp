// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file wait.hpp
/// @brief Waiting for handles, in a way that another thread can end.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/timeout.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <span>
#include <system_error>

namespace multiprocessing::os {

/// @brief How a wait ended.
enum class Waited {
  ready,        ///< What was waited for is there.
  timed_out,    ///< The deadline passed first.
  interrupted,  ///< The Interrupt was raised first.
};

/// @brief What a handle is waited for to be.
enum class Readiness { readable, writable };

/// @brief How another thread ends a wait: it stores true in `raised`, then sets the event.
///
/// One event serves all waits of a process. Who finds it set and `raised` still false was not meant
/// and goes on waiting.
struct Interrupt {
  const std::atomic<bool>* raised = nullptr;  ///< None: nobody ends this wait.
  /// Called by the first wait that has to sleep. It may answer `invalid_handle` (out of handles):
  /// then the wait looks at `raised` every `longest_blind_wait`.
  native_handle_type (*event)() noexcept = nullptr;

  static constexpr std::chrono::nanoseconds longest_blind_wait = std::chrono::milliseconds{50};

  [[nodiscard]] bool is_raised() const noexcept {
    return raised != nullptr && raised->load(std::memory_order_acquire);
  }
};

/// @brief An event that stays set until it is reset; inherited by nobody.
/// @errors POSIX `eventfd`: EMFILE, ENFILE, ENOMEM. Windows `CreateEvent`.
[[nodiscard]] UniqueHandle make_event(std::error_code& ec) noexcept;
void set_event(native_handle_type event) noexcept;
void reset_event(native_handle_type event) noexcept;

/// @brief Waits until a handle can be read from or written to without blocking, also because
/// everything that could come of it has ended.
///
/// POSIX: `poll`. Windows has no such readiness: reading is waited for by an overlapped read of no
/// bytes, and writing is always ready.
/// @errors POSIX `poll`: ENOMEM; EBADF for what is no handle. Windows `ReadFile`, `WaitFor...`.
/// @threads Any number, on one handle too.
[[nodiscard]] Waited wait_ready(native_handle_type handle,
                                Readiness what,
                                const Interrupt& interrupt,
                                const detail::Deadline& deadline,
                                std::error_code& ec) noexcept;

/// @brief Waits until at least one of many handles is readable, and says which all are.
///
/// POSIX: `poll`, whose cost grows with the number of handles; thousands are fine. Windows:
/// waitable objects, and pipes of ours; of more than 63, a thread waits for each 63.
/// @param ready of the size of `handles`; written only when the answer is `ready`.
/// @errors as wait_ready; ENOMEM. No handles: waits for the deadline.
[[nodiscard]] Waited wait_any(std::span<const native_handle_type> handles,
                              std::span<bool> ready,
                              const Interrupt& interrupt,
                              const detail::Deadline& deadline,
                              std::error_code& ec) noexcept;

/// @brief Waits for the time or the interrupt alone.
/// @returns `timed_out` or `interrupted`.
Waited pause_for(std::chrono::nanoseconds time, const Interrupt& interrupt) noexcept;

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/wait.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/wait.ipp>
#endif
