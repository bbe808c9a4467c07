// SPDX-License-Identifier: BSL-1.0
// Ours come first, then the system's headers and Boost.Asio, which want to be first themselves.
#include <multiprocessing.hpp>
#include <multiprocessing/base_manager.hpp>
#include <multiprocessing/managers.hpp>
#include <multiprocessing/network.hpp>
// After ours:
#include <boost/asio.hpp>

#include "use_all.hpp"
#include <winsock2.h>
