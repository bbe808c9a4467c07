// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file sharedctypes.hpp
/// @brief Values and arrays that processes share.
/// @python{multiprocessing.sharedctypes}
#include <multiprocessing/sharedctypes/array.hpp>
#include <multiprocessing/sharedctypes/value.hpp>
