// SPDX-License-Identifier: BSL-1.0
#pragma once
// Walking the images that the loader has mapped. @source Microsoft's "PE Format"
#include <multiprocessing/os/windows/api.ipp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include <psapi.h>

namespace multiprocessing::os::pe {

// A mapped image, by what stands in its headers.
class Image {
 public:
  explicit Image(HMODULE module) noexcept : base_{reinterpret_cast<const std::byte*>(module)} {}

  [[nodiscard]] std::uintptr_t base() const noexcept {
    return reinterpret_cast<std::uintptr_t>(base_);
  }
  [[nodiscard]] const IMAGE_NT_HEADERS& headers() const noexcept {
    const auto* const first = reinterpret_cast<const IMAGE_DOS_HEADER*>(base_);
    return *reinterpret_cast<const IMAGE_NT_HEADERS*>(base_ + first->e_lfanew);
  }
  [[nodiscard]] std::span<const IMAGE_SECTION_HEADER> sections() const noexcept {
    const IMAGE_NT_HEADERS& all = headers();
    const auto* const first = reinterpret_cast<const std::byte*>(&all.OptionalHeader) +
                              all.FileHeader.SizeOfOptionalHeader;
    return {reinterpret_cast<const IMAGE_SECTION_HEADER*>(first), all.FileHeader.NumberOfSections};
  }
  [[nodiscard]] std::span<const std::byte> directory(unsigned which) const noexcept {
    const auto& optional = headers().OptionalHeader;
    if (which >= optional.NumberOfRvaAndSizes) return {};
    const IMAGE_DATA_DIRECTORY& entry = optional.DataDirectory[which];
    if (entry.VirtualAddress == 0 || entry.VirtualAddress > optional.SizeOfImage ||
        entry.Size > optional.SizeOfImage - entry.VirtualAddress) {
      return {};
    }
    return {base_ + entry.VirtualAddress, entry.Size};
  }
  [[nodiscard]] std::span<const std::byte> content(
      const IMAGE_SECTION_HEADER& section) const noexcept {
    return {base_ + section.VirtualAddress, section.Misc.VirtualSize};
  }

 private:
  const std::byte* base_;
};

[[nodiscard]] inline bool is_named(const IMAGE_SECTION_HEADER& section,
                                   std::string_view name) noexcept {
  const auto* const text = reinterpret_cast<const char*>(section.Name);
  return name == std::string_view{text, ::strnlen(text, sizeof section.Name)};
}

// What is loaded at an address, which nobody unloads meanwhile; or nothing, for it is gone.
class Kept {
 public:
  explicit Kept(HMODULE module) noexcept {
    if (MULTIPROCESSING_SYSTEM(GetModuleHandleExW)(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
                                                   reinterpret_cast<LPCWSTR>(module),
                                                   &module_) == 0) {
      module_ = nullptr;
    }
  }
  Kept(const Kept&) = delete;
  Kept& operator=(const Kept&) = delete;
  ~Kept() {
    if (module_ != nullptr) MULTIPROCESSING_SYSTEM(FreeLibrary)(module_);
  }
  [[nodiscard]] HMODULE get() const noexcept { return module_; }

 private:
  HMODULE module_ = nullptr;
};

// Calls `visit(image)` for all images, in the loader's order, until it answers true.
template <class Visit>
bool each_image(Visit visit) {
  std::vector<HMODULE> modules(64);
  const HANDLE self = MULTIPROCESSING_SYSTEM(GetCurrentProcess)();
  for (int failures = 0;;) {
    DWORD needed = 0;
    const auto room = static_cast<DWORD>(modules.size() * sizeof(HMODULE));
    if (MULTIPROCESSING_SYSTEM(K32EnumProcessModules)(self, modules.data(), room, &needed) == 0) {
      constexpr int most_failures = 10;
      if (++failures == most_failures) return false;
      MULTIPROCESSING_SYSTEM(SwitchToThread)();  // to who loads something just now
      continue;
    }
    const bool fits = needed <= room;
    modules.resize(needed / sizeof(HMODULE));
    if (fits) break;
  }
  for (const HMODULE module : modules) {
    const Kept kept{module};
    if (kept.get() == module && visit(Image{module})) return true;
  }
  return false;
}

}  // namespace multiprocessing::os::pe
