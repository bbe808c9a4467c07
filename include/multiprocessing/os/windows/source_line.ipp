// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/source_line.hpp>

namespace multiprocessing::os {

inline std::string source_line(std::uintptr_t /*address*/) {
  return {};
}

}  // namespace multiprocessing::os
