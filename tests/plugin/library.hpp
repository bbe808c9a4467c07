// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file library.hpp
/// @brief A shared library that test programs link, with everything in it visible.
#include <plugin/plugin.hpp>

namespace test {

int library_answer();                                ///< 44.
multiprocessing::CodeReference library_reference();  ///< To a descriptor of `void(int&)`.
Shared& library_shared();

}  // namespace test
