// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/posix/elf.ipp>
#include <multiprocessing/os/process_wide.hpp>

namespace multiprocessing::os {

namespace elf {

/// The slot's layout version: in its symbol, so that one module can hold two, and in its note's
/// type.
inline constexpr std::uint32_t process_wide_layout = 1;

/// This module's slot: nothing, or the process's table; set once. Hidden, or the dynamic linker
/// would merge some modules' slots and not others, and could not unload them.
inline constinit std::atomic<void*> process_wide_slot __asm__("multiprocessing_process_wide_1")
    __attribute__((visibility("hidden"), used)){nullptr};

// One note from every translation unit, all naming the one slot: in a COMDAT group there would be
// one only, but linkers that collect garbage keep notes just outside of groups.
__asm__(
    ".pushsection .note.multiprocessing,\"a\",%note\n"
    ".balign 4\n"
    ".4byte 16, 8, 1\n"  // sizes of owner and descriptor, layout version
    ".asciz \"multiprocessing\"\n"
    ".8byte multiprocessing_process_wide_1 - .\n"
    ".popsection\n");

/// Whether a slot can lie there: a note that somebody damaged must not send us anywhere.
[[nodiscard]] inline bool is_writable(const dl_phdr_info& image, std::uintptr_t address) noexcept {
  for (const ElfW(Phdr) & header : headers_of(image)) {
    if (header.p_type == PT_LOAD && (header.p_flags & PF_W) != 0 &&
        address - (image.dlpi_addr + header.p_vaddr) < header.p_memsz) {
      return true;
    }
  }
  return false;
}

/// Calls `visit(slot)` for the slots of all modules, in the loader's order.
template <class Visit>
void each_process_wide_slot(Visit visit) {
  each_image([&](const dl_phdr_info& image) {
    each_note(image, [&](const Note& note) {
      std::int64_t distance = 0;
      if (note.owner != "multiprocessing" || note.type != process_wide_layout ||
          note.descriptor.size() != sizeof distance) {
        return;
      }
      std::memcpy(&distance, note.descriptor.data(), sizeof distance);
      const auto slot = reinterpret_cast<std::uintptr_t>(note.descriptor.data()) +
                        static_cast<std::uintptr_t>(distance);
      if (slot % alignof(std::atomic<void*>) == 0 && is_writable(image, slot)) {
        visit(*reinterpret_cast<std::atomic<void*>*>(slot));
      }
    });
    return false;
  });
}

/// All who ask meet at the first slot in the loader's order; the table that is stored there first
/// is entered into all slots. Modules are loaded at the end of that order, so the first slot is
/// never empty while another one is not.
MULTIPROCESSING_INLINE ProcessWideTable* agree_on_table(ProcessWideTable* fresh) {
  std::atomic<void*>* meeting_point = nullptr;
  each_process_wide_slot([&](std::atomic<void*>& slot) {
    if (meeting_point == nullptr) meeting_point = &slot;
  });
  if (meeting_point == nullptr) meeting_point = &process_wide_slot;
  void* found = nullptr;
  if (meeting_point->compare_exchange_strong(found, fresh, std::memory_order_acq_rel,
                                             std::memory_order_acquire)) {
    found = fresh;
  }
  const auto enter = [found](std::atomic<void*>& slot) {
    void* none = nullptr;
    slot.compare_exchange_strong(none, found, std::memory_order_acq_rel);
  };
  each_process_wide_slot(enter);
  enter(process_wide_slot);
  return static_cast<ProcessWideTable*>(found);
}

}  // namespace elf

MULTIPROCESSING_INLINE ProcessWideTable& process_wide_table() {
  if (void* const known = elf::process_wide_slot.load(std::memory_order_acquire)) {
    return *static_cast<ProcessWideTable*>(known);
  }
  auto fresh = std::make_unique<ProcessWideTable>();
  ProcessWideTable* agreed = nullptr;
  // Inside one walk over the images nobody unloads the module whose slot is being written (glibc
  // holds its lock, which is recursive; musl never unloads).
  elf::each_image([&](const dl_phdr_info&) {
    agreed = elf::agree_on_table(fresh.get());
    return true;
  });
  if (agreed == nullptr) agreed = elf::agree_on_table(fresh.get());  // the loader knows no image
  if (agreed == fresh.get()) static_cast<void>(fresh.release());
  return *agreed;
}

}  // namespace multiprocessing::os
