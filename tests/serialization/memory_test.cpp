// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/serialization.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "serialization/allocation_counter.hpp"

namespace {

namespace mp = multiprocessing;

struct Empty {};
struct Tree {
  std::vector<Tree> children;
};
struct Wide {
  std::optional<std::array<char, 4096>> room;
  std::vector<std::optional<std::array<char, 4096>>> rooms;
};
struct alignas(64) Aligned {
  char one = 0;
};
struct Link {
  std::unique_ptr<Link> next;
  std::array<char, 400> room;
};
struct SharedLink {
  std::shared_ptr<const SharedLink> next;
  std::array<char, 400> room;
};
struct Chained {
  std::vector<Chained> next;
  std::array<char, 400> room;
};
struct Large {
  char sent = 0;
  std::array<char, 5000> scratch{};
  template <class Archive>
  void serialize(Archive& archive) {
    archive(sent);
  }
};

/// Fails unless decoding bytes keeps to the promise.
template <class T>
void expect_little_memory(std::span<const std::byte> bytes, bool decodes) {
  const std::size_t before = allocation::total();
  bool decoded = false;
  try {
    static_cast<void>(mp::loads<T>(bytes));
    decoded = true;
  } catch (const mp::SerializationError&) {
  }
  EXPECT_LE(allocation::total() - before, 8 * bytes.size() + 4096)
      << bytes.size() << " bytes as " << mp::detail::type_name<T>();
  EXPECT_EQ(decoded, decodes) << mp::detail::type_name<T>();
}

/// Bytes that tell of as many elements as could be, at every place where a count may stand.
template <class T>
void expect_little_memory_for_lies() {
  constexpr std::size_t size = 1 << 16;
  for (std::uint64_t count = 1; count != 0; count *= 2) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; i += sizeof count) {
      const std::uint64_t said = count > size ? count : std::min<std::uint64_t>(count, size - i);
      std::memcpy(bytes.data() + i, &said, sizeof said);
    }
    expect_little_memory<T>(bytes, false);
    // One lie, then zeroes: elements that take as little as they can.
    std::vector<std::byte> single(size);
    std::memcpy(single.data(), &count, sizeof count);
    const std::size_t before = allocation::total();
    try {
      static_cast<void>(mp::loads<T>(single));
    } catch (const mp::SerializationError&) {
    }
    EXPECT_LE(allocation::total() - before, 8 * size + 4096)
        << count << " elements of " << mp::detail::type_name<T>();
  }
}

template <class Container>
class Containers : public testing::Test {};
using AllContainers =
    testing::Types<std::vector<char>,
                   std::vector<bool>,
                   std::vector<std::monostate>,
                   std::vector<Empty>,
                   std::vector<Aligned>,
                   std::vector<std::string>,
                   std::vector<std::vector<std::vector<char>>>,
                   std::vector<std::optional<std::array<char, 4096>>>,
                   std::vector<std::variant<char, std::array<char, 4096>>>,
                   std::vector<Large>,
                   std::vector<Wide>,
                   std::vector<std::array<std::optional<std::array<char, 100>>, 3>>,
                   std::vector<std::pair<std::monostate, std::optional<double>>>,
                   std::vector<std::unique_ptr<Large>>,
                   std::vector<std::shared_ptr<Empty>>,
                   std::vector<std::deque<char>>,
                   std::vector<std::list<char>>,
                   std::vector<std::map<int, int>>,
                   std::deque<char>,
                   std::deque<bool>,
                   std::deque<std::array<char, 300>>,
                   std::deque<Large>,
                   std::list<char>,
                   std::list<Empty>,
                   std::list<Large>,
                   std::list<Aligned>,
                   std::forward_list<char>,
                   std::set<std::uint16_t>,
                   std::multiset<bool>,
                   std::multiset<Empty>,
                   std::map<std::uint16_t, Large>,
                   std::map<std::uint16_t, bool>,
                   std::multimap<bool, Empty>,
                   std::unordered_set<std::uint16_t>,
                   std::unordered_multiset<bool>,
                   std::unordered_map<std::uint16_t, Empty>,
                   std::unordered_map<std::string, std::string>,
                   std::unordered_multimap<bool, Large>,
                   std::vector<std::unordered_map<bool, bool>>,
                   std::vector<std::filesystem::path>,
                   Tree>;
TYPED_TEST_SUITE(Containers, AllContainers);

bool operator<(Empty, Empty) {
  return false;
}

TYPED_TEST(Containers, AllocateLittleForLies) {
  expect_little_memory_for_lies<TypeParam>();
}

/// Decodes what a container of n elements encodes to: they are as small as can be.
template <class T, class Fill>
void expect_little_memory_for(std::size_t count, Fill fill) {
  T container;
  for (std::size_t i = 0; i < count; ++i) fill(container, i);
  expect_little_memory<T>(mp::dumps(container), true);
}

TYPED_TEST(Containers, AllocateLittleForManyTinyElements) {
  using T = TypeParam;
  if constexpr (!std::is_same_v<T, Tree>) {
    for (const std::size_t count : {std::size_t{1}, std::size_t{10}, std::size_t{20'000}}) {
      expect_little_memory_for<T>(count, [](T& container, std::size_t i) {
        const auto key = static_cast<std::uint16_t>(i);
        if constexpr (requires { typename T::mapped_type; }) {
          if constexpr (std::is_same_v<typename T::key_type, std::string>) {
            container.insert({std::to_string(i), {}});
          } else {
            container.insert({static_cast<typename T::key_type>(key), typename T::mapped_type{}});
          }
        } else if constexpr (requires { typename T::key_type; }) {
          if constexpr (std::is_empty_v<typename T::key_type>) {
            container.insert({});
          } else {
            container.insert(static_cast<typename T::key_type>(key));
          }
        } else if constexpr (requires { container.push_back({}); }) {
          container.push_back({});
        } else {
          container.push_front({});
        }
      });
    }
  }
}

TEST(Memory, IsLittleForPointersThatDoNotArriveWhole) {
  const std::vector<std::byte> ones(190, std::byte{1});
  expect_little_memory<Link>(ones, false);
  expect_little_memory<SharedLink>(ones, false);
  expect_little_memory<std::unique_ptr<std::array<char, 1 << 16>>>({ones.data(), 1}, false);
}

TEST(Memory, IsLittleForVectorsInsideEachOther) {
  std::vector<std::byte> bytes(2000);
  constexpr std::uint64_t one = 1;
  for (std::size_t i = 0; i < bytes.size(); i += sizeof one) {
    std::memcpy(bytes.data() + i, &one, sizeof one);
  }
  expect_little_memory<Chained>(bytes, false);

  Chained honest{};
  for (int i = 0; i < 50; ++i) {
    Chained outer{};
    outer.next.push_back(std::move(honest));
    honest = std::move(outer);
  }
  expect_little_memory<Chained>(mp::dumps(honest), true);
}

/// Of deques that are moved on their way to their place, each anew with memory, the last has some.
template <class T>
void expect_little_memory_at_once(const T& value) {
  const auto bytes = mp::dumps(value);
  allocation::forget_peak();
  static_cast<void>(mp::loads<T>(bytes));
  EXPECT_LE(allocation::peak(), 8 * bytes.size() + 4096) << mp::detail::type_name<T>();
}

TEST(Memory, IsLittleAtOnceForDequesInsideOthers) {
  using Queue = std::queue<int>;
  expect_little_memory_at_once(std::vector<std::tuple<int, std::optional<Queue>>>(
      1000, std::tuple<int, std::optional<Queue>>{1, Queue{}}));
  expect_little_memory_at_once(std::vector<std::pair<int, std::pair<int, Queue>>>(1000));
  expect_little_memory_at_once(std::vector<std::variant<Queue, int>>(1000));
  expect_little_memory_at_once(std::vector<std::tuple<std::array<Queue, 2>>>(1000));
  std::map<int, std::tuple<std::optional<Queue>>> map;
  for (int i = 0; i < 1000; ++i) map[i] = std::optional{Queue{}};
  expect_little_memory_at_once(map);
}

TEST(Memory, IsLittleWhereTheNameOfTheTypeIsLong) {
  using One = std::map<std::string, std::vector<Wide>>;
  using Two = std::unordered_map<std::string, std::variant<One, std::map<std::string, One>>>;
  using Three = std::map<std::string, std::pair<Two, std::optional<Two>>>;
  using Four = std::map<std::string, std::pair<Three, Three>>;
  ASSERT_GT(mp::detail::type_name<Four>().size(), 1000U);
  expect_little_memory<std::vector<Four>>({}, false);
  const std::array<std::byte, 4> few{};
  expect_little_memory<Four>(few, false);
}

TEST(Memory, IsLittleForPathsOfManyParts) {
  for (const char* part : {"/", "a/", "//", "/./", "../"}) {
    std::string text;
    for (int i = 0; i < 5000; ++i) text += part;
    expect_little_memory<std::filesystem::path>(mp::dumps(std::filesystem::path{text}), true);
  }
  for (const char* text : {"", "a", "/", "/a", "a/b", "/usr/lib"}) {
    const std::filesystem::path path{text};
    expect_little_memory<std::vector<std::filesystem::path>>(
        mp::dumps(std::vector<std::filesystem::path>(1000, path)), true);
  }
}

TEST(Memory, IsLittleForLongKeys) {
  std::map<std::list<char>, int> map;
  map[std::list<char>(100'000, 'k')] = 1;
  expect_little_memory<std::map<std::list<char>, int>>(mp::dumps(map), true);
  std::map<std::map<std::list<char>, int>, int> deeper;
  deeper[map] = 2;
  expect_little_memory<std::map<std::map<std::list<char>, int>, int>>(mp::dumps(deeper), true);
}

TEST(Memory, IsLittleForLongTexts) {
  for (const std::size_t size : {0U, 15U, 16U, 17U, 1000U, 100'000U}) {
    expect_little_memory<std::string>(mp::dumps(std::string(size, 'x')), true);
    expect_little_memory<std::vector<std::wstring>>(
        mp::dumps(std::vector<std::wstring>(100, std::wstring(size, L'x'))), true);
  }
}

}  // namespace
