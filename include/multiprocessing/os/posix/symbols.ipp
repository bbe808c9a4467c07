// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/exception.hpp>
#include <multiprocessing/os/posix/elf.ipp>
#include <multiprocessing/os/symbols.hpp>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <dlfcn.h>
#include <sys/auxv.h>

namespace multiprocessing::os {

namespace elf {

/// An ELF file's functions. A file that is damaged, or another one meanwhile, names nothing.
class File {
 public:
  explicit File(const std::string& path) {
    std::error_code ec;  // to open a pipe is to wait for who writes into it
    if (!std::filesystem::is_regular_file(path, ec)) return;
    file_.open(path, std::ios::binary | std::ios::ate);
    size_ = file_ ? static_cast<std::uint64_t>(file_.tellg()) : 0;
    ElfW(Ehdr) header{};
    if (!read(0, &header, 1) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != (sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32) ||
        header.e_shentsize != sizeof(ElfW(Shdr))) {
      return;
    }
    std::vector<ElfW(Shdr)> sections(header.e_shnum);
    if (!read(header.e_shoff, sections.data(), sections.size())) return;
    for (const ElfW(Shdr) & section : sections) {
      if (section.sh_type == SHT_NOTE) look_for_id(section);
      if (section.sh_type != SHT_SYMTAB || section.sh_link >= sections.size()) continue;
      symbols_ = content<ElfW(Sym)>(section);
      names_ = sections[section.sh_link].sh_offset;
    }
  }

  [[nodiscard]] const ModuleId& build_id() const noexcept { return id_; }

  [[nodiscard]] std::optional<Symbol> find(std::uint64_t address) {
    for (const ElfW(Sym) & symbol : symbols_) {
      if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_shndx == SHN_UNDEF) continue;
      if (address < symbol.st_value || address - symbol.st_value >= symbol.st_size) continue;
      std::string name;
      file_.clear();
      file_.seekg(static_cast<std::streamoff>(names_ + symbol.st_name));
      if (!std::getline(file_, name, '\0') || name.empty()) return std::nullopt;
      return Symbol{readable_name(name.c_str()), address - symbol.st_value};
    }
    return std::nullopt;
  }

 private:
  void look_for_id(const ElfW(Shdr) & section) {
    const auto notes = content<std::byte>(section);
    each_note(notes, section.sh_addralign == 8 ? 8 : 4, [&](const Note& note) {
      if (note.owner != "GNU" || note.type != NT_GNU_BUILD_ID) return;
      id_.assign(1, kind_build_id);
      id_.insert(id_.end(), note.descriptor.begin(), note.descriptor.end());
    });
  }
  template <class T>
  [[nodiscard]] std::vector<T> content(const ElfW(Shdr) & section) {
    std::vector<T> items(section.sh_size <= size_ ? section.sh_size / sizeof(T) : 0);
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
  std::uint64_t size_ = 0;
  ModuleId id_;
  std::vector<ElfW(Sym)> symbols_;
  std::uint64_t names_ = 0;
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

struct Symbols::Files {
  std::vector<std::pair<std::string, elf::File>> all;
};

inline Symbols::Symbols() : files_{std::make_unique<Files>()} {}

inline Symbols::~Symbols() = default;

inline std::optional<Symbol> Symbols::find(const CrashFrame& frame) {
  const std::uintptr_t address = address_of(frame);
  Dl_info found{};
  if (address != 0 && ::dladdr(reinterpret_cast<void*>(address), &found) != 0 &&
      found.dli_sname != nullptr) {
    return Symbol{readable_name(found.dli_sname),
                  address - reinterpret_cast<std::uintptr_t>(found.dli_saddr)};
  }
  const bool is_this_program = frame.is_program && address != 0;
  if (frame.module.empty() && !is_this_program) return std::nullopt;
  const std::string path = is_this_program ? "/proc/self/exe" : frame.path;
  auto at = std::find_if(files_->all.begin(), files_->all.end(),
                         [&](const auto& known) { return known.first == path; });
  if (at == files_->all.end()) {
    at = files_->all.emplace(at, path, elf::File{path});
  }
  // /proc/self/exe is the loader's file where the loader was told to run the program.
  return at->second.build_id() == frame.module ? at->second.find(frame.offset) : std::nullopt;
}

}  // namespace multiprocessing::os
