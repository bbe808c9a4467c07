// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/hmac.hpp>

#include <array>
#include <limits>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

namespace multiprocessing::os {

inline std::string hmac(std::string_view digest,
                        std::string_view key,
                        std::string_view message,
                        std::error_code& ec) {
  ec = std::make_error_code(std::errc::not_supported);
  const EVP_MD* algorithm = nullptr;
  if (digest == "md5") algorithm = EVP_md5();
  if (digest == "sha256") algorithm = EVP_sha256();
  if (digest == "sha384") algorithm = EVP_sha384();
  if (digest == "sha3_256") algorithm = EVP_sha3_256();
  if (digest == "sha3_384") algorithm = EVP_sha3_384();
  if (algorithm == nullptr || key.size() > std::numeric_limits<int>::max()) return {};
  std::array<unsigned char, EVP_MAX_MD_SIZE> result{};
  unsigned size = 0;
  // A key of no bytes must not be a null pointer, which would mean the key of the last call.
  const char* const bytes = key.empty() ? "" : key.data();
  if (HMAC(algorithm, bytes, static_cast<int>(key.size()),
           reinterpret_cast<const unsigned char*>(message.data()), message.size(), result.data(),
           &size) == nullptr) {
    return {};
  }
  ec.clear();
  return {reinterpret_cast<const char*>(result.data()), size};
}

inline bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace multiprocessing::os
