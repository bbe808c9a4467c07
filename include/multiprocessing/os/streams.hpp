// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file streams.hpp
/// @brief The standard streams around a child's beginning and end.
#include <multiprocessing/detail/config.hpp>

#include <cstdio>
#include <filesystem>
#include <iostream>  // so that they are made before the static objects of any file that includes this
#include <string_view>

namespace multiprocessing::os {

/// @brief Flushes std::cout, std::cerr, std::clog, stdout and stderr, so that what is in their
/// buffers does not leave twice, once from a copy of this process.
///
/// Never every open file: that would wait for a thread that sits in a read. What cannot be written
/// (a closed stdout) is no error here.
void flush_streams() noexcept;

/// @brief Writes to the error output, in one piece and past its buffers, which go first. Waits when
/// the output is a full pipe, also a non-blocking one. What cannot be written is lost, and no
/// signal says so.
void write_error(std::string_view text) noexcept;

/// @brief As write_error, but the buffers stay as they are: other threads may be using them. One
/// system call for all of it, where the system takes it whole: always in a file, up to PIPE_BUF
/// bytes in a pipe.
/// @threads Any number at once.
void write_error_line(std::string_view line) noexcept;

/// @brief What silence_stdin needs to know.
struct StandardInput {
  bool is_other = false;           ///< Its handle is somebody's who found it free: left alone.
  bool stdin_is_used = false;      ///< Its buffer may hold something.
  std::filebuf* of_cin = nullptr;  ///< std::cin's own buffer, after sync_with_stdio(false).
};

/// @brief Looks at the standard input, before a fork: a child pays for every first use of a
/// function.
[[nodiscard]] StandardInput standard_input() noexcept;

/// @brief Makes the standard input empty: /dev/null (Windows: NUL), and nothing left in its
/// buffers.
/// @threads Only while this is the only thread, at the beginning of a forked child.
void silence_stdin(const StandardInput& input) noexcept;

/// @brief Opens a file to be written, from its beginning; no program that is executed has it.
/// Null, and errno says why not. Close it with std::fclose.
/// @param path any, also one that is there.
[[nodiscard]] std::FILE* open_to_write(const std::filesystem::path& path) noexcept;

/// @brief Lets everything vanish that this process writes to its standard output and error.
void silence_outputs() noexcept;

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/streams.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/streams.ipp>
#endif
