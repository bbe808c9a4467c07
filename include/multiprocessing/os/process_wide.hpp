// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file process_wide.hpp
/// @brief One object per process, also when several shared libraries contain these headers.
///
/// A static variable of a header exists once in every module that hides its symbols: once in the
/// program, once in each plug-in. State that must exist once per process (who is our parent, which
/// children run) cannot be such a variable.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/detail/process_state.hpp>
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/version.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

namespace multiprocessing::os {

/// @brief The objects of this process by key; grows only, so that looking up needs no lock and a
/// fork at any moment leaves it sound.
/// Its layout is shared by modules that were compiled at different times: whoever changes it
/// changes the layout version of the platform's slot too.
class ProcessWideTable {
 public:
  /// @brief The object of that key, or none.
  [[nodiscard]] void* find(std::uint64_t key) const noexcept {
    return find_from(first_.load(std::memory_order_acquire), key);
  }

  /// @brief Enters `object` unless the key has one. @returns the key's object.
  void* keep(std::uint64_t key, void* object) {
    auto entry = std::make_unique<Entry>(Entry{key, object, nullptr});
    entry->next = first_.load(std::memory_order_acquire);
    do {
      if (void* const other = find_from(entry->next, key)) return other;
    } while (!first_.compare_exchange_weak(entry->next, entry.get(), std::memory_order_acq_rel,
                                           std::memory_order_acquire));
    static_cast<void>(entry.release());
    return object;
  }

 private:
  struct Entry {
    std::uint64_t key;
    void* object;
    Entry* next;
  };

  static void* find_from(const Entry* entry, std::uint64_t key) noexcept {
    for (; entry != nullptr; entry = entry->next) {
      if (entry->key == key) return entry->object;
    }
    return nullptr;
  }

  std::atomic<Entry*> first_{nullptr};
};

/// @brief This process's table: the same for all modules that contain these headers, whether or not
/// they export symbols, and however they were loaded (linked, `dlopen` with RTLD_LOCAL).
///
/// Every such module carries a slot for a pointer, and a mark by which the others find it. The
/// first caller makes the table and enters it into the slots of all modules that are loaded; a
/// module loaded later takes it from any slot. The table lives as long as the process, whoever is
/// unloaded.
///
/// POSIX: the mark is an ELF note of owner "multiprocessing" whose descriptor is the distance from
/// itself to the slot. A module whose notes were stripped (`objcopy -R .note.multiprocessing`)
/// finds the others' table but is not found by them. One per link namespace (`dlmopen`), as
/// everything in the C library. Windows: the mark is a section of the image.
/// @throws std::bad_alloc
/// @threads Any number, in any modules, also the first time.
/// @processes A forked child has its own copy of everything in the table.
[[nodiscard]] ProcessWideTable& process_wide_table();

/// @brief The one T of this process: made by the first caller, never destroyed (it may be needed
/// until the very end, and the module that made it may have been unloaded).
///
/// T is a plain struct with a default constructor without side effects: when two threads meet, one
/// T is made in vain. It has no virtual functions and stores no pointers to code, which may be
/// unloaded. Modules that see a T of another size, another standard library or another version of
/// this library have another T.
/// @throws std::bad_alloc, and what T's constructor throws.
/// @threads Any number, in any modules, also the first time.
template <class T>
[[nodiscard]] T& process_wide() {
  static constexpr std::uint64_t key = [] {
    std::uint64_t hash = multiprocessing::detail::type_hash<T>();
    for (const std::uint64_t part :
         {sizeof(T), alignof(T), sizeof(std::string), std::size_t{MULTIPROCESSING_VERSION_MAJOR},
          std::size_t{MULTIPROCESSING_VERSION_MINOR}, std::size_t{MULTIPROCESSING_VERSION_PATCH}}) {
      hash = (hash ^ part) * 0x100000001b3U;
    }
    return hash;
  }();
  ProcessWideTable& table = process_wide_table();
  if (void* const known = table.find(key)) return *static_cast<T*>(known);
  auto made = std::make_unique<T>();
  void* const kept = table.keep(key, made.get());
  if (kept == made.get()) static_cast<void>(made.release());
  return *static_cast<T*>(kept);
}

}  // namespace multiprocessing::os

namespace multiprocessing::detail {

/// @brief All process-wide mutable state of the library. @threads Any number.
[[nodiscard]] inline ProcessState& process_state() {
  static auto& one = os::process_wide<ProcessState>();
  return one;
}

}  // namespace multiprocessing::detail

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/process_wide.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/process_wide.ipp>
#endif
