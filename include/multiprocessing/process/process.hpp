// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file process.hpp
/// @brief Process<Derived> for subclasses and Process<> for targets.
#include <multiprocessing/callable.hpp>
#include <multiprocessing/callable/task.hpp>
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/os/exception.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/process/base.hpp>
#include <multiprocessing/serialization.hpp>

#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace multiprocessing {

/// @brief What `reduce()` returns: the arguments with which a process is made anew, as values; text
/// is a std::string.
template <class... A>
[[nodiscard]] std::tuple<detail::Value<A>...> arguments(A&&... values) {
  return {std::forward<A>(values)...};
}

namespace detail {

/// @brief A class that says how to make its objects anew.
template <class D>
concept Reducible = requires(const D& object) {
  std::tuple_size<decltype(object.reduce())>::value;
};

/// @brief The next Process that is made is the one that this process is.
inline void expect_remade() {
  const std::lock_guard lock{process_state().mutex};
  process_state().remaking = true;
}

/// @brief The key of the code that makes a D anew and runs it.
template <class D>
struct RemakeProcess {
  using Signature = void(Decoder&);
  using Arguments = std::remove_cvref_t<decltype(std::declval<const D&>().reduce())>;

  static void entry(Decoder& decoder) {
    auto arguments = decode<Arguments>(decoder);
    if (decoder.remaining() != 0) {
      throw SerializationError{"bytes are left behind the arguments of a process"};
    }
    expect_remade();
    auto object = std::make_from_tuple<D>(std::move(arguments));
    run_as_current(object);
  }
};

/// @brief The last part of a class's name: what its processes are called.
[[nodiscard]] constexpr std::string_view class_name(std::string_view name) {
  std::size_t begin = 0;
  int depth = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<' || name[i] == '(' || name[i] == '{') ++depth;
    if (name[i] == '>' || name[i] == ')' || name[i] == '}') --depth;
    if (depth == 0 && name[i] == ':') begin = i + 1;
  }
  name.remove_prefix(begin);
  return name.substr(0, name.find('<'));
}

}  // namespace detail

/// @brief Base of a process class; `run()` is what the child does.
/// @code
/// class Worker : public mp::Process<Worker> {
///  public:
///   explicit Worker(mp::Queue<int> results) : results_{results} {}
///   void run() override { results_.put(42); }
///   auto reduce() const { return mp::arguments(results_); }  // for spawn and forkserver
///  private:
///   mp::Queue<int> results_;
/// };
/// @endcode
/// A child by fork has a copy of the object. A child by another method makes it anew, from the
/// arguments that `reduce()` names, with one of its constructors; a class without it can only be
/// forked. An object of a class derived from Worker would arrive as a Worker, so start() refuses
/// it: such a base takes the parameter on, `template <class D> class Base : public mp::Process<D>`.
/// @tparam Derived the class itself; void for a Process made from a target.
/// @python{multiprocessing.Process, subclassed}
template <class Derived = void>
class Process : public BaseProcess {
 protected:
  /// @brief Says what start() needs to know of it; starts nothing.
  explicit Process(ProcessOptions options = {}) : BaseProcess{kind, std::move(options)} {
    static_assert(
        os::has_fork || detail::Reducible<Derived>,
        "a process is made anew in the child, for this system has no fork: write a public "
        "`auto reduce() const { return multiprocessing::arguments(...); }` with the "
        "arguments of one of the class's constructors");
  }

 private:
  static void check(const BaseProcess& process) {
    if (typeid(process) == typeid(Derived)) return;
    throw std::logic_error{
        os::readable_name(typeid(process)) + " would become " + class_text() +
        " in the child: a base of process classes takes the class as a parameter "
        "and passes it on, `template <class D> class Base : public "
        "multiprocessing::Process<D>`"};
  }
  static void reduce_to(const BaseProcess& process, Encoder& encoder) {
    if constexpr (detail::Reducible<Derived>) {
      using Key = detail::RemakeProcess<Derived>;
      static_assert(Serializable<typename Key::Arguments>,
                    "reduce() returns something that cannot travel to another process");
      codec<CodeReference>::encode(encoder, refer_to<Key>());
      detail::encode<typename Key::Arguments>(encoder,
                                              static_cast<const Derived&>(process).reduce());
    } else {
      throw SerializationError{
          class_text() +
          " can only be started by fork: a child by another method makes it anew and needs to know "
          "of what. Write a public `auto reduce() const { return multiprocessing::arguments(...); "
          "}` with the arguments of one of its constructors"};
    }
  }
  static void release(BaseProcess&) noexcept {}
  static std::string class_text() { return std::string{detail::type_name<Derived>()}; }

  static constexpr detail::ProcessClass kind{detail::class_name(detail::type_name<Derived>()),
                                             &check, &reduce_to, &release,
                                             requires {requires Derived::daemons_may_start_it;
}
};  // namespace multiprocessing
}
;

/// @brief A process made from a target: anything that std::invoke takes, and its arguments.
/// @code
/// mp::Process p(work, 1);                                     // work(1)
/// mp::Process q({.name = "w", .daemon = true}, &Plant::grow, plant);
/// std::vector<mp::Process<>> ps;
/// ps.emplace_back(work, 2);
/// @endcode
/// Target and arguments are kept as values, as std::thread does it, and released by start(). By
/// fork anything can be started. By other methods: functions, member functions, lambdas that
/// capture nothing and serializable callables, with serializable arguments; else start() throws a
/// SerializationError.
/// @python{multiprocessing.Process(target=f, args=(...))}
template <>
class Process<void> : public BaseProcess {
 public:
  /// @brief A process that calls target(arguments...).
  template <class F, class... A>
  requires(!std::is_same_v<std::decay_t<F>, Process> &&
           !std::is_same_v<std::decay_t<F>, ProcessOptions>) explicit Process(F&& target,
                                                                              A&&... arguments)
      : Process{ProcessOptions{}, std::forward<F>(target), std::forward<A>(arguments)...} {}
  /// @overload
  template <class F, class... A>
  Process(ProcessOptions options, F&& target, A&&... arguments)
      : BaseProcess{kind, std::move(options)},
        task_{std::forward<F>(target), std::forward<A>(arguments)...} {}

  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  /// The other process object is closed.
  Process(Process&&) noexcept = default;
  Process& operator=(Process&&) noexcept = default;
  ~Process() override = default;

  /// @brief Calls the target.
  void run() override { task_.call_once(); }

 private:
  static void check(const BaseProcess& process) {
    if (typeid(process) == typeid(Process)) return;
    throw std::logic_error{os::readable_name(typeid(process)) +
                           " would become Process<> in the child: derive from Process<the class "
                           "itself>"};
  }
  static void reduce_to(const BaseProcess& process, Encoder& encoder) {
    detail::encode_task_call(encoder, static_cast<const Process&>(process).task_);
  }
  static void release(BaseProcess& process) { static_cast<Process&>(process).task_ = {}; }

  static constexpr detail::ProcessClass kind{"Process", &check, &reduce_to, &release};

  Task task_;
};

/// A target makes a Process<>.
template <class F, class... A>
Process(F, A...) -> Process<void>;
/// A target makes a Process<>.
template <class F, class... A>
Process(ProcessOptions, F, A...) -> Process<void>;

}  // namespace multiprocessing
