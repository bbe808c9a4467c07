// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file exception.hpp
/// @brief What the compiler's runtime knows of types and exceptions that C++ cannot ask it for.
#include <multiprocessing/detail/config.hpp>

#include <string>
#include <typeinfo>

namespace multiprocessing::os {

/// @brief What the compiler calls a type or a function, as the program writes it.
[[nodiscard]] std::string readable_name(const char* name);

/// @brief A type's name as the program writes it, for messages.
[[nodiscard]] std::string readable_name(const std::type_info& type);

/// @brief The readable name of the type that is being handled, whatever was thrown, e.g.
/// `std::runtime_error`, `int`. Call it inside a handler. Windows: only what derives from
/// std::exception has its name, anything else is "unknown".
[[nodiscard]] std::string current_exception_type();

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/exception.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/exception.ipp>
#endif
