// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file module.hpp
/// @brief The code images loaded into this process: the program, its shared libraries, its
/// plug-ins.
///
/// A place in code is the same in another process when it is named as (module, offset): the module
/// by an identity that two builds never share, the offset from where the module happens to lie.
#include <multiprocessing/detail/config.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace multiprocessing::os {

/// @brief What tells one build of a module from every other: a letter and bytes.
///
/// POSIX: 'B' and the GNU build id; a module linked without one (`--build-id=none`) has 'H' and 128
/// bits of hash over the bytes that it maps and never writes. Windows: 'P' and the debug
/// directory's GUID and age, else 'H'.
/// @shape At most a few dozen bytes; empty: no module.
using ModuleId = std::vector<std::byte>;

/// @brief An id as errors show it, e.g. "B:5f3c...".
[[nodiscard]] std::string to_string(const ModuleId& id);

/// @brief A range of addresses that a module occupies.
struct Segment {
  std::uintptr_t begin = 0;
  std::size_t size = 0;
  bool writable = false;  ///< By the program after start-up; RELRO ranges are not.
  bool executable = false;

  /// @brief Whether `count` bytes from `address` lie wholly inside.
  [[nodiscard]] bool contains(std::uintptr_t address, std::size_t count = 1) const noexcept {
    return address >= begin && address - begin <= size && count <= size - (address - begin);
  }
};

struct Module {
  std::string path;         ///< Where it was loaded from, absolute; of the file at that time.
  ModuleId id;              ///< Never empty.
  std::uintptr_t base = 0;  ///< What offsets count from. Zero for a program at a fixed address.
  std::vector<Segment> segments;
  std::optional<Segment> relro;  ///< Written by the loader alone, then protected.

  /// @brief Whether `count` bytes lie in one piece of read-only data.
  ///
  /// Code does not count, except in modules whose linker put both into one segment
  /// (`-z noseparate-code`).
  [[nodiscard]] bool is_constant(std::uintptr_t address, std::size_t count) const noexcept;

  /// @brief Whether code lies there.
  [[nodiscard]] bool is_code(std::uintptr_t address) const noexcept;
};

/// @brief The module that contains an address; none for stacks, heaps and generated code.
/// @throws std::bad_alloc
/// @threads Any number, none of which holds the process state's `mutex` or `loader_mutex`; so for
/// all of these but keep_loaded().
/// @processes Works in forked children, and without /proc; whatever threads of the parent were
/// doing here, if install_fork_handlers() was called before that fork.
[[nodiscard]] std::optional<Module> module_of(std::uintptr_t address);

/// @brief The loaded module of that build. Of several copies of one file, the one at `path`.
/// @throws std::bad_alloc
[[nodiscard]] std::optional<Module> find_module(const ModuleId& id, const std::string& path);

/// @brief All modules that are loaded now, the program first. What the kernel maps by itself is
/// none.
/// @throws std::bad_alloc
[[nodiscard]] std::vector<Module> loaded_modules();

/// @brief Loads a module for good: its symbols bound, seen by nobody else.
/// @param id what it must be; another build is unloaded again, after its initializers ran.
/// @returns none, and `why` says the reason: POSIX `dlerror()`'s text, Windows the system's; or,
/// for another build, both ids. A path that is not absolute is refused: it would be searched for.
/// @throws std::bad_alloc
[[nodiscard]] std::optional<Module> open_module(const std::string& path,
                                                const ModuleId& id,
                                                std::string& why);

/// @brief Keeps the module that contains an address loaded until the process ends, whoever closes
/// it. For code that hands pointers to itself to something that lives longer (fork handlers, exit
/// handlers). @returns false: no module is there, or the system refuses.
bool keep_loaded(std::uintptr_t address) noexcept;

/// @brief Copies bytes that a module maps. For addresses that were checked by range only: neither
/// the compiler (which believes it knows its own constants) nor a sanitizer (which has put red
/// zones between them) has a say.
void read_image(std::uintptr_t address, void* into, std::size_t size) noexcept;

/// @brief The path by which this program was started, absolute where the system knows.
///
/// POSIX: what /proc/self/exe points to, else the path given to exec. It may have been replaced or
/// removed since (the link then ends in " (deleted)"): opening the link itself, "/proc/self/exe",
/// still gives the file that runs. Windows: GetModuleFileName; the file cannot be replaced.
/// @returns empty when the system says neither.
[[nodiscard]] std::string executable_path();

// ---- definitions ----

inline std::string to_string(const ModuleId& id) {
  static constexpr std::string_view digits = "0123456789abcdef";
  if (id.empty()) return "none";
  std::string text{static_cast<char>(id.front()), ':'};
  for (std::size_t i = 1; i < id.size(); ++i) {
    const auto byte = std::to_integer<unsigned>(id[i]);
    text += digits[byte / 16];
    text += digits[byte % 16];
  }
  return text;
}

inline bool Module::is_constant(std::uintptr_t address, std::size_t count) const noexcept {
  if (relro && relro->contains(address, count)) return true;
  bool apart = false;
  for (const Segment& segment : segments) apart |= !segment.writable && !segment.executable;
  for (const Segment& segment : segments) {
    if (!segment.writable && segment.executable != apart && segment.contains(address, count)) {
      return true;
    }
  }
  return false;
}

inline bool Module::is_code(std::uintptr_t address) const noexcept {
  for (const Segment& segment : segments) {
    if (segment.executable && segment.contains(address)) return true;
  }
  return false;
}

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/module.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/module.ipp>
#endif
