// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file message.hpp
/// @brief What goes into a channel and what comes out of it.
#include <multiprocessing/detail/kept_by_thread.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/wait.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace multiprocessing::os {

/// @brief How sending, receiving or waiting for a message ended, when there was no error.
enum class Outcome {
  done,
  timed_out,    ///< Nothing was sent, nothing was taken.
  interrupted,  ///< As timed_out.
  ended,        ///< Receiving only: nothing is left and nobody can send any more.
};

/// @brief The outcome of an operation whose wait ended so.
[[nodiscard]] constexpr Outcome as_outcome(Waited waited) noexcept {
  if (waited == Waited::ready) return Outcome::done;
  return waited == Waited::interrupted ? Outcome::interrupted : Outcome::timed_out;
}

/// @brief A message to send. Nothing is owned.
struct OutgoingMessage {
  std::uint8_t kind = 0;  ///< The sender's; the channel carries it.
  std::span<const std::byte> bytes = {};
  std::span<const native_handle_type> handles = {};  ///< Go along as duplicates.
  /// The child that alone can receive it, if that is known. Windows: the handles go there at once,
  /// and with it if it ends, so that none stays here that nobody has received.
  native_handle_type receiver = invalid_handle;
};

/// @brief Room for one small message, kept by the thread for the next one.
class PacketBuffer {
 public:
  static constexpr std::size_t capacity = std::size_t{68} << 10U;

  PacketBuffer() {
    if (Memory* const kept = spare()) memory_ = std::move(*kept);
    // Not make_unique: that would write 68 KiB of zeros.
    if (!memory_) memory_.reset(new std::byte[capacity]);
  }
  PacketBuffer(PacketBuffer&&) noexcept = default;
  PacketBuffer(const PacketBuffer&) = delete;
  PacketBuffer& operator=(const PacketBuffer&) = delete;
  PacketBuffer& operator=(PacketBuffer&& other) noexcept {
    std::swap(memory_, other.memory_);
    return *this;
  }
  ~PacketBuffer() {
    Memory* const kept = memory_ ? spare() : nullptr;
    if (kept != nullptr && !*kept) *kept = std::move(memory_);
  }

  [[nodiscard]] std::byte* data() const noexcept { return memory_.get(); }

 private:
  using Memory = std::unique_ptr<std::byte[]>;
  static Memory* spare() noexcept {
    return multiprocessing::detail::kept_by_thread<PacketBuffer, Memory>();
  }

  Memory memory_;
};

/// @brief A message that was received, wherever its bytes are: in a packet's buffer or, of a large
/// one, in a vector, or in the room that its receiver had offered. Owns all but that.
class IncomingMessage {
 public:
  IncomingMessage() = default;
  /// @brief The bytes are the packet's from `first` on.
  IncomingMessage(std::uint8_t kind, PacketBuffer packet, std::size_t first, std::size_t size)
      : kind_{kind}, packet_{std::move(packet)}, bytes_{packet_->data() + first, size} {}
  IncomingMessage(std::uint8_t kind, std::vector<std::byte> whole)
      : kind_{kind}, whole_{std::move(whole)}, bytes_{whole_} {}

  /// @brief The bytes are in the room that was offered.
  IncomingMessage(std::uint8_t kind, std::span<const std::byte> in_room)
      : kind_{kind}, bytes_{in_room} {}

  /// @brief Room for a packet that may arrive, of `PacketBuffer::capacity` bytes; an earlier one's
  /// bytes are lost.
  [[nodiscard]] std::byte* packet_room() {
    if (!packet_ || packet_->data() == nullptr) packet_.emplace();
    return packet_->data();
  }
  /// @brief It has arrived there; the message's bytes are its `size` from `first` on.
  void take_packet(std::uint8_t kind, std::size_t first, std::size_t size) noexcept {
    kind_ = kind;
    whole_ = {};
    bytes_ = {packet_->data() + first, size};
  }

  /// @brief Who waits for a message lends it room: a large one that fits may come to lie there, and
  /// is copied once less. Without a message there may be anything in it.
  /// @param not_for messages of this kind do not go there.
  void offer(std::span<std::byte> room, std::uint8_t not_for) noexcept {
    room_ = room;
    not_for_ = not_for;
  }
  /// @brief What has been offered, for a message of that kind.
  [[nodiscard]] std::span<std::byte> room(std::uint8_t kind) const noexcept {
    return kind == not_for_ ? std::span<std::byte>{} : room_;
  }

  [[nodiscard]] std::uint8_t kind() const noexcept { return kind_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

  /// @brief The first `size` bytes, for keeping; no copy where they lie in a vector.
  [[nodiscard]] std::vector<std::byte> take_bytes(std::size_t size) && {
    if (bytes_.data() != whole_.data()) return {bytes_.begin(), bytes_.begin() + as_offset(size)};
    whole_.resize(size);
    return std::move(whole_);
  }

  /// @brief Forgets the first `size` bytes.
  void drop_front(std::size_t size) {
    if (bytes_.data() == whole_.data()) {
      whole_.erase(whole_.begin(), whole_.begin() + as_offset(size));
      bytes_ = whole_;
    } else {
      bytes_ = bytes_.subspan(size);
    }
  }

  std::vector<UniqueHandle> handles;  ///< That came along, in the sender's order.

 private:
  static std::ptrdiff_t as_offset(std::size_t size) noexcept {
    return static_cast<std::ptrdiff_t>(size);
  }

  std::uint8_t kind_ = 0;
  std::uint8_t not_for_ = 0;
  std::span<std::byte> room_;
  std::optional<PacketBuffer> packet_;
  std::vector<std::byte> whole_;
  std::span<const std::byte> bytes_;  // of the one of the three that is used; moving moves none
};

}  // namespace multiprocessing::os
