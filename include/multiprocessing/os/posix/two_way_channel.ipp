// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/posix/passages.ipp>
#include <multiprocessing/os/two_way_channel.hpp>

#include <memory>
#include <new>

namespace multiprocessing::os {

struct TwoWayEnd::Passages : posix::Passages {};

MULTIPROCESSING_INLINE TwoWayEnd TwoWayEnd::of(UniqueHandle end, std::error_code& ec) noexcept try {
  TwoWayEnd made;
  made.passages_ = std::make_shared<Passages>();
  made.end_ = std::move(end);
  return made;
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return {};
}

MULTIPROCESSING_INLINE TwoWayEnd::Ends TwoWayEnd::create(std::error_code& ec) noexcept {
  ChannelEnds ends = make_channel(ec);
  Ends made;
  if (!ec) made.first = of(std::move(ends.first), ec);
  if (!ec) made.second = of(std::move(ends.second), ec);
  return made;
}

MULTIPROCESSING_INLINE TwoWayEnd TwoWayEnd::adopt(std::vector<UniqueHandle> handles,
                                                  std::error_code& ec) noexcept {
  if (handles.size() != 1) {
    ec = std::make_error_code(std::errc::invalid_argument);
    return {};
  }
  ec.clear();
  return of(std::move(handles.front()), ec);
}

MULTIPROCESSING_INLINE std::vector<native_handle_type> TwoWayEnd::handles() const {
  return {end_.get()};
}

MULTIPROCESSING_INLINE native_handle_type TwoWayEnd::handle() const noexcept {
  return end_.get();
}

MULTIPROCESSING_INLINE Outcome TwoWayEnd::send(const OutgoingMessage& message,
                                               const Interrupt& interrupt,
                                               const detail::Deadline& deadline,
                                               std::error_code& ec) const noexcept {
  return posix::send_through(end_.get(), passages_.get(), message, interrupt, deadline, ec);
}

MULTIPROCESSING_INLINE Outcome TwoWayEnd::receive(IncomingMessage& into,
                                                  const Interrupt& interrupt,
                                                  const detail::Deadline& deadline,
                                                  std::error_code& ec) const noexcept {
  if (!passages_) return receive_message(end_.get(), into, interrupt, deadline, ec);
  return posix::receive_through(end_.get(), *passages_, into, interrupt, deadline, ec);
}

MULTIPROCESSING_INLINE Outcome TwoWayEnd::wait(const Interrupt& interrupt,
                                               const detail::Deadline& deadline,
                                               std::error_code& ec) const noexcept {
  return wait_for_message(end_.get(), interrupt, deadline, ec);
}

}  // namespace multiprocessing::os
