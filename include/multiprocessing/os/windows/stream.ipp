// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/stream.hpp>

namespace multiprocessing::os {

inline void StreamState::initialise(std::error_code& ec) noexcept {
  out.lock.initialise(ec);
  if (!ec) in.lock.initialise(ec);
}

inline Outcome Stream::send(std::span<const std::byte> /*bytes*/,
                            std::span<const std::byte> /*tail*/,
                            const Interrupt& /*interrupt*/,
                            const detail::Deadline& /*deadline*/,
                            std::error_code& ec) const noexcept {
  ec = std::make_error_code(std::errc::not_supported);
  return Outcome::timed_out;
}

inline Outcome Stream::receive(std::uint8_t /*kind*/,
                               std::size_t /*max*/,
                               IncomingMessage& /*into*/,
                               const Interrupt& /*interrupt*/,
                               const detail::Deadline& /*deadline*/,
                               std::error_code& ec) const noexcept {
  ec = std::make_error_code(std::errc::not_supported);
  return Outcome::timed_out;
}

inline Outcome Stream::wait(const Interrupt& /*interrupt*/,
                            const detail::Deadline& /*deadline*/,
                            std::error_code& ec) const noexcept {
  ec = std::make_error_code(std::errc::not_supported);
  return Outcome::timed_out;
}

inline void Stream::before_close() const noexcept {}

}  // namespace multiprocessing::os
