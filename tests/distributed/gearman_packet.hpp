// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file gearman_packet.hpp
/// @brief Packets as a Gearman server writes and reads them, for tests.
#include <multiprocessing/distributed/gearman/protocol.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace test {

/// @brief A packet from a server; `body` with its NULs.
inline std::string response(multiprocessing::detail::gearman::Command command,
                            std::string_view body = {},
                            std::string_view mark = {"\0RES", 4}) {
  std::string text{mark};
  const auto put = [&](std::size_t number) {
    for (const int shift : {24, 16, 8, 0}) text.push_back(static_cast<char>(number >> shift));
  };
  put(static_cast<std::size_t>(command));
  put(body.size());
  return text.append(body);
}
/// @brief A packet to a server.
inline std::string request(multiprocessing::detail::gearman::Command command,
                           std::string_view body = {}) {
  return response(command, body, {"\0REQ", 4});
}

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span{text.data(), text.size()});
}
inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace test
