// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file batch.hpp
/// @brief Several messages on their way into a queue, laid out as they are to lie there.
#include <multiprocessing/queues/layout.hpp>
#include <multiprocessing/queues/scratch.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief Messages that are put under one hold of the producer lock, where they find room: records
/// one behind the other, each with its length before it.
class Batch {
 public:
  /// A batch that has so many messages, or bytes, takes no more: a lock is not held for long.
  static constexpr std::size_t most_messages = 512;
  static constexpr std::size_t most_bytes = std::size_t{32} << 10U;

  [[nodiscard]] bool is_full() const noexcept {
    return messages_ >= most_messages || used_ >= most_bytes;
  }
  [[nodiscard]] std::size_t messages() const noexcept { return messages_; }
  [[nodiscard]] std::span<const std::byte> records() const noexcept {
    return std::span{bytes_}.first(used_);
  }
  void clear() noexcept { used_ = messages_ = 0; }

  /// @brief Appends a message of these bytes.
  void add(const void* from, std::size_t size) {
    const std::size_t room = Record::room(size);
    if (bytes_.size() - used_ < room) bytes_.resize(bytes_.size() + std::max(bytes_.size(), room));
    std::memcpy(bytes_.data() + used_ + Record::header_size, from, size);
    finish(size);
  }
  /// @brief Appends a message that `write(std::vector<std::byte>&)` appends to the buffer; if it
  /// throws, the batch is as before.
  template <class Write>
  void add(Write&& write) {
    bytes_.resize(used_ + Record::header_size);
    std::forward<Write>(write)(bytes_);
    const std::size_t size = bytes_.size() - used_ - Record::header_size;
    bytes_.resize(used_ + Record::room(size));
    finish(size);
  }

  /// @brief The first message of a batch's records.
  static std::span<const std::byte> first_of(std::span<const std::byte> records) noexcept {
    std::uint64_t header = 0;
    std::memcpy(&header, records.data(), sizeof header);
    return records.subspan(Record::header_size, Record::size(header));
  }
  /// @brief How many bytes the first `messages` records of a batch take.
  static std::size_t length_of(std::span<const std::byte> records, std::size_t messages) noexcept {
    std::size_t length = 0;
    for (; messages > 0; --messages) {
      std::uint64_t header = 0;
      std::memcpy(&header, records.data() + length, sizeof header);
      length += Record::room(Record::size(header));
    }
    return length;
  }

 private:
  void finish(std::size_t size) noexcept {
    const std::uint64_t header = Record::pack(Record::message, size);
    std::memcpy(bytes_.data() + used_, &header, sizeof header);
    used_ += Record::room(size);
    ++messages_;
  }

  Scratch scratch_;
  std::vector<std::byte>& bytes_ = scratch_.buffer();  // of which `used_` are records
  std::size_t used_ = 0;
  std::size_t messages_ = 0;
};

}  // namespace multiprocessing::detail
