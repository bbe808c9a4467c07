// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/posix/blocked_signal.ipp>
#include <multiprocessing/os/posix/sealed_memory.ipp>
#include <multiprocessing/os/streams.hpp>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <streambuf>
#include <system_error>
#include <typeinfo>

#include <fcntl.h>
#include <poll.h>
#include <stdio_ext.h>
#include <sys/mman.h>
#include <unistd.h>

namespace multiprocessing::os {

namespace posix {

// The kind of buffer that standard streams begin with: what it does not show as pending is
// stdout's. Null until the program's static objects are made.
inline const std::type_info* const first_kind_of_buffer = [] {
  static const std::ios_base::Init streams;  // inline variables may come before those of <iostream>
  const std::streambuf& buffer = *std::cout.rdbuf();
  return &typeid(buffer);
}();

struct PutArea : std::streambuf {
  static bool is_empty(const std::streambuf& buffer) noexcept {
    return (buffer.*&PutArea::pptr)() == (buffer.*&PutArea::pbase)();
  }
};

// A child's first call of anything costs a page, so what is empty is left alone.
MULTIPROCESSING_INLINE void flush_stream(std::ostream& stream) noexcept {
  const std::streambuf* const buffer = stream.rdbuf();
  if (buffer != nullptr) {
    const std::streambuf& known = *buffer;
    const bool keeps_nothing = first_kind_of_buffer != nullptr &&
                               typeid(known) == *first_kind_of_buffer && PutArea::is_empty(known);
    if (keeps_nothing) return;
  }
  try {
    stream.flush();
  } catch (...) {  // the program asked its stream to throw; a start or an end is no place for it
  }
}

MULTIPROCESSING_INLINE void flush_file(std::FILE* file) noexcept {
  if (__fpending(file) != 0) static_cast<void>(std::fflush(file));
}

}  // namespace posix

MULTIPROCESSING_INLINE void flush_streams() noexcept {
  posix::flush_stream(std::cout);
  posix::flush_stream(std::cerr);
  posix::flush_stream(std::clog);
  posix::flush_file(stdout);
  posix::flush_file(stderr);
}

MULTIPROCESSING_INLINE void write_error(std::string_view text) noexcept {
  posix::flush_stream(std::cerr);
  posix::flush_file(stderr);
  write_error_line(text);
}

MULTIPROCESSING_INLINE void write_error_line(std::string_view line) noexcept {
  const posix::BlockedSignal quiet{SIGPIPE};
  while (!line.empty()) {
    const auto written = MULTIPROCESSING_SYSTEM(write)(STDERR_FILENO, line.data(), line.size());
    if (written > 0) {
      line.remove_prefix(static_cast<std::size_t>(written));
    } else if (written == 0) {
      return;
    } else if (errno == EAGAIN) {  // somebody made it non-blocking
      pollfd room{STDERR_FILENO, POLLOUT, 0};
      MULTIPROCESSING_SYSTEM(poll)(&room, 1, -1);
    } else if (errno != EINTR) {
      return;
    }
  }
}

MULTIPROCESSING_INLINE StandardInput standard_input() noexcept {
  // Born close-on-exec, it is no standard input but somebody's handle that got the free number.
  const int flags = MULTIPROCESSING_SYSTEM(fcntl)(STDIN_FILENO, F_GETFD);
  const bool is_other = flags >= 0 && (flags & FD_CLOEXEC) != 0;
  // A buffer of another kind is the program's own.
  return {is_other, __fbufsize(stdin) != 0, dynamic_cast<std::filebuf*>(std::cin.rdbuf())};
}

namespace posix {

inline auto* open_function = &MULTIPROCESSING_SYSTEM(open);  // see close_function

}  // namespace posix

MULTIPROCESSING_INLINE void silence_stdin(const StandardInput& input) noexcept {
  if (input.is_other) return;
  const char empty[] = "/dev/null";  // here: a literal's page would have to be read first
  // The number is free now, the lowest, and there is only this thread.
  posix::close_function(STDIN_FILENO);
  if (posix::open_function(empty, O_RDONLY) < 0) {  // no /dev: a memory, which gets that number too
    static_cast<void>(MULTIPROCESSING_SYSTEM(memfd_create)("multiprocessing", 0));
  }
  if (input.stdin_is_used) {
    __fpurge(stdin);
    std::clearerr(stdin);
  }
  while (input.of_cin != nullptr && input.of_cin->in_avail() > 0) input.of_cin->sbumpc();
}

MULTIPROCESSING_INLINE std::FILE* open_to_write(const std::filesystem::path& path) noexcept {
  return std::fopen(path.c_str(), "we");
}

MULTIPROCESSING_INLINE void silence_outputs() noexcept {
  std::error_code ec;
  const UniqueHandle nowhere = posix::open_nowhere(O_WRONLY, ec);
  for (const int number : {STDOUT_FILENO, STDERR_FILENO}) {
    if (nowhere) MULTIPROCESSING_SYSTEM(dup2)(nowhere.get(), number);
  }
}

}  // namespace multiprocessing::os
