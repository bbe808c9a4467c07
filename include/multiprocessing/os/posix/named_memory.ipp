// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/named_memory.hpp>
#include <multiprocessing/os/posix/commit_file.ipp>
#include <multiprocessing/os/posix/sealed_memory.ipp>

#include <cerrno>
#include <csignal>
#include <cstdio>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace multiprocessing::os {

namespace posix {

inline constexpr const char* memory_folder = "/dev/shm";  // where the C library's shm_open looks

MULTIPROCESSING_INLINE std::string memory_path(const std::string& name, std::error_code& ec) {
  ec.clear();
  constexpr std::size_t longest = 255;
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
      name.find('\0') != std::string::npos) {
    ec = std::make_error_code(std::errc::invalid_argument);
  } else if (name.size() > longest) {
    ec = std::make_error_code(std::errc::filename_too_long);
  }
  return memory_folder + ("/" + name);
}

// Without /proc it takes a right, or Linux 6.10.
MULTIPROCESSING_INLINE void give_name(int file, const std::string& path, std::error_code& ec) {
  const std::string itself = "/proc/self/fd/" + std::to_string(file);
  if (MULTIPROCESSING_SYSTEM(linkat)(AT_FDCWD, itself.c_str(), AT_FDCWD, path.c_str(),
                                     AT_SYMLINK_FOLLOW) == 0) {
    return;
  }
  assign_errno(ec);
  if (ec != std::errc::no_such_file_or_directory) return;
  ec.clear();
  if (MULTIPROCESSING_SYSTEM(linkat)(file, "", AT_FDCWD, path.c_str(), AT_EMPTY_PATH) == 0) return;
  assign_errno(ec);
  if (ec == std::errc::no_such_file_or_directory) {
    ec = std::make_error_code(std::errc::function_not_supported);
  }
}

MULTIPROCESSING_INLINE MemoryIdentity identity_of(const struct stat& status) noexcept {
  return {status.st_dev, status.st_ino};
}

}  // namespace posix

MULTIPROCESSING_INLINE void NamedMemory::map(native_handle_type handle,
                                             std::error_code& ec) noexcept {
  struct stat status {};
  if (MULTIPROCESSING_SYSTEM(fstat)(handle, &status) != 0) return posix::assign_errno(ec);
  const auto size = static_cast<std::size_t>(status.st_size);
  ec.clear();
  if (size == 0) return;  // nothing can be mapped
  void* const place =
      MULTIPROCESSING_SYSTEM(mmap)(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, handle, 0);
  if (place == MAP_FAILED) return posix::assign_errno(ec);
  data_ = static_cast<std::byte*>(place);
  size_ = size;
  identity_ = posix::identity_of(status);
}

MULTIPROCESSING_INLINE void NamedMemory::unmap() noexcept {
  if (data_ != nullptr) ::munmap(data_, size_);
}

// It gets its name whole, and announced: nobody finds a part of it, and nobody who dies on the way
// leaves a name of which nobody knows.
MULTIPROCESSING_INLINE NamedMemory NamedMemory::create(const std::string& name,
                                                       std::size_t size,
                                                       const Announce& announce,
                                                       std::error_code& ec) {
  const std::string path = posix::memory_path(name, ec);
  if (!ec &&
      MULTIPROCESSING_SYSTEM(faccessat)(AT_FDCWD, path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
    ec = std::make_error_code(std::errc::file_exists);  // before memory is committed for nothing
  }
  if (ec) return {};
  const UniqueHandle file =
      posix::open_above_streams(ec, posix::memory_folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (ec) return {};
  posix::commit_file(file.get(), 0, size, ec);
  if (ec) return {};
  NamedMemory made;
  made.map(file.get(), ec);
  if (ec) return {};
  announce(made.identity());
  MULTIPROCESSING_STOP_POINT("named_memory.create.announced");
  posix::give_name(file.get(), path, ec);
  if (ec) return {};
  MULTIPROCESSING_STOP_POINT("named_memory.create.named");
  return made;
}

MULTIPROCESSING_INLINE NamedMemory NamedMemory::open(const std::string& name, std::error_code& ec) {
  const std::string path = posix::memory_path(name, ec);
  if (ec) return {};
  const UniqueHandle file =
      posix::open_above_streams(ec, path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (ec) return {};
  NamedMemory opened;
  opened.map(file.get(), ec);
  return opened;
}

MULTIPROCESSING_INLINE const char* place_of_named_memory() noexcept {
  return posix::memory_folder;
}

MULTIPROCESSING_INLINE void remove_named_memory(const std::string& name,
                                                const MemoryIdentity& identity,
                                                std::error_code& ec) noexcept {
  try {
    const std::string path = posix::memory_path(name, ec);
    if (ec) return;
    struct stat status {};
    if (MULTIPROCESSING_SYSTEM(stat)(path.c_str(), &status) != 0) return posix::assign_errno(ec);
    if (posix::identity_of(status) != identity) {
      ec = std::make_error_code(std::errc::no_such_file_or_directory);
    } else if (MULTIPROCESSING_SYSTEM(unlink)(path.c_str()) != 0) {
      posix::assign_errno(ec);
    }
  } catch (const std::bad_alloc&) {
    ec = std::make_error_code(std::errc::not_enough_memory);
  }
}

}  // namespace multiprocessing::os
