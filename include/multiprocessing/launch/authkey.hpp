// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file authkey.hpp
/// @brief The secret that the processes of one tree share.
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/random.hpp>

#include <array>
#include <cstddef>
#include <mutex>
#include <string>
#include <system_error>

namespace multiprocessing::detail {

/// @brief This tree's key: 32 random bytes, made when first asked for. Children inherit it.
inline std::string authkey() {
  constexpr std::size_t size = 32;
  ProcessState& state = process_state();
  const std::lock_guard lock{state.mutex};
  if (state.authkey.empty()) {
    std::array<std::byte, size> key{};
    std::error_code ec;
    os::random_bytes(key, ec);
    if (ec) throw std::system_error{ec, "cannot make a key"};
    state.authkey.assign(reinterpret_cast<const char*>(key.data()), key.size());
  }
  return state.authkey;
}

}  // namespace multiprocessing::detail
