// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file kinds.hpp
/// @brief One of every kind of type that can be sent, with values, for tests that hold for all.
#include <multiprocessing/serialization.hpp>

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <bitset>
#include <chrono>
#include <compare>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <functional>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <memory_resource>
#include <optional>
#include <queue>
#include <set>
#include <stack>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

namespace kinds {

enum class Color : std::uint8_t { red, green };
enum class Answer : bool { no, yes };
/// Without a fixed type, but no int is beyond its values.
enum Unfixed { least = std::numeric_limits<int>::min(), most = std::numeric_limits<int>::max() };

struct Point {
  double x, y, z;
  std::int32_t id;
  bool operator==(const Point&) const = default;
};
struct Flagged {
  std::int32_t number;
  bool flag;
  Color color;
  Answer answer;
  bool operator==(const Flagged&) const = default;
};
struct Nothing {
  bool operator==(const Nothing&) const = default;
};
struct Record {
  std::int32_t number = 0;
  std::string text;
  std::vector<Point> points;
  std::map<std::string, int> counts;
  std::optional<double> perhaps;
  std::variant<int, std::string> either;
  bool operator==(const Record&) const = default;
};
struct Arrays {
  char name[5];
  std::int16_t table[2][3];
  std::string words[2];
  bool flags[3];
  bool operator==(const Arrays&) const = default;
};
struct Tree {
  int value = 0;
  std::vector<Tree> children;
  bool operator==(const Tree&) const = default;
};
struct Chain {
  int value = 0;
  std::unique_ptr<Chain> next;
  bool operator==(const Chain& other) const {
    if (value != other.value || (next == nullptr) != (other.next == nullptr)) return false;
    return next == nullptr || *next == *other.next;
  }
};

/// Trivially copyable, and nobody can look inside.
class Closed {
 public:
  Closed() = default;
  explicit Closed(int value) : value_{value} {}
  bool operator==(const Closed&) const = default;

 private:
  int value_ = 0;
};

/// As one would write it for cereal.
class MemberSerialize {
 public:
  MemberSerialize() = default;
  MemberSerialize(int number, std::string text) : number_{number}, text_{std::move(text)} {}
  template <class Archive>
  void serialize(Archive& archive) {
    archive(number_, text_);
  }
  bool operator==(const MemberSerialize&) const = default;

 private:
  int number_ = 0;
  std::string text_;
};
/// As one would write it for Boost, without a version.
class AmpersandSerialize {
 public:
  AmpersandSerialize() = default;
  explicit AmpersandSerialize(int number) : number_{number}, text_(3, 'x') {}
  template <class Archive>
  void serialize(Archive& archive) {
    archive& number_& text_;
  }
  bool operator==(const AmpersandSerialize&) const = default;

 private:
  int number_ = 0;
  std::string text_;
};
class SaveLoad {
 public:
  SaveLoad() = default;
  explicit SaveLoad(int number) : number_{number} {}
  template <class Archive>
  void save(Archive& archive) const {
    archive(number_ * 2);
  }
  template <class Archive>
  void load(Archive& archive) {
    archive(number_);
    number_ /= 2;
  }
  bool operator==(const SaveLoad&) const = default;

 private:
  int number_ = 0;
};
class FreeSerialize {
 public:
  std::string text;
  FreeSerialize() {}
  explicit FreeSerialize(std::string given) : text{std::move(given)} {}
  bool operator==(const FreeSerialize&) const = default;
};
template <class Archive>
void serialize(Archive& archive, FreeSerialize& value) {
  archive(value.text);
}
class FreeSaveLoad {
 public:
  std::string text;
  FreeSaveLoad() {}
  explicit FreeSaveLoad(std::string given) : text{std::move(given)} {}
  bool operator==(const FreeSaveLoad&) const = default;
};
template <class Archive>
void save(Archive& archive, const FreeSaveLoad& value) {
  archive(value.text);
}
template <class Archive>
void load(Archive& archive, FreeSaveLoad& value) {
  archive(value.text);
}
class Reduced {
 public:
  Reduced(int number, std::string text) : number_{number}, text_{std::move(text)} {}
  auto reduce() const { return std::make_tuple(number_, text_); }
  bool operator==(const Reduced&) const = default;

 private:
  int number_;
  std::string text_;
};
class Custom {
 public:
  static Custom of(std::string text) { return Custom{std::move(text)}; }
  const std::string& text() const { return text_; }
  bool operator==(const Custom&) const = default;

 private:
  explicit Custom(std::string text) : text_{std::move(text)} {}
  std::string text_;
};
/// Much larger than what it sends.
struct Roomy {
  std::int8_t sent = 0;
  std::array<char, 1000> scratch{};
  template <class Archive>
  void serialize(Archive& archive) {
    archive(sent);
  }
  bool operator==(const Roomy&) const = default;
};
/// Of the size from which on objects are read where they lie.
struct Large {
  std::array<char, 508> data{};
  std::int32_t number = 0;
  bool operator==(const Large&) const = default;
};
static_assert(multiprocessing::detail::is_read_in_place<Large>());
union Either {
  std::int32_t number;
  float real;
  bool operator==(const Either& other) const {
    return std::bit_cast<std::int32_t>(*this) == std::bit_cast<std::int32_t>(other);
  }
};
/// Can be moved, not copied.
struct Owned {
  std::unique_ptr<int> number;
  [[nodiscard]] int value() const { return number ? *number : 0; }
  bool operator==(const Owned& other) const { return value() == other.value(); }
  bool operator<(const Owned& other) const { return value() < other.value(); }
};
struct OwnedHash {
  std::size_t operator()(const Owned& owned) const { return std::hash<int>{}(owned.value()); }
};

template <class T>
bool same(const T& a, const T& b) {
  return a == b;
}
template <class Duration>
bool same(const std::chrono::hh_mm_ss<Duration>& a, const std::chrono::hh_mm_ss<Duration>& b) {
  return a.to_duration() == b.to_duration();
}
template <class T>
bool same(const std::unique_ptr<T>& a, const std::unique_ptr<T>& b) {
  return a && b ? same(*a, *b) : !a && !b;
}
template <class T>
bool same(const std::shared_ptr<T>& a, const std::shared_ptr<T>& b) {
  return a && b ? same(*a, *b) : !a && !b;
}
template <class T>
bool same(const std::vector<std::unique_ptr<T>>& a, const std::vector<std::unique_ptr<T>>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!same(a[i], b[i])) return false;
  }
  return true;
}
template <class T, class Container, class Compare>
bool same(std::priority_queue<T, Container, Compare> a,
          std::priority_queue<T, Container, Compare> b) {
  for (; !a.empty() && !b.empty(); a.pop(), b.pop()) {
    if (a.top() != b.top()) return false;
  }
  return a.empty() && b.empty();
}

inline auto all_of_date(std::chrono::year year,
                        std::chrono::month month,
                        std::chrono::weekday weekday) {
  constexpr auto last = std::chrono::last;
  constexpr std::chrono::day day{17};
  return std::tuple{day,
                    month,
                    year,
                    weekday,
                    weekday[2],
                    weekday[last],
                    month / day,
                    month / last,
                    month / weekday[2],
                    month / weekday[last],
                    year / month,
                    year / month / day,
                    year / month / last,
                    year / month / weekday[2],
                    year / month / weekday[last]};
}
/// Two elements that a list in braces would copy.
template <class Map>
Map owned() {
  Map made;
  made.emplace(Owned{std::make_unique<int>(1)}, 2);
  made.emplace(Owned{std::make_unique<int>(3)}, 4);
  return made;
}

/// A kind: its type and some values, the plain one and the extremes.
template <class T>
struct Kind;

#define KIND(name, type, ...)                                        \
  struct name {                                                      \
    using Type = type;                                               \
    static std::vector<Type> values() {                              \
      std::vector<Type> made;                                        \
      const auto add = [&](auto&&... value) {                        \
        (made.push_back(std::forward<decltype(value)>(value)), ...); \
      };                                                             \
      add(__VA_ARGS__);                                              \
      return made;                                                   \
    }                                                                \
  }
// A type with a comma in its name.
#define TYPE(...) __VA_ARGS__

KIND(Int, int, 0, -1, std::numeric_limits<int>::max());
KIND(Double, double, 0.0, -1.5, std::numeric_limits<double>::infinity());
KIND(ComplexFloat, std::complex<float>, std::complex<float>(1.5F, -2.0F));
KIND(Char, char, 'a', '\0');
KIND(WideChar, char32_t, U'\u00e4');
KIND(Byte, std::byte, std::byte{200});
KIND(Enumeration, Color, Color::red, Color::green);
KIND(BoolEnumeration, Answer, Answer::no, Answer::yes);
KIND(Text, std::string, std::string(), std::string("short"), std::string(100, 'x'));
KIND(WideText, std::wstring, std::wstring(), std::wstring(L"wide"), std::wstring(20, L'w'));
KIND(Utf16Text, std::u16string, std::u16string(u"sixteen"));
KIND(Ints, std::vector<int>, std::vector<int>(), std::vector<int>{1, 2, 3});
KIND(Points, std::vector<Point>, std::vector<Point>(3, Point{1, 2, 3, 4}));
KIND(Bools,
     std::vector<bool>,
     std::vector<bool>(),
     std::vector<bool>{true, false, true},
     std::vector<bool>(8, true),
     std::vector<bool>(100, true));
KIND(Flags,
     std::vector<Flagged>,
     std::vector<Flagged>(3, Flagged{7, true, Color::green, Answer::yes}));
KIND(Texts,
     std::vector<std::string>,
     std::vector<std::string>(),
     std::vector<std::string>{"", "one", std::string(40, 'y')});
KIND(Nested,
     std::vector<std::vector<std::vector<char>>>,
     std::vector<std::vector<std::vector<char>>>(2, std::vector<std::vector<char>>(3)),
     std::vector<std::vector<std::vector<char>>>(1, {{'a', 'b'}}));
KIND(Monostates, std::vector<std::monostate>, std::vector<std::monostate>(5));
KIND(Nothings, std::vector<Nothing>, std::vector<Nothing>(5));
KIND(Array, TYPE(std::array<int, 3>), std::array<int, 3>{1, 2, 3});
KIND(TextArray, TYPE(std::array<std::string, 2>), std::array<std::string, 2>{"a", "b"});
KIND(BoolArray, TYPE(std::array<bool, 3>), std::array<bool, 3>{true, false, true});
KIND(NoArray, TYPE(std::vector<std::array<int, 0>>), std::vector<std::array<int, 0>>(2));
KIND(BitSet, std::bitset<11>, std::bitset<11>(0x5a5), std::bitset<11>());
KIND(Deque, std::deque<int>, std::deque<int>(), std::deque<int>(200, 5));
KIND(Deques, std::vector<std::deque<char>>, std::vector<std::deque<char>>(3));
KIND(List, std::list<char>, std::list<char>(), std::list<char>(20, 'l'));
KIND(ForwardList, std::forward_list<char>, std::forward_list<char>{'a', 'b'});
KIND(Set, std::set<char>, std::set<char>(), std::set<char>{'a', 'c', 'b'});
KIND(MultiSet, std::multiset<int>, std::multiset<int>{1, 1, 2});
KIND(Map, TYPE(std::map<std::string, int>), std::map<std::string, int>{{"a", 1}, {"b", 2}});
KIND(MultiMap,
     TYPE(std::multimap<char, bool>),
     std::multimap<char, bool>{{'a', true}, {'a', false}});
KIND(UnorderedSet, std::unordered_set<char>, std::unordered_set<char>{'a', 'b', 'c'});
KIND(UnorderedMultiSet, std::unordered_multiset<int>, std::unordered_multiset<int>{1, 1, 2});
KIND(UnorderedMap,
     TYPE(std::unordered_map<std::string, std::string>),
     std::unordered_map<std::string, std::string>{{"a", "x"}, {"b", "y"}});
KIND(UnorderedMultiMap,
     TYPE(std::unordered_multimap<char, char>),
     std::unordered_multimap<char, char>{{'a', '1'}, {'a', '2'}});
KIND(Stack, std::stack<int>, std::stack<int>(std::deque<int>{1, 2}));
KIND(Line, std::queue<std::string>, std::queue<std::string>(std::deque<std::string>{"a", "b"}));
KIND(PriorityQueue,
     std::priority_queue<int>,
     std::priority_queue<int>(std::less<int>(), std::vector<int>{3, 1, 2}));
KIND(Optional, std::optional<int>, std::optional<int>(), std::optional<int>(5));
KIND(OptionalRoom,
     TYPE(std::vector<std::optional<std::array<char, 100>>>),
     std::vector<std::optional<std::array<char, 100>>>(3));
KIND(OptionalText, std::optional<std::string>, std::nullopt, std::optional<std::string>("text"));
KIND(Variant,
     TYPE(std::variant<std::monostate, int, std::string, std::vector<int>>),
     std::variant<std::monostate, int, std::string, std::vector<int>>(),
     std::variant<std::monostate, int, std::string, std::vector<int>>(7),
     std::variant<std::monostate, int, std::string, std::vector<int>>("text"));
KIND(VariantRoom,
     TYPE(std::vector<std::variant<char, std::array<char, 100>>>),
     std::vector<std::variant<char, std::array<char, 100>>>(3));
KIND(Pair, TYPE(std::pair<int, std::string>), std::pair<int, std::string>(1, "one"));
KIND(Tuple,
     TYPE(std::tuple<int, std::string, bool>),
     std::tuple<int, std::string, bool>(1, "one", true));
KIND(NoTuple, std::vector<std::tuple<>>, std::vector<std::tuple<>>(3));
KIND(Duration, std::chrono::milliseconds, std::chrono::milliseconds(1500));
KIND(Time,
     std::chrono::system_clock::time_point,
     std::chrono::system_clock::time_point(std::chrono::seconds(5)));
KIND(Durations,
     std::vector<std::chrono::duration<double>>,
     std::vector<std::chrono::duration<double>>(3));
KIND(Complex, std::complex<double>, std::complex<double>(1, -1));
KIND(FilePath,
     std::filesystem::path,
     std::filesystem::path(),
     std::filesystem::path("file"),
     std::filesystem::path("/a/b/c/d/e"),
     std::filesystem::path("a//b/"));
KIND(Unique, std::unique_ptr<std::string>, nullptr, std::make_unique<std::string>("owned"));
KIND(Uniques, std::vector<std::unique_ptr<Nothing>>, std::vector<std::unique_ptr<Nothing>>(4));
KIND(Shared, std::shared_ptr<Record>, nullptr, std::make_shared<Record>());
KIND(SharedConst, std::shared_ptr<const char>, std::make_shared<const char>('c'));
KIND(Plain, Point, Point{1, 2, 3, 4});
KIND(Checked, Flagged, Flagged{1, true, Color::green, Answer::yes});
KIND(Composed,
     Record,
     Record(),
     Record{1, "text", {{1, 2, 3, 4}}, {{"a", 1}}, 0.5, std::string("either")});
KIND(CArrays,
     Arrays,
     Arrays{{'n', 'a', 'm', 'e', 0}, {{1, 2, 3}, {4, 5, 6}}, {"a", "b"}, {true, false, true}});
KIND(Recursive, Tree, Tree{1, {{2, {}}, {3, {{4, {}}, {5, {}}}}}});
KIND(Private, Closed, Closed(5));
KIND(Privates, std::vector<Closed>, std::vector<Closed>(3, Closed(6)));
KIND(Cereal, MemberSerialize, MemberSerialize(1, "cereal"));
KIND(Cereals, std::vector<MemberSerialize>, std::vector<MemberSerialize>(3));
KIND(Ampersand, AmpersandSerialize, AmpersandSerialize(4));
KIND(SavedLoaded, SaveLoad, SaveLoad(4));
KIND(FreelySerialized, FreeSerialize, FreeSerialize("free"));
KIND(FreelySavedLoaded, FreeSaveLoad, FreeSaveLoad("free"));
KIND(Constructed, Reduced, Reduced(1, "reduced"));
KIND(Constructeds, std::list<Reduced>, std::list<Reduced>(3, Reduced(1, "reduced")));
KIND(WithCodec, Custom, Custom::of("custom"));
KIND(WithCodecInside,
     std::vector<std::optional<Custom>>,
     std::vector<std::optional<Custom>>{std::nullopt, Custom::of("custom")});
KIND(Roomies, std::vector<Roomy>, std::vector<Roomy>(3));
KIND(RoomyList, std::list<Roomy>, std::list<Roomy>(3));
KIND(Boolean, bool, true, false);
KIND(LongDouble,
     long double,
     0.0L,
     -1.5L,
     std::numeric_limits<long double>::min(),
     std::numeric_limits<long double>::infinity());
KIND(Int64,
     std::int64_t,
     std::int64_t{0},
     std::numeric_limits<std::int64_t>::min(),
     std::numeric_limits<std::int64_t>::max());
KIND(UnsignedInt64, std::uint64_t, std::uint64_t{1}, std::numeric_limits<std::uint64_t>::max());
KIND(PmrText, std::pmr::string, std::pmr::string(), std::pmr::string(100, 'p'));
KIND(PmrTexts,
     std::pmr::vector<std::pmr::string>,
     std::pmr::vector<std::pmr::string>(),
     std::pmr::vector<std::pmr::string>(3, "pmr"));
KIND(PmrDeque, std::pmr::deque<int>, std::pmr::deque<int>(200, 5));
KIND(PmrMap,
     TYPE(std::pmr::map<int, std::pmr::string>),
     std::pmr::map<int, std::pmr::string>{{1, "one"}, {2, "two"}});
KIND(PmrUnorderedSet, std::pmr::unordered_set<int>, std::pmr::unordered_set<int>{1, 2, 3});
KIND(UnfixedEnumeration, Unfixed, least, most);
KIND(Union, Either, Either{7}, Either{.real = -1.5F});
KIND(LargeObject, Large, Large{{'l'}, 1});
KIND(LargeVector, std::vector<Large>, std::vector<Large>(2));
KIND(LargeDeque, std::deque<Large>, std::deque<Large>(2));
KIND(LargeList, std::list<Large>, std::list<Large>(2));
KIND(LargeForwardList, std::forward_list<Large>, std::forward_list<Large>(2));
KIND(LargeMap, TYPE(std::map<char, Large>), std::map<char, Large>{{'a', {}}, {'b', {}}});
KIND(LargeUnique, std::unique_ptr<Large>, nullptr, std::make_unique<Large>());
KIND(LargeShared, std::shared_ptr<Large>, nullptr, std::make_shared<Large>());
KIND(Date,
     decltype(all_of_date({}, {}, {})),
     all_of_date(std::chrono::year{2024}, std::chrono::May, std::chrono::Friday));
KIND(Dates,
     std::vector<std::chrono::year_month_day>,
     std::vector<std::chrono::year_month_day>(3, std::chrono::May / 17 / 2024));
KIND(TimeOfDay,
     std::chrono::hh_mm_ss<std::chrono::nanoseconds>,
     std::chrono::hh_mm_ss(std::chrono::nanoseconds(0)),
     std::chrono::hh_mm_ss(std::chrono::nanoseconds(-90'061'000'000'001)),
     std::chrono::hh_mm_ss(std::chrono::nanoseconds::max() / 2));
KIND(HourOfDay,
     std::chrono::hh_mm_ss<std::chrono::hours>,
     std::chrono::hh_mm_ss(std::chrono::hours(0)),
     std::chrono::hh_mm_ss(std::chrono::hours(-7)));
KIND(OwnedKeys, TYPE(std::map<Owned, int>), owned<std::map<Owned, int>>());
KIND(OwnedHashedKeys,
     TYPE(std::unordered_map<Owned, int, OwnedHash>),
     owned<std::unordered_map<Owned, int, OwnedHash>>());

/// std::vector cannot be made from a list of these, so it has its own.
struct Linked {
  using Type = Chain;
  static std::vector<Type> values() {
    std::vector<Type> made(1);
    made.push_back(Chain{1, std::make_unique<Chain>(Chain{2, std::make_unique<Chain>()})});
    return made;
  }
};

#undef KIND
#undef TYPE

using All = testing::Types<Int,
                           Double,
                           ComplexFloat,
                           Char,
                           WideChar,
                           Byte,
                           Enumeration,
                           BoolEnumeration,
                           Text,
                           WideText,
                           Utf16Text,
                           Ints,
                           Points,
                           Bools,
                           Flags,
                           Texts,
                           Nested,
                           Monostates,
                           Nothings,
                           Array,
                           TextArray,
                           BoolArray,
                           NoArray,
                           BitSet,
                           Deque,
                           Deques,
                           List,
                           ForwardList,
                           Set,
                           MultiSet,
                           Map,
                           MultiMap,
                           UnorderedSet,
                           UnorderedMultiSet,
                           UnorderedMap,
                           UnorderedMultiMap,
                           Stack,
                           Line,
                           PriorityQueue,
                           Optional,
                           OptionalRoom,
                           OptionalText,
                           Variant,
                           VariantRoom,
                           Pair,
                           Tuple,
                           NoTuple,
                           Duration,
                           Time,
                           Durations,
                           Complex,
                           FilePath,
                           Unique,
                           Uniques,
                           Shared,
                           SharedConst,
                           Plain,
                           Checked,
                           Composed,
                           CArrays,
                           Recursive,
                           Private,
                           Privates,
                           Cereal,
                           Cereals,
                           Ampersand,
                           SavedLoaded,
                           FreelySerialized,
                           FreelySavedLoaded,
                           Constructed,
                           Constructeds,
                           WithCodec,
                           WithCodecInside,
                           Roomies,
                           RoomyList,
                           Linked,
                           Boolean,
                           LongDouble,
                           Int64,
                           UnsignedInt64,
                           PmrText,
                           PmrTexts,
                           PmrDeque,
                           PmrMap,
                           PmrUnorderedSet,
                           UnfixedEnumeration,
                           Union,
                           LargeObject,
                           LargeVector,
                           LargeDeque,
                           LargeList,
                           LargeForwardList,
                           LargeMap,
                           LargeUnique,
                           LargeShared,
                           Date,
                           Dates,
                           TimeOfDay,
                           HourOfDay,
                           OwnedKeys,
                           OwnedHashedKeys>;

}  // namespace kinds

template <>
struct multiprocessing::codec<kinds::Custom> {
  static void encode(Encoder& encoder, const kinds::Custom& custom) { encoder(custom.text()); }
  static kinds::Custom decode(Decoder& decoder) {
    std::string text;
    decoder(text);
    return kinds::Custom::of(std::move(text));
  }
};
