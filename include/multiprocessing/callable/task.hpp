// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file task.hpp
/// @brief A callable and its arguments, kept for later or for another process.
#include <multiprocessing/callable/call.hpp>
#include <multiprocessing/callable/code_reference.hpp>
#include <multiprocessing/callable/function_pointer.hpp>
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/serialization.hpp>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace multiprocessing {

namespace detail {

/// @brief What an argument is kept as: a value, and text as std::string, for a pointer to it means
/// nothing in another process.
template <class A>
using Value = std::conditional_t<std::is_same_v<std::decay_t<A>, const char*> ||
                                     std::is_same_v<std::decay_t<A>, char*>,
                                 std::string,
                                 std::decay_t<A>>;

}  // namespace detail

/// @brief A callable with its arguments, all kept as values, as std::thread does it; but text
/// (`"..."`, `const char*`) is kept as std::string where the callable takes that.
///
/// It can be made of anything that std::invoke takes. It is serializable when they are; whether
/// they are is looked at when it is to travel. A copy is the same task, not another.
/// @code
/// mp::Task hello{[](const std::string& name) { std::cout << "hello " << name; }, "world"};
/// hello();
/// @endcode
class Task {
 public:
  Task() noexcept = default;
  /// @brief Calls `function(arguments...)` when it is called; all are kept as values.
  template <class F, class... A>
  requires(!std::is_same_v<std::decay_t<F>, Task>) explicit Task(F&& function, A&&... arguments)
      : work_{std::unique_ptr<Work>{new CallOf<std::decay_t<F>, A...>{
            std::forward<F>(function), std::forward<A>(arguments)...}}} {
    static_assert(
        std::is_invocable_v<std::decay_t<F>, std::decay_t<A>...>,
        "the target cannot be called with these arguments (each is passed as a value: use "
        "std::ref for a reference, which only fork can carry)");
  }

  /// @brief Whether there is something to call.
  explicit operator bool() const noexcept { return work_ != nullptr; }

  /// @brief Calls it with copies of the arguments; may be repeated. What the callable returns is
  /// dropped, what it throws comes out. An empty task does nothing.
  /// @throws std::logic_error something in it cannot be copied.
  void operator()() const {
    if (work_) work_->call();
  }

  /// @brief Calls it with the arguments themselves and keeps nothing.
  void call_once() {
    auto work = std::exchange(work_, nullptr);
    if (!work) return;
    if (!work->needs_no_destructor) return work->call_once();
    // The memory alone goes with the task. In a forked child that is never: giving some back would
    // cost it four pages.
    spent_ = std::move(work);
    spent_->call_once();
  }

 private:
  friend struct codec<Task>;

  struct Work {
    explicit Work(bool trivial) noexcept : needs_no_destructor{trivial} {}
    Work(const Work&) = delete;
    Work& operator=(const Work&) = delete;
    virtual ~Work() = default;
    virtual void call() const = 0;
    virtual void call_once() = 0;
    virtual void encode(Encoder& encoder) const = 0;

    const bool needs_no_destructor;  ///< Nor do the function and the arguments.
  };

  template <class F, class... A>
  class Call final : public Work {
   public:
    template <class G, class... B>
    explicit Call(G&& function, B&&... arguments)
        : Work{std::is_trivially_destructible_v<std::tuple<F, A...>>},
          function_{std::forward<G>(function)},
          arguments_{std::forward<B>(arguments)...} {}

    void call() const override {
      if constexpr (std::is_copy_constructible_v<F> && (std::is_copy_constructible_v<A> && ...)) {
        F function{function_};
        std::tuple<A...> arguments{arguments_};
        std::apply(std::move(function), std::move(arguments));
      } else {
        throw std::logic_error{"a task with something in it that cannot be copied runs only once"};
      }
    }
    void call_once() override { std::apply(std::move(function_), std::move(arguments_)); }
    void encode(Encoder& encoder) const override {
      if constexpr (SpawnableCall<F, A...>) {
        codec<CodeReference>::encode(encoder, refer_to<Remake<F, A...>>());
        detail::encode<F>(encoder, function_);
        std::apply([&](const A&... each) { (detail::encode<A>(encoder, each), ...); }, arguments_);
      } else {
        refuse();
      }
    }

   private:
    [[noreturn]] static void refuse() {
      const std::string way_out = "; a process that is started by fork takes it as it is";
      if constexpr (!SpawnableCallable<F>) {
        throw SerializationError{
            "a target of type " + std::string{detail::type_name<F>()} +
            " cannot travel to another process: use a function, a member function, a lambda that "
            "captures nothing (what it captures become arguments) or a class with members that can "
            "travel" +
            way_out};
      }
      std::string types;
      ((Serializable<A>
            ? void()
            : void(types.append(types.empty() ? "" : ", ").append(detail::type_name<A>()))),
       ...);
      throw SerializationError{"arguments of type " + types +
                               " cannot travel to another process: give what can be sent (no "
                               "pointers, references or views; classes with serialize())" +
                               way_out};
    }

    F function_;
    std::tuple<A...> arguments_;
  };

  template <class F, class... A>
  using CallOf = std::conditional_t<std::is_invocable_v<F, detail::Value<A>...>,
                                    Call<F, detail::Value<A>...>,
                                    Call<F, std::decay_t<A>...>>;

  /// The key of the code that decodes a task.
  template <class F, class... A>
  struct Remake {
    using Signature = Task(Decoder&);
    static Task entry(Decoder& decoder) {
      auto function = detail::decode<F>(decoder);
      std::tuple<A...> arguments{detail::decode<A>(decoder)...};
      return std::apply(
          [&](A&... each) {
            return Task{std::move(function), std::move(each)...};
          },
          arguments);
    }
  };

  std::shared_ptr<Work> work_;
  std::shared_ptr<Work> spent_;
};

/// @brief A task travels as a reference to its code, and its values.
template <>
struct codec<Task> {
  static void encode(Encoder& encoder, const Task& task) {
    encoder.write_number(static_cast<std::uint8_t>(task ? 1 : 0));
    if (task) task.work_->encode(encoder);
  }
  static Task decode(Decoder& decoder) {
    const auto present = decoder.read_number<std::uint8_t>();
    if (present == 0) return {};
    if (present != 1) throw SerializationError{"the bytes hold no task"};
    detail::require_own_tree(decoder.transit());
    const auto reference = codec<CodeReference>::decode(decoder);
    return resolve<Task(Decoder&)>(reference, decoder.origin())(decoder);
  }
};

namespace detail {

/// @brief The key of the code that decodes a task and calls it.
struct RunTask {
  using Signature = void(Decoder&);
  static void entry(Decoder& decoder) { codec<Task>::decode(decoder).call_once(); }
};

/// @brief Encodes a call (see run_call) of a task.
inline void encode_task_call(Encoder& encoder, const Task& task) {
  codec<CodeReference>::encode(encoder, refer_to<RunTask>());
  codec<Task>::encode(encoder, task);
}

}  // namespace detail
}  // namespace multiprocessing
