// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file named_memory.hpp
/// @brief Shared memory that strangers find by its name.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/native_handle.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <system_error>
#include <utility>

namespace multiprocessing::os {

/// @brief Which memory a name stands for: another one of the same name has another identity.
/// POSIX: device and inode. Windows: nothing, a name is as good.
struct MemoryIdentity {
  std::uint64_t device = 0;
  std::uint64_t file = 0;
  bool operator==(const MemoryIdentity&) const = default;
};

/// @brief Mapped memory with a name, as CPython's `shared_memory` makes it.
///
/// Names have no leading slash here. POSIX: `shm_open`'s, so a file in /dev/shm, which stays until
/// remove_named_memory(). Windows: a section of the page file, which the system frees with its last
/// handle.
class NamedMemory {
 public:
  /// @brief Before it has its name; the name is there when this returns.
  using Announce = std::function<void(const MemoryIdentity&)>;

  NamedMemory() noexcept = default;
  NamedMemory(NamedMemory&& other) noexcept { swap(other); }
  NamedMemory(const NamedMemory&) = delete;
  NamedMemory& operator=(const NamedMemory&) = delete;
  NamedMemory& operator=(NamedMemory&& other) noexcept {
    NamedMemory{std::move(other)}.swap(*this);
    return *this;
  }
  ~NamedMemory() { unmap(); }

  /// @brief New memory, all zero, for this user only (mode 0600). All of it is committed.
  /// @param announce called before the memory has its name; what it throws comes out.
  /// @errors `file_exists`: the name is taken. `invalid_argument`: it cannot be a name.
  /// `filename_too_long`. The system refuses: POSIX `open`, `fallocate` (ENOSPC), `mmap`, `linkat`,
  /// `function_not_supported`: there is no /proc, and the system needs it; Windows
  /// `CreateFileMapping`.
  static NamedMemory create(const std::string& name,
                            std::size_t size,
                            const Announce& announce,
                            std::error_code& ec);
  /// @brief The memory of that name, whole, whoever made it: POSIX, another user may have, who let
  /// this one have it.
  /// One that is empty is no memory: `data()` is null and `size()` 0.
  /// @errors `no_such_file_or_directory`; as create.
  static NamedMemory open(const std::string& name, std::error_code& ec);

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  /// @brief POSIX: what it was created with. Windows: rounded up to pages.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] const MemoryIdentity& identity() const noexcept { return identity_; }

 private:
  void swap(NamedMemory& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(identity_, other.identity_);
    handle_.swap(other.handle_);
  }
  void map(native_handle_type handle, std::error_code& ec) noexcept;
  void unmap() noexcept;

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  MemoryIdentity identity_;
  UniqueHandle handle_;  // Windows: its name lives as long
};

/// @brief Where the names are, for errors. POSIX: /dev/shm.
[[nodiscard]] const char* place_of_named_memory() noexcept;

/// @brief Takes the name away; who has the memory mapped keeps it. Windows: does nothing.
///
/// POSIX has no way to remove a name only if it stands for this memory: in the moment between the
/// look and the removal, others may remove the name and make it again.
/// @errors `no_such_file_or_directory`: there is no such memory, or the name stands for another one
/// by now.
void remove_named_memory(const std::string& name,
                         const MemoryIdentity& identity,
                         std::error_code& ec) noexcept;

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/named_memory.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/named_memory.ipp>
#endif
