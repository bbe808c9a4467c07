// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/named_memory.hpp>
#include <multiprocessing/os/windows/api.ipp>

namespace multiprocessing::os {

namespace windows {

// As CPython's: in the session's own folder of names.
MULTIPROCESSING_INLINE std::wstring memory_name(const std::string& name, std::error_code& ec) {
  ec.clear();
  constexpr std::size_t longest = 255;
  if (name.empty() || name.find_first_of(std::string{"/\\\0", 3}) != std::string::npos) {
    ec = std::make_error_code(std::errc::invalid_argument);
  } else if (name.size() > longest) {
    ec = std::make_error_code(std::errc::filename_too_long);
  }
  return to_wide(name);
}

}  // namespace windows

MULTIPROCESSING_INLINE void NamedMemory::map(native_handle_type handle,
                                             std::error_code& ec) noexcept {
  void* const place =
      MULTIPROCESSING_SYSTEM(MapViewOfFile)(handle, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, 0);
  MEMORY_BASIC_INFORMATION region{};
  if (place == nullptr ||
      MULTIPROCESSING_SYSTEM(VirtualQuery)(place, &region, sizeof region) == 0) {
    ec = windows::last_error();
    if (place != nullptr) MULTIPROCESSING_SYSTEM(UnmapViewOfFile)(place);
    return;
  }
  ec.clear();
  data_ = static_cast<std::byte*>(place);
  size_ = region.RegionSize;
}

MULTIPROCESSING_INLINE void NamedMemory::unmap() noexcept {
  if (data_ != nullptr) MULTIPROCESSING_SYSTEM(UnmapViewOfFile)(data_);
}

MULTIPROCESSING_INLINE NamedMemory NamedMemory::create(const std::string& name,
                                                       std::size_t size,
                                                       const Announce& announce,
                                                       std::error_code& ec) {
  const std::wstring wide = windows::memory_name(name, ec);
  if (ec) return {};
  announce({});
  const auto whole = static_cast<std::uint64_t>(size);
  NamedMemory made;
  made.handle_ =
      windows::owned(MULTIPROCESSING_SYSTEM(CreateFileMappingW)(
                         INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE,
                         static_cast<DWORD>(whole >> 32U), static_cast<DWORD>(whole), wide.c_str()),
                     ec);
  if (!ec && MULTIPROCESSING_SYSTEM(GetLastError)() == ERROR_ALREADY_EXISTS) {
    ec = std::make_error_code(std::errc::file_exists);
  }
  if (!ec) made.map(made.handle_.get(), ec);
  if (ec) return {};
  return made;
}

MULTIPROCESSING_INLINE NamedMemory NamedMemory::open(const std::string& name, std::error_code& ec) {
  const std::wstring wide = windows::memory_name(name, ec);
  if (ec) return {};
  NamedMemory opened;
  opened.handle_ = windows::owned(
      MULTIPROCESSING_SYSTEM(OpenFileMappingW)(FILE_MAP_READ | FILE_MAP_WRITE, FALSE, wide.c_str()),
      ec);
  if (ec && ec.value() == ERROR_FILE_NOT_FOUND) {
    ec = std::make_error_code(std::errc::no_such_file_or_directory);
  }
  if (!ec) opened.map(opened.handle_.get(), ec);
  if (ec) return {};
  return opened;
}

MULTIPROCESSING_INLINE const char* place_of_named_memory() noexcept {
  return "this session";
}

MULTIPROCESSING_INLINE void remove_named_memory(const std::string& /*name*/,
                                                const MemoryIdentity& /*identity*/,
                                                std::error_code& ec) noexcept {
  ec.clear();
}

}  // namespace multiprocessing::os
