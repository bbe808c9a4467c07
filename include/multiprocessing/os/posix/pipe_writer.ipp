// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/posix/blocked_signal.ipp>
#include <multiprocessing/os/posix/pipe_page.ipp>

#include <cstring>

#include <sys/uio.h>
#include <unistd.h>

namespace multiprocessing::os::posix {

// writev that never raises SIGPIPE.
inline ssize_t write_quietly(int pipe,
                             std::span<const iovec> parts,
                             OneWayEnd::Shared& shared) noexcept {
  constexpr int no_signal = 0x100;  // RWF_NOSIGNAL, Linux 6.18
  const int count = static_cast<int>(parts.size());
  for (;;) {
    ssize_t written = -1;
    if (shared.raises_sigpipe.load(std::memory_order_relaxed) == 0) {
      written = MULTIPROCESSING_SYSTEM(pwritev2)(pipe, parts.data(), count, -1, no_signal);
      if (written < 0 && (errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS)) {
        shared.raises_sigpipe.store(1);
        continue;
      }
    } else {
      const BlockedSignal blocked{SIGPIPE};
      written = MULTIPROCESSING_SYSTEM(writev)(pipe, parts.data(), count);
    }
    if (written >= 0 || errno != EINTR) return written;
  }
}

// Writes the fragments of one message. The caller holds `writing`.
class RunWriter {
 public:
  RunWriter(int pipe, OneWayEnd::Shared& shared, const OutgoingMessage& message) noexcept
      : pipe_{pipe},
        shared_{shared},
        message_{message},
        run_{shared.last_run.load(std::memory_order_relaxed) + 1} {
    shared.last_run.store(run_, std::memory_order_relaxed);
    if (message.bytes.size() > fragment_size) shared.current_run.store(run_);
  }

  // Whole, or never to be completed; timed_out with the deadline ahead: nothing of it was written,
  // and there is no room. Who has begun waits here, with the lock.
  Outcome write(const Interrupt& interrupt,
                const detail::Deadline& deadline,
                std::error_code& ec) noexcept {
    Outcome outcome = Outcome::done;
    const bool small = message_.bytes.size() <= small_size;
    while (!whole_ && outcome == Outcome::done && !ec) {
      if ((small ? write_small(ec) : write_some(ec)) || ec) {
        MULTIPROCESSING_STOP_POINT("pipe.send.fragments");
        continue;
      }
      if (offset_ == 0) {
        outcome = Outcome::timed_out;
        break;
      }
      outcome = as_outcome(wait_ready(pipe_, Readiness::writable, interrupt, deadline, ec));
    }
    if (!whole_) {
      if (offset_ != 0) bury_current_run(shared_);
      shared_.current_run.store(0);
      return outcome;
    }
    MULTIPROCESSING_STOP_POINT("pipe.send.whole");
    shared_.written.store(run_, std::memory_order_release);
    if (message_.bytes.size() > fragment_size) shared_.current_run.store(0);
    MULTIPROCESSING_STOP_POINT("pipe.send.done");
    return Outcome::done;
  }

 private:
  // The only fragment; false: not now. One buffer is faster than two, even when it must be filled.
  bool write_small(std::error_code& ec) noexcept {
    const std::size_t size = message_.bytes.size();
    const FragmentHeader header{FragmentHeader::right_magic, message_.kind, run_, 0, size};
    std::array<std::byte, sizeof header + small_size> packet;
    std::memcpy(packet.data(), &header, sizeof header);
    if (size != 0) std::memcpy(packet.data() + sizeof header, message_.bytes.data(), size);
    const iovec part{packet.data(), sizeof header + size};
    whole_ = write_quietly(pipe_, {&part, 1}, shared_) >= 0;
    if (!whole_ && errno != EAGAIN) ec.assign(errno, std::system_category());
    return whole_;
  }

  // As many fragments as the pipe takes now; false: none.
  bool write_some(std::error_code& ec) noexcept {
    const std::size_t total = message_.bytes.size();
    std::size_t fragments = 0;
    std::size_t end = offset_;
    do {
      const std::size_t size = std::min(total - end, fragment_size);
      headers_[fragments] = {FragmentHeader::right_magic, message_.kind, run_, end, total};
      parts_[2 * fragments] = {&headers_[fragments], sizeof(FragmentHeader)};
      // writev takes pointers to what it does not change as pointers to what it may
      parts_[2 * fragments + 1] = {const_cast<std::byte*>(message_.bytes.data() + end), size};
      end += size;
      ++fragments;
    } while (end < total && fragments < fragments_at_once());

    const auto written = write_quietly(pipe_, std::span{parts_}.first(2 * fragments), shared_);
    if (written < 0) {
      if (errno != EAGAIN) ec.assign(errno, std::system_category());
      return false;
    }
    if (static_cast<std::size_t>(written) == end - offset_ + fragments * sizeof(FragmentHeader)) {
      offset_ = end;
      whole_ = end == total;
    } else {
      offset_ += static_cast<std::size_t>(written) / packet_size * fragment_size;
    }
    return true;
  }

  // The kernel cuts a longer write into packets of a page.
  static std::size_t fragments_at_once() noexcept {
    return ::sysconf(_SC_PAGESIZE) == static_cast<long>(packet_size) ? most_at_once : 1;
  }

  static constexpr std::size_t small_size = 1024;
  static constexpr std::size_t most_at_once = 16;  // as many as a pipe usually holds

  int pipe_;
  OneWayEnd::Shared& shared_;
  const OutgoingMessage& message_;
  std::uint64_t run_;
  std::size_t offset_ = 0;
  bool whole_ = false;
  std::array<FragmentHeader, most_at_once> headers_;
  std::array<iovec, 2 * most_at_once> parts_;
};

}  // namespace multiprocessing::os::posix
