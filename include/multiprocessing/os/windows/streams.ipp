// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/streams.hpp>
#include <multiprocessing/os/windows/output.ipp>

#include <cstdio>
#include <fstream>
#include <iostream>

#include <fcntl.h>
#include <io.h>
#include <sys/stat.h>

namespace multiprocessing::os {

namespace windows {

MULTIPROCESSING_INLINE void flush_stream(std::ostream& stream) noexcept {
  try {
    stream.flush();
  } catch (...) {  // the program asked its stream to throw; a start or an end is no place for it
  }
}

MULTIPROCESSING_INLINE void silence(int number, int flags) noexcept {
  const int nowhere = ::_open("NUL", flags);
  if (nowhere < 0) return;
  ::_dup2(nowhere, number);
  ::_close(nowhere);
}

}  // namespace windows

MULTIPROCESSING_INLINE void flush_streams() noexcept {
  windows::flush_stream(std::cout);
  windows::flush_stream(std::cerr);
  windows::flush_stream(std::clog);
  static_cast<void>(std::fflush(stdout));
  static_cast<void>(std::fflush(stderr));
}

MULTIPROCESSING_INLINE void write_error(std::string_view text) noexcept {
  windows::flush_stream(std::cerr);
  static_cast<void>(std::fflush(stderr));
  write_error_line(text);
}

MULTIPROCESSING_INLINE void write_error_line(std::string_view line) noexcept {
  constexpr int error_output = 2;
  const HANDLE output = windows::output_of(error_output);
  while (!line.empty()) {
    DWORD written = 0;
    if (MULTIPROCESSING_SYSTEM(WriteFile)(output, line.data(), static_cast<DWORD>(line.size()),
                                          &written, nullptr) == 0 ||
        written == 0) {
      return;
    }
    line.remove_prefix(written);
  }
}

MULTIPROCESSING_INLINE StandardInput standard_input() noexcept {
  return {false, true, dynamic_cast<std::filebuf*>(std::cin.rdbuf())};
}

MULTIPROCESSING_INLINE void silence_stdin(const StandardInput& input) noexcept {
  if (input.is_other) return;
  windows::silence(0, _O_RDONLY);
  while (input.of_cin != nullptr && input.of_cin->in_avail() > 0) input.of_cin->sbumpc();
}

MULTIPROCESSING_INLINE std::FILE* open_to_write(const std::filesystem::path& path) noexcept {
  const int file = ::_wopen(path.c_str(), _O_WRONLY | _O_CREAT | _O_TRUNC | _O_TEXT | _O_NOINHERIT,
                            _S_IREAD | _S_IWRITE);
  if (file < 0) return nullptr;
  std::FILE* const stream = ::_fdopen(file, "w");
  if (stream == nullptr) ::_close(file);
  return stream;
}

MULTIPROCESSING_INLINE void silence_outputs() noexcept {
  for (const int number : {1, 2}) windows::silence(number, _O_WRONLY);
}

}  // namespace multiprocessing::os
