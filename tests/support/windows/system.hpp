// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file system.hpp
/// @brief <windows.h> before what needs it.
#ifndef NOMINMAX
#  define NOMINMAX
#endif
#include <windows.h>
