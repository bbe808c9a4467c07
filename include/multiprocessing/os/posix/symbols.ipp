// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/exception.hpp>
#include <multiprocessing/os/posix/elf.ipp>
#include <multiprocessing/os/symbols.hpp>

#include <algorithm>
#include <cstddef>
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

/// An ELF file. One that is damaged, or another one meanwhile, names nothing.
class File {
 public:
  explicit File(std::string path) : path_{std::move(path)} {
    std::error_code ec;  // to open a pipe is to wait for who writes into it
    if (std::filesystem::is_regular_file(path_, ec)) file_.open(path_, std::ios::binary);
    if (!read(0, &header_, sizeof header_) || std::memcmp(header_.e_ident, ELFMAG, SELFMAG) != 0 ||
        header_.e_ident[EI_CLASS] != (sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32)) {
      header_.e_shnum = 0;
    }
    look_for_id();
  }

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] const ModuleId& build_id() const noexcept { return id_; }

  [[nodiscard]] std::optional<Symbol> find(std::uint64_t address) {
    for (unsigned i = 0; i < header_.e_shnum; ++i) {
      const ElfW(Shdr) section = section_at(i);
      if (section.sh_type != SHT_SYMTAB) continue;
      ElfW(Sym) symbols[512];
      for (std::uint64_t done = 0; done < section.sh_size; done += sizeof symbols) {
        const std::uint64_t size = std::min<std::uint64_t>(section.sh_size - done, sizeof symbols);
        if (!read(section.sh_offset + done, symbols, size)) return std::nullopt;
        for (std::size_t k = 0; k < size / sizeof symbols[0]; ++k) {
          const ElfW(Sym)& symbol = symbols[k];
          if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_shndx == SHN_UNDEF) continue;
          if (address < symbol.st_value || address - symbol.st_value >= symbol.st_size) continue;
          return named(section_at(section.sh_link).sh_offset + symbol.st_name,
                       address - symbol.st_value);
        }
      }
    }
    return std::nullopt;
  }

 private:
  void look_for_id() {
    for (unsigned i = 0; i < header_.e_shnum; ++i) {
      constexpr std::size_t most = std::size_t{1} << 16U;
      const ElfW(Shdr) section = section_at(i);
      if (section.sh_type != SHT_NOTE || section.sh_size > most) continue;
      std::vector<std::byte> notes(section.sh_size);
      if (!read(section.sh_offset, notes.data(), notes.size())) continue;
      each_note(notes, section.sh_addralign == 8 ? 8 : 4, [&](const Note& note) {
        if (note.owner != "GNU" || note.type != NT_GNU_BUILD_ID) return;
        id_.assign(1, kind_build_id);
        id_.insert(id_.end(), note.descriptor.begin(), note.descriptor.end());
      });
    }
  }
  [[nodiscard]] ElfW(Shdr) section_at(unsigned number) {
    ElfW(Shdr) section{};
    if (number < header_.e_shnum) {
      read(header_.e_shoff + number * sizeof section, &section, sizeof section);
    }
    return section;
  }
  [[nodiscard]] std::optional<Symbol> named(std::uint64_t at, std::uint64_t offset) {
    std::string name;
    if (!read(at, nullptr, 0) || !std::getline(file_, name, '\0') || name.empty())
      return std::nullopt;
    return Symbol{readable_name(name.c_str()), offset};
  }
  bool read(std::uint64_t at, void* into, std::size_t size) {
    file_.clear();
    file_.seekg(static_cast<std::streamoff>(at));
    file_.read(static_cast<char*>(into), static_cast<std::streamsize>(size));
    return !file_.fail();
  }

  std::string path_;
  std::ifstream file_;
  ElfW(Ehdr) header_{};
  ModuleId id_;
};

}  // namespace elf

MULTIPROCESSING_INLINE std::uintptr_t address_of(const CrashFrame& frame) {
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
  std::vector<elf::File> all;

  elf::File& at(const std::string& path) {
    for (elf::File& file : all) {
      if (file.path() == path) return file;
    }
    return all.emplace_back(path);
  }
};

MULTIPROCESSING_INLINE Symbols::Symbols() : files_{std::make_unique<Files>()} {}

MULTIPROCESSING_INLINE Symbols::~Symbols() = default;

MULTIPROCESSING_INLINE std::optional<Symbol> Symbols::find(const CrashFrame& frame) {
  const std::uintptr_t address = address_of(frame);
  Dl_info found{};
  if (address != 0 && ::dladdr(reinterpret_cast<void*>(address), &found) != 0 &&
      found.dli_sname != nullptr) {
    return Symbol{readable_name(found.dli_sname),
                  address - reinterpret_cast<std::uintptr_t>(found.dli_saddr)};
  }
  const bool is_this_program = frame.is_program && address != 0;
  if (frame.module.empty() && !is_this_program) return std::nullopt;
  elf::File& file = files_->at(is_this_program ? "/proc/self/exe" : frame.path);
  // /proc/self/exe is the loader's file where the loader was told to run the program.
  return file.build_id() == frame.module ? file.find(frame.offset) : std::nullopt;
}

}  // namespace multiprocessing::os
