// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file memory.hpp
/// @brief Memory that processes share: without a name, reserved at once, committed as it is needed.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/large_pages.hpp>
#include <multiprocessing/os/native_handle.hpp>

#include <boost/interprocess/mapped_region.hpp>

#include <cstddef>
#include <system_error>

namespace multiprocessing::os {

/// @brief One piece of shared memory, mapped whole into this process.
///
/// The kernel frees it with the last process that has it open or mapped. Only committed parts may
/// be touched. Nobody can cut it off under a reader: it never shrinks.
/// @shape `size()` is address space, not memory: 64 GiB may be reserved where 1 MiB is ever used.
class SharedRegion {
 public:
  /// @brief As much can be reserved. Windows keeps eight bytes for every page of a reservation.
  static constexpr std::size_t largest =
      MULTIPROCESSING_WINDOWS ? std::size_t{4} << 30U : std::size_t{1} << 46U;

  SharedRegion() noexcept = default;

  /// @brief Reserves `size` bytes, of which none is committed yet.
  /// @param behind so many more bytes adopt() may map. POSIX: as many as it likes.
  /// @errors POSIX `memfd_create`: EMFILE, ENFILE, ENOMEM; `fcntl(F_ADD_SEALS)`; `mmap`: ENOMEM
  /// when RLIMIT_AS leaves no room. Windows `CreateFileMapping(SEC_RESERVE)`, `MapViewOfFile`.
  static SharedRegion create(std::size_t size,
                             std::error_code& ec,
                             std::size_t behind = 0) noexcept;

  /// @brief Maps what another process created.
  /// @param handle taken over only when that succeeds.
  /// @errors as create; `invalid_argument`: the handle is not such memory (POSIX: not sealed).
  static SharedRegion adopt(UniqueHandle&& handle, std::size_t size, std::error_code& ec) noexcept;

  [[nodiscard]] std::byte* data() const noexcept {
    return static_cast<std::byte*>(region_.get_address());
  }
  [[nodiscard]] std::size_t size() const noexcept { return region_.get_size(); }
  [[nodiscard]] native_handle_type handle() const noexcept { return handle_.get(); }

  /// @brief Makes a part usable, for all processes. Parts that are so already stay as they are;
  /// fresh ones are zero.
  /// @errors the system refuses memory: POSIX `fallocate`: ENOSPC, ENOMEM, EFBIG (RLIMIT_FSIZE; no
  /// SIGXFSZ is raised). Windows `VirtualAlloc(MEM_COMMIT)`.
  void commit(std::size_t offset, std::size_t size, std::error_code& ec) noexcept;

  /// @brief Whether a part may be touched: it was committed, by whichever process, or lies before
  /// one that was, and is no larger than all that is committed. For those who got its place from
  /// memory that others write.
  /// @errors POSIX `fstat`: ENOMEM, EBADF. Windows `VirtualQuery`.
  [[nodiscard]] bool is_usable(std::size_t offset,
                               std::size_t size,
                               std::error_code& ec) const noexcept;

  /// @brief Gives a part back: whole pages inside it read as zero afterwards. Best effort: a system
  /// that cannot (Windows) keeps the memory.
  void discard(std::size_t offset, std::size_t size) noexcept;

  /// @brief Closes the handle; the mapping stays.
  void close_handle() noexcept { handle_.reset(); }

  /// @brief Closes the handle, and leaves the mapping where it is until this process ends.
  void leave_mapped() noexcept;

 private:
  UniqueHandle handle_;
  boost::interprocess::mapped_region region_;
};

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/memory.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/memory.ipp>
#endif
