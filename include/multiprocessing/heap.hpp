// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file heap.hpp
/// @brief Shared memory for many small objects: a handful of handles for all of them.
///
/// A Block is what an object gets; it lies in an Arena, one piece of anonymous shared memory. A
/// WaitingRoom is the part of an arena in which threads of any process sleep so that others can see
/// who of them lives.
#include <multiprocessing/heap/arena.hpp>
#include <multiprocessing/heap/block.hpp>
#include <multiprocessing/heap/waiting_room.hpp>
