// SPDX-License-Identifier: BSL-1.0
#pragma once
// How the bytes of a stream's messages go into a socket and into a named pipe, and come out.
#include <multiprocessing/os/one_way_channel.hpp>
#include <multiprocessing/os/stream.hpp>
#include <multiprocessing/os/windows/pipe_place.ipp>
#include <multiprocessing/os/windows/winsock.ipp>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

namespace multiprocessing::os::windows {

inline constexpr std::size_t largest_short_size = 0x7fffffff;
inline constexpr std::size_t short_header = 4;
inline constexpr std::size_t long_header = 12;

MULTIPROCESSING_INLINE void write_big_endian(std::byte* into,
                                             std::uint64_t number,
                                             std::size_t size) noexcept {
  for (std::size_t i = 0; i < size; ++i) {
    into[i] = static_cast<std::byte>(number >> (8 * (size - 1 - i)));
  }
}
MULTIPROCESSING_INLINE std::uint64_t read_big_endian(std::span<const std::byte> bytes) noexcept {
  std::uint64_t number = 0;
  for (const std::byte one : bytes) number = number << 8U | std::to_integer<std::uint64_t>(one);
  return number;
}

// A reset is said more than once, or once; what came before it may come after it.
MULTIPROCESSING_INLINE bool is_reset(int error) noexcept {
  return error == WSAECONNRESET || error == WSAECONNABORTED || error == WSAENETRESET;
}

// The bytes of a message that are still to be sent.
class StreamParts {
 public:
  StreamParts(std::span<const std::byte> bytes, std::span<const std::byte> tail) noexcept {
    const std::size_t size = bytes.size() + tail.size();
    std::size_t header = short_header;
    if (size > largest_short_size) {
      header = long_header;
      write_big_endian(header_.data(), 0xffffffff, short_header);
      write_big_endian(header_.data() + short_header, size, long_header - short_header);
    } else {
      write_big_endian(header_.data(), size, short_header);
    }
    left_ = header + size;
    parts_ = {std::span{header_}.first(header), bytes, tail};
  }
  StreamParts(const StreamParts&) = delete;
  StreamParts& operator=(const StreamParts&) = delete;
  ~StreamParts() = default;

  [[nodiscard]] std::size_t left() const noexcept { return left_; }

  // How many bytes went, or -1 and why. The system takes as much as it is given, so it is given
  // little at a time.
  int try_send(SOCKET socket, StreamState& state, int& error) noexcept {
    std::array<WSABUF, 3> buffers{};
    std::size_t count = 0;
    for (std::size_t i = first_; i < parts_.size(); ++i) {
      const std::size_t size = std::min(parts_[i].size(), most_at_once);
      auto* const bytes = reinterpret_cast<char*>(const_cast<std::byte*>(parts_[i].data()));
      buffers[count++] = {static_cast<ULONG>(size), bytes};
      if (size < parts_[i].size()) break;
    }
    const int sent = send_some(socket, std::span{buffers}.first(count), error);
    if (sent >= 0) {
      forget(static_cast<std::size_t>(sent));
    } else if (is_reset(error) || error == WSAESHUTDOWN) {  // the other word for it
      state.was_reset.store(1);
      error = WSAESHUTDOWN;
    }
    return sent;
  }

 private:
  static constexpr std::size_t most_at_once = std::size_t{1} << 20U;

  void forget(std::size_t sent) noexcept {
    left_ -= sent;
    while (first_ < parts_.size() && sent >= parts_[first_].size()) sent -= parts_[first_++].size();
    if (first_ < parts_.size()) parts_[first_] = parts_[first_].subspan(sent);
  }

  std::array<std::byte, long_header> header_{};
  std::array<std::span<const std::byte>, 3> parts_;
  std::size_t first_ = 0;
  std::size_t left_ = 0;
};

// 0: the end. -1 and why: a reset only in the place of an end.
MULTIPROCESSING_INLINE int receive_some(SOCKET socket,
                                        std::span<std::byte> into,
                                        StreamState& state,
                                        int& error) noexcept {
  constexpr std::size_t largest_read = std::size_t{1} << 30U;
  for (bool again = true;; again = false) {
    const int got =
        MULTIPROCESSING_SYSTEM(recv)(socket, reinterpret_cast<char*>(into.data()),
                                     static_cast<int>(std::min(into.size(), largest_read)), 0);
    if (got > 0) return got;
    error = got == 0 ? WSAECONNRESET : MULTIPROCESSING_SYSTEM(WSAGetLastError)();
    if (got == 0) return state.was_reset.load() != 0 ? -1 : 0;
    if (!is_reset(error)) return -1;
    state.was_reset.store(1);
    if (!again) return -1;
  }
}

// The message as one piece. May throw std::bad_alloc.
MULTIPROCESSING_INLINE Outcome send_message(HANDLE pipe,
                                            std::span<const std::byte> bytes,
                                            std::span<const std::byte> tail,
                                            const Interrupt& interrupt,
                                            const detail::Deadline& deadline,
                                            std::error_code& ec) {
  std::vector<std::byte> whole;
  if (!tail.empty()) {
    whole.reserve(bytes.size() + tail.size());
    whole.assign(bytes.begin(), bytes.end());
    whole.insert(whole.end(), tail.begin(), tail.end());
    bytes = whole;
  }
  if (bytes.size() > std::numeric_limits<DWORD>::max()) {
    ec = std::make_error_code(std::errc::not_enough_memory);  // as the system says of half of it
    return Outcome::timed_out;
  }
  return write_packet(pipe, bytes, interrupt, deadline, ec);
}

// The size of the message that is there; 0: it has none, or none is there, or the pipe ends.
MULTIPROCESSING_INLINE std::size_t size_of_next(HANDLE pipe) noexcept {
  DWORD left = 0;
  MULTIPROCESSING_SYSTEM(PeekNamedPipe)(pipe, nullptr, 0, nullptr, nullptr, &left);
  return left;
}

// The message that is there, if one is: by one read, so that whoever dies took all of it or
// nothing. By the holder of the lock. May throw std::bad_alloc; then it is there still.
MULTIPROCESSING_INLINE Outcome take_message(HANDLE pipe,
                                            StreamState& state,
                                            std::uint8_t kind,
                                            std::size_t max,
                                            IncomingMessage& into,
                                            std::error_code& ec) {
  if (state.empty_messages.load() != 0) {
    --state.empty_messages;
    into = IncomingMessage{kind, std::vector<std::byte>{}};
    return Outcome::done;
  }
  PacketBuffer buffer;
  std::vector<std::byte> whole;
  const std::size_t size = size_of_next(pipe);
  if (size > max) {
    state.in.inside.store(1);  // nobody receives it any more
    ec = std::make_error_code(std::errc::message_size);
    return Outcome::timed_out;
  }
  if (size > PacketBuffer::capacity) whole.resize(size);
  const std::span<std::byte> room =
      whole.empty() ? std::span{buffer.data(), PacketBuffer::capacity} : std::span{whole};
  bool ended = false;
  bool has_more = false;
  auto got = read_message_now(pipe, room, has_more, ended, ec);
  MULTIPROCESSING_STOP_POINT("stream.recv.taken");
  if (!got) return ended ? Outcome::ended : Outcome::timed_out;
  if (!has_more && whole.empty() && *got <= max) {
    into = IncomingMessage{kind, std::move(buffer), 0, *got};
    return Outcome::done;
  }
  // It came between the two, so it was larger than expected.
  state.in.inside.store(has_more ? 1U : 0U);
  std::size_t filled = *got;
  if (whole.empty()) whole.assign(room.begin(), room.begin() + static_cast<int>(filled));
  while (has_more && filled <= max) {
    whole.resize(filled + std::max<std::size_t>(size_of_next(pipe), 1));
    got = read_message_now(pipe, std::span{whole}.subspan(filled), has_more, ended, ec);
    if (!got) {
      ec = std::make_error_code(std::errc::connection_aborted);
      return Outcome::timed_out;
    }
    filled += *got;
  }
  if (filled > max) {
    state.in.inside.store(1);
    ec = std::make_error_code(std::errc::message_size);
    return Outcome::timed_out;
  }
  state.in.inside.store(0);
  whole.resize(filled);
  into = IncomingMessage{kind, std::move(whole)};
  return Outcome::done;
}

}  // namespace multiprocessing::os::windows
