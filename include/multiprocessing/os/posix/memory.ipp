// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/memory.hpp>
#include <multiprocessing/os/posix/commit_file.ipp>

#include <boost/interprocess/exceptions.hpp>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <new>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace multiprocessing::os {

namespace posix {

struct Mappable {  // what Boost.Interprocess maps: anything that has a mapping handle
  int fd;
  [[nodiscard]] boost::interprocess::mapping_handle_t get_mapping_handle() const noexcept {
    return boost::interprocess::ipcdetail::mapping_handle_from_file_handle(fd);
  }
};

MULTIPROCESSING_INLINE boost::interprocess::mapped_region map_whole(int fd,
                                                                    std::size_t size,
                                                                    std::error_code& ec) noexcept {
  try {
    ec.clear();
    return {Mappable{fd}, boost::interprocess::read_write, 0, size, nullptr, MAP_NORESERVE};
  } catch (const boost::interprocess::interprocess_exception& error) {
    ec.assign(error.get_native_error(), std::system_category());
    return {};
  }
}

}  // namespace posix

MULTIPROCESSING_INLINE SharedRegion SharedRegion::create(std::size_t size,
                                                         std::error_code& ec,
                                                         std::size_t /*behind*/) noexcept {
  SharedRegion made;
  made.handle_ = posix::above_streams(
      MULTIPROCESSING_SYSTEM(memfd_create)("multiprocessing", MFD_CLOEXEC | MFD_ALLOW_SEALING), ec);
  if (ec) return {};
  if (MULTIPROCESSING_SYSTEM(fcntl)(made.handle_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) !=
      0) {
    ec.assign(errno, std::system_category());
    return {};
  }
  made.region_ = posix::map_whole(made.handle_.get(), size, ec);
  if (ec) return {};
  return made;
}

MULTIPROCESSING_INLINE SharedRegion SharedRegion::adopt(UniqueHandle&& handle,
                                                        std::size_t size,
                                                        std::error_code& ec) noexcept {
  const int seals = MULTIPROCESSING_SYSTEM(fcntl)(handle.get(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    ec = std::make_error_code(std::errc::invalid_argument);
    return {};
  }
  SharedRegion adopted;
  adopted.region_ = posix::map_whole(handle.get(), size, ec);
  if (ec) return {};
  adopted.handle_ = std::move(handle);
  return adopted;
}

MULTIPROCESSING_INLINE void SharedRegion::commit(std::size_t offset,
                                                 std::size_t size,
                                                 std::error_code& ec) noexcept {
  posix::commit_file(handle_.get(), offset, size, ec);
}

MULTIPROCESSING_INLINE bool SharedRegion::is_usable(std::size_t offset,
                                                    std::size_t size,
                                                    std::error_code& ec) const noexcept {
  constexpr std::size_t block = 512;
  struct stat status {};
  ec.clear();
  if (MULTIPROCESSING_SYSTEM(fstat)(handle_.get(), &status) != 0) {
    ec.assign(errno, std::system_category());
    return false;
  }
  return size <= region_.get_size() && offset <= region_.get_size() - size &&
         offset + size <= static_cast<std::size_t>(status.st_size) &&
         size <= static_cast<std::size_t>(status.st_blocks) * block;
}

MULTIPROCESSING_INLINE void SharedRegion::discard(std::size_t offset, std::size_t size) noexcept {
  posix::discard_in_file(handle_.get(), offset, size);
}

MULTIPROCESSING_INLINE void SharedRegion::leave_mapped() noexcept {
  handle_.reset();
  using Mapping = boost::interprocess::mapped_region;
  alignas(Mapping) std::byte never_destroyed[sizeof(Mapping)];
  new (never_destroyed) Mapping{std::move(region_)};
}

}  // namespace multiprocessing::os
