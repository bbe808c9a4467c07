// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file captured.hpp
/// @brief What this process and those that it starts write to a descriptor.
#include <array>
#include <cerrno>
#include <cstdio>
#include <iostream>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace test {

/// @brief While it lives, a standard descriptor is a file, whose text it knows.
class Captured {
 public:
  explicit Captured(int descriptor)
      : descriptor_{descriptor},
        before_{::fcntl(descriptor, F_DUPFD_CLOEXEC, 3)},
        file_{::memfd_create("captured", MFD_CLOEXEC)} {
    flush();
    if (before_ < 0 || file_ < 0 || ::fcntl(file_, F_SETFL, O_APPEND) != 0 ||
        ::dup2(file_, descriptor_) != descriptor_) {
      throw std::system_error{errno, std::system_category(), "cannot capture"};
    }
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  ~Captured() {
    flush();
    ::dup2(before_, descriptor_);
    ::close(before_);
    ::close(file_);
  }

  [[nodiscard]] std::string text() const {
    std::string all;
    std::array<char, 4096> piece{};
    for (;;) {
      const auto got = ::pread(file_, piece.data(), piece.size(), static_cast<off_t>(all.size()));
      if (got <= 0) return all;
      all.append(piece.data(), static_cast<std::size_t>(got));
    }
  }

 private:
  static void flush() {
    std::cout.flush();
    std::cerr.flush();
    std::fflush(stdout);
    std::fflush(stderr);
  }

  int descriptor_;
  int before_;
  int file_;
};

}  // namespace test
