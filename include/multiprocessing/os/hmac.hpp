// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file hmac.hpp
/// @brief Showing that one has a key without telling it.
#include <multiprocessing/detail/config.hpp>

#include <string>
#include <string_view>
#include <system_error>

namespace multiprocessing::os {

/// @brief The HMAC of a message.
/// @param digest "md5", "sha256", "sha384", "sha3_256" or "sha3_384", as Python's hashlib has them.
/// @param key any bytes, none too.
/// @errors `not_supported`: there is no such digest, or the system's policy forbids it (FIPS, MD5).
/// @source RFC 2104. POSIX: OpenSSL's libcrypto. Windows: BCrypt; SHA-3 from Windows 11 24H2 on.
[[nodiscard]] std::string hmac(std::string_view digest,
                               std::string_view key,
                               std::string_view message,
                               std::error_code& ec);

/// @brief Whether both are the same bytes, in a time that depends on their sizes alone.
[[nodiscard]] bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept;

}  // namespace multiprocessing::os

#if MULTIPROCESSING_WINDOWS
#  include <multiprocessing/os/windows/hmac.ipp>
#else
#  include <multiprocessing/os/posix/hmac.ipp>
#endif
