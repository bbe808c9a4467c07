// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file shared_memory.hpp
/// @brief Shared memory that strangers find by its name, Python programs among them.
/// @python{multiprocessing.shared_memory}
#include <multiprocessing/shared_memory/shareable_list.hpp>
#include <multiprocessing/shared_memory/shared_memory.hpp>
#include <multiprocessing/shared_memory/shared_memory_manager.hpp>
