// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/peer.hpp>
#include <multiprocessing/os/windows/winsock.ipp>

#include <algorithm>
#include <array>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE void wait_for_peer(native_handle_type socket,
                                          bool for_room,
                                          native_handle_type event,
                                          const detail::Deadline& deadline,
                                          PeerNews& news,
                                          std::error_code& ec) noexcept {
  ec.clear();
  news = {};
  constexpr std::chrono::milliseconds look{10};
  const std::array handles{socket, event};
  std::array<bool, 2> ready{};
  for (;;) {
    const detail::Deadline now{std::chrono::seconds{0}};
    news.writable = for_room && windows::wait_writable(windows::as_socket(socket), {}, now, ec) ==
                                    Waited::ready;
    if (ec) return;
    const auto rest = deadline.left(for_room ? std::chrono::nanoseconds{look}
                                             : std::chrono::nanoseconds{std::chrono::hours{1}});
    const detail::Deadline soon{news.writable ? std::chrono::nanoseconds{0} : rest};
    const Waited waited = wait_any(handles, ready, {}, soon, ec);
    if (ec) return;
    if (waited == Waited::ready) {
      news.readable = ready[0];
      news.woken = ready[1];
    }
    if (waited == Waited::ready || news.writable || deadline.passed()) return;
  }
}

MULTIPROCESSING_INLINE void limit_silence(native_handle_type socket,
                                          Family /*family*/,
                                          std::chrono::seconds limit,
                                          std::error_code& ec) noexcept {
  ec.clear();
  // The system sends ten probes, whatever it is told.
  const auto seconds = static_cast<ULONG>(std::clamp<long long>(limit.count(), 3, 30'000));
  tcp_keepalive alive{1, seconds * 500, std::max<ULONG>(100, seconds * 50)};
  DWORD unused = 0;
  if (MULTIPROCESSING_SYSTEM(WSAIoctl)(windows::as_socket(socket), SIO_KEEPALIVE_VALS, &alive,
                                       sizeof alive, nullptr, 0, &unused, nullptr, nullptr) != 0) {
    ec = windows::last_socket_error();
  }
}

}  // namespace multiprocessing::os
