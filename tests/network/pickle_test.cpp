// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/network/pickle.hpp>

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <fuzz/network.hpp>

namespace mp = multiprocessing;
namespace pickle = multiprocessing::pickle;

namespace {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span{text});
  return {bytes.begin(), bytes.end()};
}

template <class T>
std::string refusal_of(const Bytes& bytes) {
  try {
    static_cast<void>(pickle::loads<T>(bytes));
  } catch (const mp::SerializationError& error) {
    return error.what();
  }
  return {};
}

std::vector<std::filesystem::path> files_of(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator{
           std::filesystem::path{MULTIPROCESSING_TEST_FUZZ} / folder}) {
    files.push_back(entry.path());
  }
  EXPECT_FALSE(files.empty());
  return files;
}
Bytes content_of(const std::filesystem::path& file) {
  std::ifstream in{file, std::ios::binary};
  const std::string text{std::istreambuf_iterator<char>{in}, {}};
  return bytes_of(text);
}

template <class T>
void expect_there_and_back(const T& value) {
  for (int protocol = 2; protocol <= 5; ++protocol) {
    EXPECT_EQ(pickle::loads<T>(pickle::dumps(value, protocol)), value) << "protocol " << protocol;
  }
}

TEST(Pickle, CarriesEveryTypeOfTheSubset) {
  expect_there_and_back(true);
  for (const std::int64_t number :
       {std::int64_t{0}, std::int64_t{255}, std::int64_t{256}, std::int64_t{-1},
        std::int64_t{1} << 31, std::numeric_limits<std::int64_t>::min(),
        std::numeric_limits<std::int64_t>::max()}) {
    expect_there_and_back(number);
  }
  expect_there_and_back(std::numeric_limits<std::uint64_t>::max());
  expect_there_and_back(1.5);
  expect_there_and_back(std::string{"\xc3\xa4 text"});
  expect_there_and_back(std::string(300, 'x'));
  expect_there_and_back(bytes_of({"\0\x80\xff", 3}));
  expect_there_and_back(Bytes{});
  expect_there_and_back(Bytes(300));
  expect_there_and_back(std::vector<int>{1, 2, 3});
  expect_there_and_back(std::list<std::set<std::string>>{{"a", "b"}, {}});
  expect_there_and_back(std::pair{1, std::string{"one"}});
  expect_there_and_back(std::tuple<>{});
  expect_there_and_back(std::tuple{1, 2.0, std::string{"three"}, std::optional<int>{}});
  expect_there_and_back(std::map<std::string, std::vector<int>>{{"a", {1}}, {"b", {}}});
  expect_there_and_back(std::optional<std::string>{"x"});
  EXPECT_TRUE(pickle::loads(pickle::dumps(nullptr)).is_none());
  EXPECT_TRUE(std::isnan(pickle::loads<double>(pickle::dumps(std::nan("")))));
  EXPECT_EQ(pickle::loads<double>(pickle::dumps(3)), 3.0);
  EXPECT_EQ(pickle::loads<std::string>(pickle::dumps("literal")), "literal");
}

TEST(Pickle, SaysWhatItIsWhenItIsNotWhatWasAskedFor) {
  EXPECT_EQ(refusal_of<int>(pickle::dumps("x")), "pickle: no int: it is a Python str");
  EXPECT_NE(refusal_of<std::string>(pickle::dumps(1.5)).find("float"), std::string::npos);
  EXPECT_NE(refusal_of<std::vector<int>>(pickle::dumps(std::map<int, int>{})).find("dict"),
            std::string::npos);
  EXPECT_NE(refusal_of<int>(pickle::dumps(true)).find("bool"), std::string::npos);
  EXPECT_NE(refusal_of<std::uint8_t>(pickle::dumps(256)), "");
  EXPECT_NE(refusal_of<unsigned>(pickle::dumps(-1)), "");
  EXPECT_NE((refusal_of<std::pair<int, int>>(pickle::dumps(std::tuple{1, 2, 3}))), "");
}

TEST(Pickle, DictsAreLookedInto) {
  const auto dict = pickle::loads(pickle::dumps(std::map<std::string, int>{{"a", 1}, {"b", 2}}));
  ASSERT_NE(dict.find("b"), nullptr);
  EXPECT_EQ(dict.find("b")->as<int>(), 2);
  EXPECT_EQ(dict.find("c"), nullptr);
  EXPECT_THROW(static_cast<void>(pickle::Object{1}.find("c")), mp::SerializationError);
}

TEST(Pickle, RefusesToWriteWhatPythonCannotRead) {
  EXPECT_THROW(static_cast<void>(pickle::dumps("\xff")), mp::SerializationError);
  EXPECT_THROW(static_cast<void>(pickle::dumps("\xed\xa0\x80")), mp::SerializationError);
  EXPECT_THROW(static_cast<void>(pickle::dumps(1, 1)), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(pickle::dumps(1, 6)), std::invalid_argument);
  pickle::Object deep;
  for (int i = 0; i < 300; ++i) deep = pickle::Tuple{{std::move(deep)}};
  EXPECT_THROW(static_cast<void>(pickle::dumps(deep)), mp::SerializationError);
}

TEST(Pickle, OfWhatIsNotInTheSubsetIsRefused) {
  for (const char* const name : {"itself", "tuple_of_itself", "laughs", "deep", "function", "set",
                                 "bytearray", "huge_int", "long_size", "system"}) {
    const auto file = std::filesystem::path{MULTIPROCESSING_TEST_FUZZ} / "pickle_corpus" / name;
    EXPECT_NE(refusal_of<pickle::Object>(content_of(file)), "") << name;
  }
}

TEST(Pickle, ThatEncodesTheSameTextAgainAndAgainIsRefusedBeforeItTakesTheMemory) {
  const auto file = std::filesystem::path{MULTIPROCESSING_TEST_FUZZ} / "pickle_corpus" / "encoded";
  EXPECT_NE(refusal_of<pickle::Object>(content_of(file)).find("too often"), std::string::npos);
}

TEST(Pickle, CutOffAtAnyByteIsRefusedAndFlippedAnywhereIsAValueOrRefused) {
  for (const char* const name : {"all_2", "all_3", "all_4", "all_5", "pure_4"}) {
    const auto whole =
        content_of(std::filesystem::path{MULTIPROCESSING_TEST_FUZZ} / "pickle_corpus" / name);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      EXPECT_THROW(static_cast<void>(pickle::loads(std::span{whole}.first(size))),
                   mp::SerializationError)
          << name << " cut off at " << size;
    }
    Bytes flipped = whole;
    for (std::byte& one : flipped) {
      for (const std::byte mask : {std::byte{1}, std::byte{0x80}, std::byte{0xff}}) {
        one ^= mask;
        fuzz::pickle(flipped);
        one ^= mask;
      }
    }
    flipped.push_back(std::byte{'.'});
    EXPECT_THROW(static_cast<void>(pickle::loads(flipped)), mp::SerializationError);
  }
}

TEST(Fuzz, CorpusOfPicklesIsReplayed) {
  for (const auto& file : files_of("pickle_corpus")) fuzz::pickle(content_of(file));
}

TEST(Fuzz, CorpusOfHandshakesIsReplayedAlsoCutOffAndFlipped) {
  for (const auto& file : files_of("handshake_corpus")) {
    const auto whole = content_of(file);
    for (std::size_t size = 0; size <= whole.size(); ++size) {
      fuzz::handshake(std::span{whole}.first(size));
    }
    Bytes flipped = whole;
    for (std::byte& one : flipped) {
      one ^= std::byte{0x81};
      fuzz::handshake(flipped);
      one ^= std::byte{0x81};
    }
  }
}

}  // namespace
