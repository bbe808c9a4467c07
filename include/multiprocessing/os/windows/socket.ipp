// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/one_way_channel.hpp>
#include <multiprocessing/os/socket.hpp>
#include <multiprocessing/os/windows/pipe_place.ipp>
#include <multiprocessing/os/windows/winsock.ipp>

#include <cstring>
#include <new>
#include <vector>

namespace multiprocessing::os {

struct ListeningPlace {
  UniqueHandle socket;                       // of the internet
  std::unique_ptr<windows::PipePlace> pipe;  // or of a named pipe
};

namespace windows {

struct SocketAddress {
  sockaddr_storage storage{};
  int size = sizeof(sockaddr_storage);

  [[nodiscard]] sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
  [[nodiscard]] const sockaddr* get() const noexcept {
    return reinterpret_cast<const sockaddr*>(&storage);
  }
};

MULTIPROCESSING_INLINE std::error_code as_lookup_error(int result) noexcept {
  switch (result) {
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
  start_winsock(ec);
  if (ec) return {};
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = to_listen ? AI_PASSIVE : 0;
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
      address.size = static_cast<int>(one->ai_addrlen);
      all.push_back(address);
    }
  }
  if (all.empty()) ec = std::make_error_code(std::errc::host_unreachable);
  return all;
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
  sockaddr_in6 inet{};
  std::memcpy(&inet, &address.storage, sizeof inet);
  ::inet_ntop(AF_INET6, &inet.sin6_addr, text.data(), text.size());
  return {Family::af_inet6, text.data(), ntohs(inet.sin6_port)};
}

MULTIPROCESSING_INLINE bool starts_as_pipe(const std::string& path) noexcept {
  return path.starts_with(R"(\\.\pipe\)") && path.find('\0') == std::string::npos;
}

MULTIPROCESSING_INLINE ListeningSocket listen_at_pipe(const Endpoint& where,
                                                      int backlog,
                                                      std::error_code& ec) {
  if (!starts_as_pipe(where.name)) {
    ec = std::make_error_code(std::errc::invalid_argument);
    return {};
  }
  ListeningSocket made{make_event(ec), std::make_shared<ListeningPlace>()};
  if (ec) return {};
  UniqueHandle event{duplicate_handle(made.handle.get(), ec)};
  if (ec) return {};
  made.place->pipe =
      std::make_unique<PipePlace>(to_wide(where.name), where.is_private, std::move(event));
  made.place->pipe->listen(backlog, ec);
  if (ec) return {};
  return made;
}

MULTIPROCESSING_INLINE ListeningSocket listen_at_host(const Endpoint& where,
                                                      int backlog,
                                                      Endpoint& bound,
                                                      std::error_code& ec) {
  const auto all = lookup(where, true, ec);
  if (ec) return {};
  SocketAddress address = all.front();
  ListeningSocket made{make_event(ec), std::make_shared<ListeningPlace>()};
  if (!ec) made.place->socket = open_socket(address.storage.ss_family, ec);
  if (ec) return {};
  const SOCKET socket = as_socket(made.place->socket.get());
  const BOOL yes = TRUE;
  if (MULTIPROCESSING_SYSTEM(setsockopt)(socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE,
                                         reinterpret_cast<const char*>(&yes), sizeof yes) != 0 ||
      MULTIPROCESSING_SYSTEM(bind)(socket, address.get(), address.size) != 0 ||
      MULTIPROCESSING_SYSTEM(WSAEventSelect)(socket, made.handle.get(), FD_ACCEPT) != 0 ||
      MULTIPROCESSING_SYSTEM(listen)(socket, backlog) != 0) {
    ec = last_socket_error();
    return {};
  }
  address.size = sizeof address.storage;
  if (MULTIPROCESSING_SYSTEM(getsockname)(socket, address.get(), &address.size) != 0) {
    ec = last_socket_error();
    return {};
  }
  bound = endpoint_of(address);
  return made;
}

MULTIPROCESSING_INLINE UniqueHandle accept_at_host(SOCKET listener,
                                                   Endpoint& peer,
                                                   std::error_code& ec) {
  for (;;) {
    SocketAddress address;
    const SOCKET taken = MULTIPROCESSING_SYSTEM(accept)(listener, address.get(), &address.size);
    if (taken != INVALID_SOCKET) {
      UniqueHandle socket{as_handle(taken)};
      MULTIPROCESSING_SYSTEM(SetHandleInformation)(socket.get(), HANDLE_FLAG_INHERIT, 0);
      prepare_stream(taken);
      peer = endpoint_of(address);
      return socket;
    }
    const int error = MULTIPROCESSING_SYSTEM(WSAGetLastError)();
    if (error == WSAEWOULDBLOCK) return {};
    // Anything else is the one client's: it left before it was taken.
    if (error == WSAECONNRESET || error == WSAECONNABORTED || error == WSAEINTR) continue;
    ec = as_socket_error(error);
    return {};
  }
}

// Waits until a connect that was begun has ended.
MULTIPROCESSING_INLINE Outcome finish_connect(SOCKET socket,
                                              HANDLE event,
                                              const Interrupt& interrupt,
                                              const detail::Deadline& deadline,
                                              std::error_code& ec) noexcept {
  std::array<HANDLE, 2> objects{event, nullptr};
  const Waited waited = wait_for(objects, interrupt, deadline, ec);
  if (ec || waited != Waited::ready) return as_outcome(waited);
  WSANETWORKEVENTS events{};
  if (MULTIPROCESSING_SYSTEM(WSAEnumNetworkEvents)(socket, event, &events) != 0) {
    ec = last_socket_error();
  } else if (events.iErrorCode[FD_CONNECT_BIT] != 0) {
    ec = as_socket_error(events.iErrorCode[FD_CONNECT_BIT]);
  }
  return Outcome::done;
}

MULTIPROCESSING_INLINE UniqueHandle connect_to_one(const SocketAddress& where,
                                                   const Interrupt& interrupt,
                                                   const detail::Deadline& deadline,
                                                   Outcome& outcome,
                                                   std::error_code& ec) noexcept {
  UniqueHandle owner = open_socket(where.storage.ss_family, ec);
  if (ec) return {};
  const UniqueHandle event = make_event(ec);
  if (ec) return {};
  const SOCKET socket = as_socket(owner.get());
  outcome = Outcome::done;
  if (MULTIPROCESSING_SYSTEM(WSAEventSelect)(socket, event.get(), FD_CONNECT) != 0) {
    ec = last_socket_error();
  } else if (MULTIPROCESSING_SYSTEM(connect)(socket, where.get(), where.size) != 0) {
    if (MULTIPROCESSING_SYSTEM(WSAGetLastError)() == WSAEWOULDBLOCK) {
      outcome = finish_connect(socket, event.get(), interrupt, deadline, ec);
    } else {
      ec = last_socket_error();
    }
  }
  if (ec || outcome != Outcome::done) return {};
  prepare_stream(socket);
  return owner;
}

}  // namespace windows

MULTIPROCESSING_INLINE Family default_family() noexcept {
  return Family::af_pipe;
}

MULTIPROCESSING_INLINE bool has_family(Family family) noexcept {
  return family != Family::af_unix;
}

MULTIPROCESSING_INLINE ListeningSocket listen_at(const Endpoint& where,
                                                 int backlog,
                                                 Endpoint& bound,
                                                 std::error_code& ec) noexcept try {
  if (where.family == Family::af_unix) {
    ec = std::make_error_code(std::errc::not_supported);
    return {};
  }
  if (where.family != Family::af_pipe) return windows::listen_at_host(where, backlog, bound, ec);
  ListeningSocket made = windows::listen_at_pipe(where, backlog, ec);
  if (!ec) bound = where;
  return made;
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return {};
}

MULTIPROCESSING_INLINE UniqueHandle accept_from(const ListeningSocket& listener,
                                                Endpoint& peer,
                                                std::error_code& ec) noexcept try {
  ec.clear();
  const ListeningPlace& place = *listener.place;
  if (!place.pipe) return windows::accept_at_host(windows::as_socket(place.socket.get()), peer, ec);
  peer = {Family::af_pipe, {}, 0};
  return place.pipe->accept(ec);
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return {};
}

MULTIPROCESSING_INLINE UniqueHandle connect_to(const Endpoint& where,
                                               const Interrupt& interrupt,
                                               const detail::Deadline& deadline,
                                               Outcome& outcome,
                                               std::error_code& ec) noexcept try {
  ec.clear();
  outcome = Outcome::done;
  if (where.family == Family::af_pipe) {
    return windows::connect_to_pipe(where.name, interrupt, deadline, outcome, ec);
  }
  if (where.family == Family::af_unix) {
    ec = std::make_error_code(std::errc::not_supported);
    return {};
  }
  const auto all = windows::lookup(where, false, ec);
  if (ec) return {};
  UniqueHandle socket;
  for (const windows::SocketAddress& one : all) {
    ec.clear();
    socket = windows::connect_to_one(one, interrupt, deadline, outcome, ec);
    if (socket || outcome != Outcome::done) break;
  }
  return socket;
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return {};
}

MULTIPROCESSING_INLINE bool keeps_messages(native_handle_type connection) noexcept {
  return windows::is_named_pipe(connection);
}

MULTIPROCESSING_INLINE std::size_t receive_now(native_handle_type socket,
                                               std::span<std::byte> into,
                                               bool& ended,
                                               std::error_code& ec) noexcept {
  ec.clear();
  ended = false;
  const int got =
      MULTIPROCESSING_SYSTEM(recv)(windows::as_socket(socket), reinterpret_cast<char*>(into.data()),
                                   static_cast<int>(into.size()), 0);
  if (got > 0) return static_cast<std::size_t>(got);
  if (got == 0) {
    ended = !into.empty();
  } else if (MULTIPROCESSING_SYSTEM(WSAGetLastError)() != WSAEWOULDBLOCK) {
    ec = windows::last_socket_error();
  }
  return 0;
}

MULTIPROCESSING_INLINE std::optional<std::size_t> receive_message_now(
    native_handle_type pipe, std::span<std::byte> into, bool& ended, std::error_code& ec) noexcept {
  bool has_more = false;
  const auto size = windows::read_message_now(pipe, into, has_more, ended, ec);
  if (has_more) ec = std::make_error_code(std::errc::message_size);
  return size;
}

MULTIPROCESSING_INLINE std::size_t send_now(native_handle_type connection,
                                            std::span<const std::byte> bytes,
                                            std::error_code& ec) noexcept {
  ec.clear();
  if (windows::is_named_pipe(connection)) {
    const detail::Deadline now{std::chrono::seconds{0}};
    const Outcome outcome = windows::write_packet(connection, bytes, {}, now, ec);
    return !ec && outcome == Outcome::done ? bytes.size() : 0;
  }
  const int sent = MULTIPROCESSING_SYSTEM(send)(windows::as_socket(connection),
                                                reinterpret_cast<const char*>(bytes.data()),
                                                static_cast<int>(bytes.size()), 0);
  if (sent >= 0) return static_cast<std::size_t>(sent);
  if (MULTIPROCESSING_SYSTEM(WSAGetLastError)() != WSAEWOULDBLOCK) {
    ec = windows::last_socket_error();
  }
  return 0;
}

MULTIPROCESSING_INLINE UniqueHandle make_ready_set(const ListeningSocket& listener,
                                                   std::error_code& ec) noexcept {
  return UniqueHandle{duplicate_handle(listener.handle.get(), ec)};
}

MULTIPROCESSING_INLINE void add_to_ready_set(native_handle_type set,
                                             native_handle_type handle,
                                             std::error_code& ec) noexcept {
  ec.clear();
  if (windows::is_named_pipe(handle)) return;
  if (MULTIPROCESSING_SYSTEM(WSAEventSelect)(windows::as_socket(handle), set, FD_READ | FD_CLOSE) !=
      0) {
    ec = windows::last_socket_error();
  }
}

MULTIPROCESSING_INLINE void remove_from_ready_set(native_handle_type /*set*/,
                                                  native_handle_type handle) noexcept {
  if (!windows::is_named_pipe(handle)) windows::make_nonblocking(windows::as_socket(handle));
}

MULTIPROCESSING_INLINE void begin_look(native_handle_type set) noexcept {
  reset_event(set);
}

MULTIPROCESSING_INLINE void look_again(native_handle_type set) noexcept {
  set_event(set);
}

MULTIPROCESSING_INLINE MemoryIdentity file_identity(const std::string& /*path*/,
                                                    std::error_code& ec) noexcept {
  ec = std::make_error_code(std::errc::not_supported);
  return {};
}

}  // namespace multiprocessing::os
