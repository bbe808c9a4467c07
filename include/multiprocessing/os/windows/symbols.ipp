// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/symbols.hpp>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE std::uintptr_t address_of(const CrashFrame& /*frame*/) {
  return 0;
}

struct Symbols::Files {};

MULTIPROCESSING_INLINE Symbols::Symbols() = default;

MULTIPROCESSING_INLINE Symbols::~Symbols() = default;

MULTIPROCESSING_INLINE std::optional<Symbol> Symbols::find(const CrashFrame& /*frame*/) {
  return std::nullopt;
}

}  // namespace multiprocessing::os
