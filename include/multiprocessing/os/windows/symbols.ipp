// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/symbols.hpp>

namespace multiprocessing::os {

inline std::uintptr_t address_of(const CrashFrame& /*frame*/) {
  return 0;
}

inline std::optional<Symbol> find_symbol(const CrashFrame& /*frame*/) {
  return std::nullopt;
}

}  // namespace multiprocessing::os
