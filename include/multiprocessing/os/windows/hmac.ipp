// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/hmac.hpp>
#include <multiprocessing/os/windows/api.ipp>

#include <array>
#include <cstddef>
#include <limits>

#include <bcrypt.h>

namespace multiprocessing::os {

namespace windows {

struct Digest {
  std::string_view name;
  const wchar_t* algorithm;
  std::size_t size;
};
// SHA-3 is not in every Windows.
inline constexpr std::array digests{
    Digest{"md5", L"MD5", 16}, Digest{"sha256", L"SHA256", 32}, Digest{"sha384", L"SHA384", 48},
    Digest{"sha3_256", L"SHA3-256", 32}, Digest{"sha3_384", L"SHA3-384", 48}};

inline bool hmac_into(std::string& result,
                      const Digest& digest,
                      std::string_view key,
                      std::string_view message) noexcept {
  const auto bytes = [](std::string_view text) {
    return reinterpret_cast<PUCHAR>(const_cast<char*>(text.empty() ? "" : text.data()));
  };
  BCRYPT_ALG_HANDLE algorithm = nullptr;
  if (MULTIPROCESSING_SYSTEM(BCryptOpenAlgorithmProvider)(&algorithm, digest.algorithm, nullptr,
                                                          BCRYPT_ALG_HANDLE_HMAC_FLAG) < 0) {
    return false;
  }
  const bool made =
      MULTIPROCESSING_SYSTEM(BCryptHash)(algorithm, bytes(key), static_cast<ULONG>(key.size()),
                                         bytes(message), static_cast<ULONG>(message.size()),
                                         bytes(result), static_cast<ULONG>(result.size())) >= 0;
  MULTIPROCESSING_SYSTEM(BCryptCloseAlgorithmProvider)(algorithm, 0);
  return made;
}

}  // namespace windows

inline std::string hmac(std::string_view digest,
                        std::string_view key,
                        std::string_view message,
                        std::error_code& ec) {
  ec = std::make_error_code(std::errc::not_supported);
  constexpr std::size_t longest = std::numeric_limits<int>::max();
  for (const windows::Digest& one : windows::digests) {
    if (one.name != digest || key.size() > longest || message.size() > longest) continue;
    std::string result(one.size, '\0');
    if (!windows::hmac_into(result, one, key, message)) return {};
    ec.clear();
    return result;
  }
  return {};
}

inline bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  volatile unsigned char difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference = static_cast<unsigned char>(difference | (a[i] ^ b[i]));
  }
  return difference == 0;
}

}  // namespace multiprocessing::os
