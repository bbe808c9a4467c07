// SPDX-License-Identifier: BSL-1.0
#pragma once
// Winsock: started with the first socket, and never ended.
#include <multiprocessing/os/message.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/windows/wait.ipp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <span>

#include <winsock2.h>
#include <ws2tcpip.h>
// After them:
#include <mstcpip.h>

namespace multiprocessing::os::windows {

MULTIPROCESSING_INLINE SOCKET as_socket(HANDLE handle) noexcept {
  return reinterpret_cast<SOCKET>(handle);
}
MULTIPROCESSING_INLINE HANDLE as_handle(SOCKET socket) noexcept {
  return reinterpret_cast<HANDLE>(socket);
}

// The library's own words, which are POSIX's; the C library has them for few of these.
MULTIPROCESSING_INLINE std::error_code as_socket_error(int code) noexcept {
  switch (code) {
    case WSAEADDRINUSE:
      return std::make_error_code(std::errc::address_in_use);
    case WSAEADDRNOTAVAIL:
      return std::make_error_code(std::errc::address_not_available);
    case WSAECONNREFUSED:
      return std::make_error_code(std::errc::connection_refused);
    case WSAECONNRESET:
    case WSAECONNABORTED:
    case WSAENETRESET:
      return std::make_error_code(std::errc::connection_reset);
    case WSAESHUTDOWN:
      return std::make_error_code(std::errc::broken_pipe);
    case WSAETIMEDOUT:
      return std::make_error_code(std::errc::timed_out);
    case WSAEHOSTUNREACH:
      return std::make_error_code(std::errc::host_unreachable);
    case WSAENETUNREACH:
      return std::make_error_code(std::errc::network_unreachable);
    case WSAEACCES:
      return std::make_error_code(std::errc::permission_denied);
    case WSAEMFILE:
      return std::make_error_code(std::errc::too_many_files_open);
    case WSAENOBUFS:
    case WSA_NOT_ENOUGH_MEMORY:
      return std::make_error_code(std::errc::not_enough_memory);
    default:
      return {code, std::system_category()};
  }
}

MULTIPROCESSING_INLINE std::error_code last_socket_error() noexcept {
  return as_socket_error(MULTIPROCESSING_SYSTEM(WSAGetLastError)());
}

MULTIPROCESSING_INLINE bool is_named_pipe(HANDLE handle) noexcept {
  return is_pipe(handle) &&
         MULTIPROCESSING_SYSTEM(GetNamedPipeInfo)(handle, nullptr, nullptr, nullptr, nullptr) != 0;
}

// For close_handle(): Winsock keeps something beside each socket, which would stay. It need not
// know one that came from another process.
MULTIPROCESSING_INLINE bool close_socket(HANDLE handle) noexcept {
  if (!is_pipe(handle) || is_named_pipe(handle)) return false;  // both are of one file type
  return MULTIPROCESSING_SYSTEM(closesocket)(as_socket(handle)) == 0;
}

MULTIPROCESSING_INLINE void start_winsock(std::error_code& ec) noexcept {
  static const int error = [] {
    WSADATA unused{};
    const int result = MULTIPROCESSING_SYSTEM(WSAStartup)(MAKEWORD(2, 2), &unused);
    if (result == 0) close_if_socket.store(&close_socket);
    return result;
  }();
  ec = error == 0 ? std::error_code{} : as_socket_error(error);
}

MULTIPROCESSING_INLINE UniqueHandle open_socket(int family, std::error_code& ec) noexcept {
  start_winsock(ec);
  if (ec) return {};
  const SOCKET made =
      MULTIPROCESSING_SYSTEM(WSASocketW)(family, SOCK_STREAM, IPPROTO_TCP, nullptr, 0,
                                         WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
  if (made == INVALID_SOCKET) {
    ec = last_socket_error();
    return {};
  }
  return UniqueHandle{as_handle(made)};
}

// Also takes it out of whatever set it was in.
MULTIPROCESSING_INLINE void make_nonblocking(SOCKET socket) noexcept {
  MULTIPROCESSING_SYSTEM(WSAEventSelect)(socket, nullptr, 0);
  u_long yes = 1;
  MULTIPROCESSING_SYSTEM(ioctlsocket)(socket, static_cast<long>(FIONBIO), &yes);
}

// Best effort. Small messages leave at once; a machine that vanished is noticed in two minutes.
MULTIPROCESSING_INLINE void prepare_stream(SOCKET socket) noexcept {
  make_nonblocking(socket);
  const BOOL yes = TRUE;
  MULTIPROCESSING_SYSTEM(setsockopt)
  (socket, IPPROTO_TCP, TCP_NODELAY, reinterpret_cast<const char*>(&yes), sizeof yes);
  constexpr ULONG idle = 60'000;
  constexpr ULONG interval = 6'000;  // ten of them
  tcp_keepalive alive{1, idle, interval};
  DWORD unused = 0;
  MULTIPROCESSING_SYSTEM(WSAIoctl)
  (socket, SIO_KEEPALIVE_VALS, &alive, sizeof alive, nullptr, 0, &unused, nullptr, nullptr);
}

// The system has no event that several threads and processes could wait for; so an interrupt is
// seen within 50 ms.
MULTIPROCESSING_INLINE Waited wait_writable(SOCKET socket,
                                            const Interrupt& interrupt,
                                            const detail::Deadline& deadline,
                                            std::error_code& ec) noexcept {
  ec.clear();
  for (;;) {
    if (interrupt.is_raised()) return Waited::interrupted;
    fd_set writable{1, {socket}};
    const auto time = std::chrono::duration_cast<std::chrono::microseconds>(
        deadline.left(Interrupt::longest_blind_wait));
    timeval limit{0, static_cast<long>(time.count())};
    const int result = MULTIPROCESSING_SYSTEM(select)(0, nullptr, &writable, nullptr, &limit);
    if (result > 0) return Waited::ready;
    if (result < 0) ec = last_socket_error();
    if (ec || deadline.passed()) return Waited::timed_out;
  }
}

// Sends as much as there is room for. -1, and why.
MULTIPROCESSING_INLINE int send_some(SOCKET socket,
                                     std::span<WSABUF> buffers,
                                     int& error) noexcept {
  DWORD sent = 0;
  if (MULTIPROCESSING_SYSTEM(WSASend)(socket, buffers.data(), static_cast<DWORD>(buffers.size()),
                                      &sent, 0, nullptr, nullptr) == 0) {
    return static_cast<int>(sent);
  }
  error = MULTIPROCESSING_SYSTEM(WSAGetLastError)();
  if (error != WSAENOTSOCK) return -1;
  // Winsock makes the acquaintance of a socket that came from another process, but Wine's does not.
  // The system has room for as little as this where it has any.
  constexpr ULONG little = 2048;
  constexpr std::chrono::seconds now{0};
  std::error_code ec;
  error = WSAEWOULDBLOCK;
  if (wait_writable(socket, {}, detail::Deadline{now}, ec) != Waited::ready) return -1;
  const auto first = std::ranges::find_if(buffers, [](const WSABUF& one) { return one.len != 0; });
  Operation write{as_handle(socket), ec};
  if (ec) return -1;
  Operation::End end{0, 0};
  if (MULTIPROCESSING_SYSTEM(WriteFile)(as_handle(socket), first->buf, std::min(first->len, little),
                                        nullptr, write.get()) == 0) {
    end.error = MULTIPROCESSING_SYSTEM(GetLastError)();
  }
  if (end.error == 0 || end.error == ERROR_IO_PENDING) {
    write.begun();
    end = write.finish();
  }
  if (end.error == 0) return static_cast<int>(end.bytes);
  error = WSAECONNRESET;
  return -1;
}

}  // namespace multiprocessing::os::windows
