// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file library.hpp
/// @brief A shared library that test programs link, with everything in it visible.
#include <plugin/plugin.hpp>

namespace test {

TEST_LIBRARY int library_answer();  ///< 44.
TEST_LIBRARY multiprocessing::CodeReference
library_reference();  ///< To a descriptor of `void(int&)`.
TEST_LIBRARY Shared& library_shared();

}  // namespace test
