// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/posix/sealed_memory.ipp>
#include <multiprocessing/os/socket.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace multiprocessing::os {

namespace posix {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  [[nodiscard]] const sockaddr* get() const noexcept {
    return reinterpret_cast<const sockaddr*>(&storage);
  }
  [[nodiscard]] sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
};

MULTIPROCESSING_INLINE SocketAddress unix_address(const std::string& path,
                                                  std::error_code& ec) noexcept {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const bool is_abstract = path.starts_with('\0');
  if (path.empty() || (!is_abstract && path.find('\0') != std::string::npos)) {
    ec = std::make_error_code(std::errc::invalid_argument);
    return {};
  }
  if (path.size() + (is_abstract ? 0 : 1) > sizeof address.sun_path) {
    ec = std::make_error_code(std::errc::filename_too_long);
    return {};
  }
  path.copy(address.sun_path, path.size());
  SocketAddress made;
  std::memcpy(&made.storage, &address, sizeof address);
  made.size =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (is_abstract ? 0 : 1));
  return made;
}

MULTIPROCESSING_INLINE std::error_code as_lookup_error(int result) noexcept {
  switch (result) {
    case EAI_SYSTEM:
      return {errno, std::system_category()};
    case EAI_MEMORY:
      return std::make_error_code(std::errc::not_enough_memory);
    case EAI_AGAIN:
      return std::make_error_code(std::errc::resource_unavailable_try_again);
    default:
      return std::make_error_code(std::errc::host_unreachable);
  }
}

// Every address of a host, those of IPv4 first. A listener's host "" is all of this machine's.
MULTIPROCESSING_INLINE std::vector<SocketAddress> lookup(const Endpoint& where,
                                                         bool to_listen,
                                                         std::error_code& ec) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (to_listen ? AI_PASSIVE : 0);
  if (where.family == Family::af_inet6) hints.ai_family = AF_INET6;
  if (where.family == Family::af_inet && to_listen) hints.ai_family = AF_INET;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(where.port);
  const int result = MULTIPROCESSING_SYSTEM(getaddrinfo)(
      where.name.empty() ? nullptr : where.name.c_str(), port.c_str(), &hints, &found);
  if (result != 0) {
    ec = as_lookup_error(result);
    return {};
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned{found, &::freeaddrinfo};
  std::vector<SocketAddress> all;
  for (const int family : {AF_INET, AF_INET6}) {
    for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
      if (one->ai_family != family || one->ai_addrlen > sizeof(sockaddr_storage)) continue;
      SocketAddress address;
      std::memcpy(&address.storage, one->ai_addr, one->ai_addrlen);
      address.size = one->ai_addrlen;
      all.push_back(address);
    }
  }
  if (all.empty()) ec = std::make_error_code(std::errc::host_unreachable);
  return all;
}

MULTIPROCESSING_INLINE std::vector<SocketAddress> addresses_of(const Endpoint& where,
                                                               bool to_listen,
                                                               std::error_code& ec) {
  ec.clear();
  switch (where.family) {
    case Family::af_unix:
      return {unix_address(where.name, ec)};
    case Family::af_inet:
    case Family::af_inet6:
      return lookup(where, to_listen, ec);
    case Family::af_pipe:
      break;
  }
  ec = std::make_error_code(std::errc::not_supported);
  return {};
}

// With numbers in place of names.
MULTIPROCESSING_INLINE Endpoint endpoint_of(const SocketAddress& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.storage.ss_family == AF_INET) {
    sockaddr_in inet{};
    std::memcpy(&inet, &address.storage, sizeof inet);
    ::inet_ntop(AF_INET, &inet.sin_addr, text.data(), text.size());
    return {Family::af_inet, text.data(), ntohs(inet.sin_port)};
  }
  if (address.storage.ss_family == AF_INET6) {
    sockaddr_in6 inet{};
    std::memcpy(&inet, &address.storage, sizeof inet);
    ::inet_ntop(AF_INET6, &inet.sin6_addr, text.data(), text.size());
    return {Family::af_inet6, text.data(), ntohs(inet.sin6_port)};
  }
  constexpr std::size_t before = offsetof(sockaddr_un, sun_path);
  if (address.storage.ss_family != AF_UNIX || address.size <= before) return {};
  sockaddr_un local{};
  std::memcpy(&local, &address.storage, sizeof local);
  std::string path(local.sun_path, std::min<std::size_t>(address.size, sizeof local) - before);
  if (!path.starts_with('\0')) path.resize(std::strlen(path.c_str()));
  return {Family::af_unix, std::move(path), 0};
}

MULTIPROCESSING_INLINE UniqueHandle open_socket(int family,
                                                int flags,
                                                std::error_code& ec) noexcept {
  return above_streams(
      MULTIPROCESSING_SYSTEM(socket)(family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), ec);
}

// Best effort. Small messages leave at once; a machine that vanished is noticed in two minutes.
MULTIPROCESSING_INLINE void prepare_stream(int socket, int family) noexcept {
  if (family == AF_UNIX) return;
  constexpr int idle = 60;
  constexpr int interval = 10;
  const auto set = [socket](int level, int what, int value) {
    MULTIPROCESSING_SYSTEM(setsockopt)(socket, level, what, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, idle);
  set(IPPROTO_TCP, TCP_KEEPINTVL, interval);
  set(IPPROTO_TCP, TCP_KEEPCNT, interval - 4);
}

// Waits until a connect that was begun has ended.
MULTIPROCESSING_INLINE Outcome finish_connect(int socket,
                                              const Interrupt& interrupt,
                                              const detail::Deadline& deadline,
                                              std::error_code& ec) noexcept {
  const Waited waited = wait_ready(socket, Readiness::writable, interrupt, deadline, ec);
  if (ec || waited != Waited::ready) return as_outcome(waited);
  int error = 0;
  socklen_t size = sizeof error;
  if (MULTIPROCESSING_SYSTEM(getsockopt)(socket, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
    assign_errno(ec);
  } else if (error != 0) {
    ec.assign(error, std::system_category());
  }
  return Outcome::done;
}

MULTIPROCESSING_INLINE UniqueHandle connect_to_one(const SocketAddress& where,
                                                   const Interrupt& interrupt,
                                                   const detail::Deadline& deadline,
                                                   Outcome& outcome,
                                                   std::error_code& ec) noexcept {
  UniqueHandle socket = open_socket(where.storage.ss_family, SOCK_NONBLOCK, ec);
  if (ec) return {};
  for (;;) {
    if (MULTIPROCESSING_SYSTEM(connect)(socket.get(), where.get(), where.size) == 0) break;
    if (errno == EINTR) continue;
    if (errno == EISCONN) break;  // after EINTR
    if (errno == EINPROGRESS || errno == EALREADY) {
      outcome = finish_connect(socket.get(), interrupt, deadline, ec);
      if (ec || outcome != Outcome::done) return {};
      break;
    }
    if (errno != EAGAIN || where.storage.ss_family != AF_UNIX) {
      assign_errno(ec);
      return {};
    }
    // The backlog of the listener is full, and the kernel gives no notice of room.
    outcome = Outcome::timed_out;
    if (deadline.passed()) return {};
    const auto nap = deadline.left(std::chrono::milliseconds{1});
    if (pause_for(nap, interrupt) == Waited::interrupted) {
      outcome = Outcome::interrupted;
      return {};
    }
  }
  outcome = Outcome::done;
  const int flags = MULTIPROCESSING_SYSTEM(fcntl)(socket.get(), F_GETFL, 0);
  if (flags < 0 || MULTIPROCESSING_SYSTEM(fcntl)(socket.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) {
    assign_errno(ec);
    return {};
  }
  prepare_stream(socket.get(), where.storage.ss_family);
  return socket;
}

}  // namespace posix

MULTIPROCESSING_INLINE Family default_family() noexcept {
  return Family::af_unix;
}

MULTIPROCESSING_INLINE bool has_family(Family family) noexcept {
  return family != Family::af_pipe;
}

MULTIPROCESSING_INLINE ListeningSocket listen_at(const Endpoint& where,
                                                 int backlog,
                                                 Endpoint& bound,
                                                 std::error_code& ec) noexcept try {
  const auto all = posix::addresses_of(where, true, ec);
  if (ec) return {};
  posix::SocketAddress address = all.front();
  UniqueHandle socket = posix::open_socket(address.storage.ss_family, SOCK_NONBLOCK, ec);
  if (ec) return {};
  const int yes = 1;
  if (where.family != Family::af_unix &&
      MULTIPROCESSING_SYSTEM(setsockopt)(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes,
                                         sizeof yes) != 0) {
    posix::assign_errno(ec);
    return {};
  }
  // Linux gives the file the socket's mode, less the umask: at no moment is it open to others.
  if (where.is_private && where.family == Family::af_unix &&
      MULTIPROCESSING_SYSTEM(fchmod)(socket.get(), 0600) != 0) {
    posix::assign_errno(ec);
    return {};
  }
  if (MULTIPROCESSING_SYSTEM(bind)(socket.get(), address.get(), address.size) != 0) {
    posix::assign_errno(ec);
    return {};
  }
  MULTIPROCESSING_STOP_POINT("listener.bound");
  address.size = sizeof address.storage;
  if (MULTIPROCESSING_SYSTEM(listen)(socket.get(), backlog) != 0 ||
      MULTIPROCESSING_SYSTEM(getsockname)(socket.get(), address.get(), &address.size) != 0) {
    posix::assign_errno(ec);
    if (where.family == Family::af_unix && !where.name.starts_with('\0')) {
      MULTIPROCESSING_SYSTEM(unlink)(where.name.c_str());
    }
    return {};
  }
  bound = posix::endpoint_of(address);
  return {std::move(socket), nullptr};
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return {};
}

MULTIPROCESSING_INLINE UniqueHandle accept_from(const ListeningSocket& listener,
                                                Endpoint& peer,
                                                std::error_code& ec) noexcept try {
  ec.clear();
  for (;;) {
    posix::SocketAddress address;
    address.size = sizeof address.storage;
    const int taken = MULTIPROCESSING_SYSTEM(accept4)(listener.handle.get(), address.get(),
                                                      &address.size, SOCK_CLOEXEC);
    if (taken >= 0) {
      UniqueHandle socket = posix::above_streams(taken, ec);
      if (ec) return {};
      posix::prepare_stream(socket.get(), address.storage.ss_family);
      peer = posix::endpoint_of(address);
      return socket;
    }
    if (errno == EAGAIN) return {};
    const std::array ours{EMFILE,   ENFILE, ENOBUFS, ENOMEM, EBADF,  EINVAL,
                          ENOTSOCK, EPERM,  EACCES,  ENOSYS, EFAULT, EOPNOTSUPP};
    if (std::ranges::find(ours, errno) != ours.end()) {
      posix::assign_errno(ec);
      return {};
    }
    // Anything else is the one client's: it left before it was taken.
  }
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return {};
}

MULTIPROCESSING_INLINE UniqueHandle connect_to(const Endpoint& where,
                                               const Interrupt& interrupt,
                                               const detail::Deadline& deadline,
                                               Outcome& outcome,
                                               std::error_code& ec) noexcept try {
  outcome = Outcome::done;
  const auto all = posix::addresses_of(where, false, ec);
  if (ec) return {};
  UniqueHandle socket;
  for (const posix::SocketAddress& one : all) {
    ec.clear();
    socket = posix::connect_to_one(one, interrupt, deadline, outcome, ec);
    if (socket || outcome != Outcome::done) break;
  }
  return socket;
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return {};
}

MULTIPROCESSING_INLINE bool keeps_messages(native_handle_type /*connection*/) noexcept {
  return false;
}

MULTIPROCESSING_INLINE std::size_t receive_now(native_handle_type socket,
                                               std::span<std::byte> into,
                                               bool& ended,
                                               std::error_code& ec) noexcept {
  ec.clear();
  ended = false;
  for (;;) {
    const auto got = MULTIPROCESSING_SYSTEM(recv)(socket, into.data(), into.size(), MSG_DONTWAIT);
    if (got > 0) return static_cast<std::size_t>(got);
    if (got == 0) {
      ended = !into.empty();
      return 0;
    }
    if (errno == EAGAIN) return 0;
    if (errno != EINTR) {
      posix::assign_errno(ec);
      return 0;
    }
  }
}

MULTIPROCESSING_INLINE std::optional<std::size_t> receive_message_now(
    native_handle_type /*pipe*/,
    std::span<std::byte> /*into*/,
    bool& ended,
    std::error_code& ec) noexcept {
  ended = false;
  ec = std::make_error_code(std::errc::not_supported);
  return std::nullopt;
}

MULTIPROCESSING_INLINE std::size_t send_now(native_handle_type connection,
                                            std::span<const std::byte> bytes,
                                            std::error_code& ec) noexcept {
  ec.clear();
  for (;;) {
    const auto sent = MULTIPROCESSING_SYSTEM(send)(connection, bytes.data(), bytes.size(),
                                                   MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) return static_cast<std::size_t>(sent);
    if (errno == EAGAIN) return 0;
    if (errno != EINTR) {
      posix::assign_errno(ec);
      return 0;
    }
  }
}

MULTIPROCESSING_INLINE UniqueHandle make_ready_set(const ListeningSocket& listener,
                                                   std::error_code& ec) noexcept {
  UniqueHandle set = posix::above_streams(MULTIPROCESSING_SYSTEM(epoll_create1)(EPOLL_CLOEXEC), ec);
  if (!ec) add_to_ready_set(set.get(), listener.handle.get(), ec);
  if (ec) return {};
  return set;
}

MULTIPROCESSING_INLINE void add_to_ready_set(native_handle_type set,
                                             native_handle_type handle,
                                             std::error_code& ec) noexcept {
  ec.clear();
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = handle;
  if (MULTIPROCESSING_SYSTEM(epoll_ctl)(set, EPOLL_CTL_ADD, handle, &event) != 0) {
    posix::assign_errno(ec);
  }
}

MULTIPROCESSING_INLINE void remove_from_ready_set(native_handle_type set,
                                                  native_handle_type handle) noexcept {
  epoll_event unused{};
  MULTIPROCESSING_SYSTEM(epoll_ctl)(set, EPOLL_CTL_DEL, handle, &unused);
}

MULTIPROCESSING_INLINE void begin_look(native_handle_type /*set*/) noexcept {}

MULTIPROCESSING_INLINE void look_again(native_handle_type /*set*/) noexcept {}

MULTIPROCESSING_INLINE MemoryIdentity file_identity(const std::string& path,
                                                    std::error_code& ec) noexcept {
  struct stat status {};
  if (MULTIPROCESSING_SYSTEM(lstat)(path.c_str(), &status) != 0) {
    posix::assign_errno(ec);
    return {};
  }
  ec.clear();
  return posix::identity_of(status);
}

}  // namespace multiprocessing::os
