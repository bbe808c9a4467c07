// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/channel.hpp>

namespace multiprocessing::os {

namespace windows {

MULTIPROCESSING_INLINE Outcome no_channel(std::error_code& ec) noexcept {
  ec = std::make_error_code(std::errc::function_not_supported);
  return Outcome::timed_out;
}

}  // namespace windows

MULTIPROCESSING_INLINE ChannelEnds make_channel(std::error_code& ec) noexcept {
  windows::no_channel(ec);
  return {};
}

MULTIPROCESSING_INLINE Outcome send_message(native_handle_type /*to*/,
                                            const OutgoingMessage& /*message*/,
                                            const Interrupt& /*interrupt*/,
                                            const detail::Deadline& /*deadline*/,
                                            std::error_code& ec) noexcept {
  return windows::no_channel(ec);
}

MULTIPROCESSING_INLINE Outcome receive_message(native_handle_type /*from*/,
                                               IncomingMessage& /*into*/,
                                               const Interrupt& /*interrupt*/,
                                               const detail::Deadline& /*deadline*/,
                                               std::error_code& ec) noexcept {
  return windows::no_channel(ec);
}

MULTIPROCESSING_INLINE Outcome wait_for_message(native_handle_type /*from*/,
                                                const Interrupt& /*interrupt*/,
                                                const detail::Deadline& /*deadline*/,
                                                std::error_code& ec) noexcept {
  return windows::no_channel(ec);
}

}  // namespace multiprocessing::os
