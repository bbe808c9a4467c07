// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file queues.hpp
/// @brief Queues between processes. @python{multiprocessing.queues}
#include <multiprocessing/queues/joinable_queue.hpp>
#include <multiprocessing/queues/queue.hpp>
#include <multiprocessing/queues/simple_queue.hpp>
