// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file synchronize.hpp
/// @brief What processes and threads wait for each other with.
/// @python{multiprocessing.synchronize}
#include <multiprocessing/synchronize/barrier.hpp>
#include <multiprocessing/synchronize/condition.hpp>
#include <multiprocessing/synchronize/event.hpp>
#include <multiprocessing/synchronize/lock.hpp>
#include <multiprocessing/synchronize/rlock.hpp>
#include <multiprocessing/synchronize/semaphore.hpp>
