// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/memory.hpp>
#include <multiprocessing/os/windows/api.ipp>

#include <boost/interprocess/exceptions.hpp>

#include <cstddef>
#include <new>
#include <utility>

namespace multiprocessing::os {

namespace windows {

struct Mappable {  // what Boost.Interprocess maps: anything that has a mapping handle
  HANDLE section;
  [[nodiscard]] boost::interprocess::mapping_handle_t get_mapping_handle() const noexcept {
    return {section, true};
  }
};

MULTIPROCESSING_INLINE boost::interprocess::mapped_region map_whole(HANDLE section,
                                                                    std::size_t size,
                                                                    std::error_code& ec) noexcept {
  try {
    ec.clear();
    return {Mappable{section}, boost::interprocess::read_write, 0, size};
  } catch (const boost::interprocess::interprocess_exception& error) {
    ec = as_error(static_cast<DWORD>(error.get_native_error()));
    return {};
  }
}

}  // namespace windows

MULTIPROCESSING_INLINE SharedRegion SharedRegion::create(std::size_t size,
                                                         std::error_code& ec,
                                                         std::size_t behind) noexcept {
  constexpr std::uint64_t half = std::uint64_t{1} << 32U;
  if (size > largest || behind > largest - size) {
    ec = std::make_error_code(std::errc::not_enough_memory);
    return {};
  }
  const std::uint64_t all = size + behind;
  SharedRegion made;
  made.handle_ =
      windows::owned(MULTIPROCESSING_SYSTEM(CreateFileMappingW)(
                         INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE | SEC_RESERVE,
                         static_cast<DWORD>(all / half), static_cast<DWORD>(all % half), nullptr),
                     ec);
  if (ec) return {};
  made.region_ = windows::map_whole(made.handle_.get(), size, ec);
  if (ec) return {};
  return made;
}

MULTIPROCESSING_INLINE SharedRegion SharedRegion::adopt(UniqueHandle&& handle,
                                                        std::size_t size,
                                                        std::error_code& ec) noexcept {
  SharedRegion adopted;
  adopted.region_ = windows::map_whole(handle.get(), size, ec);
  if (ec) {
    ec = std::make_error_code(std::errc::invalid_argument);
    return {};
  }
  adopted.handle_ = std::move(handle);
  return adopted;
}

MULTIPROCESSING_INLINE void SharedRegion::commit(std::size_t offset,
                                                 std::size_t size,
                                                 std::error_code& ec) noexcept {
  ec.clear();
  if (MULTIPROCESSING_SYSTEM(VirtualAlloc)(data() + offset, size, MEM_COMMIT, PAGE_READWRITE) ==
      nullptr) {
    ec = windows::last_error();
  }
}

MULTIPROCESSING_INLINE bool SharedRegion::is_usable(std::size_t offset,
                                                    std::size_t size,
                                                    std::error_code& ec) const noexcept {
  ec.clear();
  if (size > region_.get_size() || offset > region_.get_size() - size) return false;
  for (std::size_t done = 0; done < size;) {
    MEMORY_BASIC_INFORMATION part{};
    const std::byte* const at = data() + offset + done;
    if (MULTIPROCESSING_SYSTEM(VirtualQuery)(at, &part, sizeof part) == 0) {
      ec = windows::last_error();
      return false;
    }
    if (part.State != MEM_COMMIT) return false;
    done += static_cast<std::size_t>(static_cast<const std::byte*>(part.BaseAddress) +
                                     part.RegionSize - at);
  }
  return true;
}

MULTIPROCESSING_INLINE void SharedRegion::discard(std::size_t /*offset*/,
                                                  std::size_t /*size*/) noexcept {}

MULTIPROCESSING_INLINE void SharedRegion::leave_mapped() noexcept {
  handle_.reset();
  using Mapping = boost::interprocess::mapped_region;
  alignas(Mapping) std::byte never_destroyed[sizeof(Mapping)];
  new (never_destroyed) Mapping{std::move(region_)};
}

}  // namespace multiprocessing::os
