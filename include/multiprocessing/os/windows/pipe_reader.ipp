// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/windows/pipe_page.ipp>
#include <multiprocessing/os/windows/wait.ipp>

#include <cstring>
#include <vector>

namespace multiprocessing::os::windows {

// What became of a try to read.
enum class Got { fragment, nothing, end, whole, interruption };

MULTIPROCESSING_INLINE bool is_end(DWORD error) noexcept {
  return error == ERROR_BROKEN_PIPE || error == ERROR_PIPE_NOT_CONNECTED;
}

// One message of the pipe, if one is there. The caller holds `reading`, so nobody else takes it.
MULTIPROCESSING_INLINE Got read_packet(HANDLE pipe,
                                       std::byte* into,
                                       std::size_t& size,
                                       std::error_code& ec) noexcept {
  DWORD available = 0;
  DWORD error = 0;
  if (MULTIPROCESSING_SYSTEM(PeekNamedPipe)(pipe, nullptr, 0, nullptr, &available, nullptr) == 0) {
    error = MULTIPROCESSING_SYSTEM(GetLastError)();
    if (!is_end(error)) ec = as_error(error);
    return is_end(error) ? Got::end : Got::nothing;
  }
  if (available == 0) return Got::nothing;
  Operation read{pipe, ec};
  if (ec) return Got::nothing;
  DWORD received = 0;
  if (MULTIPROCESSING_SYSTEM(ReadFile)(pipe, into, static_cast<DWORD>(packet_size), &received,
                                       read.get()) == 0) {
    error = MULTIPROCESSING_SYSTEM(GetLastError)();
  }
  if (error == ERROR_IO_PENDING) {  // its writer has died, and it with him
    read.begun();
    const auto end = read.finish();
    error = end.error;
    received = end.bytes;
  }
  size = received;
  if (error == 0) return Got::fragment;
  if (is_end(error)) return Got::end;
  if (error == ERROR_OPERATION_ABORTED) return Got::nothing;
  ec = error == ERROR_MORE_DATA ? std::make_error_code(std::errc::bad_message) : as_error(error);
  return Got::nothing;
}

// Reads the fragments of one message. The caller holds `reading`.
class RunReader {
 public:
  RunReader(HANDLE pipe, OneWayEnd::Shared& shared) noexcept : pipe_{pipe}, shared_{shared} {}

  // timed_out: there is no message, nor the beginning of one. May throw std::bad_alloc.
  Outcome read(IncomingMessage& into,
               std::size_t& handles,
               const Interrupt& interrupt,
               std::error_code& ec) {
    PacketBuffer buffer;
    std::byte* const first = buffer.data() + sizeof(FragmentHeader);
    Got got = read_fragment(first, ec);
    for (;;) {
      if (ec || got == Got::nothing) return Outcome::timed_out;
      if (got == Got::end) return Outcome::ended;
      const auto kind = static_cast<std::uint8_t>(header_.kind);
      handles = header_.handles;
      if (header_.offset != 0) {  // the rest of a run whose reader died
        got = read_fragment(first, ec);
      } else if (size_ == header_.total) {
        into = IncomingMessage{kind, std::move(buffer), sizeof header_, size_};
        return Outcome::done;
      } else {
        std::vector<std::byte> whole;
        got = gather(whole, first, interrupt, ec);
        if (got == Got::whole) into = IncomingMessage{kind, std::move(whole)};
        if (got == Got::whole) return Outcome::done;
        if (got == Got::interruption) return Outcome::interrupted;
      }
    }
  }

 private:
  // Reads one fragment: its header into header_, the length of its bytes into size_. The header
  // comes to lie before `into`, where it leaves things as they were.
  Got read_fragment(std::byte* into, std::error_code& ec) noexcept {
    std::byte* const packet = into - sizeof header_;
    std::array<std::byte, sizeof header_> kept;
    std::memcpy(kept.data(), packet, kept.size());
    std::size_t received = 0;
    const Got got = read_packet(pipe_, packet, received, ec);
    std::memcpy(&header_, packet, sizeof header_);
    std::memcpy(packet, kept.data(), kept.size());
    if (got != Got::fragment) return got;
    size_ = received - sizeof header_;
    if (received < sizeof header_ || header_.magic != FragmentHeader::right_magic ||
        header_.offset > header_.total ||
        size_ != std::min<std::uint64_t>(header_.total - header_.offset, fragment_size)) {
      ec = std::make_error_code(std::errc::bad_message);
      return Got::nothing;
    }
    return got;
  }

  // The rest of the run whose first fragment is in `first`. When its writer is dead, answers what
  // came next instead; a fragment's bytes are in `first` then.
  Got gather(std::vector<std::byte>& whole,
             std::byte* first,
             const Interrupt& interrupt,
             std::error_code& ec) {
    const FragmentHeader run = header_;
    // What is said to come is believed as it comes.
    constexpr std::size_t believed = std::size_t{1} << 20U;
    whole.resize(std::min<std::size_t>(run.total, believed) + fragment_size);
    std::memcpy(whole.data(), first, size_);
    std::size_t filled = size_;
    bool writer_left = false;
    while (filled < run.total) {
      if (whole.size() < filled + fragment_size) {
        whole.resize(std::min<std::size_t>(run.total, 2 * whole.size()) + fragment_size);
      }
      const Got got = read_fragment(whole.data() + filled, ec);
      if (ec || got == Got::end) return got;
      if (got == Got::fragment) {
        if (header_.run != run.run || header_.offset != filled) {
          std::memcpy(first, whole.data() + filled, size_);
          return got;
        }
        filled += size_;
        MULTIPROCESSING_STOP_POINT("pipe.recv.fragment");
      } else if (writer_left) {
        return got;
      } else if (nobody_writes(shared_)) {
        writer_left = true;  // after its last fragment, or dead; look once more
      } else {
        const detail::Deadline look_again{Interrupt::longest_blind_wait};
        const Waited waited = wait_ready(pipe_, Readiness::readable, interrupt, look_again, ec);
        if (ec) return Got::nothing;
        if (waited == Waited::interrupted) return Got::interruption;
      }
    }
    whole.resize(filled);
    return Got::whole;
  }

  HANDLE pipe_;
  OneWayEnd::Shared& shared_;
  FragmentHeader header_{};
  std::size_t size_ = 0;
};

// Whether receive() would not have to wait. Takes out what dead writers and readers left. The
// caller holds `reading`.
MULTIPROCESSING_INLINE bool message_waiting(HANDLE pipe,
                                            OneWayEnd::Shared& shared,
                                            std::error_code& ec) noexcept {
  if (shared.current_run.load() != 0) static_cast<void>(nobody_writes(shared));
  for (;;) {
    FragmentHeader header{};
    DWORD seen = 0;
    DWORD available = 0;
    if (MULTIPROCESSING_SYSTEM(PeekNamedPipe)(pipe, &header, sizeof header, &seen, &available,
                                              nullptr) == 0) {
      const DWORD error = MULTIPROCESSING_SYSTEM(GetLastError)();
      if (!is_end(error)) ec = as_error(error);
      return is_end(error);
    }
    if (available == 0) return false;
    if (seen < sizeof header || header.magic != FragmentHeader::right_magic ||
        (header.offset == 0 && !is_dead(shared, header.run))) {
      return true;
    }
    try {
      const PacketBuffer remains;
      std::size_t size = 0;
      read_packet(pipe, remains.data(), size, ec);
    } catch (const std::bad_alloc&) {
      ec = std::make_error_code(std::errc::not_enough_memory);
    }
    if (ec) return false;
  }
}

}  // namespace multiprocessing::os::windows
