// SPDX-License-Identifier: BSL-1.0
// Ours come last.
#define NOMINMAX
#include <boost/asio.hpp>

#include <winsock2.h>
// Before ours:
#include <windows.h>
// Ours:
#include <multiprocessing.hpp>
#include <multiprocessing/base_manager.hpp>
#include <multiprocessing/managers.hpp>
#include <multiprocessing/network.hpp>

#include "use_all.hpp"
