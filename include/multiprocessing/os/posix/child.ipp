// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/module.hpp>
#include <multiprocessing/os/posix/sealed_memory.ipp>

#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

namespace multiprocessing::os {

namespace posix {

MULTIPROCESSING_INLINE void before_fork() {
  detail::process_state().loader_mutex.lock();
  detail::process_state().mutex.lock();
  detail::process_state().records_mutex.lock();
  detail::process_state().forked.fetch_add(1);
}

MULTIPROCESSING_INLINE void after_fork_in_parent() {
  detail::process_state().records_mutex.unlock();
  detail::process_state().mutex.unlock();
  detail::process_state().loader_mutex.unlock();
}

// Keeping errno, as close_handle does, would cost a page more.
MULTIPROCESSING_INLINE void close_in_child(std::intptr_t& handle) noexcept {
  if (handle != -1) close_function(to_handle(handle));
  handle = -1;
}
MULTIPROCESSING_INLINE void close_in_child(UniqueHandle& handle) noexcept {
  if (handle) close_function(handle.release());
}

// Its number stays taken, for its owner here will close it.
MULTIPROCESSING_INLINE void lead_nowhere(const std::vector<std::intptr_t>& handles) noexcept {
  if (handles.empty()) return;
  std::error_code ec;
  const UniqueHandle nowhere = open_nowhere(O_RDWR, ec);
  for (const std::intptr_t handle : handles) {
    const int number = to_handle(handle);
    if (!nowhere || MULTIPROCESSING_SYSTEM(dup2)(nowhere.get(), number) < 0) continue;
    MULTIPROCESSING_SYSTEM(fcntl)(number, F_SETFD, FD_CLOEXEC);
  }
}

MULTIPROCESSING_INLINE void after_fork_in_child() {
  detail::ProcessState& state = detail::process_state();
  for (detail::ChildRecord* const record : state.records) {
    const bool is_us = record->pid == 0 && record->starter == std::this_thread::get_id();
    close_in_child(record->sentinel);
    close_in_child(record->lifeline);
    close_in_child(record->reports);
    if (!is_us) close_in_child(record->childs_lifeline);
  }
  state.records.clear();
  for (detail::ChildRecord* const record : state.children) {
    // Objects here may still refer to it. Nobody else gives it up: there is one thread.
    if (record->references.fetch_sub(1, std::memory_order_relaxed) == 1) delete record;
  }
  state.children.clear();
  close_in_child(state.forkserver_process);
  close_in_child(state.forkserver_lifeline);
  close_in_child(state.served_lifeline);
  close_in_child(state.served_requests);
  close_in_child(state.tracker);
  lead_nowhere(state.not_for_children);
  state.not_for_children.clear();
  const auto interrupt = state.interrupt.exchange(-1);
  if (interrupt != -1) close_handle(to_handle(interrupt));
  state.interrupters.store(0);
  state.forks.fetch_add(1);  // calls counted before stay behind: see CallsInFlight
  state.records_mutex.unlock();
  state.mutex.unlock();
  state.loader_mutex.unlock();
}

}  // namespace posix

MULTIPROCESSING_INLINE void install_fork_handlers() {
  detail::ProcessState& state = detail::process_state();
  std::unique_lock lock{state.mutex};
  if (state.fork_handlers_installed) return;
  // These handlers, and the one at exit, are this module's code: a plug-in may not take it away.
  // The loader has a lock of its own, so ours is not held.
  lock.unlock();
  keep_loaded(reinterpret_cast<std::uintptr_t>(&posix::before_fork));
  lock.lock();
  if (state.fork_handlers_installed) return;
  if (MULTIPROCESSING_SYSTEM(pthread_atfork)(&posix::before_fork, &posix::after_fork_in_parent,
                                             &posix::after_fork_in_child) != 0) {
    throw std::bad_alloc{};
  }
  state.fork_handlers_installed = true;
}

}  // namespace multiprocessing::os
