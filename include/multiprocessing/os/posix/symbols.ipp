// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/posix/elf.ipp>
#include <multiprocessing/os/symbols.hpp>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <span>
#include <vector>

#include <cxxabi.h>
#include <dlfcn.h>
#include <sys/auxv.h>

namespace multiprocessing::os {

namespace elf {

[[nodiscard]] inline Symbol readable(const char* name, std::uint64_t offset) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text{
      abi::__cxa_demangle(name, nullptr, nullptr, &status), &std::free};
  return {text ? text.get() : name, offset};
}

/// An ELF file's sections. A file that is damaged, or another one meanwhile, names nothing.
class File {
 public:
  explicit File(const std::string& path) : file_{path, std::ios::binary} {
    ElfW(Ehdr) header{};
    if (!read(0, &header, 1) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != (sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32) ||
        header.e_shentsize != sizeof sections_[0]) {
      return;
    }
    sections_.resize(header.e_shnum);
    if (!read(header.e_shoff, sections_.data(), sections_.size())) sections_.clear();
  }

  [[nodiscard]] ModuleId build_id() {
    ModuleId id;
    for (const ElfW(Shdr) & section : sections_) {
      if (section.sh_type != SHT_NOTE) continue;
      const auto notes = content<std::byte>(section);
      each_note(notes, section.sh_addralign == 8 ? 8 : 4, [&](const Note& note) {
        if (note.owner != "GNU" || note.type != NT_GNU_BUILD_ID) return;
        id.assign(1, kind_build_id);
        id.insert(id.end(), note.descriptor.begin(), note.descriptor.end());
      });
    }
    return id;
  }

  [[nodiscard]] std::optional<Symbol> find(std::uint64_t address) {
    for (const ElfW(Shdr) & section : sections_) {
      if (section.sh_type != SHT_SYMTAB || section.sh_link >= sections_.size()) continue;
      for (const ElfW(Sym) & symbol : content<ElfW(Sym)>(section)) {
        if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_shndx == SHN_UNDEF) continue;
        if (address < symbol.st_value || address - symbol.st_value >= symbol.st_size) continue;
        std::string name;
        file_.clear();
        file_.seekg(
            static_cast<std::streamoff>(sections_[section.sh_link].sh_offset + symbol.st_name));
        if (!std::getline(file_, name, '\0') || name.empty()) return std::nullopt;
        return readable(name.c_str(), address - symbol.st_value);
      }
    }
    return std::nullopt;
  }

 private:
  template <class T>
  [[nodiscard]] std::vector<T> content(const ElfW(Shdr) & section) {
    constexpr std::uint64_t most = std::uint64_t{1} << 30U;
    std::vector<T> items(section.sh_size < most ? section.sh_size / sizeof(T) : 0);
    if (!read(section.sh_offset, items.data(), items.size())) items.clear();
    return items;
  }
  template <class T>
  bool read(std::uint64_t at, T* into, std::size_t count) {
    file_.clear();
    file_.seekg(static_cast<std::streamoff>(at));
    file_.read(reinterpret_cast<char*>(into), static_cast<std::streamsize>(count * sizeof(T)));
    return !file_.fail();
  }

  std::ifstream file_;
  std::vector<ElfW(Shdr)> sections_;
};

}  // namespace elf

inline std::uintptr_t address_of(const CrashFrame& frame) {
  std::optional<Module> module;
  if (!frame.module.empty()) {
    module = find_module(frame.module, frame.path);
  } else if (frame.is_program) {
    module = module_of(::getauxval(AT_ENTRY));
    if (module && module->id.front() == elf::kind_build_id) module.reset();
  }
  return module ? module->base + static_cast<std::uintptr_t>(frame.offset) : 0;
}

inline std::optional<Symbol> find_symbol(const CrashFrame& frame) {
  const std::uintptr_t address = address_of(frame);
  Dl_info found{};
  if (address != 0 && ::dladdr(reinterpret_cast<void*>(address), &found) != 0 &&
      found.dli_sname != nullptr) {
    return elf::readable(found.dli_sname,
                         address - reinterpret_cast<std::uintptr_t>(found.dli_saddr));
  }
  if (frame.is_program && address != 0) return elf::File{"/proc/self/exe"}.find(frame.offset);
  elf::File file{frame.path};
  if (frame.module.empty() || file.build_id() != frame.module) return std::nullopt;
  return file.find(frame.offset);
}

}  // namespace multiprocessing::os
