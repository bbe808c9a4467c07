// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file stacktrace.hpp
/// @brief Files and lines in the text of BrokenProcessPool when a worker has crashed. Not in the
/// umbrella: only who wants them pays for Boost.Stacktrace.
///
/// Included in any one file of a program, it makes the lines of BrokenProcessPool::traceback() say
/// `deref(int*) at src/main.cpp:12`. Boost has to know where lines stand; with g++ on Debian:
/// @code
/// g++ -std=c++20 -g -DBOOST_STACKTRACE_USE_BACKTRACE main.cpp -lbacktrace
/// @endcode
/// Without that macro, and for what has no debug information, the lines stay as they are without
/// this header: function and offset. Other macros of Boost.Stacktrace work as it describes them.
/// On Windows it changes nothing.
/// @python{faulthandler: file and line}
#include <multiprocessing/os/module.hpp>
#include <multiprocessing/os/source_line.hpp>
#include <multiprocessing/workers/crash_text.hpp>

#include <cstdint>

namespace multiprocessing::detail {

[[maybe_unused]] inline const bool places_have_lines = [] {
  // A plug-in that brings it may be closed before the namer is asked.
  if (!os::keep_loaded(reinterpret_cast<std::uintptr_t>(&os::source_line))) return false;
  place_namer.store(&os::source_line);
  return true;
}();

}  // namespace multiprocessing::detail
