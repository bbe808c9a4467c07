// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file call.hpp
/// @brief A call in transit: a function, its arguments, and the code that puts them together again.
#include <multiprocessing/callable/code_reference.hpp>
#include <multiprocessing/callable/function_pointer.hpp>
#include <multiprocessing/serialization.hpp>

#include <concepts>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace multiprocessing {

/// @brief What can be called in another process that was not forked from this one: functions,
/// member functions, captureless lambdas, and function objects that are Serializable. Not lambdas
/// that capture: give what they capture as arguments, or make a function object of it.
template <class F>
concept SpawnableCallable = Serializable<std::decay_t<F>> &&
    (!detail::is_closure<std::decay_t<F>> || detail::CapturelessClosure<std::decay_t<F>>);

/// @brief A callable and arguments that it can be called with there; all as values.
template <class F, class... A>
concept SpawnableCall = SpawnableCallable<F> &&(Serializable<std::decay_t<A>>&&...) &&
                        std::invocable<std::decay_t<F>, std::decay_t<A>...>;

namespace detail {

/// @brief The key of the code that decodes an F and A..., and calls.
template <class F, class... A>
struct Call {
  using Signature = void(Decoder&);
  static void entry(Decoder& decoder) {
    F function = decode<F>(decoder);
    std::tuple<A...> arguments{decode<A>(decoder)...};
    if (decoder.remaining() != 0) {
      throw SerializationError{"bytes are left behind the arguments of a call"};
    }
    std::apply(std::move(function), std::move(arguments));
  }
};

/// @brief The descriptor of calls of an F with A...; its entry takes the Decoder behind which F and
/// A... stand as the last thing, decodes and calls them.
template <class F, class... A>
requires SpawnableCall<F, A...>
[[nodiscard]] constexpr const Descriptor<void(Decoder&)>& descriptor_for_call() noexcept {
  return DescriptorOf<Call<std::decay_t<F>, std::decay_t<A>...>>::value;
}

/// @brief Encodes a call: the reference to its code, the function, the arguments.
template <class F, class... A>
requires SpawnableCall<F, A...>
void encode_call(Encoder& encoder, const F& function, const A&... arguments) {
  codec<CodeReference>::encode(encoder, refer_to<Call<std::decay_t<F>, std::decay_t<A>...>>());
  encode<std::decay_t<F>>(encoder, function);
  (encode<std::decay_t<A>>(encoder, arguments), ...);
}

/// @brief Decodes the call that encode_call encoded, the last thing in its bytes, and makes it.
/// What the call returns is dropped; what it throws comes out.
/// @throws SerializationError before anything is called.
inline void run_call(Decoder& decoder) {
  const auto reference = codec<CodeReference>::decode(decoder);
  resolve<void(Decoder&)>(reference, decoder.origin())(decoder);
}

}  // namespace detail
}  // namespace multiprocessing
