// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file remote_exception.hpp
/// @brief How an exception comes home from another process.
#include <multiprocessing/callable.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/os/exception.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/workers/standard_errors.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace multiprocessing {

namespace detail {

/// @brief What an exception of the program's own has to have to come home as itself.
class TravellingError {
 public:
  TravellingError() = default;
  TravellingError(const TravellingError&) = default;
  TravellingError& operator=(const TravellingError&) = default;
  virtual ~TravellingError() = default;
  virtual void encode_error(Encoder& encoder) const = 0;
};

/// @brief The key of the code that makes an E anew.
template <class E>
struct RemakeError {
  using Signature = std::exception_ptr(Decoder&, const std::exception_ptr&);
  static std::exception_ptr entry(Decoder& decoder, const std::exception_ptr& nested) {
    return detail::with_nested(decode<E>(decoder), nested);
  }
};

}  // namespace detail

/// @brief Base of an exception class that comes home from a pool's worker as itself. It says of
/// what it is made, with `reduce()` or in any other way of serialization.hpp.
/// @code
/// struct ParseError : mp::SendableError<ParseError> {
///   ParseError(const std::string& text, int at) : SendableError{text}, line{at} {}
///   auto reduce() const { return mp::arguments(what(), line); }
///   int line;
/// };
/// @endcode
/// @tparam Derived the class itself. @tparam Base what it is caught as, besides: any exception.
/// @python{any exception: pickle}
template <class Derived, class Base = std::runtime_error>
class SendableError : public Base, public detail::TravellingError {
 public:
  using Base::Base;

  /// @brief For the pools.
  void encode_error(Encoder& encoder) const override {
    codec<CodeReference>::encode(encoder, refer_to<detail::RemakeError<Derived>>());
    detail::encode<Derived>(encoder, static_cast<const Derived&>(*this));
  }
};

namespace detail {

enum class ErrorForm : std::uint8_t { end, standard, own, words };

inline void put_form(Encoder& encoder, ErrorForm form) {
  encoder.write_number(static_cast<std::uint8_t>(form));
}

/// @brief A class that register_exception() was told of.
struct KnownError {
  bool (*encode_current)(Encoder&);
  const KnownError* next = nullptr;
};
inline std::atomic<const KnownError*> known_errors{nullptr};

/// @brief Whether the exception is what std::throw_with_nested makes of an E.
template <class E>
bool is_own_nesting(const E& error) {
  try {
    std::throw_with_nested(E{error});
  } catch (const E& model) {
    return typeid(model) == typeid(error);
  }
}

/// @brief Encodes the exception that is being handled, if it is an E. @returns whether it is.
template <class E>
bool encode_current_if(Encoder& encoder) {
  try {
    throw;
  } catch (const E& error) {
    if constexpr (std::is_polymorphic_v<E>) {  // of a class derived from it, a part would arrive
      if (typeid(error) != typeid(E) && !is_own_nesting(error)) return false;
    }
    put_form(encoder, ErrorForm::own);
    codec<CodeReference>::encode(encoder, refer_to<RemakeError<E>>());
    encode<E>(encoder, error);
    return true;
  } catch (...) {
    return false;
  }
}

[[nodiscard]] inline bool encode_current_if_known(Encoder& encoder) {
  for (const KnownError* each = known_errors.load(); each != nullptr; each = each->next) {
    if (each->encode_current(encoder)) return true;
  }
  return false;
}

/// @brief Encodes one exception. Call it inside its handler. @returns what is nested in it.
inline std::exception_ptr encode_current_error(Encoder& encoder, std::string& words) {
  std::string type;
  std::string text;
  std::exception_ptr nested;
  const auto in_words = [&](std::string said) {
    type = os::current_exception_type();
    text = std::move(said);
    put_form(encoder, ErrorForm::words);
    encode<std::string>(encoder, type);
    encode<std::string>(encoder, text);
  };
  try {
    throw;
  } catch (const std::exception& error) {
    if (const auto* inner = dynamic_cast<const std::nested_exception*>(&error)) {
      nested = inner->nested_ptr();
    }
    if (const auto* own = dynamic_cast<const TravellingError*>(&error)) {
      put_form(encoder, ErrorForm::own);
      own->encode_error(encoder);
    } else if (encode_current_if_known(encoder)) {
    } else if (const auto which = standard_error_of(error, nested != nullptr)) {
      put_form(encoder, ErrorForm::standard);
      encode_standard_error(encoder, *which, error);
    } else {
      in_words(error.what());
    }
    type = os::current_exception_type();
    text = error.what();
  } catch (const TravellingError& own) {
    type = os::current_exception_type();
    put_form(encoder, ErrorForm::own);
    own.encode_error(encoder);
  } catch (const char* said) {
    in_words(said == nullptr ? "" : said);
  } catch (const std::string& said) {
    in_words(said);
  } catch (int number) {
    in_words(std::to_string(number));
  } catch (...) {
    if (encode_current_if_known(encoder)) {
      type = os::current_exception_type();
    } else {
      in_words("an exception of that type");
    }
  }
  words += "  " + type + (text.empty() ? "" : ": ") + text + "\n";
  return nested;
}

/// @brief Encodes the exception that is being handled, with what is nested in it. Call it inside a
/// handler.
/// @param where what the words begin with: process and task.
inline void encode_exception(Encoder& encoder, const std::string& where) {
  constexpr int deepest = 32;
  const std::string type = os::current_exception_type();
  std::string words = where;
  std::exception_ptr nested = encode_current_error(encoder, words);
  for (int depth = 0; nested && depth < deepest; ++depth) {
    try {
      std::rethrow_exception(std::exchange(nested, nullptr));
    } catch (...) {
      words += "because of\n";
      nested = encode_current_error(encoder, words);
    }
  }
  encoder.write_number(static_cast<std::uint8_t>(ErrorForm::end));
  encode<std::string>(encoder, type);
  encode<std::string>(encoder, words);
}

/// @brief One exception of the chain, around those inside it.
inline std::exception_ptr decode_chain(Decoder& decoder) {
  const auto form = static_cast<ErrorForm>(decoder.read_number<std::uint8_t>());
  const Decoder::Nesting level{decoder};
  switch (form) {
    case ErrorForm::end: {
      auto type = decode<std::string>(decoder);
      auto words = decode<std::string>(decoder);
      std::string text = words;
      return std::make_exception_ptr(RemoteError{std::move(type), text, std::move(words)});
    }
    case ErrorForm::standard: {
      const StandardError error = decode_standard_error(decoder);
      return error.make(decode_chain(decoder));
    }
    case ErrorForm::own: {
      const auto reference = codec<CodeReference>::decode(decoder);
      auto* const remake =
          resolve<typename RemakeError<int>::Signature>(reference, decoder.origin());
      // The object's bytes come before those of what is nested in it, so it is made twice: the
      // first time alone, to get behind it.
      Decoder ahead{decoder};
      static_cast<void>(remake(ahead, nullptr));
      const std::exception_ptr inner = decode_chain(ahead);
      auto made = remake(decoder, inner);
      decoder = ahead;
      return made;
    }
    case ErrorForm::words: {
      auto type = decode<std::string>(decoder);
      const auto text = decode<std::string>(decoder);
      const std::exception_ptr inner = decode_chain(decoder);
      std::string trace;
      try {
        std::rethrow_exception(inner);
      } catch (const RemoteError& words) {
        trace = words.traceback;
      } catch (...) {
        return with_nested(RemoteError{std::move(type), text, {}}, inner);
      }
      return std::make_exception_ptr(RemoteError{std::move(type), text, std::move(trace)});
    }
  }
  throw SerializationError{"the bytes hold no exception"};
}

/// @brief The exception that encode_exception() encoded: of its own type where that can be, with a
/// RemoteError nested last; else a RemoteError.
/// @throws SerializationError
[[nodiscard]] inline std::exception_ptr decode_exception(Decoder& decoder) {
  return decode_chain(decoder);
}

}  // namespace detail

/// @brief Has an exception class that is serializable, and cannot be a SendableError, come home
/// from a pool's worker as itself: another library's, or one that is no std::exception.
/// @code
/// const bool is_known = mp::register_exception<lib::ParseError>();  // at namespace scope
/// @endcode
/// What is derived from it does not come as it, and needs to be named itself.
/// @tparam E a class. @returns true.
/// @processes Each where it is thrown: at namespace scope it holds for spawned ones too.
template <class E>
bool register_exception() noexcept {
  static_assert(std::is_class_v<E>, "multiprocessing: an exception that travels is of a class");
  static detail::KnownError known{&detail::encode_current_if<E>};
  static const bool is_in = [] {
    known.next = detail::known_errors.load();
    while (!detail::known_errors.compare_exchange_weak(known.next, &known)) {
    }
    return true;
  }();
  return is_in;
}

}  // namespace multiprocessing
