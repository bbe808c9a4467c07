// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/child.hpp>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE void install_fork_handlers() {}

}  // namespace multiprocessing::os
