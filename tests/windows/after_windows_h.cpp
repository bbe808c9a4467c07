// SPDX-License-Identifier: BSL-1.0
// Ours come last.
#define NOMINMAX
#include <boost/asio.hpp>

#include <winsock2.h>
// Before ours:
#include <windows.h>
// Ours:
#include <multiprocessing.hpp>

#include "use_all.hpp"
