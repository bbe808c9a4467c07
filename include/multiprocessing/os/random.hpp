// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file random.hpp
/// @brief Random bytes that nobody can guess.
#include <multiprocessing/detail/config.hpp>

#include <cstddef>
#include <span>
#include <system_error>

namespace multiprocessing::os {

/// @brief Fills `into` with bytes fit for keys.
/// @errors POSIX `getrandom`: ENOSYS before Linux 3.17. Windows `BCryptGenRandom`.
void random_bytes(std::span<std::byte> into, std::error_code& ec) noexcept;

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/random.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/random.ipp>
#endif
