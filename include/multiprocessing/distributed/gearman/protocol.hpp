// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file protocol.hpp
/// @brief Gearman's binary protocol: packets into bytes, and bytes into packets.
///
/// Nothing here knows a socket. What a server sends is not trusted: every length is checked before
/// memory is taken for it, every argument before it is looked at; what does not fit is a
/// ConnectionError.
/// @source https://gearman.org/protocol
#include <multiprocessing/exceptions.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace multiprocessing::detail::gearman {

/// @brief The packets that a client or a worker of ours sends or gets.
enum class Command : std::uint32_t {
  line = 0,             ///< no packet: a line that answers an administrator's command
  can_do = 1,           ///< worker: function
  pre_sleep = 4,        ///< worker
  noop = 6,             ///< to a worker that sleeps: there is a job
  submit_job = 7,       ///< client: function, unique, data
  job_created = 8,      ///< to a client: handle
  no_job = 10,          ///< to a worker
  work_complete = 13,   ///< worker, to a client: handle, data
  work_fail = 14,       ///< worker, to a client: handle
  get_status = 15,      ///< client: handle
  error = 19,           ///< code, text
  status_res = 20,      ///< to a client: handle, known, running, numerator, denominator
  set_client_id = 22,   ///< worker: name
  work_data = 28,       ///< worker, to a client: handle, data
  grab_job_uniq = 30,   ///< worker
  job_assign_uniq = 31  ///< to a worker: handle, function, unique, data
};

/// @brief A packet begins with twelve bytes: a mark, the command, and how many bytes follow.
inline constexpr std::size_t header_size = 12;
/// @brief The longest a packet of either side may be, less its header.
inline constexpr std::size_t longest_packet = 0xffffffff;
/// @brief The longest name of a job that is believed; gearmand's have 64 bytes at most.
inline constexpr std::size_t longest_handle = 256;

using Header = std::array<std::byte, header_size>;

inline void put_big_endian(std::span<std::byte, 4> into, std::uint32_t value) noexcept {
  for (std::size_t i = 0; i < 4; ++i) into[i] = static_cast<std::byte>(value >> (24 - 8 * i));
}
[[nodiscard]] inline std::uint32_t get_big_endian(std::span<const std::byte, 4> from) noexcept {
  std::uint32_t value = 0;
  for (const std::byte one : from) value = value << 8U | std::to_integer<std::uint32_t>(one);
  return value;
}

[[noreturn]] inline void refuse(const std::string& what) {
  throw ConnectionError{"the Gearman server: " + what};
}

/// @brief Packets to a server, one behind the other.
class PacketWriter {
 public:
  /// @brief Appends a packet: arguments with a NUL between them, then the data.
  /// @param arguments each without a NUL; one that is last and has no data behind it ends the
  ///   packet.
  /// @param parts the data, one after another; none: the last argument ends the packet.
  /// @throws std::length_error it is longer than the protocol can say.
  void put(Command command,
           std::initializer_list<std::string_view> arguments = {},
           std::initializer_list<std::span<const std::byte>> parts = {}) {
    std::size_t size = 0;
    for (const auto& each : arguments) size += each.size() + 1;
    for (const auto& each : parts) size += each.size();
    const bool ends_with_argument = parts.size() == 0 && arguments.size() != 0;
    if (ends_with_argument) --size;
    if (size > longest_packet) {
      throw std::length_error{"a packet of Gearman has less than 4 GiB, this one would have " +
                              std::to_string(size) + " bytes"};
    }
    bytes_.reserve(bytes_.size() + header_size + size);
    Header header{std::byte{0}, std::byte{'R'}, std::byte{'E'}, std::byte{'Q'}};
    put_big_endian(std::span{header}.subspan<4, 4>(), static_cast<std::uint32_t>(command));
    put_big_endian(std::span{header}.subspan<8, 4>(), static_cast<std::uint32_t>(size));
    append(header);
    for (const auto& each : arguments) {
      append(std::as_bytes(std::span{each.data(), each.size()}));
      bytes_.push_back(std::byte{0});
    }
    if (ends_with_argument) bytes_.pop_back();
    for (const auto& each : parts) append(each);
  }
  /// @brief A line of the administrator's protocol.
  void put_line(std::string_view line) {
    append(std::as_bytes(std::span{line.data(), line.size()}));
    bytes_.push_back(std::byte{'\n'});
  }
  [[nodiscard]] bool empty() const noexcept { return bytes_.empty(); }
  [[nodiscard]] std::vector<std::byte> take() noexcept { return std::exchange(bytes_, {}); }

 private:
  void append(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  std::vector<std::byte> bytes_;
};

/// @brief A packet that came, taken apart from its front.
class Packet {
 public:
  Packet(Command command, std::vector<std::byte> body) noexcept
      : command_{command}, body_{std::move(body)} {}

  [[nodiscard]] Command command() const noexcept { return command_; }
  /// @brief The next argument, and past the NUL behind it.
  /// @throws ConnectionError there is no NUL within `longest` bytes.
  [[nodiscard]] std::string_view argument(std::size_t longest = longest_handle) {
    const auto rest = data();
    const auto* const begin = reinterpret_cast<const char*>(rest.data());
    const std::size_t most = std::min(rest.size(), longest + 1);
    const void* const end = most == 0 ? nullptr : std::memchr(begin, 0, most);
    if (end == nullptr) refuse("an argument of a packet does not end");
    const auto size = static_cast<std::size_t>(static_cast<const char*>(end) - begin);
    taken_ += size + 1;
    return {begin, size};
  }
  /// @brief The last argument, which ends with the packet.
  /// @throws ConnectionError it is empty, too long, or has a NUL in it.
  [[nodiscard]] std::string_view last_argument() {
    const auto rest = data();
    const std::string_view text{reinterpret_cast<const char*>(rest.data()), rest.size()};
    if (text.empty() || text.size() > longest_handle || text.find('\0') != text.npos) {
      refuse("the last argument of a packet is no name");
    }
    taken_ = body_.size();
    return text;
  }
  /// @brief What is left.
  [[nodiscard]] std::span<const std::byte> data() const noexcept {
    return std::span{body_}.subspan(taken_);
  }

 private:
  Command command_;
  std::vector<std::byte> body_;
  std::size_t taken_ = 0;
};

/// @brief Bytes from a server become packets.
///
/// Small ones are cut out of one buffer; a large one gets its bytes directly, and memory as they
/// come: a length that is a lie costs 1 MiB.
class PacketReader {
 public:
  /// @param longest a packet that is longer is refused.
  /// @param takes_lines lines between packets are taken, too, without their end.
  explicit PacketReader(std::size_t longest = longest_packet, bool takes_lines = false)
      : longest_{longest}, takes_lines_{takes_lines}, buffer_(buffer_size) {}

  /// @brief Where the next bytes go: never empty after next() said none.
  [[nodiscard]] std::span<std::byte> room() {
    if (!is_large_) return std::span{buffer_}.subspan(end_);
    if (filled_ == body_.size()) body_.resize(std::min(size_, std::max(believed, filled_ * 2)));
    return std::span{body_}.subspan(filled_);
  }
  /// @brief So many have been put there.
  void took(std::size_t bytes) noexcept { (is_large_ ? filled_ : end_) += bytes; }

  /// @brief The next packet that is whole. @throws ConnectionError the bytes are none.
  [[nodiscard]] std::optional<Packet> next() {
    if (is_large_) {
      if (filled_ < size_) return std::nullopt;
      is_large_ = false;
      return Packet{command_, std::exchange(body_, {})};
    }
    const auto there = std::span{buffer_}.subspan(begin_, end_ - begin_);
    if (takes_lines_ && !there.empty() && there.front() != std::byte{0}) return line(there);
    if (there.size() < header_size) {
      move_to_front();
      return std::nullopt;
    }
    read_header(there.first<header_size>());
    const auto body = there.subspan(header_size);
    if (body.size() >= size_) {
      Packet packet{command_, {body.begin(), body.begin() + static_cast<std::ptrdiff_t>(size_)}};
      begin_ += header_size + size_;
      return packet;
    }
    if (header_size + size_ <= buffer_size) {
      move_to_front();
      return std::nullopt;
    }
    body_.assign(body.begin(), body.end());  // what may throw comes first
    filled_ = body_.size();
    is_large_ = true;
    begin_ = end_ = 0;
    return std::nullopt;
  }

 private:
  static constexpr std::size_t buffer_size = std::size_t{64} << 10U;
  static constexpr std::size_t believed = std::size_t{1} << 20U;
  static constexpr std::size_t longest_line = std::size_t{4} << 10U;

  std::optional<Packet> line(std::span<const std::byte> there) {
    const auto end = std::find(there.begin(), there.end(), std::byte{'\n'});
    if (end == there.end()) {
      if (there.size() >= longest_line) refuse("a line that it says does not end");
      move_to_front();
      return std::nullopt;
    }
    std::vector<std::byte> text{there.begin(), end};
    begin_ += text.size() + 1;
    if (!text.empty() && text.back() == std::byte{'\r'}) text.pop_back();
    return Packet{Command::line, std::move(text)};
  }
  void read_header(std::span<const std::byte, header_size> header) {
    constexpr std::array mark{std::byte{0}, std::byte{'R'}, std::byte{'E'}, std::byte{'S'}};
    if (!std::equal(mark.begin(), mark.end(), header.begin())) {
      refuse("what came is no packet of the Gearman protocol");
    }
    const std::uint32_t command = get_big_endian(header.subspan<4, 4>());
    switch (static_cast<Command>(command)) {
      case Command::noop:
      case Command::job_created:
      case Command::no_job:
      case Command::work_complete:
      case Command::work_fail:
      case Command::error:
      case Command::status_res:
      case Command::work_data:
      case Command::job_assign_uniq:
        break;
      default:
        refuse("a packet of kind " + std::to_string(command) + " came, which nobody asked for");
    }
    command_ = static_cast<Command>(command);
    size_ = get_big_endian(header.subspan<8, 4>());
    if (size_ > longest_) {
      refuse("a packet of " + std::to_string(size_) + " bytes came, the longest may have " +
             std::to_string(longest_));
    }
  }
  void move_to_front() noexcept {
    std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
              buffer_.begin() + static_cast<std::ptrdiff_t>(end_), buffer_.begin());
    end_ -= begin_;
    begin_ = 0;
  }

  const std::size_t longest_;
  const bool takes_lines_;
  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0;  // of what has come and is not taken
  std::size_t end_ = 0;
  Command command_{};  // of the packet that is begun
  std::size_t size_ = 0;
  bool is_large_ = false;  // its body grows in
  std::vector<std::byte> body_;
  std::size_t filled_ = 0;
};

}  // namespace multiprocessing::detail::gearman
