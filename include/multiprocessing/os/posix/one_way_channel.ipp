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

namespace posix {

// timed_out: there is none, or another is receiving.
inline Outcome receive_now(int pipe,
                           OneWayEnd::Shared& shared,
                           IncomingMessage& into,
                           const Interrupt& interrupt,
                           const detail::Deadline& deadline,
                           std::error_code& ec) noexcept {
  bool abandoned = false;
  Outcome outcome = acquire(shared.reading, interrupt, deadline, abandoned);
  if (outcome != Outcome::done) return outcome;
  const Unlocker unlocker{shared.reading};
  if (abandoned) shared.suspect.store(1);
  MULTIPROCESSING_STOP_POINT("pipe.recv.locked");
  try {
    outcome = RunReader{pipe, shared}.read(into, interrupt, ec);
  } catch (const std::bad_alloc&) {
    ec = std::make_error_code(std::errc::not_enough_memory);
  }
  if (ec || outcome == Outcome::interrupted) shared.suspect.store(1);
  MULTIPROCESSING_STOP_POINT("pipe.recv.read");
  return outcome;
}

}  // namespace posix

inline OneWayEnd::Ends OneWayEnd::create(std::error_code& ec) noexcept try {
  auto region = std::make_shared<SharedRegion>(SharedRegion::create(posix::packet_size, ec));
  if (!ec) region->commit(0, posix::packet_size, ec);
  if (ec) return {};
  static_assert(sizeof(Shared) <= posix::packet_size);
  auto* const shared = new (region->data()) Shared{};
  shared->writing.initialise(ec);
  if (!ec) shared->reading.initialise(ec);
  if (ec) return {};
  std::array<int, 2> ends{};
  if (MULTIPROCESSING_SYSTEM(pipe2)(ends.data(), O_DIRECT | O_CLOEXEC | O_NONBLOCK) != 0) {
    ec.assign(errno, std::system_category());
    return {};
  }
  UniqueHandle second{ends[1]};
  Ends made{OneWayEnd{posix::above_streams(ends[0], ec), region},
            OneWayEnd{UniqueHandle{}, region}};
  made.first.patience_ = std::make_shared<Patience>(posix::tries_again_every);
  if (!ec) made.second.pipe_ = posix::above_streams(second.release(), ec);
  if (ec) return {};
  // A packet takes a page, however small it is: the usual 16 would be few. Best effort: an
  // unprivileged user has 16384 pages for all pipes.
  MULTIPROCESSING_SYSTEM(fcntl)
  (made.second.pipe_.get(), F_SETPIPE_SZ, static_cast<int>(64 * posix::packet_size));
  return made;
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return {};
}

inline OneWayEnd OneWayEnd::adopt(std::vector<UniqueHandle> handles, std::error_code& ec) noexcept
    try {
  if (handles.size() != 2) {
    ec = std::make_error_code(std::errc::invalid_argument);
    return {};
  }
  auto region = std::make_shared<SharedRegion>(
      SharedRegion::adopt(std::move(handles[1]), posix::packet_size, ec));
  if (!ec) region->commit(0, posix::packet_size, ec);
  if (ec) return {};
  OneWayEnd end{std::move(handles[0]), std::move(region)};
  end.patience_ = std::make_shared<Patience>(posix::tries_again_every);
  return end;
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return {};
}

inline std::vector<native_handle_type> OneWayEnd::handles() const {
  return {pipe_.get(), region_->handle()};
}

inline Outcome OneWayEnd::send(const OutgoingMessage& message,
                               const Interrupt& interrupt,
                               const detail::Deadline& deadline,
                               std::error_code& ec) const noexcept {
  if (!message.handles.empty()) {
    ec = std::make_error_code(std::errc::not_supported);
    return Outcome::timed_out;
  }
  ec.clear();
  for (;;) {
    bool abandoned = false;
    Outcome outcome = posix::acquire(shared().writing, interrupt, deadline, abandoned);
    if (outcome != Outcome::done) return outcome;
    {
      const posix::Unlocker unlocker{shared().writing};
      if (abandoned) posix::bury_current_run(shared());
      MULTIPROCESSING_STOP_POINT("pipe.send.locked");
      outcome = posix::RunWriter{pipe_.get(), shared(), message}.write(interrupt, deadline, ec);
    }
    // Without the lock: who is stopped while it waits for room holds nobody up.
    if (ec || outcome != Outcome::timed_out || deadline.passed()) return outcome;
    outcome = as_outcome(wait_ready(pipe_.get(), Readiness::writable, interrupt, deadline, ec));
    if (ec || outcome != Outcome::done) return outcome;
  }
}

inline Outcome OneWayEnd::receive(IncomingMessage& into,
                                  const Interrupt& interrupt,
                                  const detail::Deadline& deadline,
                                  std::error_code& ec) const noexcept {
  ec.clear();
  const auto written = [this] { return shared().written.load(std::memory_order_acquire); };
  for (;;) {
    Outcome outcome = posix::receive_now(pipe_.get(), shared(), into, interrupt, deadline, ec);
    if (ec || outcome != Outcome::timed_out || deadline.passed()) return outcome;
    // Not before it was found empty: in a flow this would be one more cache line to fetch. What was
    // written in between is found by poll.
    const std::uint64_t seen = written();
    if (patience_->spin([&] { return written() != seen; })) continue;
    outcome = as_outcome(wait_ready(pipe_.get(), Readiness::readable, interrupt, deadline, ec));
    if (ec || outcome != Outcome::done) return outcome;
  }
}

inline Outcome OneWayEnd::wait(const Interrupt& interrupt,
                               const detail::Deadline& deadline,
                               std::error_code& ec) const noexcept {
  ec.clear();
  for (;;) {
    bool abandoned = false;
    Outcome outcome = posix::acquire(shared().reading, interrupt, deadline, abandoned);
    if (outcome != Outcome::done) return outcome;
    {
      const posix::Unlocker unlocker{shared().reading};
      if (abandoned) shared().suspect.store(1);
      MULTIPROCESSING_STOP_POINT("pipe.poll.locked");
      if (posix::message_waiting(pipe_.get(), shared(), ec)) return Outcome::done;
      if (ec) return Outcome::timed_out;
    }
    outcome = as_outcome(wait_ready(pipe_.get(), Readiness::readable, interrupt, deadline, ec));
    if (ec || outcome != Outcome::done) return outcome;
  }
}

inline OneWayEnd::Shared& OneWayEnd::shared() const noexcept {
  return *std::launder(reinterpret_cast<Shared*>(region_->data()));
}

}  // namespace multiprocessing::os
