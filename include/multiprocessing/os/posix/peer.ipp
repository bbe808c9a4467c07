// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/peer.hpp>

#include <algorithm>
#include <array>
#include <cerrno>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE void wait_for_peer(native_handle_type socket,
                                          bool for_room,
                                          native_handle_type event,
                                          const detail::Deadline& deadline,
                                          PeerNews& news,
                                          std::error_code& ec) noexcept {
  ec.clear();
  news = {};
  const auto wanted = static_cast<short>(POLLIN | (for_room ? POLLOUT : 0));
  std::array<pollfd, 2> polled{pollfd{socket, wanted, 0}, pollfd{event, POLLIN, 0}};
  for (;;) {
    const timespec limit = posix::as_timespec(deadline.left(std::chrono::hours{24 * 365}));
    const int count = MULTIPROCESSING_SYSTEM(ppoll)(
        polled.data(), polled.size(), deadline.is_forever() ? nullptr : &limit, nullptr);
    if (count < 0 && errno != EINTR) {
      posix::assign_errno(ec);
      return;
    }
    if (count > 0) break;
    if (deadline.passed()) return;
  }
  const short seen = polled[0].revents;
  if (((seen | polled[1].revents) & POLLNVAL) != 0) {
    ec.assign(EBADF, std::system_category());
    return;
  }
  news.readable = (seen & ~POLLOUT) != 0;
  news.writable = (seen & POLLOUT) != 0;
  news.woken = polled[1].revents != 0;
}

MULTIPROCESSING_INLINE void limit_silence(native_handle_type socket,
                                          Family family,
                                          std::chrono::seconds limit,
                                          std::error_code& ec) noexcept {
  ec.clear();
  if (family == Family::af_unix) return;
  const auto set = [&](int level, int what, int value) {
    if (!ec && MULTIPROCESSING_SYSTEM(setsockopt)(socket, level, what, &value, sizeof value) != 0) {
      posix::assign_errno(ec);
    }
  };
  constexpr int probes = 2;
  const int seconds = static_cast<int>(std::clamp<long long>(limit.count(), 3, 30'000));
  const int interval = std::max(1, seconds / 4);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, seconds - probes * interval);
  set(IPPROTO_TCP, TCP_KEEPINTVL, interval);
  set(IPPROTO_TCP, TCP_KEEPCNT, probes);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, seconds * 1000);
}

}  // namespace multiprocessing::os
