// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file captured.hpp
/// @brief What this process and those that it starts write to a descriptor.
#include <multiprocessing/detail/config.hpp>

#include <array>
#include <cerrno>
#include <cstdio>
#include <iostream>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>
#if MULTIPROCESSING_POSIX
#  include <sys/mman.h>
#else
#  include <io.h>
#  include <sys/stat.h>
#endif

namespace test {

namespace detail {

// Where everybody writes, and where it is read, at a place of its own.
struct File {
  int to_write;
  int to_read;
};

#if MULTIPROCESSING_POSIX
inline int keep_aside(int descriptor) {
  return ::fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
}
inline File temporary_file() {
  const int file = ::memfd_create("captured", MFD_CLOEXEC);
  if (file < 0 || ::fcntl(file, F_SETFL, O_APPEND) != 0) return {-1, -1};
  return {file, keep_aside(file)};
}
inline std::string text_of(int file) {
  std::string all;
  std::array<char, 4096> piece{};
  for (;;) {
    const auto got = ::pread(file, piece.data(), piece.size(), static_cast<off_t>(all.size()));
    if (got <= 0) return all;
    all.append(piece.data(), static_cast<std::size_t>(got));
  }
}
#else
inline int keep_aside(int descriptor) {
  return ::_dup(descriptor);
}
// Goes when the last who has it open closes it.
inline File temporary_file() {
  static int number = 0;
  const std::string name = "captured." + std::to_string(number++);
  const auto open = [&](int how) {
    return ::_open(name.c_str(), how | _O_TEMPORARY | _O_BINARY, _S_IREAD | _S_IWRITE);
  };
  const int file = open(_O_WRONLY | _O_CREAT | _O_EXCL);
  return {file, open(_O_RDONLY)};
}
inline std::string text_of(int file) {
  ::_lseek(file, 0, SEEK_SET);
  std::string all;
  std::array<char, 4096> piece{};
  for (;;) {
    const int got = ::_read(file, piece.data(), static_cast<unsigned>(piece.size()));
    if (got <= 0) break;
    all.append(piece.data(), static_cast<std::size_t>(got));
  }
  std::erase(all, '\r');
  return all;
}
#endif

}  // namespace detail

/// @brief While it lives, a standard descriptor is a file, whose text it knows.
class Captured {
 public:
  explicit Captured(int descriptor)
      : descriptor_{descriptor},
        before_{detail::keep_aside(descriptor)},
        file_{detail::temporary_file()} {
    flush();
    if (before_ < 0 || file_.to_read < 0 || ::dup2(file_.to_write, descriptor_) < 0) {
      throw std::system_error{errno, std::system_category(), "cannot capture"};
    }
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  ~Captured() {
    flush();
    ::dup2(before_, descriptor_);
    ::close(before_);
    ::close(file_.to_write);
    ::close(file_.to_read);
  }

  [[nodiscard]] std::string text() const { return detail::text_of(file_.to_read); }

 private:
  static void flush() {
    std::cout.flush();
    std::cerr.flush();
    std::fflush(stdout);
    std::fflush(stderr);
  }

  int descriptor_;
  int before_;
  detail::File file_;
};

}  // namespace test
