// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file object_message.hpp
/// @brief How an object lies in a message.
#include <multiprocessing/detail/kept_by_thread.hpp>
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/os/message.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/serialization.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief What a message is.
enum class MessageKind : std::uint8_t {
  bytes = 1,
  object = 2,
  stream = 3,  ///< Came from a stream, which does not say: an object ends with `object_mark`.
};

/// @brief The last bytes of an object's message in a stream.
inline constexpr std::uint64_t object_mark = 0x3174636a626f706dU;  // "mpobjct1"

/// @brief The end of an object's message. Before it: the value's bytes, the travelling objects, the
/// type's name. It stands at the end so that a value is encoded and decoded where the message
/// begins.
struct ObjectTrailer {
  std::uint64_t type;       ///< type_hash
  std::uint32_t name_size;  ///< of the type's name, in bytes; shortened to longest_name
  std::uint32_t objects;    ///< how many objects with handles travel along

  static constexpr std::size_t longest_name = 200;
};
static_assert(sizeof(ObjectTrailer) == 16);

/// @brief An object whose handles travel beside the message.
struct TravellingObject {
  std::uint64_t kind;
  std::uint64_t handles;
};

/// @brief Borrows this thread's buffer to encode into. A `send` within the encoding of a value
/// finds it lent and gets a fresh one.
class EncodingBuffer {
 public:
  EncodingBuffer() noexcept {
    if (std::vector<std::byte>* const kept = spare()) std::swap(bytes_, *kept);
    bytes_.clear();
  }
  EncodingBuffer(const EncodingBuffer&) = delete;
  EncodingBuffer& operator=(const EncodingBuffer&) = delete;
  ~EncodingBuffer() {
    constexpr std::size_t most_kept = std::size_t{1} << 20U;
    std::vector<std::byte>* const kept = bytes_.capacity() <= most_kept ? spare() : nullptr;
    if (kept != nullptr) std::swap(bytes_, *kept);
  }

  [[nodiscard]] std::vector<std::byte>& bytes() noexcept { return bytes_; }

 private:
  static std::vector<std::byte>* spare() noexcept {
    return kept_by_thread<EncodingBuffer, std::vector<std::byte>>();
  }

  std::vector<std::byte> bytes_;
};

/// @brief Appends a value and its trailer to `into`.
/// @param transit where handles go; none: a value that has handles cannot be sent.
/// @throws SerializationError
template <class T>
void encode_object(std::vector<std::byte>& into, const T& value, Transit* transit) {
  Encoder encoder{into, transit};
  detail::encode(encoder, value);
  std::uint32_t objects = 0;
  if (transit != nullptr) {
    for (const Transit::Object& object : transit->objects()) {
      const TravellingObject travelling{object.kind, object.handles};
      encoder.write(&travelling, sizeof travelling);
      ++objects;
    }
  }
  constexpr std::string_view name = type_name<T>().substr(0, ObjectTrailer::longest_name);
  encoder.write(name.data(), name.size());
  const ObjectTrailer trailer{type_hash<T>(), static_cast<std::uint32_t>(name.size()), objects};
  encoder.write(&trailer, sizeof trailer);
}

/// @brief A received object's message, taken apart. Refers to the message.
/// @throws SerializationError it is cut off.
class ObjectParts {
 public:
  explicit ObjectParts(std::span<const std::byte> message) {
    const auto trailer = take_end(message, sizeof trailer_);
    std::memcpy(&trailer_, trailer.data(), sizeof trailer_);
    if (trailer_.name_size > ObjectTrailer::longest_name) {
      throw SerializationError{"recv: the message is damaged"};
    }
    const auto name = take_end(message, trailer_.name_size);
    name_ = {reinterpret_cast<const char*>(name.data()), name.size()};
    travelling_ = take_end(message, trailer_.objects * sizeof(TravellingObject));
    value_ = message;
  }

  [[nodiscard]] std::uint64_t type() const noexcept { return trailer_.type; }
  [[nodiscard]] std::string_view name() const noexcept { return name_; }
  [[nodiscard]] std::span<const std::byte> value() const noexcept { return value_; }

  /// @brief The objects that travelled along, with the handles that did.
  [[nodiscard]] Transit transit(std::vector<os::UniqueHandle> handles) const {
    std::vector<Transit::Object> objects;
    for (std::size_t i = 0; i < trailer_.objects; ++i) {
      TravellingObject one{};
      std::memcpy(&one, travelling_.data() + i * sizeof one, sizeof one);
      objects.push_back({one.kind, static_cast<std::uint32_t>(one.handles), nullptr});
    }
    return {std::move(objects), std::move(handles)};
  }

 private:
  static std::span<const std::byte> take_end(std::span<const std::byte>& bytes, std::size_t size) {
    if (size > bytes.size()) throw SerializationError{"recv: the message is cut off"};
    const auto end = bytes.last(size);
    bytes = bytes.first(bytes.size() - size);
    return end;
  }

  ObjectTrailer trailer_{};
  std::string_view name_;
  std::span<const std::byte> travelling_;
  std::span<const std::byte> value_;
};

/// @brief Cuts off the mark. @returns false: there is none.
inline bool take_object_mark(std::span<const std::byte>& bytes) noexcept {
  constexpr std::size_t size = sizeof object_mark;
  if (bytes.size() < size || std::memcmp(bytes.last(size).data(), &object_mark, size) != 0) {
    return false;
  }
  bytes = bytes.first(bytes.size() - size);
  return true;
}

/// @brief The value in a message.
/// @throws SerializationError it is not a T; the text says what it is.
template <class T>
T decode_object(os::IncomingMessage message) {
  constexpr auto wanted = [] { return std::string{type_name<T>()}; };
  auto bytes = message.bytes();
  const auto kind = static_cast<MessageKind>(message.kind());
  if (kind != MessageKind::object && !(kind == MessageKind::stream && take_object_mark(bytes))) {
    throw SerializationError{"recv: no " + wanted() +
                             ": the message is bytes; use recv_bytes() for what send_bytes() sent"};
  }
  const ObjectParts parts{bytes};
  if (parts.type() != type_hash<T>()) {
    throw SerializationError{"recv: no " + wanted() + ": the message holds " +
                             std::string{parts.name()}};
  }
  Transit transit = parts.transit(std::move(message.handles));
  // Code and handles come from our own tree only; whoever is at a stream's other end may not be.
  const bool is_relative = kind == MessageKind::object;
  Decoder decoder{parts.value(), is_relative ? &transit : nullptr,
                  is_relative ? Origin::relative : Origin::stranger};
  T value = detail::decode<T>(decoder);
  if (decoder.remaining() != 0) {
    throw SerializationError{"recv: the message goes on after the " + wanted()};
  }
  return value;
}

}  // namespace multiprocessing::detail
