// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file address.hpp
/// @brief Where a Listener listens.
#include <multiprocessing/os/socket.hpp>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace multiprocessing {

/// @brief Where a Listener listens: a path, or a host and a port.
///
/// A path that begins with two backslashes is a named pipe of Windows; one that begins with NUL a
/// name in Linux's abstract space: `Address{std::string{"\0name", 5}}`. A host with a colon in it
/// is of IPv6; "" is every address of this machine. @python{a str, bytes or (host, port)}
/// @code
/// mp::Address{"/run/service.sock"}; mp::Address{"localhost", 6000}; mp::Address{"::1", 6000};
/// @endcode
struct Address {
 public:
  // NOLINTBEGIN(*explicit*): text is an address wherever one is asked for, as in Python
  /// @brief A path.
  Address(const char* path) : Address{std::string{path}} {}
  /// @overload
  Address(std::string path)
      : endpoint_{path.starts_with("\\\\") ? Family::af_pipe : Family::af_unix, std::move(path),
                  0} {}
  // NOLINTEND(*explicit*)
  /// @brief A host, by name or number, and a port; 0: a free one.
  Address(std::string host, std::uint16_t port)
      : endpoint_{family_of(host), std::move(host), port} {}
  /// @brief For this library.
  explicit Address(os::Endpoint endpoint) : endpoint_{std::move(endpoint)} {}

  /// @brief What kind it is.
  [[nodiscard]] Family family() const noexcept { return endpoint_.family; }
  /// @brief Whether it is a host and a port.
  [[nodiscard]] bool is_internet() const noexcept {
    return family() == Family::af_inet || family() == Family::af_inet6;
  }
  /// @throws std::logic_error it is a host and a port.
  [[nodiscard]] const std::string& path() const {
    if (is_internet()) throw std::logic_error{"the address " + to_string() + " has no path"};
    return endpoint_.name;
  }
  /// @throws std::logic_error it is a path.
  [[nodiscard]] const std::string& host() const {
    require_internet();
    return endpoint_.name;
  }
  /// @throws std::logic_error it is a path.
  [[nodiscard]] std::uint16_t port() const {
    require_internet();
    return endpoint_.port;
  }
  /// @brief For people: "/run/x", "@abstract", "localhost:6000", "[::1]:6000".
  [[nodiscard]] std::string to_string() const {
    const std::string& name = endpoint_.name;
    const std::string port = ":" + std::to_string(endpoint_.port);
    if (family() == Family::af_inet) return name + port;
    if (family() == Family::af_inet6) return "[" + name + "]" + port;
    return name.starts_with('\0') ? "@" + name.substr(1) : name;
  }
  /// @brief For this library.
  [[nodiscard]] const os::Endpoint& endpoint() const noexcept { return endpoint_; }

  friend bool operator==(const Address& a, const Address& b) noexcept {
    return a.endpoint_.family == b.endpoint_.family && a.endpoint_.name == b.endpoint_.name &&
           a.endpoint_.port == b.endpoint_.port;
  }

 private:
  static Family family_of(const std::string& host) noexcept {
    return host.find(':') == std::string::npos ? Family::af_inet : Family::af_inet6;
  }
  void require_internet() const {
    if (!is_internet()) throw std::logic_error{"the address " + to_string() + " is a path"};
  }

  os::Endpoint endpoint_;
};

}  // namespace multiprocessing
