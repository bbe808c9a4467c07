// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file allocation_counter.hpp
/// @brief Counts what this thread allocates. Defined in allocation_counter_test.cpp.
#include <cstddef>

namespace allocation {

/// @brief The bytes that operator new has given this thread so far.
std::size_t total() noexcept;

}  // namespace allocation
