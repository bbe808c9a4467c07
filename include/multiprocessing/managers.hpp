// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file managers.hpp
/// @brief Dictionaries, lists, sets and namespaces that processes share.
///
/// Not part of the umbrella. BaseManager, which serves a program's own objects, is in
/// base_manager.hpp.
#include <multiprocessing/managers/dict.hpp>
#include <multiprocessing/managers/list.hpp>
#include <multiprocessing/managers/manager.hpp>
#include <multiprocessing/managers/namespace.hpp>
#include <multiprocessing/managers/set.hpp>
