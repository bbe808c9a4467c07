// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/channel.hpp>
#include <multiprocessing/os/posix/passages.ipp>
#include <multiprocessing/os/posix/passing_memory.ipp>
#include <multiprocessing/os/posix/sealed_memory.ipp>
#include <multiprocessing/os/posix/send_parts.ipp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <utility>
#include <vector>

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

namespace multiprocessing::os {

namespace posix {

struct PacketHeader {
  static constexpr std::uint32_t right_magic = 0x316d706dU;

  std::uint32_t magic;
  std::uint8_t kind;
  std::uint8_t place;     // one of these
  std::uint16_t handles;  // that are the message's own
  std::uint64_t size;

  static constexpr std::uint8_t in_packet = 0;
  static constexpr std::uint8_t in_memory = 1;   // the first descriptor's, all of it
  static constexpr std::uint8_t in_passage = 2;  // that one's
};
static_assert(sizeof(PacketHeader) == 16);

inline constexpr std::size_t large = std::size_t{1} << 20U;

union ControlBuffer {
  std::array<std::byte, CMSG_SPACE((most_handles + 1) * sizeof(int))> room;
  cmsghdr aligned;
};

// One sendmsg of what fits. Answers done, timed_out (not now), or an error.
MULTIPROCESSING_INLINE Outcome try_send_packet(int to,
                                               const PacketHeader& header,
                                               const OutgoingMessage& message,
                                               int memory,
                                               std::error_code& ec) noexcept {
  // One buffer is faster than two, even when it must be filled. sendmsg takes pointers to what it
  // does not change as pointers to what it may.
  constexpr std::size_t small = 1024;
  const std::span<const std::byte> bytes =
      memory < 0 ? message.bytes : std::span<const std::byte>{};
  std::array<std::byte, sizeof header + small> buffer;
  std::memcpy(buffer.data(), &header, sizeof header);
  std::array<iovec, 2> parts{iovec{buffer.data(), sizeof header},
                             iovec{const_cast<std::byte*>(bytes.data()), bytes.size()}};
  msghdr packet{};
  packet.msg_iov = parts.data();
  packet.msg_iovlen = parts.size();
  if (bytes.size() <= small) {
    if (!bytes.empty()) std::memcpy(buffer.data() + sizeof header, bytes.data(), bytes.size());
    parts[0].iov_len += bytes.size();
    packet.msg_iovlen = 1;
  }
  ControlBuffer control;
  const std::size_t count = message.handles.size() + (memory < 0 ? 0 : 1);
  if (count != 0) {
    packet.msg_control = control.room.data();
    packet.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* const rights = CMSG_FIRSTHDR(&packet);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(count * sizeof(int));
    auto* place = CMSG_DATA(rights);
    if (memory >= 0) {
      std::memcpy(place, &memory, sizeof memory);
      place += sizeof memory;
    }
    if (!message.handles.empty()) {
      std::memcpy(place, message.handles.data(), message.handles.size_bytes());
    }
  }
  for (;;) {
    if (send_parts(to, packet) >= 0) {
      ec.clear();
      return Outcome::done;
    }
    // ECONNRESET is said once, when the other end closed with messages unread; then comes EPIPE.
    if (errno != EINTR && errno != ECONNRESET) break;
  }
  if (errno == EAGAIN || errno == ETOOMANYREFS) {
    ec.clear();
  } else {
    assign_errno(ec);
  }
  return Outcome::timed_out;
}

// A header weighs the same whatever it names, so the socket alone would let gigabytes pile up.
MULTIPROCESSING_INLINE bool has_room(int to, std::size_t size) noexcept {
  if (size <= inline_limit) return true;
  std::error_code ignored;
  if (size <= large) {
    const Waited waited =
        wait_ready(to, Readiness::writable, {}, detail::Deadline{std::chrono::seconds{0}}, ignored);
    return waited == Waited::ready;
  }
  int unread = 0;
  return MULTIPROCESSING_SYSTEM(ioctl)(to, SIOCOUTQ, &unread) != 0 || unread == 0;
}

// The descriptors of a packet that was received: ours since recvmsg returned. May throw
// std::bad_alloc.
MULTIPROCESSING_INLINE std::vector<UniqueHandle> take_descriptors(msghdr& packet,
                                                                  std::error_code& ec) {
  std::vector<UniqueHandle> taken;
  const cmsghdr* const part = CMSG_FIRSTHDR(&packet);  // the kernel puts all of them into one
  if (part == nullptr || part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
    return taken;
  }
  std::array<UniqueHandle, most_handles + 1> owned;
  const std::size_t count =
      std::min((part->cmsg_len - CMSG_LEN(0)) / sizeof(int), std::size_t{most_handles + 1});
  for (std::size_t i = 0; i < count; ++i) {
    int descriptor = -1;
    std::memcpy(&descriptor, CMSG_DATA(part) + i * sizeof descriptor, sizeof descriptor);
    owned[i] = UniqueHandle{descriptor};
  }
  taken.reserve(count);
  for (std::size_t i = 0; i < count && !ec; ++i) {
    taken.push_back(above_streams(owned[i].release(), ec));
  }
  return taken;
}

// What a message's memory holds, whichever kind it is. timed_out: the message was never sent.
// Throws std::bad_alloc.
MULTIPROCESSING_INLINE Outcome gather(const PacketHeader& header,
                                      UniqueHandle& memory,
                                      Passages& passages,
                                      IncomingMessage& into,
                                      const Interrupt& interrupt,
                                      std::error_code& ec) {
  if (header.place == PacketHeader::in_memory) {
    const std::size_t size = size_of_sealed(memory.get(), ec);
    if (!ec && size != header.size) ec = std::make_error_code(std::errc::bad_message);
    if (ec) return Outcome::timed_out;
    Gathering bytes{into.room(header.kind), size};
    read_at(memory.get(), 0, bytes.more(size), ec);
    if (!ec) into = std::move(bytes).message(header.kind);
    return Outcome::done;
  }
  std::unique_ptr<Passage> passage = passages.find(memory, header.size, ec);
  if (ec == std::errc::bad_message) return Outcome::timed_out;
  if (!passage) {
    Passage::take_unmapped(memory.get(), header.kind, header.size, into, ec);
    return ec ? Outcome::timed_out : Outcome::done;
  }
  const int file = memory ? memory.get() : passage->file();
  const Outcome taken = passage->take(file, header.kind, header.size, into, interrupt, ec);
  passages.received(std::move(passage));
  return taken;
}

// Makes a message of a packet that came whole into its room. timed_out: it was never sent. Throws
// std::bad_alloc.
MULTIPROCESSING_INLINE Outcome unpack(std::size_t received,
                                      msghdr& packet,
                                      Passages& passages,
                                      IncomingMessage& into,
                                      const Interrupt& interrupt,
                                      std::error_code& ec) {
  ec.clear();
  std::vector<UniqueHandle> handles = take_descriptors(packet, ec);
  if (ec) return Outcome::timed_out;
  if ((packet.msg_flags & MSG_CTRUNC) != 0) {
    ec = std::make_error_code(std::errc::too_many_files_open);
    return Outcome::timed_out;
  }
  PacketHeader header{};
  std::memcpy(&header, packet.msg_iov->iov_base, std::min(received, sizeof header));
  const std::size_t in_packet = received - sizeof header;
  if (received < sizeof header || header.magic != PacketHeader::right_magic ||
      (packet.msg_flags & MSG_TRUNC) != 0 || header.place > PacketHeader::in_passage ||
      handles.size() != std::size_t{header.handles} + (header.place == 0 ? 0 : 1) ||
      in_packet != (header.place == 0 ? header.size : 0)) {
    ec = std::make_error_code(std::errc::bad_message);
    return Outcome::timed_out;
  }
  if (header.place != PacketHeader::in_packet) {
    const Outcome gathered = gather(header, handles.front(), passages, into, interrupt, ec);
    if (ec || gathered != Outcome::done) return gathered;
    handles.erase(handles.begin());
  } else {
    into.take_packet(header.kind, sizeof header, in_packet);
  }
  into.handles = std::move(handles);
  return Outcome::done;
}

// One recvmsg. Answers done, timed_out (nothing there), ended, or an error.
// With `flags` 0 it waits, for a while.
MULTIPROCESSING_INLINE Outcome try_receive_packet(int from,
                                                  int flags,
                                                  Passages& passages,
                                                  IncomingMessage& into,
                                                  const Interrupt& interrupt,
                                                  std::error_code& ec) noexcept try {
  iovec part{into.packet_room(), PacketBuffer::capacity};
  ControlBuffer control;
  for (;;) {
    msghdr packet{};
    packet.msg_iov = &part;
    packet.msg_iovlen = 1;
    packet.msg_control = control.room.data();
    packet.msg_controllen = control.room.size();
    const auto received = MULTIPROCESSING_SYSTEM(recvmsg)(from, &packet, flags | MSG_CMSG_CLOEXEC);
    if (received == 0) return ec.clear(), Outcome::ended;
    if (received > 0) {
      MULTIPROCESSING_STOP_POINT("channel.recv.taken");
      return unpack(static_cast<std::size_t>(received), packet, passages, into, interrupt, ec);
    }
    // ECONNRESET is said once, when the other end closed with messages of ours unread; what it sent
    // before comes after.
    if (errno == EINTR && interrupt.is_raised()) return ec.clear(), Outcome::interrupted;
    // A wait that signals cut short again and again would never end: the caller knows the deadline.
    if (errno == EINTR && (flags & MSG_DONTWAIT) == 0) return ec.clear(), Outcome::timed_out;
    if (errno != EINTR && errno != ECONNRESET) break;
  }
  if (errno == EAGAIN) {
    ec.clear();
  } else {
    assign_errno(ec);
  }
  return Outcome::timed_out;
} catch (const std::exception&) {  // bad_alloc, or length_error of what would not fit anyway
  ec = std::make_error_code(std::errc::not_enough_memory);
  return Outcome::timed_out;
}

// Where the bytes of a message lie until it is sent, when that is not in the packet.
class Departing {
 public:
  Departing(Passages* passages, std::span<const std::byte> bytes) noexcept
      : passages_{passages}, bytes_{bytes} {}
  Departing(const Departing&) = delete;
  Departing& operator=(const Departing&) = delete;
  ~Departing() {
    if (passage_) passages_->end(std::move(passage_), sent_);
  }

  // Once.
  void prepare(std::error_code& ec) noexcept {
    ec.clear();
    if (passage_ || memory_ != invalid_handle) return;
    if (passages_ != nullptr) passage_ = passages_->begin(bytes_);
    if (passage_) return;
    PassingHandles passing;
    const int memory = add_sealed_copy(passing, bytes_, ec);
    if (ec) return;
    passing_ = std::move(passing);
    memory_ = memory;
  }
  [[nodiscard]] std::uint8_t place() const noexcept {
    if (passage_) return PacketHeader::in_passage;
    return memory_ != invalid_handle ? PacketHeader::in_memory : PacketHeader::in_packet;
  }
  [[nodiscard]] int memory() const noexcept { return passage_ ? passage_->file() : memory_; }
  // The packet is sent.
  void finish(const Interrupt& interrupt, std::error_code& ec) noexcept {
    sent_ = true;
    if (passage_) passage_->go_on(bytes_, interrupt, ec);
  }

 private:
  Passages* passages_;
  std::span<const std::byte> bytes_;
  std::unique_ptr<Passage> passage_;
  PassingHandles passing_;
  int memory_ = invalid_handle;
  bool sent_ = false;
};

// Without passages: a large message lies in memory of its own.
MULTIPROCESSING_INLINE Outcome send_through(int to,
                                            Passages* passages,
                                            const OutgoingMessage& message,
                                            const Interrupt& interrupt,
                                            const multiprocessing::detail::Deadline& deadline,
                                            std::error_code& ec) noexcept {
  if (message.handles.size() > most_handles) {
    ec = std::make_error_code(std::errc::argument_list_too_long);
    return Outcome::timed_out;
  }
  const std::size_t size = message.bytes.size();
  bool in_memory = size > inline_limit;
  Departing departing{passages, message.bytes};
  std::chrono::nanoseconds nap{0};
  for (;;) {
    if (!in_memory || has_room(to, size)) {
      if (in_memory) departing.prepare(ec);
      if (in_memory && ec) return Outcome::timed_out;
      const PacketHeader header{PacketHeader::right_magic, message.kind, departing.place(),
                                static_cast<std::uint16_t>(message.handles.size()), size};
      MULTIPROCESSING_STOP_POINT("channel.send.prepared");
      const Outcome sent = try_send_packet(to, header, message, departing.memory(), ec);
      MULTIPROCESSING_STOP_POINT("channel.send.tried");
      if (sent == Outcome::done) {
        departing.finish(interrupt, ec);
        return sent;
      }
      if (ec == std::errc::message_size && !in_memory) {
        in_memory = true;  // the system's buffers are smaller than usual
        continue;
      }
      if (ec) return sent;
    }
    const Waited waited = wait_ready(to, Readiness::writable, interrupt, deadline, ec);
    if (ec || waited != Waited::ready) return as_outcome(waited);
    // Writable and yet no room: of room for large messages, and for descriptors in flight, the
    // kernel gives no notice.
    if (nap.count() != 0) {
      if (deadline.passed()) return Outcome::timed_out;
      if (pause_for(deadline.left(nap), interrupt) == Waited::interrupted)
        return Outcome::interrupted;
    }
    nap = std::clamp<std::chrono::nanoseconds>(nap * 2, std::chrono::microseconds{20},
                                               std::chrono::milliseconds{1});
  }
}

MULTIPROCESSING_INLINE Outcome receive_through(int from,
                                               Passages& passages,
                                               IncomingMessage& into,
                                               const Interrupt& interrupt,
                                               const multiprocessing::detail::Deadline& deadline,
                                               std::error_code& ec) noexcept {
  // Who waits long enough first waits in recvmsg itself, one system call instead of three. That
  // wait ends by SO_RCVTIMEO, because nothing else would end it when this end is closed here.
  const bool patient =
      deadline.left(Interrupt::longest_blind_wait) == Interrupt::longest_blind_wait;
  for (int flags = patient ? 0 : MSG_DONTWAIT;; flags = MSG_DONTWAIT) {
    const Outcome received = try_receive_packet(from, flags, passages, into, interrupt, ec);
    if (ec || received != Outcome::timed_out) return received;
    const Waited waited = wait_ready(from, Readiness::readable, interrupt, deadline, ec);
    if (ec || waited != Waited::ready) return as_outcome(waited);
  }
}

}  // namespace posix

MULTIPROCESSING_INLINE ChannelEnds make_channel(std::error_code& ec) noexcept {
  std::array<int, 2> ends{};
  if (MULTIPROCESSING_SYSTEM(socketpair)(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) !=
      0) {
    posix::assign_errno(ec);
    return {};
  }
  ChannelEnds made{UniqueHandle{ends[0]}, UniqueHandle{ends[1]}};
  for (UniqueHandle* const end : {&made.first, &made.second}) {
    *end = posix::above_streams(end->release(), ec);
    if (ec) return {};
  }
  const timeval patience{
      0,
      std::chrono::duration_cast<std::chrono::microseconds>(Interrupt::longest_blind_wait).count()};
  for (const int end : {made.first.get(), made.second.get()}) {
    if (MULTIPROCESSING_SYSTEM(setsockopt)(end, SOL_SOCKET, SO_RCVTIMEO, &patience,
                                           sizeof patience) != 0) {
      posix::assign_errno(ec);
      return {};
    }
  }
  ec.clear();
  return made;
}

MULTIPROCESSING_INLINE Outcome send_message(native_handle_type to,
                                            const OutgoingMessage& message,
                                            const Interrupt& interrupt,
                                            const detail::Deadline& deadline,
                                            std::error_code& ec) noexcept {
  return posix::send_through(to, nullptr, message, interrupt, deadline, ec);
}

MULTIPROCESSING_INLINE Outcome receive_message(native_handle_type from,
                                               IncomingMessage& into,
                                               const Interrupt& interrupt,
                                               const detail::Deadline& deadline,
                                               std::error_code& ec) noexcept {
  posix::Passages passages;
  return posix::receive_through(from, passages, into, interrupt, deadline, ec);
}

MULTIPROCESSING_INLINE Outcome wait_for_message(native_handle_type from,
                                                const Interrupt& interrupt,
                                                const detail::Deadline& deadline,
                                                std::error_code& ec) noexcept {
  return as_outcome(wait_ready(from, Readiness::readable, interrupt, deadline, ec));
}

}  // namespace multiprocessing::os
