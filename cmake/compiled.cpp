// SPDX-License-Identifier: BSL-1.0
// What the target multiprocessing::compiled compiles.
#include <multiprocessing/source.hpp>
