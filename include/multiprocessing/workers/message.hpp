// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file message.hpp
/// @brief What goes through a crew's rings and channels.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/reduction.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief In front of a task in its ring. Behind it: its arguments.
struct TaskHeader {
  enum Flag : std::uint32_t {
    end = 1,        ///< No task: the worker is to end.
    pass_over = 2,  ///< No task: what is in the channel belongs to one that was taken back.
  };

  std::uint64_t id = 0;
  std::uint32_t code = 0;  ///< A line of the worker's table.
  std::uint32_t flags = 0;
  std::uint64_t page = 0;        ///< Where the board's book says what that line is.
  std::uint64_t max_memory = 0;  ///< 0: no limit.
  std::uint64_t in_channel = 0;  ///< Which message of the channel has its handles, from 1. 0: none.
};

/// @brief In front of a result. Behind it: the value, or the exception.
struct ResultHeader {
  enum Kind : std::uint16_t { value, error, initializer_failed };

  std::uint64_t id = 0;
  std::uint32_t place = 0;
  std::uint16_t kind = value;
  std::uint16_t in_channel = 0;  ///< 1: its handles are in the channel.
  std::int64_t begun = 0;        ///< Steady clock, nanoseconds.
  std::int64_t ended = 0;
};

template <class Header>
requires std::is_trivially_copyable_v<Header> Header
take_header(std::span<const std::byte>& message) {
  if (message.size() < sizeof(Header)) throw SerializationError{"a pool's message is cut off"};
  Header header;
  std::memcpy(&header, message.data(), sizeof header);
  message = message.subspan(sizeof header);
  return header;
}

template <class Header>
void put_header(std::vector<std::byte>& bytes, const Header& header) {
  const auto* const begin = reinterpret_cast<const std::byte*>(&header);
  bytes.insert(bytes.end(), begin, begin + sizeof header);
}

/// @brief What goes through a channel beside the handles: the task's number, the objects that
/// travel.
[[nodiscard]] inline std::vector<std::byte> channel_message(std::uint64_t id,
                                                            const Transit& transit) {
  std::vector<std::byte> bytes;
  put_header(bytes, id);
  put_header(bytes, static_cast<std::uint64_t>(transit.objects().size()));
  for (const Transit::Object& object : transit.objects()) {
    put_header(bytes, object.kind);
    put_header(bytes, static_cast<std::uint64_t>(object.handles));
  }
  return bytes;
}

/// @brief A channel's message, taken apart.
struct ChannelParts {
  std::uint64_t id = 0;
  std::vector<Transit::Object> objects;

  explicit ChannelParts(std::span<const std::byte> message) {
    id = take_header<std::uint64_t>(message);
    const auto count = take_header<std::uint64_t>(message);
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto kind = take_header<std::uint64_t>(message);
      const auto handles = take_header<std::uint64_t>(message);
      objects.push_back({kind, static_cast<std::uint32_t>(handles), nullptr});
    }
  }
};

}  // namespace multiprocessing::detail
