// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/posix/blocked_signal.ipp>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace multiprocessing::os::posix {

inline constexpr int whole_seal = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;

MULTIPROCESSING_INLINE void assign_errno(std::error_code& ec) noexcept {
  ec.assign(errno, std::system_category());
}

MULTIPROCESSING_INLINE void write_all(int to,
                                      std::span<const std::byte> bytes,
                                      std::error_code& ec) noexcept {
  ec.clear();
  while (!bytes.empty()) {
    const auto written = MULTIPROCESSING_SYSTEM(write)(to, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      assign_errno(ec);
      return;
    }
  }
}

MULTIPROCESSING_INLINE void write_at(int to,
                                     std::size_t place,
                                     std::span<const std::byte> bytes,
                                     std::error_code& ec) noexcept {
  ec.clear();
  while (!bytes.empty()) {
    const auto written =
        MULTIPROCESSING_SYSTEM(pwrite)(to, bytes.data(), bytes.size(), static_cast<off_t>(place));
    if (written >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(written));
      place += static_cast<std::size_t>(written);
    } else if (errno != EINTR) {
      assign_errno(ec);
      return;
    }
  }
}

// All of them; bad_message: there are fewer.
MULTIPROCESSING_INLINE void read_at(int from,
                                    std::size_t place,
                                    std::span<std::byte> into,
                                    std::error_code& ec) noexcept {
  ec.clear();
  while (!into.empty()) {
    const auto got =
        MULTIPROCESSING_SYSTEM(pread)(from, into.data(), into.size(), static_cast<off_t>(place));
    if (got > 0) {
      into = into.subspan(static_cast<std::size_t>(got));
      place += static_cast<std::size_t>(got);
    } else if (got == 0 || errno != EINTR) {
      ec.assign(got == 0 ? EBADMSG : errno, std::system_category());
      return;
    }
  }
}

MULTIPROCESSING_INLINE UniqueHandle open_memory(std::error_code& ec) noexcept {
  return above_streams(
      MULTIPROCESSING_SYSTEM(memfd_create)("multiprocessing", MFD_CLOEXEC | MFD_ALLOW_SEALING), ec);
}

// Bytes into an empty memory that nobody changes any more then.
MULTIPROCESSING_INLINE void fill_and_seal(int memory,
                                          std::span<const std::byte> bytes,
                                          std::error_code& ec) noexcept {
  {
    const BlockedSignal file_size{SIGXFSZ};
    write_all(memory, bytes, ec);
  }
  if (!ec && MULTIPROCESSING_SYSTEM(fcntl)(memory, F_ADD_SEALS, whole_seal) != 0) assign_errno(ec);
}

MULTIPROCESSING_INLINE UniqueHandle sealed_copy(std::span<const std::byte> bytes,
                                                std::error_code& ec) noexcept {
  UniqueHandle memory = open_memory(ec);
  if (!ec) fill_and_seal(memory.get(), bytes, ec);
  if (ec) return {};
  return memory;
}

// Whether it has those seals. It may have more: where vm.memfd_noexec is set, each is born with
// one.
MULTIPROCESSING_INLINE bool is_whole(int memory) noexcept {
  const int seals = MULTIPROCESSING_SYSTEM(fcntl)(memory, F_GET_SEALS);
  return seals >= 0 && (seals & whole_seal) == whole_seal;
}

// What is empty, and keeps nothing: without /dev a memory that takes nothing.
MULTIPROCESSING_INLINE UniqueHandle open_nowhere(int how, std::error_code& ec) noexcept {
  UniqueHandle device = open_above_streams(ec, "/dev/null", how | O_CLOEXEC);
  if (!ec || ec == std::errc::too_many_files_open ||
      ec == std::errc::too_many_files_open_in_system) {
    return device;
  }
  return sealed_copy({}, ec);
}

// Such a memory's size; bad_message: it is not such a memory.
MULTIPROCESSING_INLINE std::size_t size_of_sealed(int memory, std::error_code& ec) noexcept {
  constexpr std::uint64_t block = 512;
  struct stat status {};
  if (!is_whole(memory) || MULTIPROCESSING_SYSTEM(fstat)(memory, &status) != 0 ||
      status.st_blocks * static_cast<blkcnt_t>(block) < status.st_size) {  // a hole is no memory
    ec = std::make_error_code(std::errc::bad_message);
    return 0;
  }
  ec.clear();
  return static_cast<std::size_t>(status.st_size);
}

// Its bytes. Not mapped: to make and to drop the pages' table costs more than to copy them. Throws
// std::bad_alloc.
MULTIPROCESSING_INLINE std::vector<std::byte> read_sealed(int memory, std::error_code& ec) {
  std::vector<std::byte> bytes(size_of_sealed(memory, ec));
  if (!ec) read_at(memory, 0, bytes, ec);
  if (ec) return {};
  return bytes;
}

}  // namespace multiprocessing::os::posix
