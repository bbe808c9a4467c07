// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file dialing.hpp
/// @brief How Client() connects.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/network/address.hpp>
#include <multiprocessing/network/negotiation.hpp>
#include <multiprocessing/network/socket_file.hpp>
#include <multiprocessing/network/stream_core.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/socket.hpp>
#include <multiprocessing/timeout.hpp>

#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace multiprocessing::detail {

/// @brief A connected socket. Where a fork came in between, a child may have a copy, which would
/// hide from the other end that this process has died: then it is another one, unless forks come
/// again and again.
/// @throws as Client().
inline OwnSocket reach(const Address& address, const Deadline& deadline) {
  constexpr int most_tries = 3;
  os::install_fork_handlers();
  for (int tries = 1;; ++tries) {
    const std::uint32_t forked = process_state().forked;
    std::error_code ec;
    os::Outcome outcome{};
    OwnSocket own{os::connect_to(address.endpoint(), {}, deadline, outcome, ec), {}};
    if (ec) throw std::system_error{ec, "Client: cannot connect to " + address.to_string()};
    if (outcome != os::Outcome::done) {
      throw TimeoutError{"Client: " + address.to_string() + " was not reached in time"};
    }
    own.kept.emplace(own.socket.get());
    if (process_state().forked == forked || tries == most_tries) return own;
  }
}

/// @brief An end that children do not get: see StreamCore::give_to_children().
/// @throws as Client().
inline std::shared_ptr<StreamCore> dial(const Address& address,
                                        const std::optional<std::string>& authkey,
                                        bool allows_md5,
                                        const Deadline& deadline) {
  require_family("Client", address.family());
  OwnSocket own = reach(address, deadline);
  if (!authkey) return StreamCore::create(std::move(own));
  Negotiation negotiation{std::move(own), Handshake::Side::client, *authkey, allows_md5};
  for (;;) {
    switch (negotiation.go_on()) {
      case Negotiation::Progress::done:
        return StreamCore::create(negotiation.take_socket());
      case Negotiation::Progress::left:
        throw EOFError{"Client: " + address.to_string() + " closed inside the handshake"};
      case Negotiation::Progress::waiting:
        break;
    }
    std::error_code ec;
    const auto waited =
        os::wait_ready(negotiation.handle(), os::Readiness::readable, {}, deadline, ec);
    if (ec) throw std::system_error{ec, "Client: waiting for " + address.to_string()};
    if (waited != os::Waited::ready) {
      throw TimeoutError{"Client: " + address.to_string() +
                         " did not finish the handshake in time"};
    }
  }
}

}  // namespace multiprocessing::detail
