// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file futures.hpp
/// @brief Tasks in worker processes as futures. @python{concurrent.futures}
#include <multiprocessing/futures/executor.hpp>
#include <multiprocessing/futures/future.hpp>
#include <multiprocessing/futures/waiting.hpp>
