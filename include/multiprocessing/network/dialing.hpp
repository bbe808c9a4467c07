// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file dialing.hpp
/// @brief How Client() connects.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/network/address.hpp>
#include <multiprocessing/network/negotiation.hpp>
#include <multiprocessing/network/socket_file.hpp>
#include <multiprocessing/network/stream_core.hpp>
#include <multiprocessing/os/socket.hpp>
#include <multiprocessing/timeout.hpp>

#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace multiprocessing::detail {

/// @throws as Client().
inline std::shared_ptr<ConnectionCore> dial(const Address& address,
                                            const std::optional<std::string>& authkey,
                                            bool allows_md5,
                                            const Deadline& deadline) {
  const auto too_late = [&](const char* what) {
    return TimeoutError{"Client: " + address.to_string() + what + " in time"};
  };
  require_family("Client", address.family());
  std::error_code ec;
  os::Outcome outcome{};
  os::UniqueHandle socket = os::connect_to(address.endpoint(), {}, deadline, outcome, ec);
  if (ec) throw std::system_error{ec, "Client: cannot connect to " + address.to_string()};
  if (outcome != os::Outcome::done) throw too_late(" was not reached");
  if (!authkey) return StreamCore::create(std::move(socket));
  Negotiation negotiation{std::move(socket), Handshake::Side::client, *authkey, allows_md5};
  for (;;) {
    switch (negotiation.go_on()) {
      case Negotiation::Progress::done:
        return StreamCore::create(negotiation.take_socket());
      case Negotiation::Progress::left:
        throw EOFError{"Client: " + address.to_string() + " closed inside the handshake"};
      case Negotiation::Progress::waiting:
        break;
    }
    const auto waited =
        os::wait_ready(negotiation.handle(), os::Readiness::readable, {}, deadline, ec);
    if (ec) throw std::system_error{ec, "Client: waiting for " + address.to_string()};
    if (waited != os::Waited::ready) throw too_late(" did not finish the handshake");
  }
}

}  // namespace multiprocessing::detail
