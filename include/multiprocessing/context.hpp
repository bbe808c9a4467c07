// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file context.hpp
/// @brief Everything, made for one start method.
#include <multiprocessing/connection.hpp>
#include <multiprocessing/futures.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/pool.hpp>
#include <multiprocessing/process.hpp>
#include <multiprocessing/queues.hpp>
#include <multiprocessing/sharedctypes.hpp>
#include <multiprocessing/synchronize.hpp>

#include <cstddef>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace multiprocessing {

/// @brief Makes processes by one start method, whatever the default is, and fixes no default. What
/// else it makes is for processes of any method.
/// @code
/// const auto spawn = mp::get_context(mp::StartMethod::spawn);
/// auto queue = spawn.Queue<int>();
/// auto process = spawn.Process(work, queue);
/// Worker worker{spawn.options({.name = "w"}), queue};   // a class that takes ProcessOptions
/// @endcode
/// A library that starts processes takes a Context from its user.
/// @python{multiprocessing.get_context(method)}
class Context {
 public:
  /// @throws std::invalid_argument this system does not have that method.
  explicit Context(StartMethod method) : method_{method} { detail::check_available(method); }

  /// @brief A process that calls target(arguments...).
  template <class F, class... A>
  requires(!std::is_same_v<std::decay_t<F>, ProcessOptions>)
      [[nodiscard]] multiprocessing::Process<> Process(F&& target, A&&... arguments) const {
    return {options(), std::forward<F>(target), std::forward<A>(arguments)...};
  }
  /// @overload
  /// @param which its start method is this context's, whatever it says.
  /// @param target what the child calls.
  /// @param arguments with what.
  template <class F, class... A>
  [[nodiscard]] multiprocessing::Process<> Process(ProcessOptions which,
                                                   F&& target,
                                                   A&&... arguments) const {
    return {options(std::move(which)), std::forward<F>(target), std::forward<A>(arguments)...};
  }
  /// @brief For the constructor of a process class: these options, and this start method.
  [[nodiscard]] ProcessOptions options(ProcessOptions which = {}) const {
    which.start_method = method_;
    return which;
  }

  /// @param which its start method is this context's, whatever it says.
  [[nodiscard]] multiprocessing::Pool Pool(PoolOptions which = {}) const {
    which.start_method = method_;
    return multiprocessing::Pool{std::move(which)};
  }
  /// @brief A pool of so many workers, by this start method.
  [[nodiscard]] multiprocessing::Pool Pool(unsigned processes) const {
    return multiprocessing::Pool{processes, method_};
  }
  /// @param which its start method is this context's, whatever it says.
  [[nodiscard]] multiprocessing::ProcessPoolExecutor ProcessPoolExecutor(
      ExecutorOptions which = {}) const {
    which.start_method = method_;
    return multiprocessing::ProcessPoolExecutor{std::move(which)};
  }

  /// @brief A queue of at most `maxsize` items; 0: no bound.
  template <class T>
  [[nodiscard]] multiprocessing::Queue<T> Queue(std::size_t maxsize = 0) const {
    return multiprocessing::Queue<T>{maxsize};
  }
  /// @brief A queue that counts tasks; `maxsize` as for Queue().
  template <class T>
  [[nodiscard]] multiprocessing::JoinableQueue<T> JoinableQueue(std::size_t maxsize = 0) const {
    return multiprocessing::JoinableQueue<T>{maxsize};
  }
  /// @brief A queue without a bound.
  template <class T>
  [[nodiscard]] multiprocessing::SimpleQueue<T> SimpleQueue() const {
    return {};
  }
  /// @brief Both ends of a new pipe.
  [[nodiscard]] multiprocessing::Pipe Pipe(bool duplex = true) const {
    return multiprocessing::Pipe{duplex};
  }
  /// @brief A free lock.
  [[nodiscard]] multiprocessing::Lock Lock() const { return {}; }
  /// @brief A free lock that its owner may take again.
  [[nodiscard]] multiprocessing::RLock RLock() const { return {}; }
  /// @brief A semaphore with `value` units.
  [[nodiscard]] multiprocessing::Semaphore Semaphore(unsigned value = 1) const {
    return multiprocessing::Semaphore{value};
  }
  /// @brief A semaphore that never has more than `value` units.
  [[nodiscard]] multiprocessing::BoundedSemaphore BoundedSemaphore(unsigned value = 1) const {
    return multiprocessing::BoundedSemaphore{value};
  }
  /// @param lock none: a new RLock; else an RLock or a Lock.
  template <class... AnyLock>
  [[nodiscard]] multiprocessing::Condition Condition(const AnyLock&... lock) const {
    return multiprocessing::Condition{lock...};
  }
  /// @brief An event that is not set.
  [[nodiscard]] multiprocessing::Event Event() const { return {}; }
  /// @brief A barrier for so many parties; see multiprocessing::Barrier.
  [[nodiscard]] multiprocessing::Barrier Barrier(unsigned parties,
                                                 Task action = {},
                                                 Timeout timeout = forever) const {
    return multiprocessing::Barrier{parties, std::move(action), timeout};
  }

  /// @brief `ctx.Value<int>(1)`, `ctx.Value<Point>(x, y)`; with a lock that is given in front.
  template <class T, class... A>
  [[nodiscard]] auto Value(A&&... arguments) const {
    using AnyLock = detail::FirstLock<std::remove_cvref_t<A>...>;
    return multiprocessing::Value<T, AnyLock>(std::forward<A>(arguments)...);
  }
  /// @brief As Value(), without a lock.
  template <class T, class... A>
  [[nodiscard]] multiprocessing::RawValue<T> RawValue(A&&... arguments) const {
    return multiprocessing::RawValue<T>(std::forward<A>(arguments)...);
  }
  /// @brief `ctx.Array<int>(100)`, `ctx.Array<int>({1, 2, 3})`; with a lock that is given in front.
  template <class T>
  [[nodiscard]] multiprocessing::Array<T> Array(std::size_t size) const {
    return multiprocessing::Array<T>(size);
  }
  /// @overload
  template <class T>
  [[nodiscard]] multiprocessing::Array<T> Array(std::initializer_list<T> values) const {
    return multiprocessing::Array<T>(values);
  }
  /// @overload
  template <class T, class AnyLock>
  [[nodiscard]] multiprocessing::Array<T, AnyLock> Array(AnyLock lock, std::size_t size) const {
    return {std::move(lock), size};
  }
  /// @overload
  template <class T, class AnyLock>
  [[nodiscard]] multiprocessing::Array<T, AnyLock> Array(AnyLock lock,
                                                         std::initializer_list<T> values) const {
    return {std::move(lock), values};
  }
  /// @brief As Array(), without a lock.
  template <class T>
  [[nodiscard]] multiprocessing::RawArray<T> RawArray(std::size_t size) const {
    return multiprocessing::RawArray<T>(size);
  }
  /// @overload
  template <class T>
  [[nodiscard]] multiprocessing::RawArray<T> RawArray(std::initializer_list<T> values) const {
    return multiprocessing::RawArray<T>(values);
  }

  /// @brief This context's. @param allow_none it always has one.
  [[nodiscard]] StartMethod get_start_method(bool allow_none = false) const noexcept {
    static_cast<void>(allow_none);
    return method_;
  }
  /// @throws std::invalid_argument always: a context keeps its method.
  [[noreturn]] void set_start_method(StartMethod, bool force = false) const {
    static_cast<void>(force);
    throw std::invalid_argument{"the start method of a context cannot be changed: it is " +
                                to_string(method_)};
  }
  /// @brief A context of that method; without one, this context.
  [[nodiscard]] Context get_context(std::optional<StartMethod> method = {}) const {
    return method ? Context{*method} : *this;
  }
  /// @brief What this system has, the default first.
  [[nodiscard]] std::vector<StartMethod> get_all_start_methods() const {
    return multiprocessing::get_all_start_methods();
  }

  /// @brief The process that runs this.
  [[nodiscard]] CurrentProcess current_process() const noexcept {
    return multiprocessing::current_process();
  }
  /// @brief The process that started this one, if a Process did.
  [[nodiscard]] std::optional<ParentProcess> parent_process() const {
    return multiprocessing::parent_process();
  }
  /// @brief The children of this process that have not ended.
  [[nodiscard]] std::vector<ChildProcess> active_children() const {
    return multiprocessing::active_children();
  }
  /// @brief The processors of this machine.
  [[nodiscard]] unsigned cpu_count() const { return multiprocessing::cpu_count(); }
  /// @brief The processors that this process may use.
  [[nodiscard]] unsigned process_cpu_count() const { return multiprocessing::process_cpu_count(); }
  /// @brief The first line of main(); see multiprocessing::freeze_support().
  void freeze_support() const { multiprocessing::freeze_support(); }
  /// @brief Has the library's messages printed on stderr.
  void log_to_stderr(LogLevel level = LogLevel::info) const {
    multiprocessing::log_to_stderr(level);
  }

 private:
  StartMethod method_;
};

/// @brief A context of that method; without one, of the default at this moment, which stays as it
/// is: also one that is not fixed.
/// @throws std::invalid_argument this system does not have that method.
/// @python{multiprocessing.get_context(); there, without a method, it fixes the default}
[[nodiscard]] inline Context get_context(std::optional<StartMethod> method = {}) {
  if (!method) method = get_start_method(true);
  return Context{method ? *method : get_all_start_methods().front()};
}

}  // namespace multiprocessing
