// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/windows/pe.ipp>

namespace multiprocessing::os {

namespace pe {

/// This module's slot: nothing, or the process's table; set once. Its name is the layout's version.
inline constinit std::atomic<void*> process_wide_slot_1{nullptr};

/// The section by which the others find it: the slot's address, once for every translation unit.
inline constexpr std::string_view mark_section = ".mproc1";
#if defined(_MSC_VER)
// No code refers to it, so the linker is told to keep it; hence a name without a namespace.
#  pragma section(".mproc1", read)
extern "C" __declspec(selectany) __declspec(allocate(".mproc1")) std::atomic<void*>* const
    multiprocessing_process_wide_mark_1 = &process_wide_slot_1;
#  pragma comment(linker, "/include:multiprocessing_process_wide_mark_1")
#else
static std::atomic<void*>* const process_wide_mark __attribute__((section(".mproc1"), used)) =
    &process_wide_slot_1;
#endif

/// Whether a slot can lie there: a mark that somebody damaged must not send us anywhere.
[[nodiscard]] inline bool is_writable(const Image& image, std::uintptr_t address) noexcept {
  for (const IMAGE_SECTION_HEADER& section : image.sections()) {
    if ((section.Characteristics & IMAGE_SCN_MEM_WRITE) != 0 &&
        address - (image.base() + section.VirtualAddress) < section.Misc.VirtualSize) {
      return true;
    }
  }
  return false;
}

/// Calls `visit(slot)` for the slots of all modules, in the loader's order.
template <class Visit>
void each_process_wide_slot(Visit visit) {
  each_image([&](const Image& image) {
    for (const IMAGE_SECTION_HEADER& section : image.sections()) {
      if (!is_named(section, mark_section)) continue;
      const auto content = image.content(section);
      for (std::size_t at = 0; at + sizeof(std::uintptr_t) <= content.size();
           at += sizeof(std::uintptr_t)) {
        std::uintptr_t slot = 0;
        std::memcpy(&slot, content.data() + at, sizeof slot);
        if (slot % alignof(std::atomic<void*>) == 0 && is_writable(image, slot)) {
          visit(*reinterpret_cast<std::atomic<void*>*>(slot));
          return false;
        }
      }
    }
    return false;
  });
}

}  // namespace pe

/// All who ask meet at the first slot in the loader's order; the table that is stored there first
/// is entered into all slots. Modules are loaded at the end of that order, so the first slot is
/// never empty while another one is not.
MULTIPROCESSING_INLINE ProcessWideTable& process_wide_table() {
  std::atomic<void*>& own = pe::process_wide_slot_1;
  if (void* const known = own.load(std::memory_order_acquire)) {
    return *static_cast<ProcessWideTable*>(known);
  }
  auto fresh = std::make_unique<ProcessWideTable>();
  std::atomic<void*>* meeting_point = nullptr;
  pe::each_process_wide_slot([&](std::atomic<void*>& slot) {
    if (meeting_point == nullptr) meeting_point = &slot;
  });
  if (meeting_point == nullptr) meeting_point = &own;
  void* found = nullptr;
  if (meeting_point->compare_exchange_strong(found, fresh.get(), std::memory_order_acq_rel,
                                             std::memory_order_acquire)) {
    found = fresh.release();
  }
  const auto enter = [found](std::atomic<void*>& slot) {
    void* none = nullptr;
    slot.compare_exchange_strong(none, found, std::memory_order_acq_rel);
  };
  pe::each_process_wide_slot(enter);
  enter(own);
  return *static_cast<ProcessWideTable*>(found);
}

}  // namespace multiprocessing::os
