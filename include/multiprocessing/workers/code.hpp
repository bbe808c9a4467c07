// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file code.hpp
/// @brief What a task calls: encoded once for each worker, and then a number.
#include <multiprocessing/callable.hpp>
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/serialization.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief A task in a worker, while it is run.
struct TaskCall {
  Decoder& definition;              ///< Of the callable: its bytes, if they belong to the code.
  std::shared_ptr<void>& callable;  ///< Made of them by the first task.
  Decoder& arguments;
  Encoder& result;
};

/// @brief Callables that are part of the code: those of which a program has few, and which are dear
/// to encode. Others travel with each task.
template <class F>
inline constexpr bool belongs_to_code = std::is_pointer_v<F> || std::is_member_pointer_v<F> ||
                                        (std::is_empty_v<F> && std::is_trivially_copyable_v<F>);

/// @brief What a task's argument is passed as: text as std::string, where that can be called.
template <class F, class... A>
using PassedArguments = std::conditional_t<
    std::is_invocable_v<F&,
                        std::conditional_t<std::is_same_v<std::decay_t<A>, const char*> ||
                                               std::is_same_v<std::decay_t<A>, char*>,
                                           std::string,
                                           std::decay_t<A>>...>,
    std::tuple<std::conditional_t<std::is_same_v<std::decay_t<A>, const char*> ||
                                      std::is_same_v<std::decay_t<A>, char*>,
                                  std::string,
                                  std::decay_t<A>>...>,
    std::tuple<std::decay_t<A>...>>;

/// @brief What a call of an F gives, as a value.
template <class F, class... A>
using ResultOf = std::decay_t<std::invoke_result_t<F&, A...>>;

/// @brief The callable of a task that runs.
template <class F>
class Callee {
 public:
  explicit Callee(const TaskCall& call) {
    if constexpr (belongs_to_code<F>) {
      if (!call.callable) call.callable = std::make_shared<F>(decode<F>(call.definition));
      shared_ = std::static_pointer_cast<F>(call.callable);
    } else {
      shared_ = std::make_shared<F>(decode<F>(call.arguments));
    }
  }
  F& operator*() const noexcept { return *shared_; }

 private:
  std::shared_ptr<F> shared_;
};

inline void check_all_read(const Decoder& arguments) {
  if (arguments.remaining() != 0) throw SerializationError{"bytes are left behind a task"};
}

template <class R>
void encode_result(Encoder& encoder, const R& value) {
  try {
    encode<R>(encoder, value);
  } catch (const SerializationError& error) {
    throw SerializationError{"the result of a task, a " + std::string{type_name<R>()} +
                             ", cannot be sent: " + error.what()};
  }
}

/// @brief The key of the code that decodes A..., calls an F and encodes what it returns.
template <class F, class... A>
struct CallTask {
  using Signature = void(TaskCall&);
  static void entry(TaskCall& call) {
    const Callee<F> callee{call};
    std::tuple<A...> arguments{decode<A>(call.arguments)...};
    check_all_read(call.arguments);
    const auto invoke = [&](A&... each) -> decltype(auto) {
      return std::invoke(*callee, std::move(each)...);
    };
    if constexpr (std::is_void_v<ResultOf<F, A...>>) {
      std::apply(invoke, arguments);
    } else {
      encode_result<ResultOf<F, A...>>(call.result, std::apply(invoke, arguments));
    }
  }
};

/// @brief The key of the code that calls an F with every X of a chunk.
/// @tparam Spread an X is a tuple, whose elements are the arguments.
template <class F, class X, bool Spread>
struct CallChunk {
  using Signature = void(TaskCall&);

  static decltype(auto) call_one(F& function, X&& x) {
    if constexpr (Spread) {
      return std::apply(function, std::move(x));
    } else {
      return std::invoke(function, std::move(x));
    }
  }
  using Result = std::decay_t<decltype(call_one(std::declval<F&>(), std::declval<X>()))>;

  static void entry(TaskCall& call) {
    const Callee<F> callee{call};
    auto chunk = decode<std::vector<X>>(call.arguments);
    check_all_read(call.arguments);
    if constexpr (std::is_void_v<Result>) {
      for (auto&& x : chunk) call_one(*callee, X(std::move(x)));
    } else {
      std::vector<Result> results;
      results.reserve(chunk.size());
      for (auto&& x : chunk) results.push_back(call_one(*callee, X(std::move(x))));
      encode_result<std::vector<Result>>(call.result, results);
    }
  }
};

/// @brief A line of the parent's table of code: which key, and which callable.
struct Code {
  const void* key = nullptr;  ///< Its descriptor.
  std::array<std::byte, 2 * sizeof(void*)> callable{};

  std::vector<std::byte> (*define)(const Code&) = nullptr;
  std::string_view name;

  friend bool operator==(const Code& left, const Code& right) noexcept {
    return left.key == right.key && left.callable == right.callable;
  }
  struct Hash {
    std::size_t operator()(const Code& code) const noexcept {
      std::size_t words[3] = {};
      static_assert(sizeof(code.callable) <= 2 * sizeof(std::size_t));
      std::memcpy(words, &code.key, sizeof code.key);
      std::memcpy(words + 1, code.callable.data(), sizeof code.callable);
      constexpr std::size_t odd = 0x9e3779b97f4a7c15U;
      return ((words[0] * odd ^ words[1]) * odd ^ words[2]) * odd;
    }
  };
};

/// @brief What a worker needs to know to run a Key's tasks: the reference, and the callable.
template <class Key, class F>
[[nodiscard]] std::vector<std::byte> define_code(const Code& code) {
  std::vector<std::byte> bytes;
  Transit transit;
  Encoder encoder{bytes, &transit};
  codec<CodeReference>::encode(encoder, refer_to<Key>());
  if constexpr (belongs_to_code<F> && std::is_empty_v<F>) {
    struct Blank {};
    encode<F>(encoder, std::bit_cast<F>(Blank{}));
  } else if constexpr (belongs_to_code<F>) {
    F function{};
    std::memcpy(&function, code.callable.data(), sizeof function);
    encode<F>(encoder, function);
  }
  return bytes;
}

template <class Key, class F>
[[nodiscard]] Code code_for(const F& function) {
  Code code{&DescriptorOf<Key>::value, {}, &define_code<Key, F>, type_name<F>()};
  if constexpr (belongs_to_code<F> && !std::is_empty_v<F>) {
    static_assert(sizeof function <= sizeof code.callable);
    std::memcpy(code.callable.data(), &function, sizeof function);
  }
  return code;
}

/// @brief A worker's line of its table of code.
class KnownCode {
 public:
  /// @brief Runs a task. @param page what define_code() wrote; stays where it is.
  /// @throws what it throws; SerializationError it cannot be decoded.
  void call(std::span<const std::byte> page, Decoder& arguments, Encoder& result) {
    if (entry_ == nullptr) {
      Decoder decoder{page};
      const auto reference = codec<CodeReference>::decode(decoder);
      entry_ = resolve<void(TaskCall&)>(reference);
      callable_bytes_ = decoder.remaining();
    }
    Transit transit;
    Decoder definition{page.last(callable_bytes_), &transit};
    TaskCall call{definition, callable_, arguments, result};
    entry_(call);
  }

 private:
  void (*entry_)(TaskCall&) = nullptr;
  std::size_t callable_bytes_ = 0;  // at the end of the page
  std::shared_ptr<void> callable_;
};

}  // namespace multiprocessing::detail
