// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file source.hpp
/// @brief The library's functions, where the others of a program's files only declare them: all of
/// these are compiled with MULTIPROCESSING_COMPILED=1, and one of them includes this, first of all.
/// The CMake target multiprocessing::compiled does both. In header-only programs it adds nothing.
#define MULTIPROCESSING_SOURCE
#include <multiprocessing.hpp>
#include <multiprocessing/managers.hpp>
#include <multiprocessing/os/peer.hpp>
#include <multiprocessing/os/socket.hpp>
#include <multiprocessing/os/stream.hpp>
#include <multiprocessing/os/stream_reader.hpp>

#if !MULTIPROCESSING_DEFINES
#  error "multiprocessing: include <multiprocessing/source.hpp> before any other of its headers"
#endif
