// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file symbols.hpp
/// @brief Names of places in code.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/crash.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace multiprocessing::os {

/// @brief A function, and how far in it a place is.
struct Symbol {
  std::string name;  ///< As the program writes it.
  std::uint64_t offset = 0;
};

/// @brief Where this process has the place of a frame of another one; 0: it has not loaded that
/// build of the module. Windows: always.
/// @throws std::bad_alloc
[[nodiscard]] std::uintptr_t address_of(const CrashFrame& frame);

/// @brief Finds functions. A file that it has opened it keeps for the next frame.
/// @threads One at a time. It reads files: not where somebody waits.
class Symbols {
 public:
  Symbols();
  Symbols(const Symbols&) = delete;
  Symbols& operator=(const Symbols&) = delete;
  ~Symbols();

  /// @brief The function that contains the place of a frame: of those that the module exports, and
  /// of those that its file names, if it still is the file of that build and was not stripped.
  /// @returns none: nobody knows. Windows: always.
  /// @throws std::bad_alloc
  [[nodiscard]] std::optional<Symbol> find(const CrashFrame& frame);

 private:
  struct Files;
  std::unique_ptr<Files> files_;
};

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/symbols.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/symbols.ipp>
#endif
