// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/serialization.hpp>

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <bitset>
#include <chrono>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <ratio>
#include <set>
#include <span>
#include <stack>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

namespace mp = multiprocessing;

namespace {

struct Coded {
  std::uint8_t number;
};

}  // namespace

template <>
struct mp::codec<Coded> {
  static void encode(mp::Encoder& encoder, const Coded& coded) { encoder('c', coded.number); }
  static Coded decode(mp::Decoder& decoder) {
    char mark = 0;
    Coded coded{};
    decoder(mark, coded.number);
    return coded;
  }
};

namespace {

using namespace std::string_literals;

std::vector<std::byte> bytes_of(std::initializer_list<int> numbers) {
  std::vector<std::byte> bytes;
  for (const int number : numbers) bytes.push_back(static_cast<std::byte>(number));
  return bytes;
}

/// What a decoder says of bytes that are no T.
template <class T>
std::string complaint(std::span<const std::byte> bytes) {
  try {
    static_cast<void>(mp::loads<T>(bytes));
  } catch (const mp::SerializationError& error) {
    return error.what();
  }
  return "";
}

// ---- the bytes: two builds of one program must agree on them -----------------------------------

static_assert(std::endian::native == std::endian::little, "the bytes below are of such a machine");

TEST(Bytes, ANumberIsItsBytesInMemory) {
  EXPECT_EQ(mp::dumps(std::int32_t{0x01020304}), bytes_of({4, 3, 2, 1}));
  EXPECT_EQ(mp::dumps(std::uint8_t{255}), bytes_of({255}));
  EXPECT_EQ(mp::dumps(1.0), bytes_of({0, 0, 0, 0, 0, 0, 0xf0, 0x3f}));
  EXPECT_EQ(mp::dumps('a'), bytes_of({'a'}));
  EXPECT_EQ(mp::dumps(std::byte{7}), bytes_of({7}));
  enum class Small : std::uint16_t { value = 0x0102 };
  EXPECT_EQ(mp::dumps(Small::value), bytes_of({2, 1}));
}

TEST(Bytes, ABoolIsZeroOrOne) {
  EXPECT_EQ(mp::dumps(true), bytes_of({1}));
  EXPECT_EQ(mp::dumps(false), bytes_of({0}));
}

TEST(Bytes, TextIsALengthOfEightBytesAndTheText) {
  EXPECT_EQ(mp::dumps("ab"s), bytes_of({2, 0, 0, 0, 0, 0, 0, 0, 'a', 'b'}));
  EXPECT_EQ(mp::dumps(u"a"s), bytes_of({1, 0, 0, 0, 0, 0, 0, 0, 'a', 0}));
}

TEST(Bytes, AVectorIsALengthAndItsElements) {
  EXPECT_EQ(mp::dumps(std::vector<std::uint16_t>{1, 2}),
            bytes_of({2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0}));
  EXPECT_EQ(mp::dumps(std::vector<std::string>{"a"}),
            bytes_of({1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 'a'}));
  EXPECT_EQ(mp::dumps(std::vector<bool>{true, false, true}), bytes_of({3, 0, 0, 0, 0, 0, 0, 0, 5}));
}

TEST(Bytes, AnArrayIsItsElements) {
  EXPECT_EQ(mp::dumps(std::array<std::uint8_t, 3>{1, 2, 3}), bytes_of({1, 2, 3}));
  EXPECT_EQ(mp::dumps(std::array<bool, 2>{true, false}), bytes_of({1, 0}));
}

TEST(Bytes, ZeroesPayForWhatANodeTakesBeyondEightTimesItsElement) {
  EXPECT_EQ(mp::dumps(std::list<char>{'a'}), bytes_of({1, 0, 0, 0, 0, 0, 0, 0, 'a', 0, 0}));
  EXPECT_EQ(mp::dumps(std::set<char>{'a'}), bytes_of({1, 0, 0, 0, 0, 0, 0, 0, 'a', 0, 0, 0, 0}));
  EXPECT_EQ((mp::dumps(std::map<std::int64_t, std::int64_t>{{1, 2}})),
            bytes_of({1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(Bytes, AnAggregateIsItsFields) {
  struct Job {
    std::uint16_t number;
    bool urgent;
    std::string name;
  };
  EXPECT_EQ(mp::dumps(Job{1, true, "n"}), bytes_of({1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 'n'}));
}

TEST(Bytes, WhatIsEmptyIsNothing) {
  struct Empty {};
  EXPECT_EQ(mp::dumps(Empty{}), bytes_of({}));
  EXPECT_EQ(mp::dumps(std::monostate{}), bytes_of({}));
  EXPECT_EQ(mp::dumps(std::tuple<>{}), bytes_of({}));
  const auto lambda = [](int x) { return x + 1; };
  EXPECT_EQ(mp::dumps(lambda), bytes_of({}));
  EXPECT_EQ(mp::loads<std::remove_const_t<decltype(lambda)>>({})(1), 2);
  struct alignas(8) Tag {};
  EXPECT_EQ(mp::dumps(Tag{}), bytes_of({}));
  static_cast<void>(mp::loads<Tag>({}));
}

TEST(Bytes, AnOptionalIsAByteAndTheValueAndAVariantAnIndexAndTheValue) {
  EXPECT_EQ(mp::dumps(std::optional<std::int32_t>{7}), bytes_of({1, 7, 0, 0, 0}));
  EXPECT_EQ(mp::dumps(std::optional<std::int32_t>{}), bytes_of({0}));
  // An optional of 16 bytes is not encoded in fewer than two, nor one of 40 in fewer than five.
  EXPECT_EQ(mp::dumps(std::optional<double>{}), bytes_of({0, 0}));
  EXPECT_EQ(mp::dumps(std::optional<std::string>{}), bytes_of({0, 0, 0, 0, 0}));
  EXPECT_EQ((mp::dumps(std::variant<char, std::int32_t>{5})), bytes_of({1, 5, 0, 0, 0}));
  EXPECT_EQ((mp::dumps(std::variant<std::monostate, std::string>{})), bytes_of({0, 0, 0, 0, 0}));
}

TEST(Bytes, APointerIsAByteAndItsObject) {
  EXPECT_EQ(mp::dumps(std::make_unique<std::int16_t>(std::int16_t{3})), bytes_of({1, 3, 0}));
  EXPECT_EQ(mp::dumps(std::unique_ptr<int>{}), bytes_of({0}));
  // A shared object has 16 bytes beside it.
  EXPECT_EQ(mp::dumps(std::make_shared<char>('c')), bytes_of({1, 'c', 0, 0}));
}

TEST(Bytes, APathIsItsTextAndWhatPaysForItsParts) {
  constexpr std::size_t size = sizeof(std::filesystem::path::value_type);
  auto expected = bytes_of({1, 0, 0, 0, 0, 0, 0, 0, 'f'});
  expected.resize(8 + size);
  EXPECT_EQ(mp::dumps(std::filesystem::path{"f"}), expected);
  expected = mp::dumps(std::filesystem::path{"/f"}.native());
  EXPECT_EQ(expected.size(), 8 + 2 * size);
  expected.resize(expected.size() + 3 * 6 * 40 / 8);
  EXPECT_EQ(mp::dumps(std::filesystem::path{"/f"}), expected);
}

TEST(Bytes, ADequeIsItsElementsAndWhatPaysForItsSpareChunks) {
  constexpr std::size_t spare_chunks = 280;
  auto expected = bytes_of({2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0});
  expected.resize(expected.size() + spare_chunks);
  EXPECT_EQ(mp::dumps(std::deque<std::int32_t>{1, 2}), expected);
  EXPECT_EQ(mp::dumps(std::stack<std::int32_t>{{1, 2}}), expected);
  EXPECT_EQ(mp::dumps(std::queue<std::int32_t>{{1, 2}}), expected);
  // In a vector there is, behind each, what pays for its place in that.
  expected.resize(expected.size() + sizeof(std::deque<std::int32_t>) / 8);
  auto both = bytes_of({2, 0, 0, 0, 0, 0, 0, 0});
  for (int i = 0; i < 2; ++i) both.insert(both.end(), expected.begin(), expected.end());
  EXPECT_EQ(mp::dumps(std::vector<std::deque<std::int32_t>>{{1, 2}, {1, 2}}), both);
}

TEST(Bytes, EveryKindOfNodeHasWhatPaysForIt) {
  EXPECT_EQ(mp::dumps(std::forward_list<char>{'a', 'b'}),
            bytes_of({2, 0, 0, 0, 0, 0, 0, 0, 'a', 0, 'b', 0}));
  EXPECT_EQ(mp::dumps(std::multiset<char>{'a', 'a'}),
            bytes_of({2, 0, 0, 0, 0, 0, 0, 0, 'a', 0, 0, 0, 0, 'a', 0, 0, 0, 0}));
  EXPECT_EQ((mp::dumps(std::multimap<char, char>{{'a', '1'}, {'a', '2'}})),
            bytes_of({2, 0, 0, 0, 0, 0, 0, 0, 'a', '1', 0, 0, 0, 'a', '2', 0, 0, 0}));
  EXPECT_EQ(mp::dumps(std::unordered_set<char>{'a'}),
            bytes_of({1, 0, 0, 0, 0, 0, 0, 0, 'a', 0, 0, 0, 0}));
  EXPECT_EQ(mp::dumps(std::unordered_multiset<std::int32_t>{4, 4}),
            bytes_of({2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 4, 0, 0, 0, 0}));
  EXPECT_EQ((mp::dumps(std::unordered_map<std::string, std::int32_t>{{"a", 7}})),
            bytes_of({1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 'a', 7, 0, 0, 0}));
  EXPECT_EQ((mp::dumps(std::unordered_multimap<char, char>{{'a', '1'}})),
            bytes_of({1, 0, 0, 0, 0, 0, 0, 0, 'a', '1', 0, 0, 0}));
}

TEST(Bytes, AnAdaptorIsTheContainerInIt) {
  const auto ab = bytes_of({2, 0, 0, 0, 0, 0, 0, 0, 'a', 'b'});
  EXPECT_EQ((mp::dumps(std::stack<char, std::vector<char>>{std::vector{'a', 'b'}})), ab);
  EXPECT_EQ((mp::dumps(std::queue<char, std::list<char>>{std::list{'a', 'b'}})),
            bytes_of({2, 0, 0, 0, 0, 0, 0, 0, 'a', 0, 0, 'b', 0, 0}));
  EXPECT_EQ(mp::dumps(std::priority_queue<char>{std::less<char>{}, std::vector{'a', 'c', 'b'}}),
            bytes_of({3, 0, 0, 0, 0, 0, 0, 0, 'c', 'a', 'b'}));
}

TEST(Bytes, ABitsetIsItsBitsTheFirstOneLowest) {
  EXPECT_EQ(mp::dumps(std::bitset<11>{0x5a5}), bytes_of({0xa5, 0x05}));
}

TEST(Bytes, APairAndATupleAreTheirElements) {
  EXPECT_EQ(mp::dumps(std::pair{std::uint8_t{1}, std::uint16_t{2}}), bytes_of({1, 2, 0}));
  EXPECT_EQ(mp::dumps(std::tuple{std::uint8_t{1}, true, "a"s}),
            bytes_of({1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 'a'}));
}

TEST(Bytes, ADurationATimeAndAComplexNumberAreTheirNumbers) {
  using Milliseconds = std::chrono::duration<std::int64_t, std::milli>;
  EXPECT_EQ(mp::dumps(Milliseconds{1500}), bytes_of({0xdc, 5, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(mp::dumps(std::chrono::time_point<std::chrono::system_clock, Milliseconds>{
                Milliseconds{1500}}),
            bytes_of({0xdc, 5, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(mp::dumps(std::complex<float>{1, -2}), bytes_of({0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}));
}

TEST(Bytes, ADateIsItsSmallNumbers) {
  using namespace std::chrono_literals;
  namespace chrono = std::chrono;
  EXPECT_EQ(mp::dumps(29d), bytes_of({29}));
  EXPECT_EQ(mp::dumps(chrono::May), bytes_of({5}));
  EXPECT_EQ(mp::dumps(2024y), bytes_of({0xe8, 7}));
  EXPECT_EQ(mp::dumps(chrono::Friday), bytes_of({5}));
  EXPECT_EQ(mp::dumps(chrono::Friday[2]), bytes_of({5, 2}));
  EXPECT_EQ(mp::dumps(chrono::Friday[chrono::last]), bytes_of({5}));
  EXPECT_EQ(mp::dumps(chrono::May / 17), bytes_of({5, 17}));
  EXPECT_EQ(mp::dumps(chrono::May / chrono::last), bytes_of({5}));
  EXPECT_EQ(mp::dumps(chrono::May / chrono::Friday[2]), bytes_of({5, 5, 2}));
  EXPECT_EQ(mp::dumps(chrono::May / chrono::Friday[chrono::last]), bytes_of({5, 5}));
  EXPECT_EQ(mp::dumps(2024y / 2 / 29), bytes_of({0xe8, 7, 2, 29}));
  EXPECT_EQ(mp::dumps(2024y / 5 / chrono::Friday[chrono::last]), bytes_of({0xe8, 7, 5, 5}));
  // Behind these there is a byte of padding, with whatever is in it.
  const auto without_padding = [](const auto& date) {
    auto bytes = mp::dumps(date);
    bytes.pop_back();
    return bytes;
  };
  EXPECT_EQ(without_padding(2024y / 2), bytes_of({0xe8, 7, 2}));
  EXPECT_EQ(without_padding(2024y / 2 / chrono::last), bytes_of({0xe8, 7, 2}));
  EXPECT_EQ(without_padding(2024y / 5 / chrono::Friday[2]), bytes_of({0xe8, 7, 5, 5, 2}));
}

TEST(Bytes, ATimeOfDayIsItsDuration) {
  using Milliseconds = std::chrono::duration<std::int64_t, std::milli>;
  EXPECT_EQ(mp::dumps(std::chrono::hh_mm_ss{Milliseconds{1500}}),
            bytes_of({0xdc, 5, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(mp::dumps(std::chrono::hh_mm_ss{std::chrono::duration<std::int16_t>{-2}}),
            bytes_of({0xfe, 0xff}));
}

TEST(Bytes, WideTextHasItsCharactersBytes) {
  EXPECT_EQ(mp::dumps(U"a"s), bytes_of({1, 0, 0, 0, 0, 0, 0, 0, 'a', 0, 0, 0}));
  auto expected = bytes_of({1, 0, 0, 0, 0, 0, 0, 0, 'a'});
  expected.resize(8 + sizeof(wchar_t));
  EXPECT_EQ(mp::dumps(L"a"s), expected);
}

TEST(Bytes, ArraysOfCAreTheirElements) {
  struct Arrays {
    char name[2];
    std::int16_t table[1][2];
    bool flags[2];
  };
  EXPECT_EQ(mp::dumps(Arrays{{'a', 'b'}, {{1, 2}}, {true, false}}),
            bytes_of({'a', 'b', 1, 0, 2, 0, 1, 0}));
}

TEST(Bytes, SaveAndACodecWriteWhatTheyWrite) {
  struct Saved {
    std::uint16_t number = 9;
    void save(mp::Encoder& archive) const {
      archive(static_cast<std::uint8_t>(number / 256), static_cast<std::uint8_t>(number % 256));
    }
    void load(mp::Decoder& archive) {
      std::array<std::uint8_t, 2> parts{};
      archive(parts[0], parts[1]);
      number = static_cast<std::uint16_t>(256 * parts[0] + parts[1]);
    }
  };
  EXPECT_EQ(mp::dumps(Saved{0x0102}), bytes_of({1, 2}));
  EXPECT_EQ(mp::dumps(Coded{5}), bytes_of({'c', 5}));
}

TEST(Bytes, SerializeWritesItsArgumentsAndReduceItsTuple) {
  class Serialized {
   public:
    void serialize(mp::Encoder& archive) { archive(number_, flag_); }
    void serialize(mp::Decoder& archive) { archive(number_, flag_); }

   private:
    std::uint16_t number_ = 9;
    bool flag_ = true;
  };
  EXPECT_EQ(mp::dumps(Serialized{}), bytes_of({9, 0, 1}));
  class Reduced {
   public:
    Reduced(std::uint16_t number, bool flag) : number_{number}, flag_{flag} {}
    auto reduce() const { return std::make_tuple(number_, flag_); }

   private:
    std::uint16_t number_;
    bool flag_;
  };
  EXPECT_EQ(mp::dumps(Reduced{8, true}), bytes_of({8, 0, 1}));
}

// ---- what is refused
// -----------------------------------------------------------------------------

TEST(Loads, NamesTheTypeAndWhatIsWrong) {
  EXPECT_EQ(complaint<int>(bytes_of({1, 2})), "cannot decode int: the bytes end 2 bytes early");
  EXPECT_EQ(complaint<int>(bytes_of({1, 2, 3, 4, 5})), "cannot decode int: 1 bytes are left over");
  EXPECT_EQ(complaint<bool>(bytes_of({2})), "cannot decode bool: a bool is 2");
  EXPECT_NE(
      complaint<std::vector<int>>(bytes_of({2, 0, 0, 0, 0, 0, 0, 0, 1})).find("std::vector<int"),
      std::string::npos);
}

TEST(Loads, RefusesAWrongBoolAnywhere) {
  struct Flagged {
    int number;
    bool flag;
  };
  auto bytes = mp::dumps(std::vector<Flagged>(2, Flagged{1, true}));
  bytes.back() = std::byte{2};
  EXPECT_NE(complaint<std::vector<Flagged>>(bytes), "");
  EXPECT_NE((complaint<std::array<bool, 2>>(bytes_of({1, 2}))), "");
  EXPECT_NE(complaint<std::optional<const bool>>(bytes_of({1, 2})), "");
  EXPECT_NE((complaint<std::array<const bool, 2>>(bytes_of({1, 2}))), "");
  EXPECT_EQ((mp::loads<std::array<const bool, 2>>(bytes_of({0, 1})))[1], true);
  EXPECT_NE(complaint<std::optional<int>>(bytes_of({3, 0, 0, 0, 0})), "");
  EXPECT_NE(complaint<std::unique_ptr<int>>(bytes_of({255, 0, 0, 0, 0})), "");
}

TEST(Loads, RefusesAVariantIndexThatIsNone) {
  EXPECT_NE((complaint<std::variant<char, bool>>(bytes_of({2, 0}))), "");
}

TEST(Loads, RefusesAKeyThatComesTwice) {
  auto set = mp::dumps(std::multiset<int>{4, 4});
  EXPECT_NE(complaint<std::set<int>>(set), "");
  EXPECT_NE(complaint<std::unordered_set<int>>(mp::dumps(std::unordered_multiset<int>{4, 4})), "");
  const auto map = mp::dumps(std::multimap<std::string, int>{{"a", 1}, {"a", 2}});
  EXPECT_NE((complaint<std::map<std::string, int>>(map)), "");
}

TEST(Loads, RefusesBitsBehindTheLastOne) {
  EXPECT_NE(complaint<std::vector<bool>>(bytes_of({3, 0, 0, 0, 0, 0, 0, 0, 8})), "");
}

template <class Duration>
using TimeOfDay = std::chrono::hh_mm_ss<Duration>;
/// Whether a decoder takes so much for a time of day.
template <class Duration>
bool is_time_of_day(Duration duration) {
  return complaint<TimeOfDay<Duration>>(mp::dumps(duration)).empty();
}

TEST(Loads, RefusesATimeOfDayThatItsPartsHaveNoRoomFor) {
  namespace chrono = std::chrono;
  using Days = chrono::duration<std::int64_t, std::ratio<86400>>;
  using Frames = chrono::duration<std::int64_t, std::ratio<1, 60>>;
  using Short = chrono::duration<std::int16_t>;
  using Real = chrono::duration<double>;
  EXPECT_FALSE(is_time_of_day(chrono::milliseconds::min()));
  EXPECT_FALSE(is_time_of_day(chrono::milliseconds::max()));
  EXPECT_TRUE(is_time_of_day(chrono::nanoseconds::max() / 2));
  EXPECT_TRUE(is_time_of_day(-chrono::nanoseconds::max() / 2));
  EXPECT_FALSE(is_time_of_day(chrono::hours::min()));
  EXPECT_FALSE(is_time_of_day(chrono::hours::max()));
  EXPECT_TRUE(is_time_of_day(chrono::hours{1'000'000}));
  EXPECT_FALSE(is_time_of_day(Days::max()));
  EXPECT_FALSE(is_time_of_day(Frames::max()));
  EXPECT_FALSE(is_time_of_day(Short::min()));
  EXPECT_TRUE(is_time_of_day(-Short::max()));
  EXPECT_FALSE(is_time_of_day(Real{std::numeric_limits<double>::quiet_NaN()}));
  EXPECT_FALSE(is_time_of_day(Real{std::numeric_limits<double>::infinity()}));
  EXPECT_FALSE(is_time_of_day(-Real::max()));
  EXPECT_TRUE(is_time_of_day(Real{1e9}));
}

TEST(Dumps, RefusesATimeOfDayThatAddsUpToTooMuch) {
  namespace chrono = std::chrono;
  EXPECT_THROW(static_cast<void>(mp::dumps(TimeOfDay<chrono::hours>{chrono::hours::max()})),
               mp::SerializationError);
  EXPECT_THROW(static_cast<void>(mp::dumps(TimeOfDay<chrono::seconds>{chrono::seconds::max()})),
               mp::SerializationError);
}

TEST(Dumps, RefusesAVariantThatLostItsValue) {
  struct Throws {
    Throws() = default;
    explicit Throws(int) { throw std::runtime_error{"no"}; }
    std::string text;
    void serialize(mp::Encoder& archive) { archive(text); }
    void serialize(mp::Decoder& archive) { archive(text); }
  };
  std::variant<std::string, Throws> variant;
  EXPECT_THROW(variant.emplace<Throws>(1), std::runtime_error);
  EXPECT_THROW(static_cast<void>(mp::dumps(variant)), mp::SerializationError);
}

TEST(Dumps, RefusesAnObjectThatWouldLoseItsDerivedPart) {
  struct Shape {
    virtual ~Shape() = default;
    int sides = 0;
    void serialize(mp::Encoder& archive) { archive(sides); }
    void serialize(mp::Decoder& archive) { archive(sides); }
  };
  struct Square : Shape {
    int width = 0;
  };
  const std::unique_ptr<Shape> whole = std::make_unique<Shape>();
  EXPECT_NE(mp::loads<std::unique_ptr<Shape>>(mp::dumps(whole)), nullptr);
  const std::unique_ptr<Shape> part = std::make_unique<Square>();
  EXPECT_THROW(static_cast<void>(mp::dumps(part)), mp::SerializationError);
}

// ---- nesting
// -------------------------------------------------------------------------------------

struct Tree {
  int value = 0;
  std::vector<Tree> children;
};
struct Node {
  std::shared_ptr<Node> next;
};

Tree tree_of_depth(std::size_t depth) {
  Tree tree;
  for (std::size_t i = 1; i < depth; ++i) {
    Tree above;
    above.children.push_back(std::move(tree));
    tree = std::move(above);
  }
  return tree;
}

TEST(Nesting, GoesAsDeepAsIsAllowedAndIsRefusedOnBothSidesBeyond) {
  const auto deepest = mp::dumps(tree_of_depth(mp::Decoder::max_depth));
  Tree tree = mp::loads<Tree>(deepest);
  std::size_t depth = 1;
  for (const Tree* at = &tree; !at->children.empty(); at = &at->children[0]) ++depth;
  EXPECT_EQ(depth, mp::Decoder::max_depth);

  EXPECT_THROW(static_cast<void>(mp::dumps(tree_of_depth(mp::Decoder::max_depth + 1))),
               mp::SerializationError);
  // The same as bytes, one level around what just went: value 0, one child.
  auto deeper = bytes_of({0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0});
  deeper.insert(deeper.end(), deepest.begin(), deepest.end());
  EXPECT_NE(complaint<Tree>(deeper).find("nests too deeply"), std::string::npos);
}

TEST(Nesting, RefusesHostileDepthBeforeTheStackEnds) {
  std::vector<std::byte> bytes;
  for (int i = 0; i < 1'000'000; ++i) {
    for (const int byte : {0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}) {
      bytes.push_back(static_cast<std::byte>(byte));
    }
  }
  EXPECT_NE(complaint<Tree>(bytes).find("nests too deeply"), std::string::npos);
  EXPECT_NE(complaint<Node>(std::vector<std::byte>(1'000'000, std::byte{1})), "");
}

TEST(Nesting, RefusesACycleOfPointers) {
  const auto first = std::make_shared<Node>();
  first->next = std::make_shared<Node>(Node{first});
  EXPECT_THROW(static_cast<void>(mp::dumps(first)), mp::SerializationError);
  first->next.reset();
}

// Of their own types, objects may be of any size at any depth.
struct Image {
  std::string name;
  std::array<std::uint8_t, 65536> pixels{};
};
struct Job {
  int id = 0;
  Image image;
};
class Album {
 public:
  template <class Archive>
  void serialize(Archive& archive) {
    archive(first.image, second);
  }
  Job first;
  Image second;
};
struct LargeTree {
  std::array<char, 50'000> data{};
  std::vector<LargeTree> children;
};
struct Mesh {
  std::array<float, 12'000> points;
};
struct Group {
  std::vector<std::variant<Mesh, Group>> children;
};

TEST(Nesting, OfLargeObjectsOfDifferentTypesIsFree) {
  const auto job = std::make_unique<Job>();
  job->image.name = "x";
  EXPECT_EQ(mp::loads<std::unique_ptr<Job>>(mp::dumps(job))->image.name, "x");
  const auto albums = std::make_unique<std::array<Album, 2>>();
  albums->back().second.name = "y";
  const auto back = mp::loads<std::unique_ptr<std::array<Album, 2>>>(mp::dumps(albums));
  EXPECT_EQ(back->back().second.name, "y");
}

TEST(Nesting, OfLargeObjectsOfOneTypeCountsSeveralLevels) {
  LargeTree tree;
  tree.children.resize(1);
  tree.children[0].children.resize(1);
  EXPECT_EQ(mp::loads<LargeTree>(mp::dumps(tree)).children[0].children.size(), 1U);
  tree.children[0].children[0].children.resize(1);
  EXPECT_THROW(static_cast<void>(mp::dumps(tree)), mp::SerializationError);
}

TEST(Nesting, CountsWhatIsAroundAClassToo) {
  std::vector<std::byte> bytes;
  for (int i = 0; i < 201; ++i) {
    for (const int byte : {1, 0, 0, 0, 0, 0, 0, 0, 1})
      bytes.push_back(static_cast<std::byte>(byte));
  }
  bytes.resize(2'000'000);
  EXPECT_NE(complaint<Group>(bytes).find("nests too deeply"), std::string::npos);
  mp::Decoder decoder{bytes};
  EXPECT_THROW(static_cast<void>(mp::detail::decode<Group>(decoder)), mp::SerializationError);
  EXPECT_GT(decoder.remaining(), bytes.size() - 10 * 9) << "it came no farther than that";
}

TEST(Nesting, AllowsALargeObjectOnce) {
  struct Large {
    std::array<char, 300'000> data{};
    std::string text;
  };
  const auto large = std::make_unique<Large>();
  large->text = "text";
  EXPECT_EQ(mp::loads<std::unique_ptr<Large>>(mp::dumps(large))->text, "text");
}

// ---- archives
// ------------------------------------------------------------------------------------

struct Directed {
  int saved = 0, loaded = 0;
  bool was_loaded = false;
  template <class Archive>
  void serialize(Archive& archive) {
    if constexpr (Archive::is_saving::value) archive(saved);
    if constexpr (Archive::is_loading::value) {
      archive(loaded);
      was_loaded = true;
    }
  }
};
struct Base {
  int base[2] = {};
  template <class Archive>
  void serialize(Archive& archive) {
    archive(base);
  }
};
struct Derived : Base {
  std::string text;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(static_cast<Base&>(*this), text);
  }
};

TEST(Archive, TellsItsDirectionAsCerealDoes) {
  Directed directed;
  directed.saved = 5;
  const auto back = mp::loads<Directed>(mp::dumps(directed));
  EXPECT_EQ(back.loaded, 5);
  EXPECT_TRUE(back.was_loaded);
}

TEST(Archive, TakesBasesArraysAndThingsThatExist) {
  Derived derived;
  derived.base[1] = 2;
  derived.text = "derived";
  const auto back = mp::loads<Derived>(mp::dumps(derived));
  EXPECT_EQ(back.base[1], 2);
  EXPECT_EQ(back.text, "derived");
}

struct MadeExplicitly {
  explicit MadeExplicitly() = default;
  int number = 1;
};
struct HoldsMadeExplicitly {
  MadeExplicitly made;
  int number = 2;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(made.number, number);
  }
};

TEST(Archive, TakesAClassWhoseMembersConstructorIsExplicit) {
  HoldsMadeExplicitly holds;
  holds.made.number = 3;
  const auto back = mp::loads<HoldsMadeExplicitly>(mp::dumps(holds));
  EXPECT_EQ(back.made.number, 3);
  EXPECT_EQ(back.number, 2);
}

TEST(Archive, TakesDatesAndTimesOfDay) {
  using namespace std::chrono_literals;
  namespace chrono = std::chrono;
  using Day = std::tuple<chrono::year_month_day, chrono::year_month_weekday_last, chrono::weekday>;
  const Day day{2024y / 2 / 29, 2024y / 5 / chrono::Friday[chrono::last], chrono::Sunday};
  EXPECT_EQ(mp::loads<Day>(mp::dumps(day)), day);
  EXPECT_EQ(mp::dumps(chrono::month_day{chrono::May / 17}).size(), sizeof(chrono::month_day));
  const chrono::hh_mm_ss time{-(25h + 1min + 2s + 3ms)};
  const auto back = mp::loads<chrono::hh_mm_ss<chrono::milliseconds>>(mp::dumps(time));
  EXPECT_TRUE(back.is_negative());
  EXPECT_EQ(back.to_duration(), time.to_duration());
  EXPECT_EQ(mp::loads<chrono::hh_mm_ss<chrono::hours>>(mp::dumps(chrono::hh_mm_ss{7h})).hours(),
            7h);
  // Not a whole number of microseconds, which is what an hh_mm_ss of these counts.
  using Frames = chrono::duration<std::int64_t, std::ratio<1, 60>>;
  for (const std::int64_t count : {1, -1, 59, 61, -7199}) {
    EXPECT_EQ(mp::dumps(chrono::hh_mm_ss{Frames{count}}), mp::dumps(count));
  }
}

TEST(Archive, LeavesObjectsValidWhenDecodingFails) {
  std::vector<std::string> strings{"before"};
  const auto bytes = mp::dumps(std::vector<std::string>{"one", "two"});
  mp::Decoder decoder{std::span{bytes}.first(bytes.size() - 1)};
  EXPECT_THROW(decoder(strings), mp::SerializationError);
  strings.emplace_back("after");
  EXPECT_EQ(strings.back(), "after");
}

TEST(Archive, RefusesAnElementThatTakesTheBytesOfTheNext) {
  // Two strings, the first of which says that it has 8 bytes: those are the second one's length.
  const auto bytes = bytes_of({2, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0,  //
                               0, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_NE(complaint<std::vector<std::string>>(bytes).find("8 bytes early"), std::string::npos);
}

// ---- which types
// ---------------------------------------------------------------------------------

struct Pointing {
  int* pointer;
};
struct Referring {
  int& reference;
};
struct ReferringToConst {
  const int& reference;
};
struct Constant {
  const int number;
};
struct EmptyBase {};
struct PlainDerived : EmptyBase {
  int number;
};
struct TextDerived : EmptyBase {
  std::string text;
};
struct TwoArrays {
  int first[3];
  std::string second[2];
};
class Opaque {
 public:
  int get() const { return value_; }

 private:
  int value_ = 1;
};
class PointerLike {
 public:
  int& operator*() const { return *pointer_; }

 private:
  int* pointer_ = nullptr;
};
class ViewLike {
 public:
  const char* data() const { return data_; }
  std::size_t size() const { return 0; }

 private:
  const char* data_ = nullptr;
};
union Either {
  int number;
  float real;
};
struct Immovable {
  Immovable() = default;
  Immovable(const Immovable&) = delete;
  Immovable& operator=(const Immovable&) = delete;
  ~Immovable() = default;
  template <class Archive>
  void serialize(Archive&) {}
};
class NoDefault {
 public:
  explicit NoDefault(int) {}
  template <class Archive>
  void serialize(Archive&) {}
  std::string text;
};
class NoDefaultPointer {
 public:
  explicit NoDefaultPointer(const char* at) : at_{at} {}
  [[nodiscard]] const char* at() const { return at_; }
  template <class Archive>
  void serialize(Archive&) {}

 private:
  const char* at_;
};
struct NoDefaultFields {
  NoDefaultPointer member;
  int number;
  template <class Archive>
  void serialize(Archive&) {}
};
// What a base says of itself is not what a derived class would say.
struct SaysForItself {
  int number = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(number);
  }
};
struct AddsText : SaysForItself {
  std::string text;
};
struct AddsNothing : SaysForItself {};
struct AddsAndReduces : SaysForItself {
  AddsAndReduces() = default;
  explicit AddsAndReduces(std::string its) : text{std::move(its)} {}
  auto reduce() const { return std::make_tuple(text); }
  std::string text;
};
template <class Whole>
struct SaysForTheWhole {
  int number = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(number, static_cast<Whole&>(*this).text);
  }
};
struct IsTheWhole : SaysForTheWhole<IsTheWhole> {
  std::string text;
};
struct Abstract {
  virtual ~Abstract() = default;
  virtual void run() = 0;
  template <class Archive>
  void serialize(Archive&) {}
};

static_assert(mp::Serializable<PlainDerived> && !mp::Serializable<TextDerived>);
static_assert(mp::Serializable<Opaque> && mp::Serializable<Either>);
static_assert(!mp::Serializable<Immovable> && !mp::Serializable<std::vector<Immovable>>);
static_assert(mp::Serializable<TwoArrays> && mp::Serializable<Tree> && mp::Serializable<Node>);
static_assert(!mp::Serializable<Pointing> && !mp::Serializable<Referring>);
static_assert(!mp::Serializable<ReferringToConst> && !mp::Serializable<Constant>);
static_assert(!mp::Serializable<PointerLike> && !mp::Serializable<ViewLike>);
static_assert(!mp::Serializable<NoDefault> && !mp::Serializable<Abstract>);
static_assert(!mp::Serializable<NoDefaultPointer> && !mp::is_bitwise<NoDefaultPointer>);
static_assert(!mp::Serializable<NoDefaultFields>);
static_assert(!mp::Serializable<AddsText> && !mp::Serializable<std::vector<AddsText>>);
static_assert(mp::Serializable<SaysForItself> && mp::Serializable<AddsNothing>);
static_assert(mp::Serializable<AddsAndReduces> && mp::Serializable<IsTheWhole>);
static_assert(!mp::Serializable<std::unique_ptr<Abstract>>);
static_assert(!mp::Serializable<void> && !mp::Serializable<std::nullptr_t>);
static_assert(!mp::Serializable<int*> && !mp::Serializable<const std::string*>);
static_assert(!mp::Serializable<int Pointing::*> && !mp::Serializable<int[3]>);
static_assert(!mp::Serializable<std::string_view> && !mp::Serializable<std::span<int>>);
static_assert(!mp::Serializable<std::vector<std::string>::iterator>);
static_assert(!mp::Serializable<std::reference_wrapper<int>>);
static_assert(!mp::Serializable<std::weak_ptr<int>> && !mp::Serializable<std::unique_ptr<int[]>>);
static_assert(!mp::Serializable<std::vector<Pointing>>);
static_assert(!mp::Serializable<std::map<int, std::vector<Pointing>>>);
static_assert(!mp::Serializable<std::map<std::string_view, int>>);
static_assert(!mp::Serializable<std::optional<int*>>);
static_assert(!mp::Serializable<std::variant<int, Referring>>);
static_assert(!mp::Serializable<std::tuple<int, std::string_view>>);
static_assert(!mp::Serializable<std::unique_ptr<Pointing>>);
static_assert(!mp::Serializable<std::array<char*, 3>>);

static_assert(mp::is_bitwise<int> && mp::is_bitwise<std::array<double, 3>>);
static_assert(mp::is_bitwise<Opaque> && mp::is_bitwise<std::chrono::seconds>);
static_assert(!mp::is_bitwise<bool> && !mp::is_bitwise<std::array<bool, 3>>);
static_assert(!mp::is_bitwise<std::optional<int>> && !mp::is_bitwise<Pointing>);
static_assert(!mp::is_bitwise<std::string> && !mp::is_bitwise<EmptyBase>);

// A constraint asks, and gets an answer instead of an error.
template <class T>
constexpr bool takes(const T&) {
  return false;
}
template <mp::Serializable T>
constexpr bool takes(const T&) {
  return true;
}
static_assert(takes(1) && !takes(Pointing{nullptr}));

struct Handle {
  int number = 0;
};
struct BitFields {
  unsigned low : 3;
  unsigned high : 5;
};
struct AnonymousUnion {
  int kind;
  union {
    int number;
    float real;
  };
};
struct Vouched {
  AnonymousUnion one;
  BitFields other;
};
}  // namespace

template <>
inline constexpr bool multiprocessing::is_bitwise<BitFields> = true;
template <>
inline constexpr bool multiprocessing::is_bitwise<AnonymousUnion> = true;

template <>
struct multiprocessing::codec<Handle> {
  static constexpr bool carries_handles = true;
  static void encode(Encoder& encoder, const Handle& handle) { encoder(handle.number); }
  static Handle decode(Decoder& decoder) { return {decoder.read_number<int>()}; }
};

namespace {

struct WithHandles {
  int number = 0;
  std::map<int, std::optional<Handle>> handles;
};
struct HandleTree {
  std::vector<HandleTree> children;
  std::shared_ptr<Handle> handle;
};
class ReducesToHandle {
 public:
  explicit ReducesToHandle(Handle) {}
  auto reduce() const { return std::make_tuple(Handle{}); }
};

static_assert(mp::carries_handles<Handle> && mp::carries_handles<const Handle>);
static_assert(mp::carries_handles<std::vector<Handle>> && mp::carries_handles<WithHandles>);
static_assert(mp::carries_handles<HandleTree> && mp::carries_handles<ReducesToHandle>);
static_assert(mp::carries_handles<std::variant<int, WithHandles>>);
static_assert(!mp::carries_handles<int> && !mp::carries_handles<Tree>);

TEST(Archive, TakesWhatABaseThatKnowsTheWholeSays) {
  IsTheWhole whole;
  whole.text = "whole";
  EXPECT_EQ(mp::loads<IsTheWhole>(mp::dumps(whole)).text, "whole");
  EXPECT_EQ(mp::loads<AddsAndReduces>(mp::dumps(AddsAndReduces{"own"})).text, "own");
}

TEST(Codec, ComesBeforeEveryOtherWay) {
  // Handle is a plain aggregate, and trivially copyable.
  static_assert(!mp::is_bitwise<Handle>);
  EXPECT_EQ(mp::loads<Handle>(mp::dumps(Handle{6})).number, 6);
}

TEST(Aggregate, TakesDefaultsArraysAndUnmovedOrder) {
  struct Defaults {
    int first = 1;
    std::string second = "two";
    std::vector<int> third = {3, 4};
  };
  const auto back = mp::loads<Defaults>(mp::dumps(Defaults{}));
  EXPECT_EQ(back.second, "two");
  EXPECT_EQ(back.third.size(), 2U);
  const TwoArrays arrays{{1, 2, 3}, {"a", "b"}};
  const auto arrays_back = mp::loads<TwoArrays>(mp::dumps(arrays));
  EXPECT_EQ(arrays_back.first[2], 3);
  EXPECT_EQ(arrays_back.second[1], "b");
}

TEST(Aggregate, MayHaveMembersWithoutADefault) {
  struct Inner {
    explicit Inner(int given) : number{given} {}
    auto reduce() const { return std::make_tuple(number); }
    int number;
  };
  struct Outer {
    std::string text;
    Inner inner;
    int last;
  };
  EXPECT_EQ(mp::loads<Outer>(mp::dumps(Outer{"text", Inner{5}, 6})).inner.number, 5);
}

TEST(Aggregate, TravelsAsBitsWhenTheProgramSaysSo) {
  static_assert(mp::is_bitwise<Vouched>);
  Vouched vouched{};
  vouched.one.number = 7;
  vouched.other.high = 30;
  const auto back = mp::loads<Vouched>(mp::dumps(vouched));
  EXPECT_EQ(back.one.number, 7);
  EXPECT_EQ(back.other.high, 30U);
}

// ---- objects that no stack has room for
// ----------------------------------------------------------

struct Frame {
  std::array<std::byte, 16'000'000> pixels;
  int id = 0;
};
struct Recording {
  std::string camera;
  std::vector<Frame> frames;
};

TEST(LargeObjects, AreReadWhereTheyLie) {
  const auto frame = [](auto made) {
    made->id = 7;
    made->pixels.back() = std::byte{1};
    return made;
  };
  const auto unique =
      mp::loads<std::unique_ptr<Frame>>(mp::dumps(frame(std::make_unique<Frame>())));
  EXPECT_EQ(unique->id, 7);
  EXPECT_EQ(unique->pixels.back(), std::byte{1});
  using Shared = std::shared_ptr<const Frame>;
  EXPECT_EQ(mp::loads<Shared>(mp::dumps(Shared{frame(std::make_shared<Frame>())}))->id, 7);
  using Array = std::array<int, 4'000'000>;
  EXPECT_EQ(mp::loads<std::unique_ptr<Array>>(mp::dumps(std::make_unique<Array>()))->size(),
            4'000'000U);

  std::list<Frame> list;
  list.emplace_back().id = 1;
  list.emplace_back().id = 2;
  EXPECT_EQ(mp::loads<std::list<Frame>>(mp::dumps(list)).back().id, 2);
  std::forward_list<Frame> forward;
  forward.emplace_front().id = 2;
  forward.emplace_front().id = 1;
  EXPECT_EQ(std::next(mp::loads<std::forward_list<Frame>>(mp::dumps(forward)).begin())->id, 2);
  std::deque<Frame> deque;
  deque.emplace_back().id = 3;
  EXPECT_EQ(mp::loads<std::deque<Frame>>(mp::dumps(deque)).back().id, 3);
  std::map<int, Frame> map;
  map[5].id = 4;
  EXPECT_EQ((mp::loads<std::map<int, Frame>>(mp::dumps(map)))[5].id, 4);
  for (std::size_t length = 0; length < 5; ++length) {  // frames lie aligned or not behind it
    Recording recording{std::string(length, 'c'), std::vector<Frame>(1)};
    recording.frames[0].id = 6;
    EXPECT_EQ(mp::loads<Recording>(mp::dumps(recording)).frames[0].id, 6);
  }
}

TEST(Maps, MayHaveKeysThatCannotBeCopied) {
  std::map<std::unique_ptr<int>, std::string> map;
  map[std::make_unique<int>(5)] = "five";
  const auto back = mp::loads<std::map<std::unique_ptr<int>, std::string>>(mp::dumps(map));
  ASSERT_EQ(back.size(), 1U);
  EXPECT_EQ(*back.begin()->first, 5);
  EXPECT_EQ(back.begin()->second, "five");
}

TEST(Pointers, TravelByValue) {
  const auto one = std::make_shared<int>(1);
  const auto back = mp::loads<std::vector<std::shared_ptr<int>>>(mp::dumps(std::vector{one, one}));
  EXPECT_EQ(*back[0], 1);
  EXPECT_NE(back[0], back[1]);
}

}  // namespace
