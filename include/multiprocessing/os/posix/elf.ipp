// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file elf.ipp
/// @brief The loaded ELF images and their notes, for the facilities that must find code.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <span>
#include <string_view>

#include <link.h>

namespace multiprocessing::os::elf {

struct Note {
  std::string_view owner;  ///< Without its terminating zero.
  std::uint32_t type = 0;
  std::span<const std::byte> descriptor;  ///< In place.
};

/// @brief Calls `visit(const dl_phdr_info&) -> bool` for the loaded images, the program first,
/// until it returns true. On glibc nobody loads or unloads meanwhile.
template <class Visit>
void each_image(Visit visit) {
  struct Context {
    Visit* visit;
    std::exception_ptr thrown;
  } context{&visit, nullptr};
  ::dl_iterate_phdr(
      [](dl_phdr_info* image, std::size_t, void* data) -> int {
        auto* self = static_cast<Context*>(data);
        try {
          return (*self->visit)(*image) ? 1 : 0;
        } catch (...) {  // must not pass through the loader
          self->thrown = std::current_exception();
          return 1;
        }
      },
      &context);
  if (context.thrown) std::rethrow_exception(context.thrown);
}

[[nodiscard]] inline std::span<const ElfW(Phdr)> headers_of(const dl_phdr_info& image) noexcept {
  return {image.dlpi_phdr, image.dlpi_phnum};
}

/// @brief Calls `visit(const Note&)` for each note among some bytes. @param unit they are aligned
/// to.
template <class Visit>
void each_note(std::span<const std::byte> notes, std::size_t unit, Visit visit) {
  const auto rounded = [&](std::size_t size) { return (size + unit - 1) / unit * unit; };
  const std::byte* at = notes.data();
  std::size_t left = notes.size();
  ElfW(Nhdr) note{};
  while (left >= sizeof note) {
    std::memcpy(&note, at, sizeof note);
    const std::size_t descriptor = rounded(sizeof note + note.n_namesz);
    const std::size_t end = descriptor + note.n_descsz;
    if (end > left) break;
    std::string_view owner{reinterpret_cast<const char*>(at) + sizeof note, note.n_namesz};
    if (owner.ends_with('\0')) owner.remove_suffix(1);
    visit(Note{owner, note.n_type, {at + descriptor, note.n_descsz}});
    const std::size_t step = rounded(end);
    if (step >= left) break;
    at += step;
    left -= step;
  }
}

/// @brief The same for those of an image.
template <class Visit>
void each_note(const dl_phdr_info& image, Visit visit) {
  for (const ElfW(Phdr) & header : headers_of(image)) {
    if (header.p_type != PT_NOTE) continue;
    const auto* const at = reinterpret_cast<const std::byte*>(image.dlpi_addr + header.p_vaddr);
    each_note({at, header.p_memsz}, header.p_align == 8 ? 8 : 4, visit);
  }
}

}  // namespace multiprocessing::os::elf
