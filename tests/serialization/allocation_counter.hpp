// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file allocation_counter.hpp
/// @brief Counts what this thread allocates. Defined in allocation_counter_test.cpp.
#include <cstddef>

namespace allocation {

/// @brief The bytes that operator new has given this thread so far.
std::size_t total() noexcept;

/// @brief From here on peak() counts anew.
void forget_peak() noexcept;

/// @brief The most bytes that were given and not given back at once, of those that operator new has
/// given this thread since forget_peak().
std::size_t peak() noexcept;

}  // namespace allocation
