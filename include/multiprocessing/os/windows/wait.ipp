// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/wait.hpp>
#include <multiprocessing/os/windows/api.ipp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace multiprocessing::os {

namespace windows {

// An overlapped operation of one handle; cancelled, and its end waited for, when this goes.
class Operation {
 public:
  Operation(HANDLE handle, std::error_code& ec) noexcept
      : handle_{handle},
        event_{owned(MULTIPROCESSING_SYSTEM(CreateEventW)(nullptr, TRUE, FALSE, nullptr), ec)} {
    overlapped_.hEvent = event_.get();
  }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  ~Operation() { finish(); }

  [[nodiscard]] OVERLAPPED* get() noexcept { return &overlapped_; }
  [[nodiscard]] HANDLE event() const noexcept { return event_.get(); }
  void begun() noexcept { pending_ = true; }

  struct End {
    DWORD error = 0;
    DWORD bytes = 0;
  };
  // Ends it now if it has not ended: ERROR_OPERATION_ABORTED, and nothing happened.
  End finish() noexcept {
    if (!std::exchange(pending_, false)) return {};
    // What has ended is not cancelled; the system would look for another one at this place.
    constexpr ULONG_PTR still_pending = 0x103;
    if (std::atomic_ref{overlapped_.Internal}.load() == still_pending) {
      MULTIPROCESSING_SYSTEM(CancelIoEx)(handle_, &overlapped_);
    }
    End end;
    if (MULTIPROCESSING_SYSTEM(GetOverlappedResult)(handle_, &overlapped_, &end.bytes, TRUE) == 0) {
      end.error = MULTIPROCESSING_SYSTEM(GetLastError)();
    }
    return end;
  }

 private:
  HANDLE handle_;
  UniqueHandle event_;
  OVERLAPPED overlapped_{};
  bool pending_ = false;
};

MULTIPROCESSING_INLINE bool is_pipe(HANDLE handle) noexcept {
  return MULTIPROCESSING_SYSTEM(GetFileType)(handle) == FILE_TYPE_PIPE;
}

// A read of no bytes takes nothing from a pipe, but a message that has none. How many were taken is
// counted for the pipes that may carry such, so that they are received all the same.
struct EmptyMessages {
  using Count = std::atomic<std::uint32_t>;

  std::mutex mutex;
  std::map<HANDLE, Count*> of_pipes;  // where all who share the pipe see it
  std::atomic<std::size_t> pipes{0};

  static EmptyMessages& here() {
    static auto& one = process_wide<EmptyMessages>();
    return one;
  }
  void note(HANDLE pipe) noexcept {
    if (pipes.load() == 0) return;
    const std::lock_guard lock{mutex};
    const auto found = of_pipes.find(pipe);
    if (found != of_pipes.end()) ++*found->second;
  }
  bool has(HANDLE pipe) noexcept {
    if (pipes.load() == 0) return false;
    const std::lock_guard lock{mutex};
    const auto found = of_pipes.find(pipe);
    return found != of_pipes.end() && found->second->load() != 0;
  }
  void begin(HANDLE pipe, Count& count) {
    const std::lock_guard lock{mutex};
    of_pipes.insert_or_assign(pipe, &count);
    pipes.store(of_pipes.size());
  }
  void end(HANDLE pipe) noexcept {
    const std::lock_guard lock{mutex};
    of_pipes.erase(pipe);
    pipes.store(of_pipes.size());
  }
};

// What a handle has to be waited for by. A pipe is not: it becomes "signalled" for any reason. A
// read of no bytes ends when there is something to read; that holds for a connected socket, too,
// which is of the same type for the system.
class Watched {
 public:
  Watched(HANDLE handle, std::error_code& ec) : handle_{handle}, object_{handle} {
    ec.clear();
    if (handle == invalid_handle) ec = as_error(ERROR_INVALID_HANDLE);  // also: this process
    if (ec || !is_pipe(handle)) return;
    DWORD available = 0;
    if (MULTIPROCESSING_SYSTEM(PeekNamedPipe)(handle, nullptr, 0, nullptr, &available, nullptr) ==
        0) {
      const DWORD error = MULTIPROCESSING_SYSTEM(GetLastError)();
      is_ready_ = error == ERROR_BROKEN_PIPE || error == ERROR_PIPE_NOT_CONNECTED;
      if (error == ERROR_INVALID_HANDLE || error == ERROR_ACCESS_DENIED) ec = as_error(error);
      if (ec) return;
    }
    is_ready_ = is_ready_ || available != 0 || EmptyMessages::here().has(handle);
    if (is_ready_) return;
    read_ = std::make_unique<Operation>(handle, ec);
    if (ec) return;
    object_ = read_->event();
    const bool done =
        MULTIPROCESSING_SYSTEM(ReadFile)(handle, &nothing, 0, nullptr, read_->get()) != 0;
    is_ready_ = done || MULTIPROCESSING_SYSTEM(GetLastError)() != ERROR_IO_PENDING;
    if (done) EmptyMessages::here().note(handle);
    is_pending_ = !is_ready_;
    if (is_pending_) read_->begun();
  }
  Watched(Watched&&) noexcept = default;
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;
  Watched& operator=(Watched&&) = delete;
  ~Watched() {
    if (read_ && is_pending_ && read_->finish().error == 0) EmptyMessages::here().note(handle_);
  }

  [[nodiscard]] HANDLE object() const noexcept { return object_; }
  [[nodiscard]] bool is_ready() const noexcept {
    return is_ready_ || MULTIPROCESSING_SYSTEM(WaitForSingleObject)(object_, 0) == WAIT_OBJECT_0;
  }
  [[nodiscard]] bool is_ready_at_once() const noexcept { return is_ready_; }

 private:
  static inline char nothing = 0;
  HANDLE handle_;
  HANDLE object_;
  bool is_ready_ = false;
  bool is_pending_ = false;
  std::unique_ptr<Operation> read_;  // at a place that stays
};

inline constexpr std::size_t most_at_once = MAXIMUM_WAIT_OBJECTS - 1;  // and one more

// Sets one event when any of many objects is signalled: a thread waits for each part of them.
class ManyObjects {
 public:
  ManyObjects(std::span<const HANDLE> objects, std::error_code& ec) noexcept
      : any_{make_event(ec)}, stop_{ec ? UniqueHandle{} : make_event(ec)} {
    try {
      for (; !ec && !objects.empty(); objects = objects.subspan(watch_first(objects))) {
      }
    } catch (const std::exception&) {  // no memory, or no thread
      ec = std::make_error_code(std::errc::not_enough_memory);
    }
  }
  ManyObjects(const ManyObjects&) = delete;
  ManyObjects& operator=(const ManyObjects&) = delete;
  ~ManyObjects() {
    set_event(stop_.get());
    for (std::thread& thread : threads_) thread.join();
  }
  [[nodiscard]] HANDLE any() const noexcept { return any_.get(); }
  // Of an object that is none; any() is set then, too.
  [[nodiscard]] DWORD error() const noexcept { return error_.load(); }

 private:
  std::size_t watch_first(std::span<const HANDLE> objects) {
    const std::size_t count = objects.size() < most_at_once ? objects.size() : most_at_once;
    std::vector<HANDLE> watched(objects.begin(), objects.begin() + static_cast<int>(count));
    watched.push_back(stop_.get());
    threads_.emplace_back([this, watched = std::move(watched)] {
      if (MULTIPROCESSING_SYSTEM(WaitForMultipleObjects)(
              static_cast<DWORD>(watched.size()), watched.data(), FALSE, INFINITE) == WAIT_FAILED) {
        error_.store(MULTIPROCESSING_SYSTEM(GetLastError)());
      }
      MULTIPROCESSING_SYSTEM(SetEvent)(any_.get());
    });
    return count;
  }

  UniqueHandle any_;
  UniqueHandle stop_;
  std::atomic<DWORD> error_{0};
  std::vector<std::thread> threads_;
};

// Waits for one of at most 63 objects. `objects` has a place for the interrupt at its end.
MULTIPROCESSING_INLINE Waited wait_for(std::span<HANDLE> objects,
                                       const Interrupt& interrupt,
                                       const detail::Deadline& deadline,
                                       std::error_code& ec) noexcept {
  ec.clear();
  const std::size_t own = objects.size() - 1;
  HANDLE& event = objects[own];
  event = !deadline.is_now() && interrupt.event != nullptr ? interrupt.event() : invalid_handle;
  const bool blind = interrupt.raised != nullptr && event == invalid_handle;
  const auto count = static_cast<DWORD>(event == invalid_handle ? own : own + 1);
  for (;;) {
    if (interrupt.is_raised()) return Waited::interrupted;
    const DWORD limit = as_milliseconds(
        deadline.left(blind ? Interrupt::longest_blind_wait : std::chrono::hours{1}));
    DWORD result = WAIT_TIMEOUT;
    if (count == 0) {
      MULTIPROCESSING_SYSTEM(Sleep)(limit);
    } else {
      result = MULTIPROCESSING_SYSTEM(WaitForMultipleObjects)(count, objects.data(), FALSE, limit);
    }
    if (result == WAIT_FAILED) {
      ec = last_error();
      return Waited::timed_out;
    }
    if (result < own) return Waited::ready;
    if (result != WAIT_TIMEOUT) {
      if (interrupt.is_raised()) return Waited::interrupted;
      MULTIPROCESSING_SYSTEM(SwitchToThread)();  // meant for another, who is about to leave
    } else if (deadline.passed()) {
      return Waited::timed_out;
    }
  }
}

// The same for any number of them.
MULTIPROCESSING_INLINE Waited wait_for_many(std::span<const HANDLE> objects,
                                            const Interrupt& interrupt,
                                            const detail::Deadline& deadline,
                                            std::error_code& ec) noexcept {
  if (interrupt.is_raised()) return Waited::interrupted;
  // Not by threads, which may begin when the time is over.
  for (auto left = objects; !left.empty();) {
    const auto some = left.first(left.size() < most_at_once ? left.size() : most_at_once);
    const DWORD result = MULTIPROCESSING_SYSTEM(WaitForMultipleObjects)(
        static_cast<DWORD>(some.size()), some.data(), FALSE, 0);
    if (result == WAIT_FAILED) {
      ec = last_error();
      return Waited::timed_out;
    }
    if (result != WAIT_TIMEOUT) return Waited::ready;
    left = left.subspan(some.size());
  }
  if (deadline.is_now()) return Waited::timed_out;
  const ManyObjects many{objects, ec};
  if (ec) return Waited::timed_out;
  std::array<HANDLE, 2> any{many.any(), nullptr};
  const Waited waited = wait_for(any, interrupt, deadline, ec);
  if (many.error() == 0) return waited;
  ec = as_error(many.error());
  return Waited::timed_out;
}

}  // namespace windows

MULTIPROCESSING_INLINE UniqueHandle make_event(std::error_code& ec) noexcept {
  return windows::owned(MULTIPROCESSING_SYSTEM(CreateEventW)(nullptr, TRUE, FALSE, nullptr), ec);
}

MULTIPROCESSING_INLINE void set_event(native_handle_type event) noexcept {
  MULTIPROCESSING_SYSTEM(SetEvent)(event);
}

MULTIPROCESSING_INLINE void reset_event(native_handle_type event) noexcept {
  MULTIPROCESSING_SYSTEM(ResetEvent)(event);
}

MULTIPROCESSING_INLINE Waited wait_ready(native_handle_type handle,
                                         Readiness what,
                                         const Interrupt& interrupt,
                                         const detail::Deadline& deadline,
                                         std::error_code& ec) noexcept {
  ec.clear();
  if (what == Readiness::writable) {
    return interrupt.is_raised() ? Waited::interrupted : Waited::ready;
  }
  bool ready = false;
  return wait_any({&handle, 1}, {&ready, 1}, interrupt, deadline, ec);
}

MULTIPROCESSING_INLINE Waited wait_any(std::span<const native_handle_type> handles,
                                       std::span<bool> ready,
                                       const Interrupt& interrupt,
                                       const detail::Deadline& deadline,
                                       std::error_code& ec) noexcept try {
  std::vector<windows::Watched> watched;
  watched.reserve(handles.size());
  std::vector<HANDLE> objects;
  bool any_ready = false;
  for (const native_handle_type handle : handles) {
    watched.emplace_back(handle, ec);
    if (ec) return Waited::timed_out;
    objects.push_back(watched.back().object());
    any_ready = any_ready || watched.back().is_ready_at_once();
  }
  Waited waited = interrupt.is_raised() ? Waited::interrupted : Waited::ready;
  if (!any_ready && objects.size() > windows::most_at_once) {
    waited = windows::wait_for_many(objects, interrupt, deadline, ec);
  } else if (!any_ready) {
    objects.push_back(nullptr);
    waited = windows::wait_for(objects, interrupt, deadline, ec);
  }
  if (waited != Waited::ready) return waited;
  for (std::size_t i = 0; i < handles.size(); ++i) ready[i] = watched[i].is_ready();
  return waited;
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return Waited::timed_out;
}

MULTIPROCESSING_INLINE Waited pause_for(std::chrono::nanoseconds time,
                                        const Interrupt& interrupt) noexcept {
  std::error_code ignored;
  HANDLE none = nullptr;
  return windows::wait_for({&none, 1}, interrupt, detail::Deadline{time}, ignored);
}

}  // namespace multiprocessing::os
