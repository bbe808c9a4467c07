// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/detail/hash.hpp>
#include <multiprocessing/os/module.hpp>
#include <multiprocessing/os/posix/elf.ipp>
#include <multiprocessing/os/process_wide.hpp>

#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <span>
#include <string_view>
#include <utility>

#include <dlfcn.h>
#include <sys/auxv.h>
#include <unistd.h>

namespace multiprocessing::os {

namespace elf {

inline constexpr std::byte kind_build_id{'B'};
inline constexpr std::byte kind_hash{'H'};

/// Relative names are those given to dlopen, so they count from here only as long as nobody moved.
MULTIPROCESSING_INLINE std::string absolute(std::string path) {
  if (path.empty() || path.front() == '/') return path;
  std::string here(256, '\0');
  while (MULTIPROCESSING_SYSTEM(getcwd)(here.data(), here.size()) == nullptr) {
    if (errno != ERANGE) return path;
    here.resize(2 * here.size());
  }
  here.resize(std::strlen(here.c_str()));
  return here + "/" + path;
}

[[nodiscard]] inline bool occupies(const dl_phdr_info& image, std::uintptr_t address) noexcept {
  for (const ElfW(Phdr) & header : headers_of(image)) {
    if (header.p_type == PT_LOAD && address - (image.dlpi_addr + header.p_vaddr) < header.p_memsz) {
      return true;
    }
  }
  return false;
}

[[nodiscard]] inline ModuleId build_id_of(const dl_phdr_info& image) {
  ModuleId id;
  each_note(image, [&](const Note& note) {
    if (note.owner != "GNU" || note.type != NT_GNU_BUILD_ID || note.descriptor.empty()) return;
    id.assign(1, kind_build_id);
    id.insert(id.end(), note.descriptor.begin(), note.descriptor.end());
  });
  return id;
}

MULTIPROCESSING_INLINE void add_image(detail::Hash128& hash,
                                      std::uintptr_t address,
                                      std::size_t size) noexcept {
  std::array<std::byte, 4096> chunk;
  while (size > 0) {
    const std::size_t part = size < chunk.size() ? size : chunk.size();
    read_image(address, chunk.data(), part);
    hash.add(std::span{chunk}.first(part));
    address += part;
    size -= part;
  }
}

[[nodiscard]] inline ModuleId hash_of(const dl_phdr_info& image) {
  detail::Hash128 hash;
  for (const ElfW(Phdr) & header : headers_of(image)) {
    if (header.p_type != PT_LOAD || (header.p_flags & (PF_R | PF_W)) != PF_R) continue;
    hash.add(std::uint64_t{header.p_vaddr});
    hash.add(std::uint64_t{header.p_memsz});
    add_image(hash, image.dlpi_addr + header.p_vaddr, header.p_filesz);
  }
  ModuleId id(1 + sizeof hash);
  id.front() = kind_hash;
  std::memcpy(&id[1], &hash, sizeof hash);
  return id;
}

/// Hashes of images that have no build id: a hundred megabytes take some 20 ms. The loader's mutex
/// is held.
class HashCache {
 public:
  [[nodiscard]] ModuleId get(const dl_phdr_info& image) {
    if (std::exchange(unloaded_, image.dlpi_subs) != image.dlpi_subs) known_.clear();
    for (const Known& known : known_) {
      if (known.headers == image.dlpi_phdr) return known.id;
    }
    return known_.emplace_back(Known{image.dlpi_phdr, hash_of(image)}).id;
  }

 private:
  struct Known {
    const ElfW(Phdr) * headers;  // lie in the image: no two loaded ones have them in one place
    ModuleId id;
  };

  unsigned long long unloaded_ = 0;
  std::vector<Known> known_;
};

[[nodiscard]] inline ModuleId id_of(const dl_phdr_info& image) {
  ModuleId id = build_id_of(image);
  return id.empty() ? process_wide<HashCache>().get(image) : id;
}

[[nodiscard]] inline std::string path_of(const dl_phdr_info& image) {
  const std::string_view name = image.dlpi_name == nullptr ? "" : image.dlpi_name;
  return name.empty() ? executable_path() : absolute(std::string{name});
}

[[nodiscard]] inline Module describe(const dl_phdr_info& image) {
  Module module{path_of(image), id_of(image), image.dlpi_addr, {}, {}};
  for (const ElfW(Phdr) & header : headers_of(image)) {
    const Segment segment{image.dlpi_addr + header.p_vaddr, header.p_memsz,
                          (header.p_flags & PF_W) != 0, (header.p_flags & PF_X) != 0};
    if (header.p_type == PT_LOAD) module.segments.push_back(segment);
    if (header.p_type == PT_GNU_RELRO) module.relro = segment;
  }
  return module;
}

/// As each_image. No fork comes in between: the child would wait for the loader's lock, which a
/// thread held that is not there. (Whoever may fork has fork handlers. To install them here would
/// keep a plug-in loaded that only names its code.)
template <class Visit>
void each_image_between_forks(Visit visit) {
  const std::lock_guard lock{multiprocessing::detail::process_state().loader_mutex};
  each_image(visit);
}

}  // namespace elf

MULTIPROCESSING_INLINE std::optional<Module> module_of(std::uintptr_t address) {
  std::optional<Module> found;
  elf::each_image_between_forks([&](const dl_phdr_info& image) {
    if (elf::occupies(image, address)) found = elf::describe(image);
    return found.has_value();
  });
  return found;
}

MULTIPROCESSING_INLINE std::optional<Module> find_module(const ModuleId& id,
                                                         const std::string& path) {
  std::optional<Module> found;
  if (id.empty()) return found;
  elf::each_image_between_forks([&](const dl_phdr_info& image) {
    const ModuleId build_id = elf::build_id_of(image);
    const bool hashed = id.front() == elf::kind_hash && build_id.empty();
    if ((hashed ? elf::id_of(image) : build_id) != id) return false;
    const bool exact = elf::path_of(image) == path;
    if (exact || !found) found = elf::describe(image);
    return exact;
  });
  return found;
}

MULTIPROCESSING_INLINE std::vector<Module> loaded_modules() {
  std::vector<Module> all;
  elf::each_image_between_forks([&](const dl_phdr_info& image) {
    const std::string_view name = image.dlpi_name == nullptr ? "" : image.dlpi_name;
    const bool is_vdso = !name.empty() && name.find('/') == std::string_view::npos;
    if (!is_vdso) all.push_back(elf::describe(image));
    return false;
  });
  return all;
}

MULTIPROCESSING_INLINE std::optional<Module> open_module(const std::string& path,
                                                         const ModuleId& id,
                                                         std::string& why) {
  if (!path.starts_with('/')) {
    why = "its path is not absolute";
    return std::nullopt;
  }
  void* const handle = MULTIPROCESSING_SYSTEM(dlopen)(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* const text = ::dlerror();
    why = text == nullptr ? "dlopen failed" : text;
    return std::nullopt;
  }
  link_map* map = nullptr;
  std::optional<Module> found;
  if (::dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0) {
    found = module_of(reinterpret_cast<std::uintptr_t>(map->l_ld));
  }
  if (!found || found->id != id) {
    why = "the file there is now " + to_string(found ? found->id : ModuleId{}) + ", not " +
          to_string(id);
    ::dlclose(handle);
    return std::nullopt;
  }
  return found;
}

MULTIPROCESSING_INLINE bool keep_loaded(std::uintptr_t address) noexcept {
  const char* name = nullptr;
  elf::each_image([&](const dl_phdr_info& image) noexcept {
    if (elf::occupies(image, address)) name = image.dlpi_name == nullptr ? "" : image.dlpi_name;
    return name != nullptr;
  });
  if (name == nullptr) return false;
  if (*name == '\0') return true;  // the program itself
  void* const handle =
      MULTIPROCESSING_SYSTEM(dlopen)(name, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
  if (handle == nullptr) return false;
  ::dlclose(handle);
  return true;
}

__attribute__((noinline, no_sanitize("address"))) inline void read_image(
    std::uintptr_t address, void* into, std::size_t size) noexcept {
  using Word = std::uint64_t __attribute__((may_alias, aligned(1)));
  const auto* from = reinterpret_cast<const std::byte*>(address);
  auto* to = static_cast<std::byte*>(into);
  for (; size >= sizeof(Word); from += sizeof(Word), to += sizeof(Word), size -= sizeof(Word)) {
    *reinterpret_cast<Word*>(to) = *reinterpret_cast<const volatile Word*>(from);
  }
  for (; size > 0; ++from, ++to, --size) *to = *static_cast<const volatile std::byte*>(from);
}

MULTIPROCESSING_INLINE std::string executable_path() {
  std::string path(256, '\0');
  for (;;) {
    const ssize_t length =
        MULTIPROCESSING_SYSTEM(readlink)("/proc/self/exe", path.data(), path.size());
    if (length < 0) break;
    if (static_cast<std::size_t>(length) < path.size()) {
      path.resize(static_cast<std::size_t>(length));
      return path;
    }
    path.resize(2 * path.size());
  }
  const auto* const given = reinterpret_cast<const char*>(::getauxval(AT_EXECFN));
  return given == nullptr ? std::string{} : elf::absolute(given);
}

}  // namespace multiprocessing::os
