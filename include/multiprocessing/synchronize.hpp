// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file synchronize.hpp
/// @brief What processes and threads wait for each other with.
#include <multiprocessing/synchronize/event.hpp>
#include <multiprocessing/synchronize/lock.hpp>
