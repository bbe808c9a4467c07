// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/named_memory.hpp>
#include <multiprocessing/os/windows/api.ipp>

namespace multiprocessing::os {

namespace windows {

inline std::wstring section_name(const std::string& name, std::error_code& ec) {
  ec.clear();
  constexpr std::size_t longest = 255;
  if (name.empty() || name.find('\0') != std::string::npos) {
    ec = std::make_error_code(std::errc::invalid_argument);
  } else if (name.size() > longest) {
    ec = std::make_error_code(std::errc::filename_too_long);
  }
  return to_wide(name);
}

}  // namespace windows

inline void NamedMemory::map(native_handle_type handle, std::error_code& ec) noexcept {
  void* const place =
      MULTIPROCESSING_SYSTEM(MapViewOfFile)(handle, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, 0);
  if (place == nullptr) {
    ec = windows::last_error();
    return;
  }
  data_ = static_cast<std::byte*>(place);
  MEMORY_BASIC_INFORMATION range{};
  if (MULTIPROCESSING_SYSTEM(VirtualQuery)(place, &range, sizeof range) == 0) {
    ec = windows::last_error();
    return;
  }
  size_ = range.RegionSize;
  ec.clear();
}

inline void NamedMemory::unmap() noexcept {
  if (data_ != nullptr) MULTIPROCESSING_SYSTEM(UnmapViewOfFile)(data_);
}

inline NamedMemory NamedMemory::create(const std::string& name,
                                       std::size_t size,
                                       const Announce& announce,
                                       std::error_code& ec) {
  const std::wstring wide = windows::section_name(name, ec);
  if (ec) return {};
  announce({});
  constexpr std::uint64_t half = std::uint64_t{1} << 32U;
  const HANDLE section = MULTIPROCESSING_SYSTEM(CreateFileMappingW)(
      INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE, static_cast<DWORD>(size / half),
      static_cast<DWORD>(size % half), wide.c_str());
  const bool was_there = MULTIPROCESSING_SYSTEM(GetLastError)() == ERROR_ALREADY_EXISTS;
  NamedMemory made;
  made.handle_ = windows::owned(section, ec);
  if (ec) return {};
  if (was_there) {
    ec = std::make_error_code(std::errc::file_exists);
    return {};
  }
  made.map(made.handle_.get(), ec);
  return made;
}

inline NamedMemory NamedMemory::open(const std::string& name, std::error_code& ec) {
  const std::wstring wide = windows::section_name(name, ec);
  if (ec) return {};
  NamedMemory opened;
  opened.handle_ = windows::owned(
      MULTIPROCESSING_SYSTEM(OpenFileMappingW)(FILE_MAP_READ | FILE_MAP_WRITE, FALSE, wide.c_str()),
      ec);
  if (ec && MULTIPROCESSING_SYSTEM(GetLastError)() == ERROR_FILE_NOT_FOUND) {
    ec = std::make_error_code(std::errc::no_such_file_or_directory);
  }
  if (ec) return {};
  opened.map(opened.handle_.get(), ec);
  return opened;
}

inline void remove_named_memory(const std::string& /*name*/,
                                const MemoryIdentity& /*identity*/,
                                std::error_code& ec) noexcept {
  ec.clear();
}

}  // namespace multiprocessing::os
