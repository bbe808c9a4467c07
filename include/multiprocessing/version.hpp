// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file version.hpp
/// @brief The library's version; the build system reads it from here.

/// @brief Before 1.0: 0.
#define MULTIPROCESSING_VERSION_MAJOR 0
/// @brief Before 1.0 a new one may break.
#define MULTIPROCESSING_VERSION_MINOR 1
/// @brief A new one breaks nothing.
#define MULTIPROCESSING_VERSION_PATCH 0
