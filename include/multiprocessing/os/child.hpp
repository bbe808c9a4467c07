// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file child.hpp
/// @brief What this process knows of a child, and what becomes of that in a forked copy.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/detail/process_state.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/process_wide.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief A child process, for the Process object that started it, for handles from
/// active_children() and for the registry in ProcessState.
/// @threads All but `references` under the state's mutex. The handle `sentinel` stays open as long
/// as somebody has a reference, so it may be waited for without.
struct ChildRecord {
  std::atomic<unsigned> references{0};
  int pid = 0;     ///< 0: it is being started.
  int parent = 0;  ///< Who started it.
  std::string name;
  bool daemon = false;
  os::UniqueHandle sentinel;         ///< Ready when it has ended.
  os::UniqueHandle lifeline;         ///< The parent's end, until it is reaped.
  os::UniqueHandle childs_lifeline;  ///< The child's end, while it is being started.
  os::UniqueHandle reports;          ///< Where a fork server says how it ended; until it is reaped.
  std::thread::id starter;           ///< The thread that starts it.
  std::optional<int> exit_code;      ///< Once it is reaped.
};

/// @brief A counted reference to a record: as std::shared_ptr, but without code that would be lost
/// with the shared library that made it.
// NOLINTNEXTLINE(*-special-member-functions): one assignment, by value, copies and moves
class ChildReference {
 public:
  ChildReference() noexcept = default;
  explicit ChildReference(ChildRecord* record) noexcept : record_{record} {
    if (record_ != nullptr) record_->references.fetch_add(1, std::memory_order_relaxed);
  }
  ChildReference(const ChildReference& other) noexcept : ChildReference{other.record_} {}
  ChildReference(ChildReference&& other) noexcept
      : record_{std::exchange(other.record_, nullptr)} {}
  ChildReference& operator=(ChildReference other) noexcept {
    std::swap(record_, other.record_);
    return *this;
  }
  ~ChildReference() {
    if (record_ != nullptr && record_->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      discard(record_);
    }
  }

  /// @brief A new record, known to the process state. @throws std::bad_alloc
  [[nodiscard]] static ChildReference make() {
    ProcessState& state = process_state();
    auto made = std::make_unique<ChildRecord>();
    const std::lock_guard lock{state.records_mutex};
    state.records.push_back(made.get());
    return ChildReference{made.release()};
  }

  [[nodiscard]] ChildRecord* get() const noexcept { return record_; }
  ChildRecord* operator->() const noexcept { return record_; }
  ChildRecord& operator*() const noexcept { return *record_; }
  explicit operator bool() const noexcept { return record_ != nullptr; }

 private:
  // Whoever still sees it in `records` is a fork that closes its handles in the child.
  static void discard(ChildRecord* record) noexcept {
    ProcessState& state = process_state();
    const std::lock_guard lock{state.records_mutex};
    std::erase(state.records, record);
    delete record;
  }

  ChildRecord* record_ = nullptr;
};

}  // namespace multiprocessing::detail

namespace multiprocessing::os {

/// @brief Makes every fork() of this process, also the program's own, find the process state at
/// rest, and its child forget what was only the parent's: the registry of children is empty there,
/// all their handles, those of a fork server of ours and the event `interrupt` are closed. Once;
/// call it before the first of those comes to be.
///
/// POSIX: `pthread_atfork`. The shared library that calls this first stays loaded from then on, for
/// its handlers' sake. Windows: nothing, there is no fork.
/// @throws std::bad_alloc
void install_fork_handlers();

/// @brief Keeps a handle of this process from the children that it forks: whoever has the other end
/// hears at once when this process has died, whatever children live on.
///
/// There the handle stays taken, and leads nowhere (POSIX: to /dev/null). Destroy this before the
/// handle is closed. Needs install_fork_handlers().
class KeptFromChildren {
 public:
  /// @throws std::bad_alloc
  explicit KeptFromChildren(native_handle_type handle) : handle_{to_integer(handle)} {
    const std::lock_guard lock{detail::process_state().records_mutex};
    detail::process_state().not_for_children.push_back(handle_);
  }
  /// @brief For who holds the process state's mutex since before the handle was there, so that no
  /// fork came in between.
  KeptFromChildren(native_handle_type handle, const std::lock_guard<std::mutex>& /*held*/)
      : KeptFromChildren{handle} {}
  KeptFromChildren(KeptFromChildren&& other) noexcept : handle_{std::exchange(other.handle_, -1)} {}
  KeptFromChildren& operator=(KeptFromChildren&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  KeptFromChildren(const KeptFromChildren&) = delete;
  KeptFromChildren& operator=(const KeptFromChildren&) = delete;
  ~KeptFromChildren() {
    if (handle_ == -1) return;
    const std::lock_guard lock{detail::process_state().records_mutex};
    std::erase(detail::process_state().not_for_children, handle_);
  }

 private:
  std::intptr_t handle_;
};

/// @brief Owns handles that are made for another process, and keeps them from the children that are
/// forked meanwhile, by any thread: nobody there could close them.
///
/// There they stay taken, and lead nowhere, as with KeptFromChildren. Needs
/// install_fork_handlers().
/// @threads one at a time; the process state's mutex may be held.
class PassingHandles {
 public:
  PassingHandles() noexcept = default;
  PassingHandles(PassingHandles&& other) noexcept : handles_{std::exchange(other.handles_, {})} {}
  PassingHandles(const PassingHandles&) = delete;
  PassingHandles& operator=(const PassingHandles&) = delete;
  PassingHandles& operator=(PassingHandles&& other) noexcept {
    PassingHandles{std::move(other)}.handles_.swap(handles_);
    return *this;
  }
  ~PassingHandles() {
    if (handles_.empty()) return;
    const std::lock_guard lock{detail::process_state().records_mutex};
    for (const native_handle_type handle : handles_) {
      std::erase(detail::process_state().not_for_children, to_integer(handle));
      close_handle(handle);
    }
  }

  /// @brief Takes over what `make()` makes, a vector of UniqueHandles; no fork comes in between.
  /// @param make is quick, starts no process and waits for nobody.
  /// @returns how many. @throws std::bad_alloc, and what `make` throws.
  template <class Make>
  std::size_t add(Make&& make) {
    auto& kept = detail::process_state().not_for_children;
    const std::lock_guard lock{detail::process_state().records_mutex};
    std::vector<UniqueHandle> made = std::forward<Make>(make)();
    handles_.reserve(handles_.size() + made.size());
    kept.reserve(kept.size() + made.size());
    for (UniqueHandle& one : made) {
      kept.push_back(to_integer(one.get()));
      handles_.push_back(one.release());
    }
    return made.size();
  }
  /// @brief The same for one. @returns it; invalid where it was not made.
  template <class Make>
  native_handle_type add_one(Make&& make) {
    const std::size_t made = add([&] {
      std::vector<UniqueHandle> one;
      if (UniqueHandle handle = make()) one.push_back(std::move(handle));
      return one;
    });
    return made == 0 ? invalid_handle : handles_.back();
  }
  /// @brief Gives up one of them, which forked children inherit from now on.
  [[nodiscard]] UniqueHandle take(native_handle_type handle) noexcept {
    const std::lock_guard lock{detail::process_state().records_mutex};
    std::erase(detail::process_state().not_for_children, to_integer(handle));
    std::erase(handles_, handle);
    return UniqueHandle{handle};
  }
  /// @brief All of them, in the order in which they came; they stay the owner's.
  [[nodiscard]] const std::vector<native_handle_type>& get() const noexcept { return handles_; }

 private:
  std::vector<native_handle_type> handles_;
};

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/child.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/child.ipp>
#endif
