// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/one_way_channel.hpp>
#include <multiprocessing/os/posix/pipe_page.ipp>
#include <multiprocessing/os/posix/pipe_reader.ipp>
#include <multiprocessing/os/posix/pipe_writer.ipp>

#include <array>
#include <cerrno>
#include <new>

#include <fcntl.h>
#include <unistd.h>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE OneWayEnd::Ends OneWayEnd::create(std::error_code& ec) noexcept try {
  auto region =
      std::make_shared<SharedRegion>(SharedRegion::create(posix::page_size + posix::ring_size, ec));
  if (!ec) region->commit(0, posix::page_size, ec);
  if (ec) return {};
  static_assert(sizeof(Shared) <= posix::page_size);
  auto* const shared = new (region->data()) Shared{};
  shared->writing.initialise(ec);
  if (!ec) shared->reading.initialise(ec);
  if (ec) return {};
  std::array<int, 2> ends{};
  if (MULTIPROCESSING_SYSTEM(pipe2)(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
    ec.assign(errno, std::system_category());
    return {};
  }
  UniqueHandle second{ends[1]};
  Ends made{OneWayEnd{posix::above_streams(ends[0], ec), region},
            OneWayEnd{UniqueHandle{}, region}};
  made.first.patience_ = std::make_shared<Patience>(posix::tries_again_every);
  if (!ec) made.second.pipe_ = posix::above_streams(second.release(), ec);
  if (ec) return {};
  return made;
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return {};
}

MULTIPROCESSING_INLINE OneWayEnd OneWayEnd::adopt(std::vector<UniqueHandle> handles,
                                                  std::error_code& ec) noexcept try {
  if (handles.size() != 2) {
    ec = std::make_error_code(std::errc::invalid_argument);
    return {};
  }
  auto region = std::make_shared<SharedRegion>(
      SharedRegion::adopt(std::move(handles[1]), posix::page_size + posix::ring_size, ec));
  if (!ec) region->commit(0, posix::page_size, ec);
  if (ec) return {};
  OneWayEnd end{std::move(handles[0]), std::move(region)};
  end.patience_ = std::make_shared<Patience>(posix::tries_again_every);
  return end;
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return {};
}

MULTIPROCESSING_INLINE OneWayEnd::~OneWayEnd() {
  if (!pipe_) return;
  pipe_.reset();  // before it is said
  shared().leavers.fetch_add(1);
  if (Bell::has_sleeper(shared().more)) Bell{}.ring(shared().more);
}

MULTIPROCESSING_INLINE native_handle_type OneWayEnd::handle() const noexcept {
  if (pipe_ && shared().watched.exchange(1) == 0) {
    static_cast<void>(posix::make_unreadable(pipe_.get(), shared(), {}, posix::a_moment()));
  }
  return pipe_.get();
}

MULTIPROCESSING_INLINE std::vector<native_handle_type> OneWayEnd::handles() const {
  return {pipe_.get(), region_->handle()};
}

MULTIPROCESSING_INLINE Outcome OneWayEnd::send(const OutgoingMessage& message,
                                               const Interrupt& interrupt,
                                               const detail::Deadline& deadline,
                                               std::error_code& ec) const noexcept {
  if (!message.handles.empty()) {
    ec = std::make_error_code(std::errc::not_supported);
    return Outcome::timed_out;
  }
  ec.clear();
  posix::PartWriter writer{pipe_.get(), *region_, shared()};
  for (;;) {
    Outcome outcome = posix::acquire(shared().writing, interrupt, deadline);
    if (outcome != Outcome::done) return outcome;
    {
      const posix::Unlocker unlocker{shared().writing};
      MULTIPROCESSING_STOP_POINT("pipe.send.locked");
      outcome = writer.write(message, interrupt, deadline, ec);
    }
    if (outcome == Outcome::done) writer.wake_receiver();
    // Without the lock: who is stopped while it waits for room holds nobody up.
    if (ec || outcome != Outcome::timed_out || deadline.passed()) return outcome;
    outcome = writer.wait_for_room(interrupt, deadline, ec);
    if (ec || outcome != Outcome::done) return outcome;
  }
}

MULTIPROCESSING_INLINE Outcome OneWayEnd::receive(IncomingMessage& into,
                                                  const Interrupt& interrupt,
                                                  const detail::Deadline& deadline,
                                                  std::error_code& ec) const noexcept try {
  ec.clear();
  for (bool nobody_sends = false;;) {
    Outcome outcome = posix::acquire(shared().reading, interrupt, deadline);
    if (outcome != Outcome::done) return outcome;
    {
      const posix::Unlocker unlocker{shared().reading};
      MULTIPROCESSING_STOP_POINT("pipe.recv.locked");
      outcome =
          posix::PartReader{region_->data() + posix::page_size, shared()}.read(into, interrupt, ec);
    }
    if (outcome == Outcome::done) posix::wake_next(shared());
    if (outcome == Outcome::done && shared().watched.load() != 0) {
      static_cast<void>(posix::make_unreadable(pipe_.get(), shared(), {}, posix::a_moment()));
    }
    if (ec || outcome != Outcome::timed_out) return outcome;
    if (nobody_sends) return Outcome::ended;
    if (posix::comes_soon(pipe_.get(), shared(), *patience_, deadline)) continue;
    outcome = posix::wait_for_byte(pipe_.get(), shared(), interrupt, deadline, ec);
    nobody_sends = outcome == Outcome::ended;
    if (ec || (outcome != Outcome::done && !nobody_sends)) return outcome;
  }
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return Outcome::timed_out;
}

MULTIPROCESSING_INLINE Outcome OneWayEnd::wait(const Interrupt& interrupt,
                                               const detail::Deadline& deadline,
                                               std::error_code& ec) const noexcept {
  ec.clear();
  for (;;) {
    Outcome outcome = posix::acquire(shared().reading, interrupt, deadline);
    if (outcome != Outcome::done) return outcome;
    bool is_there = false;
    {
      const posix::Unlocker unlocker{shared().reading};
      MULTIPROCESSING_STOP_POINT("pipe.poll.locked");
      posix::PartReader reader{region_->data() + posix::page_size, shared()};
      is_there = reader.has_message(ec);
      if (ec) return Outcome::timed_out;
    }
    if (is_there) {
      posix::wake_next(shared());
      return Outcome::done;
    }
    if (posix::comes_soon(pipe_.get(), shared(), *patience_, deadline)) continue;
    outcome = posix::wait_for_byte(pipe_.get(), shared(), interrupt, deadline, ec);
    if (outcome == Outcome::ended) return Outcome::done;
    if (ec || outcome != Outcome::done) return outcome;
  }
}

MULTIPROCESSING_INLINE OneWayEnd::Shared& OneWayEnd::shared() const noexcept {
  return *std::launder(reinterpret_cast<Shared*>(region_->data()));
}

}  // namespace multiprocessing::os
