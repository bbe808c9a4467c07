// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/hmac.hpp>

#include <cstddef>

namespace multiprocessing::os {

inline std::string hmac(std::string_view /*digest*/,
                        std::string_view /*key*/,
                        std::string_view /*message*/,
                        std::error_code& ec) {
  ec = std::make_error_code(std::errc::not_supported);
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
