// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file version.hpp
/// @brief The library's version; the build system reads it from here.
#define MULTIPROCESSING_VERSION_MAJOR 0
#define MULTIPROCESSING_VERSION_MINOR 1
#define MULTIPROCESSING_VERSION_PATCH 0
