// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file submit.hpp
/// @brief From a callable and arguments to a crew's task.
#include <multiprocessing/callable.hpp>
#include <multiprocessing/queues/scratch.hpp>
#include <multiprocessing/workers/code.hpp>
#include <multiprocessing/workers/future_core.hpp>
#include <multiprocessing/workers/task_runner.hpp>

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

namespace multiprocessing {

/// @brief What is called with a result, in front of the task: `mp::Callbacks{[](int result)
/// {...}}`, or with a second one for errors, `[](std::exception_ptr error) {...}`.
///
/// Called before the result is ready, by the thread that waits for the pool or by the pool's own,
/// with no lock held: it may use the pool. What a callback for results throws becomes the error of
/// that result; what one for errors throws is logged.
template <class C, class E = std::nullptr_t>
struct Callbacks {
  /// For results: callable with one, or with nothing where there is none.
  C callback;
  /// For errors: callable with a std::exception_ptr; may be left out.
  E error_callback = nullptr;
};
/// One callable is for results.
template <class C>
Callbacks(C) -> Callbacks<C>;
/// The second is for errors.
template <class C, class E>
Callbacks(C, E) -> Callbacks<C, E>;

namespace detail {

/// @brief A callable that can be a task.
template <class F>
constexpr bool check_callable() {
  static_assert(SpawnableCallable<F>,
                "multiprocessing: this callable cannot travel to a worker. A task is a function, a "
                "member function, a lambda that captures nothing, or a serializable function "
                "object; a lambda that captures plain values goes as mp::by_value(lambda)");
  return SpawnableCallable<F>;
}

/// @brief The core of a result, whatever it is derived from.
template <class R>
[[nodiscard]] std::shared_ptr<ResultCore<R>> as_result_core(
    std::shared_ptr<ResultCore<R>> core) noexcept {
  return core;
}
/// @brief A callback for results of nothing is called without an argument.
template <class R, class C>
[[nodiscard]] std::function<void(const Kept<R>&)> as_callback(const ResultCore<R>&, C callback) {
  if constexpr (std::is_same_v<C, std::nullptr_t>) {
    return {};
  } else if constexpr (std::is_void_v<R>) {
    return [callback = std::move(callback)](const Kept<R>&) { callback(); };
  } else {
    return callback;
  }
}

/// @brief In a handler: that is the task's error, unless the runner takes no tasks at all.
inline void keep_submit_error(TaskRunner& runner,
                              Receiver& receiver,
                              std::uint32_t part,
                              bool is_encoded) {
  if (!is_encoded) runner.check_takes_tasks();
  receiver.on_error(part, std::current_exception());
}

/// @brief Hands a task to a runner. @param encode_arguments(Encoder&).
/// @returns its number; 0: it cannot be encoded or handed out, and the receiver has got why.
/// @throws std::invalid_argument not running, or nothing to call. BrokenProcessPool.
template <class Key, class F, class EncodeArguments>
std::uint64_t submit_code(TaskRunner& runner,
                          const F& function,
                          const EncodeArguments& encode_arguments,
                          const std::shared_ptr<Receiver>& receiver,
                          std::uint32_t part,
                          const TaskOptions& options) {
  if constexpr (std::is_pointer_v<F> || std::is_member_pointer_v<F>) {
    if (function == nullptr) throw std::invalid_argument{"a task needs a function to call"};
  }
  Scratch scratch;
  Transit transit;
  Encoder encoder{scratch.buffer(), &transit};
  bool is_encoded = false;
  try {
    if constexpr (!belongs_to_code<F>) encode<F>(encoder, function);
    encode_arguments(encoder);
    is_encoded = true;
    const Code code = code_for<Key>(function);
    return runner.submit({&code, scratch.buffer(), &transit, receiver, part, &options});
  } catch (const SerializationError&) {  // also what the runner says of the code
    keep_submit_error(runner, *receiver, part, is_encoded);
  } catch (const std::system_error&) {  // also no memory for the task
    keep_submit_error(runner, *receiver, part, is_encoded);
  } catch (...) {
    if (is_encoded) throw;
    keep_submit_error(runner, *receiver, part, is_encoded);
  }
  return 0;
}

/// @brief Whether a call has a use for what is said about its tasks.
/// @throws std::invalid_argument
inline void check_options(const TaskOptions& options, bool waits, bool tells) {
  if (!waits && options.stop.stop_possible()) {
    throw std::invalid_argument{
        "TaskOptions::stop ends a wait, and this call does not wait: give it to the result"};
  }
  if (!tells && options.progress) {
    throw std::invalid_argument{"TaskOptions::progress: only map() and starmap() tell of it"};
  }
}

/// @brief The key of a call.
template <class F, class Arguments>
struct CallKey;
template <class F, class... A>
struct CallKey<F, std::tuple<A...>> {
  using type = CallTask<F, A...>;
  using Result = ResultOf<F, A...>;
};

template <class A, class B>
void encode_argument(Encoder& encoder, const B& argument) {
  if constexpr (std::is_same_v<A, B>) {
    encode<A>(encoder, argument);
  } else {
    encode<A>(encoder, A(argument));
  }
}

/// @brief Hands one call to a runner. Whatever encoding an argument throws is the result's error.
/// @throws std::invalid_argument not running, or an option that makes no sense. BrokenProcessPool.
template <class F, class... A>
auto submit_call(const std::shared_ptr<TaskRunner>& runner,
                 const TaskOptions& options,
                 bool in_background,
                 const auto& prepare,
                 const F& function,
                 const A&... arguments) {
  using Passed = PassedArguments<F, A...>;
  static_assert(
      std::is_invocable_v<F&, std::decay_t<A>...> ||
          !std::is_same_v<Passed, std::tuple<std::decay_t<A>...>>,
      "multiprocessing: the task cannot be called with these arguments; each is passed as a value");
  using Key = CallKey<F, Passed>;
  static_assert(check_callable<F>());
  check_options(options, !in_background, false);
  auto core = std::make_shared<ResultCore<typename Key::Result>>();
  core->attach(runner);
  prepare(*core);
  // Whoever stops waiting leaves what runs to somebody.
  if (in_background || options.stop.stop_possible()) runner->work_in_background();
  const std::uint64_t task = submit_code<typename Key::type>(
      *runner, function,
      [&](Encoder& encoder) {
        [&]<class... P>(std::type_identity<std::tuple<P...>>) {
          (encode_argument<P>(encoder, arguments), ...);
        }(std::type_identity<Passed>{});
      },
      core, 0, options);
  core->attach(task);
  return core;
}

}  // namespace detail
}  // namespace multiprocessing
