// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/posix/pipe_page.ipp>

#include <cstring>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace multiprocessing::os::posix {

// Reads the fragments of one message. The caller holds `reading`.
class RunReader {
 public:
  RunReader(int pipe, OneWayEnd::Shared& shared) noexcept : pipe_{pipe}, shared_{shared} {}

  // timed_out: there is no message, nor the beginning of one. May throw std::bad_alloc.
  Outcome read(IncomingMessage& into, const Interrupt& interrupt, std::error_code& ec) {
    PacketBuffer buffer;
    std::byte* const first = buffer.data() + sizeof(FragmentHeader);
    Got got = read_fragment(first, ec);
    for (;;) {
      if (ec || got == Got::nothing) return Outcome::timed_out;
      if (got == Got::end) return Outcome::ended;
      const auto kind = static_cast<std::uint8_t>(header_.kind);
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
  enum class Got { fragment, nothing, end, whole, interruption };

  // Reads one fragment: its header into header_, the length of its bytes into size_. One buffer is
  // faster than two, so the header comes to lie before `into`, where it leaves things as they were.
  Got read_fragment(std::byte* into, std::error_code& ec) noexcept {
    std::byte* const packet = into - sizeof header_;
    std::array<std::byte, sizeof header_> kept;
    std::memcpy(kept.data(), packet, kept.size());
    const auto received = read_packet(packet);
    const int error = errno;
    std::memcpy(&header_, packet, sizeof header_);
    std::memcpy(packet, kept.data(), kept.size());
    if (received == 0) return Got::end;
    if (received < 0) {
      if (error != EAGAIN) ec.assign(error, std::system_category());
      return Got::nothing;
    }
    size_ = static_cast<std::size_t>(received) - sizeof header_;
    if (static_cast<std::size_t>(received) < sizeof header_ ||
        header_.magic != FragmentHeader::right_magic || header_.offset > header_.total ||
        size_ != std::min<std::uint64_t>(header_.total - header_.offset, fragment_size)) {
      ec = std::make_error_code(std::errc::bad_message);
      return Got::nothing;
    }
    return Got::fragment;
  }

  [[nodiscard]] ssize_t read_packet(std::byte* into) const noexcept {
    for (;;) {
      const auto received = read_retrying(pipe_, into, packet_size);
      if (received != 0 || at_end(pipe_)) return received;
    }
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

  int pipe_;
  OneWayEnd::Shared& shared_;
  FragmentHeader header_{};
  std::size_t size_ = 0;
};

// By the holder of `reading`, who saw the pipe empty.
inline void forget_suspicion(int pipe, OneWayEnd::Shared& shared) noexcept {
  const Acquired acquired = shared.writing.try_lock();
  if (acquired == Acquired::no) return;
  const Unlocker unlocker{shared.writing};
  if (acquired == Acquired::abandoned) bury_current_run(shared);
  if ((polled(pipe) & POLLIN) == 0) shared.suspect.store(0);
}

// Looks through a pipe that may begin with the remains of dead runs, and takes those out. The
// caller holds `reading`. A pipe cannot be looked into, but tee() copies its beginning into
// another.
inline bool message_behind_remains(int pipe,
                                   OneWayEnd::Shared& shared,
                                   std::error_code& ec) noexcept {
  std::array<int, 2> ends{};
  if (MULTIPROCESSING_SYSTEM(pipe2)(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
    ec.assign(errno, std::system_category());
    return false;
  }
  const UniqueHandle out{ends[0]};
  const UniqueHandle in{ends[1]};
  for (;;) {
    FragmentHeader header{};
    const auto copied =
        MULTIPROCESSING_SYSTEM(tee)(pipe, in.get(), sizeof header, SPLICE_F_NONBLOCK);
    if (copied < 0 && errno == EINTR) continue;
    if (copied < 0 && errno != EAGAIN) {
      ec.assign(errno, std::system_category());
      return false;
    }
    if (copied < 0) {
      forget_suspicion(pipe, shared);
      return false;
    }
    if (copied == 0 && at_end(pipe)) return true;
    if (copied > 0) {
      const bool is_ours =
          read_retrying(out.get(), &header, sizeof header) == static_cast<ssize_t>(sizeof header) &&
          header.magic == FragmentHeader::right_magic;
      if (!is_ours || (header.offset == 0 && !is_dead(shared, header.run))) return true;
    }
    // In packet mode, reading one byte takes the whole packet.
    static_cast<void>(read_retrying(pipe, &header, 1));
  }
}

// Whether receive() would not have to wait. The caller holds `reading`.
inline bool message_waiting(int pipe, OneWayEnd::Shared& shared, std::error_code& ec) noexcept {
  if (shared.current_run.load() != 0) static_cast<void>(nobody_writes(shared));
  if (shared.suspect.load() != 0) return message_behind_remains(pipe, shared, ec);
  return polled(pipe) != 0;
}

}  // namespace multiprocessing::os::posix
