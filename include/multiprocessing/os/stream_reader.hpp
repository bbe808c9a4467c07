// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file stream_reader.hpp
/// @brief Messages of a stream that one thread of one process reads.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/message.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/timeout.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <vector>

namespace multiprocessing::os {

/// @brief Takes messages in a Stream's framing from its socket, and reads ahead: a small message
/// costs one system call instead of four.
///
/// For one that has the socket for itself. Nobody may receive from the Stream any more.
/// @threads one, but for shut_down().
class StreamReader {
 public:
  /// Windows: no, for what it reads ahead there would be in the system's hands.
  static constexpr bool exists = !MULTIPROCESSING_WINDOWS;

  explicit StreamReader(native_handle_type socket) noexcept : socket_{socket} {}
  StreamReader(const StreamReader&) = delete;
  StreamReader& operator=(const StreamReader&) = delete;

  /// @brief Takes the next message. The deadline is for its beginning. Memory is taken as bytes
  /// come: a size that is a lie costs 1 MiB at most.
  /// @param message the next one is there when the answer is `done`; else nothing that counts.
  /// @errors `connection_aborted`: the other end closed inside a message; `connection_reset`;
  /// `bad_message`: that is no size. POSIX `recv`, `poll`: ENOMEM. Windows:
  /// `function_not_supported`.
  /// @throws std::bad_alloc, inside the message: nothing more can be read.
  [[nodiscard]] Outcome receive(std::vector<std::byte>& message,
                                const detail::Deadline& deadline,
                                std::error_code& ec);
  /// @brief Another thread's receive() answers `ended`, now and later, or `connection_aborted`
  /// inside a message; who sends through the socket hears `broken_pipe`. Windows: does nothing.
  void shut_down() const noexcept;

 private:
  Outcome receive_some(std::span<std::byte> into,
                       std::size_t& size,
                       const detail::Deadline& deadline,
                       std::error_code& ec) const noexcept;
  Outcome have(std::size_t size, const detail::Deadline& deadline, std::error_code& ec) noexcept;
  Outcome read_body(std::vector<std::byte>& into, std::uint64_t size, std::error_code& ec);

  // Windows uses none of them.
  [[maybe_unused]] native_handle_type socket_;
  [[maybe_unused]] std::array<std::byte, 4096> ahead_;
  [[maybe_unused]] std::size_t begin_ = 0;  // of what is there
  [[maybe_unused]] std::size_t end_ = 0;
};

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/stream_reader.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/stream_reader.ipp>
#endif
