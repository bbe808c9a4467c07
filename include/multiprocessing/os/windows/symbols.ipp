// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/symbols.hpp>

namespace multiprocessing::os {

inline std::uintptr_t address_of(const CrashFrame& /*frame*/) {
  return 0;
}

struct Symbols::Files {};

inline Symbols::Symbols() = default;

inline Symbols::~Symbols() = default;

inline std::optional<Symbol> Symbols::find(const CrashFrame& /*frame*/) {
  return std::nullopt;
}

}  // namespace multiprocessing::os
