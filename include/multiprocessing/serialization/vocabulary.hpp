// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file vocabulary.hpp
/// @brief pair, tuple, optional, variant, smart pointers, chrono, complex and path in bytes.
#include <multiprocessing/serialization/sequences.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>

namespace multiprocessing::detail {

template <class First, class Second>
struct Standard<std::pair<First, Second>> {
  using Pair = std::pair<First, Second>;
  using Parts = Types<std::remove_const_t<First>, std::remove_const_t<Second>>;
  static constexpr std::size_t weight = detail::weight_of_all(Parts{});
  static void encode(Encoder& encoder, const Pair& pair) {
    detail::encode_value(encoder, pair.first);
    detail::encode_value(encoder, pair.second);
  }
  static Pair decode(Decoder& decoder) {
    return Pair{decode_value<std::remove_const_t<First>>(decoder),
                decode_value<std::remove_const_t<Second>>(decoder)};
  }
};

template <class... T>
struct Standard<std::tuple<T...>> {
  using Parts = Types<std::remove_const_t<T>...>;
  static constexpr std::size_t weight = detail::weight_of_all(Parts{});
  static void encode(Encoder& encoder, const std::tuple<T...>& tuple) {
    std::apply([&](const auto&... element) { (detail::encode_value(encoder, element), ...); },
               tuple);
  }
  static std::tuple<T...> decode([[maybe_unused]] Decoder& decoder) {
    return std::tuple<T...>{decode_value<std::remove_const_t<T>>(decoder)...};
  }
};

/// A byte 1 and the value, or 0 and what makes up for its absence.
template <class T>
struct Standard<std::optional<T>> {
  using Optional = std::optional<T>;
  using Parts = Types<T>;
  static constexpr std::size_t weight = weight_of_memory(sizeof(Optional));
  static void encode(Encoder& encoder, const Optional& optional) {
    encoder.write_number(static_cast<std::uint8_t>(optional.has_value()));
    if (optional) detail::encode_value(encoder, *optional);
    encoder.pad(padding(optional.has_value()));
  }
  static Optional decode(Decoder& decoder) {
    const bool has_value = decode_boolean<bool>(decoder);
    Optional made;
    if (has_value) made.emplace(decode_value<T>(decoder));
    decoder.take(padding(has_value));
    return made;
  }

 private:
  static constexpr std::size_t padding(bool has_value) {
    const std::size_t there = 1 + (has_value ? weight_of<T>() : 0);
    return weight > there ? weight - there : 0;
  }
};

/// The alternative's index in one byte, its value, and what makes up for a larger alternative.
template <class... T>
requires(sizeof...(T) <= 256) struct Standard<std::variant<T...>> {
  using Variant = std::variant<T...>;
  using Parts = Types<T...>;
  static constexpr std::size_t weight = weight_of_memory(sizeof(Variant));
  static void encode(Encoder& encoder, const Variant& variant) {
    if (variant.valueless_by_exception()) {
      throw SerializationError{"cannot encode a std::variant that lost its value"};
    }
    encoder.write_number(static_cast<std::uint8_t>(variant.index()));
    encode_alternatives(encoder, variant, std::index_sequence_for<T...>{});
  }
  static Variant decode(Decoder& decoder) {
    const auto index = decoder.read_number<std::uint8_t>();
    if (index >= sizeof...(T)) {
      throw SerializationError{"a variant's index is " + std::to_string(index)};
    }
    return decode_alternative(decoder, index, std::index_sequence_for<T...>{});
  }

 private:
  template <class Alternative>
  static constexpr std::size_t padding = weight > 1 + weight_of<Alternative>()
                                             ? weight - 1 - weight_of<Alternative>()
                                             : 0;

  template <std::size_t I>
  static void encode_alternative(Encoder& encoder, const Variant& variant) {
    using Alternative = std::variant_alternative_t<I, Variant>;
    detail::encode_value(encoder, *std::get_if<I>(&variant));
    encoder.pad(padding<Alternative>);
  }
  template <std::size_t... I>
  static void encode_alternatives(Encoder& encoder,
                                  const Variant& variant,
                                  std::index_sequence<I...>) {
    static_cast<void>(
        ((variant.index() == I && (encode_alternative<I>(encoder, variant), true)) || ...));
  }
  template <std::size_t I>
  static Variant decode_alternative_at(Decoder& decoder) {
    using Alternative = std::variant_alternative_t<I, Variant>;
    Variant made{std::in_place_index<I>, decode_value<Alternative>(decoder)};
    decoder.take(padding<Alternative>);
    return made;
  }
  template <std::size_t... I>
  static Variant decode_alternative(Decoder& decoder,
                                    std::size_t index,
                                    std::index_sequence<I...>) {
    using Decode = Variant (*)(Decoder&);
    static constexpr std::array<Decode, sizeof...(T)> all{&decode_alternative_at<I>...};
    return all[index](decoder);
  }
};

/// @brief A pointer that owns its object: a byte 0, or 1, the object, and what pays for its room.
///
/// By value: two `shared_ptr` to one object arrive as two objects.
/// @tparam Beside what is allocated with the object.
template <class Pointer, std::size_t Beside>
struct Owning {
  using Element = std::remove_const_t<typename Pointer::element_type>;
  using Parts = Types<Element>;
  static constexpr std::size_t weight = 1;
  static void encode(Encoder& encoder, const Pointer& pointer) {
    encoder.write_number(static_cast<std::uint8_t>(pointer != nullptr));
    if (!pointer) return;
    const Element& object = *pointer;
    if constexpr (std::is_polymorphic_v<Element>) {
      if (typeid(object) != typeid(Element)) {
        throw SerializationError{"cannot encode an object of a class derived from " +
                                 std::string{type_name<Element>()} +
                                 " through a pointer to that: it would arrive without the rest"};
      }
    }
    detail::encode_value(encoder, object);
    encoder.pad(padding());
  }
  static Pointer decode(Decoder& decoder) {
    if (!decode_boolean<bool>(decoder)) return nullptr;
    decoder.pay_for(element_room<Element, Beside>);
    if constexpr (is_read_in_place<Element>()) {
      const auto bytes = decoder.take(sizeof(Element));
      decoder.take(padding());
      auto made = make();
      std::memcpy(static_cast<void*>(made.get()), bytes.data(), bytes.size());
      return made;
    } else if constexpr (std::is_move_constructible_v<Element>) {
      // First all bytes that pay for the memory, then the memory: else a chain of pointers takes
      // some at each link before one is found not to be there.
      Element element = decode_value<Element>(decoder);
      decoder.take(padding());
      if constexpr (Beside == 0) {
        return Pointer{new Element(std::move(element))};
      } else {
        return std::make_shared<typename Pointer::element_type>(std::move(element));
      }
    } else {
      Pointer made{new Element(decode_value<Element>(decoder))};
      decoder.take(padding());
      return made;
    }
  }

 private:
  static auto make() {
    if constexpr (Beside == 0) {
      return std::unique_ptr<Element>{new Element};
    } else {
      return std::make_shared<Element>();
    }
  }
  // A function, because the class may be incomplete where its member of this type is looked at.
  static constexpr std::size_t padding() { return element_padding<Element, Beside>; }
};
template <class T>
requires(!std::is_array_v<T>) struct Standard<std::unique_ptr<T>> : Owning<std::unique_ptr<T>, 0> {
};
template <class T>
requires(!std::is_array_v<T>) struct Standard<std::shared_ptr<T>>
    : Owning<std::shared_ptr<T>, 2 * sizeof(void*)> {
};

template <class Number, class Period>
struct Standard<std::chrono::duration<Number, Period>> {
  using Duration = std::chrono::duration<Number, Period>;
  using Parts = Types<Number>;
  static constexpr bool bitwise = is_bitwise<Number>;
  static constexpr std::size_t weight = weight_of<Number>();
  static void encode(Encoder& encoder, Duration duration) {
    detail::encode_value(encoder, duration.count());
  }
  static Duration decode(Decoder& decoder) { return Duration{decode_value<Number>(decoder)}; }
};
template <class Clock, class Duration>
struct Standard<std::chrono::time_point<Clock, Duration>> {
  using Time = std::chrono::time_point<Clock, Duration>;
  using Parts = Types<Duration>;
  static constexpr bool bitwise = is_bitwise<Duration>;
  static constexpr std::size_t weight = weight_of<Duration>();
  static void encode(Encoder& encoder, Time time) {
    detail::encode_value(encoder, time.time_since_epoch());
  }
  static Time decode(Decoder& decoder) { return Time{decode_value<Duration>(decoder)}; }
};

template <class T, class... Each>
inline constexpr bool is_one_of = (std::is_same_v<T, Each> || ...);
template <class T>
concept IsCalendar = is_one_of<T,
                               std::chrono::day,
                               std::chrono::month,
                               std::chrono::year,
                               std::chrono::weekday,
                               std::chrono::weekday_indexed,
                               std::chrono::weekday_last,
                               std::chrono::month_day,
                               std::chrono::month_day_last,
                               std::chrono::month_weekday,
                               std::chrono::month_weekday_last,
                               std::chrono::year_month,
                               std::chrono::year_month_day,
                               std::chrono::year_month_day_last,
                               std::chrono::year_month_weekday,
                               std::chrono::year_month_weekday_last>;
/// Small numbers, valid as a date or not.
template <IsCalendar Date>
struct Standard<Date> {
  using Parts = Types<>;
  static constexpr bool bitwise = true;
  static constexpr std::size_t weight = sizeof(Date);
  static void encode(Encoder& encoder, const Date& date) { encoder.write(&date, sizeof date); }
  static Date decode(Decoder& decoder) { return decode_bits<Date>(decoder); }
};
/// The duration. One that its parts, or their sum, may have no room for is refused either way: the
/// standard library computes them unchecked.
template <class Duration>
requires std::is_arithmetic_v<typename Duration::rep>
struct Standard<std::chrono::hh_mm_ss<Duration>> {
  using Time = std::chrono::hh_mm_ss<Duration>;
  using Parts = Types<Duration>;
  static constexpr std::size_t weight = weight_of<Duration>();
  static void encode(Encoder& encoder, const Time& time) {
    check(time.hours());  // before they are added up
    auto duration = std::chrono::duration_cast<Duration>(time.to_duration());
    check(duration);
    if constexpr (std::is_integral_v<typename Duration::rep>) {
      // Of 1/60 s the precision is a microsecond: what that cuts off would cost the last 1/60.
      if (Time{duration}.to_duration() != time.to_duration()) {
        duration += Duration{time.is_negative() ? -1 : 1};
      }
    }
    detail::encode_value(encoder, duration);
  }
  static Time decode(Decoder& decoder) {
    const auto duration = decode_value<Duration>(decoder);
    check(duration);
    return Time{duration};
  }

 private:
  using Precision = typename Time::precision;
  using Seconds = std::chrono::duration<long double>;

  template <class Checked>
  static void check(Checked time) {
    Seconds limit{0x1p62L};  // half of what fits: a long double may be a double
    if constexpr (std::is_integral_v<typename Precision::rep>) {
      // Converting multiplies first: numbers get as large as in the unit that divides both.
      constexpr auto to = Precision::period::den;
      constexpr auto beside = Duration::period::den / std::gcd(Duration::period::den, to);
      limit /= static_cast<long double>(beside) * to;
    }
    limit = std::min<Seconds>(limit, std::chrono::minutes::max() / 2);  // somewhere those are ints
    if (!(abs(Seconds{time}) <= limit) ||
        (std::is_signed_v<typename Checked::rep> && time < -Checked::max())) {
      throw SerializationError{"an hh_mm_ss is too long, or not a number"};
    }
  }
};

template <class Number>
struct Standard<std::complex<Number>> {
  using Parts = Types<Number>;
  static constexpr bool bitwise = is_bitwise<Number>;
  static constexpr std::size_t weight = 2 * weight_of<Number>();
  static void encode(Encoder& encoder, const std::complex<Number>& number) {
    detail::encode_value(encoder, number.real());
    detail::encode_value(encoder, number.imag());
  }
  static std::complex<Number> decode(Decoder& decoder) {
    auto real = decode_value<Number>(decoder);
    auto imaginary = decode_value<Number>(decoder);
    return {real, imaginary};
  }
};

/// The native text. A path keeps its parts too, each a path, in memory that grows as it finds them:
/// what they take is paid for as well.
template <>
struct Standard<std::filesystem::path> {
  using Path = std::filesystem::path;
  using Text = Path::string_type;
  using Parts = Types<>;
  static constexpr std::size_t weight = Standard<Text>::weight;
  static void encode(Encoder& encoder, const Path& path) {
    detail::encode_value(encoder, path.native());
    encoder.pad(padding(path.native()));
  }
  static Path decode(Decoder& decoder) {
    auto text = decode_value<Text>(decoder);
    decoder.pay_for(8 * decoder.take(padding(text)).size());
    return Path{std::move(text)};
  }

 private:
  static std::size_t padding(const Text& text) {
    const auto separators = std::count_if(text.begin(), text.end(), [](Text::value_type c) {
      // NOLINTNEXTLINE(misc-redundant-expression): the same on some systems only
      return c == '/' || c == Path::preferred_separator;
    });
    return separators == 0
               ? 0
               : weight_of_memory(6 * sizeof(Path)) * (static_cast<std::size_t>(separators) + 2);
  }
};

}  // namespace multiprocessing::detail
