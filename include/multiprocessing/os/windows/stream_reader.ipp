// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/stream_reader.hpp>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE void StreamReader::shut_down() const noexcept {}

MULTIPROCESSING_INLINE Outcome StreamReader::receive_some(std::span<std::byte>,
                                                          std::size_t&,
                                                          const detail::Deadline&,
                                                          std::error_code& ec) const noexcept {
  ec = std::make_error_code(std::errc::function_not_supported);
  return Outcome::ended;
}

MULTIPROCESSING_INLINE Outcome StreamReader::have(std::size_t,
                                                  const detail::Deadline&,
                                                  std::error_code&) noexcept {
  return Outcome::ended;
}

MULTIPROCESSING_INLINE Outcome StreamReader::read_body(std::vector<std::byte>&,
                                                       std::uint64_t,
                                                       std::error_code&) {
  return Outcome::ended;
}

MULTIPROCESSING_INLINE Outcome StreamReader::receive(std::vector<std::byte>&,
                                                     const detail::Deadline& deadline,
                                                     std::error_code& ec) {
  std::size_t none = 0;
  return receive_some({}, none, deadline, ec);
}

}  // namespace multiprocessing::os
