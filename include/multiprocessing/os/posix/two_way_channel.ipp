// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/two_way_channel.hpp>

namespace multiprocessing::os {

inline TwoWayEnd::Ends TwoWayEnd::create(std::error_code& ec) noexcept {
  ChannelEnds ends = make_channel(ec);
  Ends made;
  made.first.end_ = std::move(ends.first);
  made.second.end_ = std::move(ends.second);
  return made;
}

inline TwoWayEnd TwoWayEnd::adopt(std::vector<UniqueHandle> handles, std::error_code& ec) noexcept {
  if (handles.size() != 1) {
    ec = std::make_error_code(std::errc::invalid_argument);
    return {};
  }
  ec.clear();
  TwoWayEnd adopted;
  adopted.end_ = std::move(handles.front());
  return adopted;
}

inline std::vector<native_handle_type> TwoWayEnd::handles() const {
  return {end_.get()};
}

inline native_handle_type TwoWayEnd::handle() const noexcept {
  return end_.get();
}

inline Outcome TwoWayEnd::send(const OutgoingMessage& message,
                               const Interrupt& interrupt,
                               const detail::Deadline& deadline,
                               std::error_code& ec) const noexcept {
  return send_message(end_.get(), message, interrupt, deadline, ec);
}

inline Outcome TwoWayEnd::receive(IncomingMessage& into,
                                  const Interrupt& interrupt,
                                  const detail::Deadline& deadline,
                                  std::error_code& ec) const noexcept {
  return receive_message(end_.get(), into, interrupt, deadline, ec);
}

inline Outcome TwoWayEnd::wait(const Interrupt& interrupt,
                               const detail::Deadline& deadline,
                               std::error_code& ec) const noexcept {
  return wait_for_message(end_.get(), interrupt, deadline, ec);
}

}  // namespace multiprocessing::os
