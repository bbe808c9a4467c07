// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file protocol.hpp
/// @brief What a BaseManager's server and its clients say to each other.
///
/// A connection begins with a greeting; then the client asks and the server answers, one by one. A
/// question is a Request and what belongs to it, an answer an Answer and what belongs to that.
#include <multiprocessing/callable.hpp>
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/serialization.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <tuple>
#include <type_traits>
#include <utility>

namespace multiprocessing {

/// @brief Whether an object of T that a BaseManager serves may be called by several clients at
/// once. By default one call of an object waits for the other.
///
/// For classes that keep threads apart by themselves, and for those whose calls wait for one
/// another, such as queues:
/// @code
/// template <>
/// inline constexpr bool multiprocessing::is_thread_safe<Jobs> = true;
/// @endcode
template <class T>
inline constexpr bool is_thread_safe = false;

namespace detail {

inline constexpr std::uint64_t manager_greeting = 0x31726772614d706d;  // "mpMargr1"
using ManagerId = std::array<std::uint64_t, 2>;  ///< Random: of a server, and of a client process.

enum class Request : std::uint8_t {
  run,       ///< Code, and its arguments.
  acquire,   ///< An object, and its type: the client has it once more.
  release,   ///< An object: once less.
  count,     ///< How many objects there are?
  shutdown,  ///< The server is to end.
};
enum class Answer : std::uint8_t {
  value,  ///< What was asked for follows.
  error,  ///< An exception follows.
};

/// @brief An object in a server.
struct ServedObject {
  std::shared_ptr<void> object;
  std::shared_ptr<std::recursive_mutex> turn;  ///< None: it may be called by several at once.
};

class ServerSide;  // server.hpp

/// @brief A question that is answered: decodes from `arguments`, encodes into `result`.
struct ServedCall {
  ServerSide& server;
  Decoder& arguments;
  Encoder& result;
};

// ---- methods ----

/// @brief What a method takes and gives, as values.
template <class Method>
struct MethodType {
  static constexpr bool known = false;
};
template <class R, class C, class... P>
struct SomeMethod {
  static constexpr bool known = true;
  static constexpr bool takes_references =
      ((std::is_lvalue_reference_v<P> && !std::is_const_v<std::remove_reference_t<P>>) || ...);
  using Class = std::remove_cvref_t<C>;
  using Result = std::decay_t<R>;
  using Arguments = std::tuple<std::decay_t<P>...>;
};
/// The methods with these qualifiers.
#define MULTIPROCESSING_METHOD(qualifiers) \
  template <class R, class C, class... P>  \
  struct MethodType<R (C::*)(P...) qualifiers> : SomeMethod<R, C, P...> {};
MULTIPROCESSING_METHOD()
MULTIPROCESSING_METHOD(const)
MULTIPROCESSING_METHOD(noexcept)
MULTIPROCESSING_METHOD(const noexcept)
MULTIPROCESSING_METHOD(&)
MULTIPROCESSING_METHOD(const&)
MULTIPROCESSING_METHOD(&noexcept)
MULTIPROCESSING_METHOD(const& noexcept)
#undef MULTIPROCESSING_METHOD
template <class R, class C, class... P>
struct MethodType<R (*)(C, P...)> : SomeMethod<R, C, P...> {};
template <class R, class C, class... P>
struct MethodType<R (*)(C, P...) noexcept> : SomeMethod<R, C, P...> {};

template <auto Method>
using Type = MethodType<decltype(Method)>;

template <class T, auto Method>
constexpr bool check_method() {
  static_assert(Type<Method>::known,
                "call<...>() takes a member function, or a function whose first parameter is the "
                "object");
  static_assert(std::is_base_of_v<typename Type<Method>::Class, T>,
                "this is no method of the proxy's class");
  static_assert(!Type<Method>::takes_references,
                "this method changes an argument, which would not come back from the server");
  return true;
}

template <class... A>
std::tuple<A...> decode_arguments(Decoder& decoder, std::type_identity<std::tuple<A...>>) {
  std::tuple<A...> arguments{decode<A>(decoder)...};
  if (decoder.remaining() != 0) throw SerializationError{"bytes are left behind the arguments"};
  return arguments;
}

/// @brief Calls a method, when it is its turn.
template <class T, auto Method>
typename Type<Method>::Result invoke_served(const ServedObject& served,
                                            typename Type<Method>::Arguments& arguments) {
  std::unique_lock<std::recursive_mutex> turn;
  if (served.turn) turn = std::unique_lock{*served.turn};
  return std::apply(
      [&](auto&... argument) -> typename Type<Method>::Result {
        return std::invoke(Method, *static_cast<T*>(served.object.get()), std::move(argument)...);
      },
      arguments);
}

template <class T>
ServedObject make_served(std::shared_ptr<T> object) {
  return {std::move(object),
          is_thread_safe<T> ? nullptr : std::make_shared<std::recursive_mutex>()};
}

}  // namespace detail
}  // namespace multiprocessing
