// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file large_pages.hpp
/// @brief Memory that is touched for the first time page by page costs several times a copy of it.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/detail/memory_hint.hpp>

#include <cstddef>

namespace multiprocessing::os {

/// @brief Says of memory that was allocated and not touched yet that all of it will be: the system
/// may then give it in large pieces. Best effort. Windows: nothing.
/// @source numpy does so for arrays of 4 MiB and more.
void prefer_large_pages(void* memory, std::size_t size) noexcept;

/// @brief From now on that is what detail::will_be_filled() does, in every program with this
/// header.
inline const bool takes_memory_hints = [] {
  detail::memory_hint.store(&prefer_large_pages);
  return true;
}();

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/large_pages.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/large_pages.ipp>
#endif
