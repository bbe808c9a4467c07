// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/detail/hash.hpp>
#include <multiprocessing/os/module.hpp>
#include <multiprocessing/os/windows/pe.ipp>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <span>
#include <string_view>
#include <utility>

namespace multiprocessing::os {

namespace pe {

inline constexpr std::byte kind_debug{'P'};
inline constexpr std::byte kind_hash{'H'};

[[nodiscard]] inline std::string path_of(HMODULE module) {
  std::wstring path(MAX_PATH, L'\0');
  for (;;) {
    const DWORD length = MULTIPROCESSING_SYSTEM(GetModuleFileNameW)(
        module, path.data(), static_cast<DWORD>(path.size()));
    if (length == 0) return {};
    if (length < path.size()) return windows::to_utf8({path.data(), length});
    path.resize(2 * path.size());
  }
}

[[nodiscard]] inline HMODULE handle_of(std::uintptr_t address, DWORD flags) noexcept {
  HMODULE module = nullptr;
  if (address == 0) return module;  // the system would take that for this program
  if (MULTIPROCESSING_SYSTEM(GetModuleHandleExW)(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | flags,
                                                 reinterpret_cast<LPCWSTR>(address),
                                                 &module) == 0) {
    return nullptr;
  }
  return module;
}

[[nodiscard]] inline bool is_constant(const IMAGE_SECTION_HEADER& section) noexcept {
  constexpr DWORD changes = IMAGE_SCN_MEM_WRITE | IMAGE_SCN_MEM_DISCARDABLE;
  return (section.Characteristics & IMAGE_SCN_MEM_READ) != 0 &&
         (section.Characteristics & changes) == 0;
}

// What a linker writes that keeps debug information apart: a GUID and a count.
[[nodiscard]] inline ModuleId debug_id_of(const Image& image) {
  struct CodeView {
    std::uint32_t magic;
    std::array<std::byte, 20> identity;
  };
  constexpr std::uint32_t right_magic = 0x53445352U;  // "RSDS"
  const auto entries = image.directory(IMAGE_DIRECTORY_ENTRY_DEBUG);
  for (std::size_t at = 0; at + sizeof(IMAGE_DEBUG_DIRECTORY) <= entries.size();
       at += sizeof(IMAGE_DEBUG_DIRECTORY)) {
    IMAGE_DEBUG_DIRECTORY entry{};
    std::memcpy(&entry, entries.data() + at, sizeof entry);
    if (entry.Type != IMAGE_DEBUG_TYPE_CODEVIEW || entry.SizeOfData < sizeof(CodeView)) continue;
    CodeView view{};
    read_image(image.base() + entry.AddressOfRawData, &view, sizeof view);
    if (view.magic != right_magic) continue;
    ModuleId id(1 + view.identity.size(), kind_debug);
    std::copy(view.identity.begin(), view.identity.end(), id.begin() + 1);
    return id;
  }
  return {};
}

// The bytes of a section as they are wherever the image lies: addresses count from its beginning,
// and those of other images, which the loader has entered, are left out.
[[nodiscard]] inline std::vector<std::byte> unmoved(const Image& image,
                                                    const IMAGE_SECTION_HEADER& section) {
  const auto content = image.content(section);
  std::vector<std::byte> bytes(content.begin(), content.end());
  const auto at = [&](std::uintptr_t address, std::size_t size) -> std::byte* {
    const std::uintptr_t offset = address - (image.base() + section.VirtualAddress);
    return offset <= bytes.size() && size <= bytes.size() - offset ? bytes.data() + offset
                                                                   : nullptr;
  };
  const auto imports = image.directory(IMAGE_DIRECTORY_ENTRY_IAT);
  if (std::byte* const place =
          at(reinterpret_cast<std::uintptr_t>(imports.data()), imports.size())) {
    std::fill_n(place, imports.size(), std::byte{});
  }
  auto blocks = image.directory(IMAGE_DIRECTORY_ENTRY_BASERELOC);
  while (blocks.size() >= sizeof(IMAGE_BASE_RELOCATION)) {
    IMAGE_BASE_RELOCATION block{};
    std::memcpy(&block, blocks.data(), sizeof block);
    if (block.SizeOfBlock < sizeof block || block.SizeOfBlock > blocks.size()) break;
    for (std::size_t next = sizeof block; next + 2 <= block.SizeOfBlock; next += 2) {
      std::uint16_t entry = 0;
      std::memcpy(&entry, blocks.data() + next, sizeof entry);
      if (entry >> 12U != IMAGE_REL_BASED_DIR64) continue;
      std::byte* const place =
          at(image.base() + block.VirtualAddress + (entry & 0xFFFU), sizeof(std::uint64_t));
      if (place == nullptr) continue;
      std::uint64_t address = 0;
      std::memcpy(&address, place, sizeof address);
      address -= image.base();
      std::memcpy(place, &address, sizeof address);
    }
    blocks = blocks.subspan(block.SizeOfBlock);
  }
  return bytes;
}

[[nodiscard]] inline ModuleId hash_of(const Image& image) {
  detail::Hash128 hash;
  for (const IMAGE_SECTION_HEADER& section : image.sections()) {
    if (!is_constant(section)) continue;
    hash.add(std::uint64_t{section.VirtualAddress});
    hash.add(unmoved(image, section));
  }
  ModuleId id(1 + sizeof hash);
  id.front() = kind_hash;
  std::memcpy(&id[1], &hash, sizeof hash);
  return id;
}

/// Hashes of images that have no debug information. A cache and nothing more, so each module may
/// have its own.
class HashCache {
 public:
  static HashCache& instance() {
    static HashCache one;
    return one;
  }

  [[nodiscard]] ModuleId get(const Image& image) {
    const std::lock_guard lock{mutex_};
    const auto& file = image.headers().FileHeader;
    const auto& optional = image.headers().OptionalHeader;
    for (const Known& known : known_) {
      // The sum tells builds of one second apart, or that have no time.
      if (known.base == image.base() && known.time == file.TimeDateStamp &&
          known.size == optional.SizeOfImage && known.sum == optional.CheckSum) {
        return known.id;
      }
    }
    return known_
        .emplace_back(Known{image.base(), file.TimeDateStamp, optional.SizeOfImage,
                            optional.CheckSum, hash_of(image)})
        .id;
  }

 private:
  struct Known {
    std::uintptr_t base;
    DWORD time;
    DWORD size;
    DWORD sum;
    ModuleId id;
  };

  std::mutex mutex_;
  std::vector<Known> known_;
};

[[nodiscard]] inline ModuleId id_of(const Image& image) {
  ModuleId id = debug_id_of(image);
  return id.empty() ? HashCache::instance().get(image) : id;
}

[[nodiscard]] inline Module describe(const Image& image) {
  Module module{
      path_of(reinterpret_cast<HMODULE>(image.base())), id_of(image), image.base(), {}, {}};
  for (const IMAGE_SECTION_HEADER& section : image.sections()) {
    if ((section.Characteristics & IMAGE_SCN_MEM_READ) == 0) continue;
    module.segments.push_back({image.base() + section.VirtualAddress, section.Misc.VirtualSize,
                               (section.Characteristics & IMAGE_SCN_MEM_WRITE) != 0,
                               (section.Characteristics & IMAGE_SCN_MEM_EXECUTE) != 0});
  }
  return module;
}

}  // namespace pe

MULTIPROCESSING_INLINE std::optional<Module> module_of(std::uintptr_t address) {
  const HMODULE module = pe::handle_of(address, GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT);
  if (module == nullptr) return std::nullopt;
  return pe::describe(pe::Image{module});
}

MULTIPROCESSING_INLINE std::optional<Module> find_module(const ModuleId& id,
                                                         const std::string& path) {
  std::optional<Module> found;
  if (id.empty()) return found;
  pe::each_image([&](const pe::Image& image) {
    const ModuleId debug = pe::debug_id_of(image);
    const bool hashed = id.front() == pe::kind_hash && debug.empty();
    if ((hashed ? pe::id_of(image) : debug) != id) return false;
    const bool exact = pe::path_of(reinterpret_cast<HMODULE>(image.base())) == path;
    if (exact || !found) found = pe::describe(image);
    return exact;
  });
  return found;
}

MULTIPROCESSING_INLINE std::vector<Module> loaded_modules() {
  std::vector<Module> all;
  pe::each_image([&](const pe::Image& image) {
    all.push_back(pe::describe(image));
    return false;
  });
  return all;
}

MULTIPROCESSING_INLINE std::optional<Module> open_module(const std::string& path,
                                                         const ModuleId& id,
                                                         std::string& why) {
  const bool has_drive = path.size() > 2 && path[1] == ':' && (path[2] == '\\' || path[2] == '/');
  if (!has_drive && !path.starts_with("\\\\")) {
    why = "its path is not absolute";
    return std::nullopt;
  }
  const HMODULE handle = MULTIPROCESSING_SYSTEM(LoadLibraryExW)(
      windows::to_wide(path).c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  if (handle == nullptr) {
    why = windows::last_error().message();
    return std::nullopt;
  }
  Module found = pe::describe(pe::Image{handle});
  if (found.id != id) {
    why = "the file there is now " + to_string(found.id) + ", not " + to_string(id);
    MULTIPROCESSING_SYSTEM(FreeLibrary)(handle);
    return std::nullopt;
  }
  return found;
}

MULTIPROCESSING_INLINE bool keep_loaded(std::uintptr_t address) noexcept {
  return pe::handle_of(address, GET_MODULE_HANDLE_EX_FLAG_PIN) != nullptr;
}

MULTIPROCESSING_INLINE void read_image(std::uintptr_t address,
                                       void* into,
                                       std::size_t size) noexcept {
  const auto* from = reinterpret_cast<const volatile std::byte*>(address);
  for (auto* to = static_cast<std::byte*>(into); size > 0; ++from, ++to, --size) *to = *from;
}

MULTIPROCESSING_INLINE std::string executable_path() {
  return pe::path_of(nullptr);
}

}  // namespace multiprocessing::os
