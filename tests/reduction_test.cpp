// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/callable.hpp>
#include <multiprocessing/connection.hpp>
#include <multiprocessing/queues.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/synchronize.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

namespace mp = multiprocessing;

namespace {

std::vector<std::byte> bytes_of(std::initializer_list<int> numbers) {
  std::vector<std::byte> bytes;
  for (const int number : numbers) bytes.push_back(static_cast<std::byte>(number));
  return bytes;
}

/// The bytes of a value, and what travels beside them.
template <class T>
struct Sent {
  explicit Sent(const T& value) {
    mp::Encoder encoder{bytes, &transit};
    mp::detail::encode(encoder, value);
    mp::detail::encode_object(message, value, &whole);
  }

  /// What another process would have of it.
  [[nodiscard]] mp::Transit arrived() const {
    std::vector<mp::Transit::Object> objects;
    for (const auto& each : transit.objects()) {
      objects.push_back({each.kind, each.handles, nullptr});
    }
    return {std::move(objects), mp::reduction::duplicates(transit.departing())};
  }

  std::vector<std::byte> bytes;
  mp::Transit transit;
  std::vector<std::byte> message;  ///< In it the list of objects too, with kinds and counts.
  mp::Transit whole;
};

/// Whether the bytes are a T, with all that travels beside them. What else is thrown comes out.
template <class T>
bool is_value(const Sent<T>& sent, std::span<const std::byte> bytes) {
  mp::Transit transit = sent.arrived();
  try {
    static_cast<void>(mp::loads<T>(bytes, &transit));
    return true;
  } catch (const mp::SerializationError&) {
    return false;
  }
}
/// The same of a message.
template <class T>
bool is_message(const Sent<T>& sent, std::vector<std::byte> bytes) {
  constexpr auto object = static_cast<std::uint8_t>(mp::detail::MessageKind::object);
  mp::os::IncomingMessage message{object, std::move(bytes)};
  message.handles = mp::reduction::duplicates(sent.whole.departing());
  try {
    static_cast<void>(mp::detail::decode_object<T>(std::move(message)));
    return true;
  } catch (const mp::SerializationError&) {
    return false;
  }
}

template <class T>
void expect_truncations_refused(const T& value) {
  const Sent<T> sent{value};
  EXPECT_TRUE(is_value(sent, sent.bytes));
  for (std::size_t size = 0; size < sent.bytes.size(); ++size) {
    // A copy of its own, so that a sanitizer sees a read behind the end.
    const std::vector<std::byte> cut{sent.bytes.begin(),
                                     sent.bytes.begin() + static_cast<std::ptrdiff_t>(size)};
    EXPECT_FALSE(is_value(sent, cut)) << size;
  }
  EXPECT_TRUE(is_message(sent, sent.message));
  for (std::size_t size = 0; size < sent.message.size(); ++size) {
    const auto end = sent.message.begin() + static_cast<std::ptrdiff_t>(size);
    EXPECT_FALSE(is_message(sent, {sent.message.begin(), end})) << size;
  }
}

/// With any bit flipped, a value or refused.
template <class T>
void expect_flips_refused_or_values(const T& value) {
  const Sent<T> sent{value};
  auto bytes = sent.bytes;
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    static_cast<void>(is_value(sent, bytes));
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
  auto message = sent.message;
  for (std::size_t bit = 0; bit < 8 * message.size(); ++bit) {
    message[bit / 8] ^= std::byte{1} << (bit % 8);
    static_cast<void>(is_message(sent, message));
    message[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

template <class Test>
void for_every_kind(Test test) {
  auto [receiving, sending] = mp::Pipe(false);
  auto [one, other] = mp::Pipe();
  const mp::Queue<int> queue;
  const mp::JoinableQueue<std::string> tasks;
  const mp::Lock lock;
  const mp::Condition condition;
  test(queue);
  test(tasks);
  test(receiving);
  test(sending);
  test(one);
  test(lock);
  test(condition);
  test(std::tuple{queue, std::string{"between"}, one, lock, queue, other, tasks});
  test(mp::Task{[](const mp::Queue<int>&, int, const mp::Connection&) {}, queue, 7, one});
}

}  // namespace

TEST(Transit, NamesAnObjectByItsPlaceAndOnce) {
  const mp::Queue<int> first;
  const mp::Queue<int> second;
  // In front of it a queue says of what it is one.
  const auto type = mp::dumps(mp::detail::type_hash<int>());
  const auto at = [&](int place) {
    auto bytes = type;
    for (const std::byte byte : bytes_of({place, 0, 0, 0})) bytes.push_back(byte);
    return bytes;
  };
  EXPECT_EQ(Sent{first}.bytes, at(0));
  const Sent sent{std::tuple{first, second, first}};
  std::vector<std::byte> expected;
  for (const int place : {0, 1, 0}) {
    for (const std::byte byte : at(place)) expected.push_back(byte);
  }
  EXPECT_EQ(sent.bytes, expected);
  EXPECT_EQ(sent.transit.objects().size(), 2U);
  // A Connection says before which end it is.
  auto [receiving, sending] = mp::Pipe(false);
  auto [one, other] = mp::Pipe();
  EXPECT_EQ(Sent{one}.bytes, bytes_of({0, 0, 0, 0, 0}));
  EXPECT_EQ(Sent{receiving}.bytes, bytes_of({1, 0, 0, 0, 0}));
  EXPECT_EQ(Sent{sending}.bytes, bytes_of({2, 0, 0, 0, 0}));
  // A lock is a place, an offset and a size in the memory that it names.
  EXPECT_EQ(Sent{mp::Lock{}}.bytes.size(), 4U + 8U + 8U);
}

TEST(Transit, IsReadAsListOfKindsAndCountsBehindTheValue) {
  const mp::Queue<int> queue;
  const Sent sent{queue};
  const mp::detail::ObjectParts parts{sent.message};
  EXPECT_EQ(std::vector(parts.value().begin(), parts.value().end()), sent.bytes);
  const auto& object = sent.transit.objects().at(0);
  std::vector<std::byte> expected = sent.bytes;
  mp::Encoder encoder{expected};
  encoder.write_number(object.kind);
  encoder.write_number(std::uint64_t{object.handles});
  const std::string name{parts.name()};
  encoder.write(name.data(), name.size());
  encoder.write_number(parts.type());
  encoder.write_number(static_cast<std::uint32_t>(name.size()));
  encoder.write_number(std::uint32_t{1});
  EXPECT_EQ(sent.message, expected);
}

TEST(Transit, CutOffAtAnyByteIsRefused) {
  for_every_kind([](const auto& value) { expect_truncations_refused(value); });
}

TEST(Transit, WithAnyBitFlippedIsAValueOrRefused) {
  for_every_kind([](const auto& value) { expect_flips_refused_or_values(value); });
}

TEST(Transit, OfATaskWithABitOfItsCodeFlippedIsRefused) {
  const Sent sent{mp::Task{[](int) {}, 7}};
  const mp::CodeReference reference = [&] {
    mp::Decoder decoder{std::span<const std::byte>{sent.bytes}.subspan(1)};
    return mp::codec<mp::CodeReference>::decode(decoder);
  }();
  const std::size_t path_at = 1 + 4 + reference.module.size() + 4;
  const std::size_t path_end = path_at + reference.path.size();
  ASSERT_EQ(sent.bytes.size(), path_end + 8 + 8 + sizeof(int));
  auto bytes = sent.bytes;
  for (std::size_t bit = 0; bit < 8 * (bytes.size() - sizeof(int)); ++bit) {
    if (bit / 8 >= path_at && bit / 8 < path_end) continue;  // a hint, not needed here
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(is_value(sent, bytes)) << bit;
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

TEST(Transit, OfAnotherKindIsRefused) {
  const mp::Queue<int> queue;
  auto [receiving, sending] = mp::Pipe(false);
  const Sent sent{std::tuple{queue, receiving}};
  auto bytes = sent.bytes;
  using Pair = std::tuple<mp::Queue<int>, mp::Connection>;
  const auto is_pair = [&] {
    mp::Transit transit = sent.arrived();
    try {
      static_cast<void>(mp::loads<Pair>(bytes, &transit));
      return true;
    } catch (const mp::SerializationError&) {
      return false;
    }
  };
  EXPECT_TRUE(is_pair());
  bytes[8] = std::byte{1};  // the queue is where the end of the pipe is
  EXPECT_FALSE(is_pair());
  bytes[8] = std::byte{0};
  bytes[12] = std::byte{2};  // the end sends, says this, and receives, says its kind
  EXPECT_FALSE(is_pair());
}

TEST(Transit, OfWhichHandlesAreLostIsRefused) {
  const mp::Queue<int> queue;
  const mp::Lock lock;
  const Sent sent{std::tuple{queue, lock}};
  const auto whole = mp::reduction::duplicates(sent.transit.departing()).size();
  for (std::size_t left = 0; left < whole; ++left) {
    std::vector<mp::Transit::Object> objects;
    for (const auto& each : sent.transit.objects()) {
      objects.push_back({each.kind, each.handles, nullptr});
    }
    auto handles = mp::reduction::duplicates(sent.transit.departing().first(left));
    mp::Transit transit{std::move(objects), std::move(handles)};
    using Pair = std::tuple<mp::Queue<int>, mp::Lock>;
    EXPECT_THROW(static_cast<void>(mp::loads<Pair>(sent.bytes, &transit)), mp::SerializationError)
        << left;
  }
}
