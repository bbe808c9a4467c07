// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file callable.hpp
/// @brief Code in transit: naming functions so that another process, with other addresses, runs
/// them.
///
/// `refer_to` and `resolve` name any piece of code, the codecs here let functions, member functions
/// and captureless lambdas be arguments, and `detail::encode_call` puts both together.
#include <multiprocessing/callable/call.hpp>
#include <multiprocessing/callable/code_reference.hpp>
#include <multiprocessing/callable/function_pointer.hpp>
#include <multiprocessing/callable/task.hpp>
