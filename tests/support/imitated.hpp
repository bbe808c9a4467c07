// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file imitated.hpp
/// @brief What a test may not ask of a system that is only imitated.

namespace test {

/// @brief Whether this is Wine, and no Windows.
[[nodiscard]] bool is_imitated();

}  // namespace test
