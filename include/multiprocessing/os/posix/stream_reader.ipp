// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/stream.hpp>
#include <multiprocessing/os/stream_reader.hpp>
#include <multiprocessing/os/wait.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <sys/socket.h>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE void StreamReader::shut_down() const noexcept {
  MULTIPROCESSING_SYSTEM(shutdown)(socket_, SHUT_RDWR);
}

MULTIPROCESSING_INLINE Outcome StreamReader::receive_some(std::span<std::byte> into,
                                                          std::size_t& size,
                                                          const detail::Deadline& deadline,
                                                          std::error_code& ec) const noexcept {
  const int flags = deadline.is_forever() ? 0 : MSG_DONTWAIT;
  for (;;) {
    if (flags != 0) {
      const Waited waited = wait_ready(socket_, Readiness::readable, {}, deadline, ec);
      if (ec || waited != Waited::ready) return as_outcome(waited);
    }
    const auto got = MULTIPROCESSING_SYSTEM(recv)(socket_, into.data(), into.size(), flags);
    if (got >= 0) {
      size = static_cast<std::size_t>(got);
      return got == 0 ? Outcome::ended : Outcome::done;
    }
    if (errno == EINTR || errno == EAGAIN) continue;
    posix::assign_errno(ec);
    return Outcome::ended;
  }
}

// So many bytes together, if they fit.
MULTIPROCESSING_INLINE Outcome StreamReader::have(std::size_t size,
                                                  const detail::Deadline& deadline,
                                                  std::error_code& ec) noexcept {
  while (end_ - begin_ < size) {
    if (ahead_.size() - begin_ < size || begin_ == end_) {
      std::memmove(ahead_.data(), ahead_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    std::size_t got = 0;
    const Outcome outcome = receive_some(std::span{ahead_}.subspan(end_), got, deadline, ec);
    if (outcome != Outcome::done) return outcome;
    end_ += got;
  }
  return Outcome::done;
}

MULTIPROCESSING_INLINE Outcome StreamReader::read_body(std::vector<std::byte>& into,
                                                       std::uint64_t size,
                                                       std::error_code& ec) {
  constexpr std::uint64_t believed = std::uint64_t{1} << 20U;
  if (size > into.max_size()) throw std::bad_alloc{};
  std::size_t done = std::min(end_ - begin_, static_cast<std::size_t>(size));
  const auto first = ahead_.begin() + static_cast<std::ptrdiff_t>(begin_);
  into.assign(first, first + static_cast<std::ptrdiff_t>(done));
  begin_ += done;
  while (done < size) {
    into.resize(
        static_cast<std::size_t>(std::min(size, std::max<std::uint64_t>(believed, 2 * done))));
    while (done < into.size()) {
      std::size_t got = 0;
      const Outcome outcome =
          receive_some(std::span{into}.subspan(done), got, detail::Deadline{forever}, ec);
      if (outcome != Outcome::done) return outcome;
      done += got;
    }
  }
  return Outcome::done;
}

MULTIPROCESSING_INLINE Outcome StreamReader::receive(std::vector<std::byte>& message,
                                                     const detail::Deadline& deadline,
                                                     std::error_code& ec) {
  ec.clear();
  Outcome outcome = have(1, deadline, ec);  // here it may end, or be too late
  if (ec || outcome != Outcome::done) return outcome;
  std::uint64_t size = 0;
  const auto take_size = [&](std::size_t bytes) {
    outcome = have(bytes, detail::Deadline{forever}, ec);
    if (outcome != Outcome::done) return;
    size = posix::read_big_endian(std::span{ahead_}.subspan(begin_, bytes));
    begin_ += bytes;
  };
  take_size(posix::short_header);
  if (outcome == Outcome::done && size == 0xffffffff) {
    take_size(posix::long_header - posix::short_header);
  } else if (size > posix::largest_short_size) {
    ec = std::make_error_code(std::errc::bad_message);
    return outcome;
  }
  if (outcome == Outcome::done) outcome = read_body(message, size, ec);
  if (!ec && outcome != Outcome::done) ec = std::make_error_code(std::errc::connection_aborted);
  return outcome;
}

}  // namespace multiprocessing::os
