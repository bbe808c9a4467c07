// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file streams.hpp
/// @brief The standard streams around a child's beginning and end.
#include <multiprocessing/detail/config.hpp>

#include <iosfwd>
#include <string_view>

namespace multiprocessing::os {

/// @brief Flushes std::cout, std::cerr, std::clog, stdout and stderr, so that what is in their
/// buffers does not leave twice, once from a copy of this process.
///
/// Never every open file: that would wait for a thread that sits in a read. What cannot be written
/// (a closed stdout) is no error here.
void flush_streams() noexcept;

/// @brief Writes to the error output, in one piece and past its buffers, which go first. Waits when
/// the output is a full pipe, also a non-blocking one. What cannot be written is lost.
void write_error(std::string_view text) noexcept;

/// @brief What the buffers of the standard input may hold.
struct InputBuffers {
  bool of_stdin = false;           ///< stdin was used.
  std::filebuf* of_cin = nullptr;  ///< std::cin's own, after sync_with_stdio(false).
};

/// @brief Looks at them, for silence_stdin; before a fork, because a child pays for every first use
/// of a function.
[[nodiscard]] InputBuffers input_buffers() noexcept;

/// @brief Makes the standard input empty: /dev/null (Windows: NUL), and nothing left in its
/// buffers.
/// @threads Only while this is the only thread, at the beginning of a forked child.
void silence_stdin(const InputBuffers& buffers) noexcept;

/// @brief Lets everything vanish that this process writes to its standard output and error.
void silence_outputs() noexcept;

}  // namespace multiprocessing::os

#if MULTIPROCESSING_WINDOWS
#  include <multiprocessing/os/windows/streams.ipp>
#else
#  include <multiprocessing/os/posix/streams.ipp>
#endif
