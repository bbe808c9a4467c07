// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/windows/pipe_page.ipp>
#include <multiprocessing/os/windows/wait.ipp>

#include <cstring>
#include <new>
#include <span>

namespace multiprocessing::os::windows {

// Writes one message of the pipe; waits while it is full.
MULTIPROCESSING_INLINE Outcome write_packet(HANDLE pipe,
                                            std::span<const std::byte> packet,
                                            const Interrupt& interrupt,
                                            const detail::Deadline& deadline,
                                            std::error_code& ec) noexcept {
  Operation write{pipe, ec};
  if (ec) return Outcome::timed_out;
  if (MULTIPROCESSING_SYSTEM(WriteFile)(pipe, packet.data(), static_cast<DWORD>(packet.size()),
                                        nullptr, write.get()) != 0) {
    return Outcome::done;
  }
  if (MULTIPROCESSING_SYSTEM(GetLastError)() != ERROR_IO_PENDING) {
    ec = last_error();
    return Outcome::timed_out;
  }
  write.begun();
  std::array<HANDLE, 2> objects{write.event(), nullptr};
  const Waited waited = wait_for(objects, interrupt, deadline, ec);
  const auto end = write.finish();
  if (end.error == 0) return ec.clear(), Outcome::done;
  if (end.error != ERROR_OPERATION_ABORTED) ec = as_error(end.error);
  return as_outcome(waited);
}

// What is to be sent: a table of handles, which may be empty, and bytes behind it.
struct RunContent {
  std::uint8_t kind = 0;
  std::uint16_t handles = 0;
  std::span<const std::byte> table;
  std::span<const std::byte> bytes;

  [[nodiscard]] std::size_t size() const noexcept { return table.size() + bytes.size(); }
  void copy(std::size_t offset, std::size_t count, std::byte* into) const noexcept {
    if (offset < table.size()) {
      const std::size_t part = std::min(count, table.size() - offset);
      std::memcpy(into, table.data() + offset, part);
      into += part;
      offset += part;
      count -= part;
    }
    if (count != 0) std::memcpy(into, bytes.data() + (offset - table.size()), count);
  }
};

// Writes a message whole, or never to be completed. The caller holds `writing`.
MULTIPROCESSING_INLINE Outcome write_run(HANDLE pipe,
                                         OneWayEnd::Shared& shared,
                                         const RunContent& content,
                                         const Interrupt& interrupt,
                                         const detail::Deadline& deadline,
                                         std::error_code& ec) noexcept try {
  const std::size_t total = content.size();
  const std::uint64_t run = shared.last_run.load() + 1;
  shared.last_run.store(run);
  if (total > fragment_size) shared.current_run.store(run);
  const PacketBuffer packet;
  std::size_t offset = 0;
  do {
    const std::size_t size = std::min(total - offset, fragment_size);
    const FragmentHeader header{
        FragmentHeader::right_magic, content.kind, content.handles, run, offset, total};
    std::memcpy(packet.data(), &header, sizeof header);
    content.copy(offset, size, packet.data() + sizeof header);
    const Outcome outcome =
        write_packet(pipe, {packet.data(), sizeof header + size}, interrupt, deadline, ec);
    if (ec || outcome != Outcome::done) {
      if (offset == 0) shared.current_run.store(0);  // nothing of it is there
      bury_current_run(shared);
      return outcome;
    }
    offset += size;
    MULTIPROCESSING_STOP_POINT("pipe.send.fragments");
  } while (offset < total);
  MULTIPROCESSING_STOP_POINT("pipe.send.whole");
  shared.current_run.store(0);
  MULTIPROCESSING_STOP_POINT("pipe.send.done");
  return Outcome::done;
} catch (const std::bad_alloc&) {
  bury_current_run(shared);
  ec = std::make_error_code(std::errc::not_enough_memory);
  return Outcome::timed_out;
}

MULTIPROCESSING_INLINE Outcome send_run(HANDLE pipe,
                                        OneWayEnd::Shared& shared,
                                        const RunContent& content,
                                        const Interrupt& interrupt,
                                        const detail::Deadline& deadline,
                                        std::error_code& ec) noexcept {
  ec.clear();
  bool abandoned = false;
  const Outcome acquired = acquire(shared.writing, interrupt, deadline, abandoned);
  if (acquired != Outcome::done) return acquired;
  const Unlocker unlocker{shared.writing};
  if (abandoned) bury_current_run(shared);
  MULTIPROCESSING_STOP_POINT("pipe.send.locked");
  return write_run(pipe, shared, content, interrupt, deadline, ec);
}

}  // namespace multiprocessing::os::windows
