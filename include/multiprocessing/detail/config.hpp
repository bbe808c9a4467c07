// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file config.hpp
/// @brief The only file that inspects the compiler, the operating system and user macros.
#if defined(_WIN32)
#  define MULTIPROCESSING_WINDOWS 1
#  define MULTIPROCESSING_POSIX 0
#  define MULTIPROCESSING_HAS_AGENTS 0
#  if defined(min) || defined(max)
#    error \
        "multiprocessing: <windows.h> came first and has made macros of min and max: define NOMINMAX before including it"
#  endif
#else
/// Whether this is Windows.
#  define MULTIPROCESSING_WINDOWS 0
/// Whether it is not.
#  define MULTIPROCESSING_POSIX 1
#  define MULTIPROCESSING_HAS_AGENTS 1  ///< That pools on several machines are made of.
#endif

/// 1: the functions of the library stand in one file of the program, the one that includes
/// <multiprocessing/source.hpp>; the others only declare them. 0: in every file.
#ifndef MULTIPROCESSING_COMPILED
#  define MULTIPROCESSING_COMPILED 0
#endif
#if !MULTIPROCESSING_COMPILED
#  define MULTIPROCESSING_DEFINES 1      ///< Whether they are defined in this file.
#  define MULTIPROCESSING_INLINE inline  ///< Before each of those that are not in every file.
#else
#  ifdef MULTIPROCESSING_SOURCE
#    define MULTIPROCESSING_DEFINES 1
#  else
#    define MULTIPROCESSING_DEFINES 0
#  endif
#  define MULTIPROCESSING_INLINE
#endif
/// Whether this file has a contract's functions for Windows.
#define MULTIPROCESSING_DEFINES_WINDOWS (MULTIPROCESSING_DEFINES && MULTIPROCESSING_WINDOWS)
/// Whether it has those for POSIX.
#define MULTIPROCESSING_DEFINES_POSIX (MULTIPROCESSING_DEFINES && MULTIPROCESSING_POSIX)

/// The name of the function around it, with what its template was made for.
#if defined(_MSC_VER) && !defined(__clang__)
#  define MULTIPROCESSING_FUNCTION_NAME __FUNCSIG__
#else
#  define MULTIPROCESSING_FUNCTION_NAME __PRETTY_FUNCTION__
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#  define MULTIPROCESSING_SELDOM __declspec(noinline)
#  define MULTIPROCESSING_APART __declspec(noinline)
#else
/// Before a function that is seldom called: out of the way of those that are called often.
#  define MULTIPROCESSING_SELDOM [[gnu::cold]]
/// And apart from its callers altogether.
#  define MULTIPROCESSING_APART [[gnu::cold, gnu::noinline]]
#endif

/// Whether the thread sanitizer instruments this translation unit.
#if defined(__SANITIZE_THREAD__)
#  define MULTIPROCESSING_THREAD_SANITIZER 1
#elif defined(__has_feature)
#  if __has_feature(thread_sanitizer)
#    define MULTIPROCESSING_THREAD_SANITIZER 1
#  endif
#endif
#ifndef MULTIPROCESSING_THREAD_SANITIZER
#  define MULTIPROCESSING_THREAD_SANITIZER 0
#endif

/// Whether a thread's own objects may have destructors. MinGW's runtime calls them when it has
/// given the objects' memory back already.
#if defined(__MINGW32__)
#  define MULTIPROCESSING_THREADS_KEEP_OBJECTS 0
#else
#  define MULTIPROCESSING_THREADS_KEEP_OBJECTS 1
#endif

/// Every system call is written `MULTIPROCESSING_SYSTEM(name)(arguments)`, so that a fault test can
/// put its own function in the call's place. Only files under os/posix and os/windows use it.
#ifndef MULTIPROCESSING_SYSTEM
#  define MULTIPROCESSING_SYSTEM(call) ::call
#endif

/// A named place at which a process may be stopped by a test and killed there. Critical code has
/// one behind every step that others can see; outside the tests it is nothing at all. `name` is a
/// string literal, "<object>.<operation>.<step>".
#ifndef MULTIPROCESSING_STOP_POINT
#  define MULTIPROCESSING_STOP_POINT(name) static_cast<void>(0)
#endif
