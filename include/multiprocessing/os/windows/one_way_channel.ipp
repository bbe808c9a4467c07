// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/one_way_channel.hpp>
#include <multiprocessing/os/random.hpp>
#include <multiprocessing/os/windows/pipe_page.ipp>
#include <multiprocessing/os/windows/pipe_reader.ipp>
#include <multiprocessing/os/windows/pipe_writer.ipp>

#include <array>
#include <cstddef>
#include <new>
#include <string>

namespace multiprocessing::os {

namespace windows {

inline constexpr std::size_t page_size = 4096;

struct PipeEnds {
  UniqueHandle reading;
  UniqueHandle writing;
};

// A pipe that has a name only while it is made, which nobody can guess.
MULTIPROCESSING_INLINE PipeEnds make_pipe(std::error_code& ec) {
  std::array<std::byte, 16> number{};
  random_bytes(number, ec);
  if (ec) return {};
  std::wstring name = L"\\\\.\\pipe\\multiprocessing-";
  for (const std::byte part : number) name += std::to_wstring(std::to_integer<int>(part)) + L"-";
  PipeEnds made;
  made.reading = owned(
      MULTIPROCESSING_SYSTEM(CreateNamedPipeW)(
          name.c_str(), PIPE_ACCESS_INBOUND | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
          PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_REJECT_REMOTE_CLIENTS, 1, pipe_size,
          pipe_size, 0, nullptr),
      ec);
  if (ec) return {};
  made.writing =
      owned(MULTIPROCESSING_SYSTEM(CreateFileW)(name.c_str(), GENERIC_WRITE, 0, nullptr,
                                                OPEN_EXISTING, FILE_FLAG_OVERLAPPED, nullptr),
            ec);
  return made;
}

// timed_out: there is none, or another is receiving.
MULTIPROCESSING_INLINE Outcome receive_run_now(HANDLE pipe,
                                               OneWayEnd::Shared& shared,
                                               IncomingMessage& into,
                                               std::size_t& handles,
                                               const Interrupt& interrupt,
                                               const detail::Deadline& deadline,
                                               std::error_code& ec) noexcept {
  bool abandoned = false;
  Outcome outcome = acquire(shared.reading, interrupt, deadline, abandoned);
  if (outcome != Outcome::done) return outcome;
  const Unlocker unlocker{shared.reading};
  MULTIPROCESSING_STOP_POINT("pipe.recv.locked");
  try {
    outcome = RunReader{pipe, shared}.read(into, handles, interrupt, ec);
  } catch (const std::bad_alloc&) {
    ec = std::make_error_code(std::errc::not_enough_memory);
  }
  MULTIPROCESSING_STOP_POINT("pipe.recv.read");
  return outcome;
}

MULTIPROCESSING_INLINE Outcome receive_run(HANDLE pipe,
                                           OneWayEnd::Shared& shared,
                                           IncomingMessage& into,
                                           std::size_t& handles,
                                           const Interrupt& interrupt,
                                           const detail::Deadline& deadline,
                                           std::error_code& ec) noexcept {
  ec.clear();
  for (;;) {
    Outcome outcome = receive_run_now(pipe, shared, into, handles, interrupt, deadline, ec);
    if (ec || outcome != Outcome::timed_out || deadline.passed()) return outcome;
    outcome = as_outcome(wait_ready(pipe, Readiness::readable, interrupt, deadline, ec));
    if (ec || outcome != Outcome::done) return outcome;
  }
}

}  // namespace windows

MULTIPROCESSING_INLINE OneWayEnd::Ends OneWayEnd::create(std::error_code& ec) noexcept try {
  static_assert(sizeof(Shared) <= windows::page_size);
  auto region = std::make_shared<SharedRegion>(SharedRegion::create(windows::page_size, ec));
  if (!ec) region->commit(0, windows::page_size, ec);
  if (ec) return {};
  auto* const shared = new (region->data()) Shared{};
  shared->writing.initialise(ec);
  if (!ec) shared->reading.initialise(ec);
  if (ec) return {};
  windows::PipeEnds pipe = windows::make_pipe(ec);
  if (ec) return {};
  return {OneWayEnd{std::move(pipe.reading), region}, OneWayEnd{std::move(pipe.writing), region}};
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
      SharedRegion::adopt(std::move(handles[1]), windows::page_size, ec));
  if (!ec) region->commit(0, windows::page_size, ec);
  if (ec) return {};
  return {std::move(handles[0]), std::move(region)};
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return {};
}

MULTIPROCESSING_INLINE OneWayEnd::~OneWayEnd() = default;

MULTIPROCESSING_INLINE native_handle_type OneWayEnd::handle() const noexcept {
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
  return windows::send_run(pipe_.get(), shared(), {message.kind, 0, {}, message.bytes}, interrupt,
                           deadline, ec);
}

MULTIPROCESSING_INLINE Outcome OneWayEnd::receive(IncomingMessage& into,
                                                  const Interrupt& interrupt,
                                                  const detail::Deadline& deadline,
                                                  std::error_code& ec) const noexcept {
  std::size_t handles = 0;
  return windows::receive_run(pipe_.get(), shared(), into, handles, interrupt, deadline, ec);
}

MULTIPROCESSING_INLINE Outcome OneWayEnd::wait(const Interrupt& interrupt,
                                               const detail::Deadline& deadline,
                                               std::error_code& ec) const noexcept {
  ec.clear();
  for (;;) {
    bool abandoned = false;
    Outcome outcome = windows::acquire(shared().reading, interrupt, deadline, abandoned);
    if (outcome != Outcome::done) return outcome;
    {
      const windows::Unlocker unlocker{shared().reading};
      MULTIPROCESSING_STOP_POINT("pipe.poll.locked");
      if (windows::message_waiting(pipe_.get(), shared(), ec)) return Outcome::done;
      if (ec) return Outcome::timed_out;
    }
    outcome = as_outcome(wait_ready(pipe_.get(), Readiness::readable, interrupt, deadline, ec));
    if (ec || outcome != Outcome::done) return outcome;
  }
}

MULTIPROCESSING_INLINE OneWayEnd::Shared& OneWayEnd::shared() const noexcept {
  return *std::launder(reinterpret_cast<Shared*>(region_->data()));
}

}  // namespace multiprocessing::os
