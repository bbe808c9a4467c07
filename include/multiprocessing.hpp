// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file multiprocessing.hpp
/// @brief Everything: `#include <multiprocessing.hpp>`, then `namespace mp = multiprocessing;`.
#include <multiprocessing/callable.hpp>
#include <multiprocessing/connection.hpp>
#include <multiprocessing/context.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/futures.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/pool.hpp>
#include <multiprocessing/process.hpp>
#include <multiprocessing/queues.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/shared_memory.hpp>
#include <multiprocessing/sharedctypes.hpp>
#include <multiprocessing/synchronize.hpp>
#include <multiprocessing/timeout.hpp>
#include <multiprocessing/version.hpp>
