// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file main.hpp
/// @brief What a test program may add to the tests' main().

namespace test {

/// @brief The first thing that main() does: `freeze_support()`, where the program uses the library
///        as everybody does (freeze.cpp). A program that compiles the library in another way, with
///        system calls that fail, defines its own, or none.
void start_of_main();

/// @brief Ends what the library keeps beyond a test, e.g. the fork server.
void end_of_test();

/// @brief Whether this descriptor is one that the library makes at its first use in a process and
///        keeps until the process ends: the leak audit leaves those out.
[[nodiscard]] bool is_kept(int descriptor);

}  // namespace test
