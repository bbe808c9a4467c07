// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/socket.hpp>
#include <multiprocessing/os/windows/api.ipp>

namespace multiprocessing::os {

inline UniqueHandle listen_at(const Endpoint& /*where*/,
                              int /*backlog*/,
                              Endpoint& /*bound*/,
                              std::error_code& ec) noexcept {
  ec = std::make_error_code(std::errc::not_supported);
  return {};
}

inline UniqueHandle accept_from(native_handle_type /*listener*/,
                                Endpoint& /*peer*/,
                                std::error_code& ec) noexcept {
  ec = std::make_error_code(std::errc::not_supported);
  return {};
}

inline UniqueHandle connect_to(const Endpoint& /*where*/,
                               const Interrupt& /*interrupt*/,
                               const detail::Deadline& /*deadline*/,
                               Outcome& outcome,
                               std::error_code& ec) noexcept {
  outcome = Outcome::done;
  ec = std::make_error_code(std::errc::not_supported);
  return {};
}

inline std::size_t receive_now(native_handle_type /*socket*/,
                               std::span<std::byte> /*into*/,
                               bool& ended,
                               std::error_code& ec) noexcept {
  ended = false;
  ec = std::make_error_code(std::errc::not_supported);
  return 0;
}

inline std::size_t send_now(native_handle_type /*socket*/,
                            std::span<const std::byte> /*bytes*/,
                            std::error_code& ec) noexcept {
  ec = std::make_error_code(std::errc::not_supported);
  return 0;
}

inline UniqueHandle make_ready_set(std::error_code& ec) noexcept {
  ec = std::make_error_code(std::errc::not_supported);
  return {};
}

inline void add_to_ready_set(native_handle_type /*set*/,
                             native_handle_type /*handle*/,
                             std::error_code& ec) noexcept {
  ec = std::make_error_code(std::errc::not_supported);
}

inline void remove_from_ready_set(native_handle_type /*set*/,
                                  native_handle_type /*handle*/) noexcept {}

inline MemoryIdentity file_identity(const std::string& /*path*/, std::error_code& ec) noexcept {
  ec = std::make_error_code(std::errc::not_supported);
  return {};
}

}  // namespace multiprocessing::os
